package tf

import (
	"regexp"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

const (
	invalidArgument    = "INVALID_ARGUMENT"
	failedPrecondition = "FAILED_PRECONDITION"
	unknown            = "UNKNOWN"
	panicked           = "PANIC"
)

// codes are the canonical status codes, and whether the same input will get
// the same answer on any worker. The others depend on the machine or the
// moment.
var codes = map[int]struct {
	name      string
	permanent bool
}{
	1:  {name: "CANCELLED"},
	2:  {name: unknown},
	3:  {invalidArgument, true},
	4:  {name: "DEADLINE_EXCEEDED"},
	5:  {"NOT_FOUND", true},
	6:  {name: "ALREADY_EXISTS"},
	7:  {name: "PERMISSION_DENIED"},
	8:  {name: "RESOURCE_EXHAUSTED"},
	9:  {failedPrecondition, true},
	10: {name: "ABORTED"},
	11: {"OUT_OF_RANGE", true},
	12: {"UNIMPLEMENTED", true},
	13: {name: "INTERNAL"},
	14: {name: "UNAVAILABLE"},
	15: {name: "DATA_LOSS"},
	16: {name: "UNAUTHENTICATED"},
}

func newError(code int, message string) *model.Error {
	c, ok := codes[code]
	if !ok {
		c.name = unknown
	}
	return &model.Error{Code: c.name, Message: firstSentence(message), Permanent: c.permanent}
}

const maxMessage = 400 // bytes; an assertion prints whole tensors

var (
	rootErrors = regexp.MustCompile(`^(Graph execution error:|\d+ root error\(s\) found\.)$`)
	firstRoot  = regexp.MustCompile(`^\(0\) ([A-Z_]+: )?`)
	nodeNames  = regexp.MustCompile(`\s*(\[*\{\{[^}]*\}\}\]*)+:?\s*`)
)

// firstSentence is what TensorFlow has to say without the trail of node names
// that follows it, and bounded.
func firstSentence(message string) string {
	for line := range strings.Lines(message) {
		line = strings.TrimSpace(line)
		if line == "" || rootErrors.MatchString(line) || strings.HasPrefix(line, "Detected at node") {
			continue
		}
		line = firstRoot.ReplaceAllString(line, "")
		line = strings.TrimSpace(nodeNames.ReplaceAllString(line, " "))
		if line == "" {
			continue
		}
		if len(line) > maxMessage {
			line = line[:maxMessage] + "…"
		}
		return strings.ToValidUTF8(line, "\uFFFD")
	}
	return "TensorFlow gave no message"
}
