package codec

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

const utf8BOM = "\ufeff"

// sniffJSON says whether body begins like a JSON object.
func sniffJSON(body []byte) bool {
	s := scanner{b: bytes.TrimPrefix(body, []byte(utf8BOM))}
	// A record of 123 bytes begins with that byte, too, but a zero follows.
	return s.peek() == '{' && (s.i+1 >= len(s.b) || s.b[s.i+1] != 0)
}

// request is a predict request on its way through the scanner. The signature
// is known for sure at its end only, since "signature_name" may come last. It
// rarely does, so that the tensors are read on the spot, by the signature that
// is likely, and a second time if that was wrong.
type request struct {
	s     scanner
	model model.Model
	asked string // the signature that Source names
	named string // the one that the body names

	hasName bool
	key     string   // "instances" or "inputs"
	start   int      // where its value begins
	others  []string // the first other keys, for messages

	// What came of reading the value by the signature tried.
	tried *model.Signature
	in    *Input
	err   error
}

// decodeJSON reads TensorFlow Serving's predict request.
func decodeJSON(_ context.Context, body []byte, src Source, m model.Model) (*Input, error) {
	if err := refuseUTF16(body, "JSON"); err != nil {
		return nil, err
	}
	r := &request{
		s:     scanner{b: body},
		model: m,
		asked: src.Signature,
	}
	r.s.word(utf8BOM)
	if f := r.read(); f != nil {
		return nil, f.err()
	}
	sig, err := chooseSignature(m, r.asked, r.named)
	if err != nil {
		return nil, err
	}
	if sig != r.tried {
		r.try(sig)
	}
	return r.in, r.err
}

// refuseUTF16 is an error when text of that format begins with a mark of
// UTF-16.
func refuseUTF16(body []byte, format string) error {
	if bytes.HasPrefix(body, []byte("\xff\xfe")) || bytes.HasPrefix(body, []byte("\xfe\xff")) {
		return &Error{Code: CodeMalformed, Message: fmt.Sprintf("the %s is encoded in UTF-16", format), Hint: "save it as UTF-8"}
	}
	return nil
}

// read reads the whole text.
func (r *request) read() *fault {
	s := &r.s
	switch {
	case s.peek() == 0 && s.i == len(s.b):
		return &fault{code: CodeEmpty, text: " holds white space only"}
	case s.peek() != '{':
		kind := s.kind()
		if f := s.skip(0); f != nil {
			return f
		}
		return &fault{code: CodeMalformed, text: fmt.Sprintf(" is not a JSON object but %s", kind), hint: `wrap it: {"instances": [...]}`}
	}
	if f := s.members(r.member); f != nil {
		return f
	}
	if s.peek(); s.i < len(s.b) {
		f := s.unexpected("the end: there is more behind the JSON object")
		f.hint = "if each line is an instance of its own, upload it as " + jsonLinesTypes[0]
		return f
	}
	if r.key == "" {
		there := "the object has no input"
		if len(r.others) > 0 {
			there = "there are: " + strings.Join(r.others, ", ")
		}
		return &fault{
			code: CodeMalformed,
			text: ": Missing 'inputs' or 'instances' key; " + there,
			hint: `write {"instances": [...]}`,
		}
	}
	return nil
}

// member reads the value of one top-level key.
func (r *request) member(key []byte) *fault {
	switch name := string(key); name {
	case "signature_name":
		return r.signatureName()
	case "instances", "inputs":
		return r.values(name)
	}
	if len(r.others) < 10 {
		r.others = append(r.others, strconv.Quote(short(key)))
	}
	return r.s.skip(1)
}

func (r *request) signatureName() *fault {
	if r.s.peek() != '"' {
		kind := r.s.kind()
		if f := r.s.skip(1); f != nil {
			return f
		}
		return &fault{code: CodeMalformed, text: fmt.Sprintf(" is %s: 'signature_name' key must be a string value", kind)}
	}
	name, f := r.s.str()
	if r.hasName {
		return duplicate()
	}
	r.named, r.hasName = string(name), true
	return f
}

// values reads the tensors by the signature that is likely.
func (r *request) values(key string) *fault {
	s := &r.s
	kind := s.kind()
	switch {
	case r.key == key:
		return duplicate()
	case r.key != "":
		return &fault{code: CodeMalformed, text: ": Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"}
	case key == "instances" && kind != "a list":
		if f := s.skip(1); f != nil {
			return f
		}
		return &fault{code: CodeMalformed, text: fmt.Sprintf(" is %s: Expecting 'instances' to be an list/array", kind)}
	}
	r.key, r.start = key, s.i
	if sig, err := chooseSignature(r.model, r.asked, r.named); err == nil {
		if r.try(sig); r.err == nil {
			return nil
		}
	}
	// What comes behind the value may still name a signature that it fits.
	s.i = r.start
	return s.skip(1)
}

// try reads the tensors by sig and leaves the outcome in r.
func (r *request) try(sig *model.Signature) {
	r.tried, r.s.i = sig, r.start
	c := newRows(sig)
	if len(c.columns) == 1 {
		c.columns[0].reserve(r.s.b[r.start:], 0)
	}
	read := c.instances
	if r.key == "inputs" {
		read = c.inputs
	}
	if f := read(&r.s); f != nil {
		r.in, r.err = nil, f.within(r.key).err()
		return
	}
	r.in, r.err = c.input(sig, r.key == "inputs")
}
