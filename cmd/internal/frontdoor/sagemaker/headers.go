package sagemaker

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/queue/request"
)

// member is one member of a call, with the constraints that SageMaker puts on
// it.
type member struct {
	name, header string
	most         int // characters; or the largest number
	least        int // the smallest number; 0 for text
	pattern      *regexp.Regexp
	never        *regexp.Regexp // what pattern would have to exclude, if Go's could
	written      string         // the two as SageMaker writes them
}

func (m member) takes(v string) bool {
	return m.pattern.MatchString(v) && (m.never == nil || !m.never.MatchString(v))
}

var ascii = regexp.MustCompile(`^[ -~\t]*$`)

// The members of the calls.
var (
	contentType      = member{name: "contentType", header: "X-Amzn-SageMaker-Content-Type", most: 1024, pattern: ascii, written: `\p{ASCII}*`}
	accept           = member{name: "accept", header: "X-Amzn-SageMaker-Accept", most: 1024, pattern: ascii, written: `\p{ASCII}*`}
	customAttributes = member{name: "customAttributes", header: "X-Amzn-SageMaker-Custom-Attributes", most: 1024, pattern: ascii, written: `\p{ASCII}*`}
	inferenceID      = member{name: "inferenceId", header: "X-Amzn-SageMaker-Inference-Id", most: 64, pattern: regexp.MustCompile(`^[!-~][ -~]*$`), written: `\A\S[\p{Print}]*\z`}
	inputLocation    = member{name: "inputLocation", header: "X-Amzn-SageMaker-InputLocation", most: 1024, pattern: regexp.MustCompile(`^(https|s3)://([^/]+)/?(.*)$`), written: `^(https|s3)://([^/]+)/?(.*)$`}
	pathExtension    = member{name: "s3OutputPathExtension", header: "X-Amzn-SageMaker-S3OutputPathExtension", most: 512, pattern: regexp.MustCompile(`^[a-zA-Z0-9!_.*'()/-]+$`), never: regexp.MustCompile(`^(s3|https):`), written: `^(?!s3:|https:)[a-zA-Z0-9!_.*'()/-]+$`}
	fileName         = member{name: "filename", header: "X-Amzn-SageMaker-Filename", most: 32, pattern: regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]*(\.[a-zA-Z0-9_-]*)?$`), written: `^(?!.*\..*\.)[a-zA-Z0-9][a-zA-Z0-9-_\.]*$`}
	ttlSeconds       = member{name: "requestTTLSeconds", header: "X-Amzn-SageMaker-RequestTTLSeconds", least: 60, most: 21600}
	timeoutSeconds   = member{name: "invocationTimeoutSeconds", header: "X-Amzn-SageMaker-InvocationTimeoutSeconds", least: 1, most: 3600}
	targetModel      = member{name: "targetModel", header: "X-Amzn-SageMaker-Target-Model", most: 1024, pattern: regexp.MustCompile(`^\S[ -~]*$`), written: `\A\S[\p{Print}]*\z`}
)

// Of the durations that a call leaves open.
const (
	defaultTTL     = 21600 * time.Second
	defaultTimeout = 900 * time.Second
)

// refused are members that Penstock has no meaning for.
var refused = []struct{ header, why string }{
	{"X-Amzn-SageMaker-Target-Container-Hostname", "TargetContainerHostname: there are no containers to choose from"},
	{"X-Amzn-SageMaker-Enable-Explanations", "EnableExplanations: there are no explanations"},
	{"X-Amzn-SageMaker-Inference-Component", "InferenceComponentName: there are no inference components; name the endpoint of the model"},
	{"X-Amzn-SageMaker-Session-Id", "SessionId: there are no sessions, each request stands alone"},
}

// faults gathers all that is wrong with a call.
type faults struct{ list []string }

func (f *faults) add(value, name, constraint string) {
	f.list = append(f.list, fmt.Sprintf("Value '%s' at '%s' failed to satisfy constraint: %s", value, name, constraint))
}

// err is SageMaker's ValidationError of all faults, or nil.
func (f *faults) err() error {
	switch len(f.list) {
	case 0:
		return nil
	case 1:
		return invalid("1 validation error detected: %s", f.list[0])
	}
	return invalid("%d validation errors detected: %s", len(f.list), strings.Join(f.list, "; "))
}

// tooLarge says that a body exceeds what its call takes, and the way of larger
// ones.
func (f *faults) tooLarge(limit int64) {
	way := "give its InputLocation"
	if limit != MaxAsyncBody {
		way = "call InvokeEndpointAsync with its InputLocation"
	}
	f.list = append(f.list, fmt.Sprintf("Value at 'body' failed to satisfy constraint: Member must have length less than or equal to %d; put a larger input into S3 and %s", limit, way))
}

// exactlyOne says that a call has an input, and not two.
func (f *faults) exactlyOne(body, location, async bool) {
	switch {
	case body && location:
		f.list = append(f.list, "Value at 'body' failed to satisfy constraint: exactly one of Body and InputLocation must be given, and both are")
	case !body && !location && async:
		f.list = append(f.list, "Value at 'body' failed to satisfy constraint: exactly one of Body and InputLocation must be given, and neither is")
	case !body && !location:
		f.list = append(f.list, "Value at 'body' failed to satisfy constraint: Member must not be null")
	}
}

// value reads a member's header. One that is there several times is one with
// commas between, as HTTP has it and Lambda writes it.
func value(h http.Header, m member) string { return strings.Join(h.Values(m.header), ", ") }

// text reads a member that is text.
func (f *faults) text(h http.Header, m member) string {
	v := value(h, m)
	if v == "" {
		return ""
	}
	if !utf8.ValidString(v) {
		v = latin1(v) // what some clients write headers in
	}
	if len(v) > m.most {
		f.add(shown(v), m.name, fmt.Sprintf("Member must have length less than or equal to %d", m.most))
		return ""
	}
	if !m.takes(v) {
		f.add(shown(v), m.name, "Member must satisfy regular expression pattern: "+m.written)
		return ""
	}
	return v
}

// seconds reads a member that is a number of seconds.
func (f *faults) seconds(h http.Header, m member, unset time.Duration) time.Duration {
	v := value(h, m)
	if v == "" {
		return unset
	}
	n, err := strconv.Atoi(v)
	switch {
	case err != nil:
		f.add(shown(v), m.name, "Member must be an integer")
	case n < m.least:
		f.add(shown(v), m.name, fmt.Sprintf("Member must have value greater than or equal to %d", m.least))
	case n > m.most:
		f.add(shown(v), m.name, fmt.Sprintf("Member must have value less than or equal to %d", m.most))
	}
	return time.Duration(n) * time.Second
}

// asyncRequest reads the headers of InvokeEndpointAsync.
func (f *faults) asyncRequest(h http.Header) request.Request {
	r := request.Request{
		ID:          f.text(h, inferenceID),
		ContentType: f.text(h, contentType),
		Accept:      f.text(h, accept),
		TTL:         f.seconds(h, ttlSeconds, defaultTTL),
		Timeout:     f.seconds(h, timeoutSeconds, defaultTimeout),
	}
	r.Model = f.model(f.text(h, customAttributes))
	if location := f.text(h, inputLocation); location != "" {
		ref, err := parseLocation(location)
		if err != nil {
			f.add(shown(location), inputLocation.name, err.Error())
		}
		r.Input = ref
	}
	if r.ID == "" {
		r.ID = intake.NewID()
	}
	r.OutputPath = f.outputPath(f.text(h, pathExtension), f.text(h, fileName), r.ID)
	return r
}

// syncRequest reads the headers of InvokeEndpoint. Its InferenceId is no key
// of idempotency, in SageMaker neither: it is only a part of the request's.
func (f *faults) syncRequest(h http.Header) request.Request {
	r := request.Request{ID: intake.NewID()}
	if id := f.text(h, inferenceID); id != "" {
		r.ID = id + "/" + r.ID
	}
	plain := func(m member, header string) string {
		m.header = header
		return f.text(h, m)
	}
	r.ContentType = plain(contentType, "Content-Type")
	if r.Accept = plain(accept, "Accept"); r.Accept == "*/*" {
		r.Accept = ""
	}
	r.Model = f.model(f.text(h, customAttributes))
	if target := f.text(h, targetModel); target != "" && r.Model == "" {
		r.Model = strings.TrimSuffix(strings.TrimPrefix(target, "/"), ".tar.gz")
	}
	if v := h.Get("X-Amzn-SageMaker-Target-Variant"); v != "" && v != variant {
		f.list = append(f.list, fmt.Sprintf("TargetVariant: there is no variant '%s'; the only one is %s", shown(v), variant))
	}
	for _, m := range refused {
		if h.Get(m.header) != "" {
			f.list = append(f.list, m.why)
		}
	}
	return r
}

// routing is how the TensorFlow container of SageMaker is told what to run, by
// custom attributes.
var routing = regexp.MustCompile(`tfs-[a-z\-]+=[^,]+`)

// model is what the custom attributes choose, as the worker knows it.
func (f *faults) model(attributes string) string {
	chosen := map[string]string{}
	for _, pair := range routing.FindAllString(attributes, -1) {
		name, value, _ := strings.Cut(pair, "=")
		chosen[name] = strings.TrimSpace(value)
	}
	if method := chosen["tfs-method"]; method != "" && method != "predict" {
		f.add(shown(method), "customAttributes", "tfs-method must be predict, the only method that is served")
	}
	model, version := chosen["tfs-model-name"], chosen["tfs-model-version"]
	switch {
	case version == "":
	case model == "":
		f.add(shown(version), "customAttributes", "tfs-model-version needs tfs-model-name beside it")
	default:
		model += "@" + version
	}
	return model
}

// latin1 makes UTF-8 of bytes that are characters of Latin-1.
func latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// shown is a value as errors repeat it.
func shown(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
