package job

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/penstock/penstock/storage"
)

// Names beside an output.
const (
	outputSuffix  = ".out"
	errorsSuffix  = "-errors.jsonl"
	partialSuffix = ".partial"
)

// ErrorsOf names the error file beside an output: a line for each bad record.
func ErrorsOf(output storage.Ref) storage.Ref { return beside(output, errorsSuffix) }

// PartialOf names what a cancelled job leaves of a record file in place of its
// output: the results of its first records, up to the first that was not reached.
func PartialOf(output storage.Ref) storage.Ref { return beside(output, partialSuffix) }

func beside(output storage.Ref, suffix string) storage.Ref {
	name := strings.TrimSuffix(output.Key, outputSuffix)
	if len(name)+len(suffix) > storage.MaxKeyBytes {
		sum := sha256.Sum256([]byte(name))
		tail := "~" + hex.EncodeToString(sum[:16])
		name = strings.ToValidUTF8(name[:storage.MaxKeyBytes-len(suffix)-len(tail)], "") + tail
	}
	output.Key = name + suffix
	return output
}
