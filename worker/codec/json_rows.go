package codec

import (
	"fmt"
	"slices"

	"github.com/penstock/penstock/worker/model"
)

// rows builds the tensors of a signature from instances: the elements of a
// request's "instances", or the records of a file.
type rows struct {
	columns []*column // one for each input of the signature, in its order
	named   map[string]*column
	n       int64 // instances read
	form    form  // of those read, so that all must have it
	before  mark
}

// form is how an instance is written.
type form int

const (
	formUnsaid form = iota
	formPlain       // the value of the only input
	formObject      // an object of inputs
)

// mark is what rows were before an instance that may turn out to be bad.
type mark struct {
	n       int64
	form    form
	columns []columnMark
}

// columnMark is how much a column held.
type columnMark struct {
	rows        int64
	data, bytes int
}

func newRows(sig *model.Signature) *rows {
	r := &rows{columns: make([]*column, len(sig.Inputs)), named: map[string]*column{}}
	for i, info := range sig.Inputs {
		r.columns[i] = newColumn(info)
		r.named[info.Name] = r.columns[i]
	}
	return r
}

// add reads one instance.
func (r *rows) add(s *scanner) *fault {
	object := s.peek() == '{' && (len(r.columns) > 1 || !s.atBase64())
	switch {
	case !object && len(r.columns) > 1:
		return s.unlike("an object is expected: the model takes several inputs, and keys must be equal to: "+r.names(),
			`write each instance as {"<input>": ..., ...}`)
	case object && r.form == formPlain:
		return &fault{code: CodeInvalidShape, text: " is an object, but the instances before it are plain values or lists"}
	case !object && r.form == formObject:
		return s.unlike("the instances before it are objects", "")
	}
	r.n++
	if object {
		r.form = formObject
		return r.object(s)
	}
	r.form = formPlain
	return r.columns[0].addRow(s)
}

// atBase64 says whether a base64Object is next.
func (s *scanner) atBase64() bool {
	start := s.i
	_, ok := s.base64Object()
	s.i = start
	return ok
}

// object reads an instance that names its inputs: each of them, and no other.
func (r *rows) object(s *scanner) *fault {
	given := 0
	f := s.members(func(key []byte) *fault {
		c := r.named[string(key)]
		switch {
		case c == nil:
			return &fault{
				code: CodeInvalidShape,
				text: " is no input of the model: keys must be equal to: " + r.names(),
			}
		case c.rows == r.n:
			return duplicate()
		}
		given++
		return c.addRow(s)
	})
	if f != nil || given == len(r.columns) {
		return f
	}
	i := slices.IndexFunc(r.columns, func(c *column) bool { return c.rows < r.n })
	return &fault{
		code: CodeInvalidShape,
		text: fmt.Sprintf(" lacks input %q: keys must be equal to: %s", r.columns[i].info.Name, r.names()),
	}
}

// instances reads the list of a request in row format.
func (r *rows) instances(s *scanner) *fault {
	n, f := s.elements(func(int64) *fault { return r.add(s) })
	if f == nil && n == 0 {
		f = &fault{code: CodeEmpty, text: ": No values in 'instances' array"}
	}
	return f
}

// inputs reads the value of a request in column format: the tensor of a sole
// input, or an object that names each input and may name others.
func (r *rows) inputs(s *scanner) *fault {
	if s.peek() != '{' || len(r.columns) == 1 && s.atBase64() {
		if len(r.columns) == 1 {
			return r.columns[0].add(s)
		}
		return s.unlike("an object is expected: the model takes several inputs: "+r.names(), `write {"inputs": {"<input>": ..., ...}}`)
	}
	f := s.members(func(key []byte) *fault {
		c := r.named[string(key)]
		switch {
		case c == nil:
			return s.skip(2)
		case c.rows > 0:
			return duplicate()
		}
		return c.add(s)
	})
	if f != nil {
		return f
	}
	for _, c := range r.columns {
		if c.rows == 0 {
			return &fault{code: CodeInvalidShape, text: fmt.Sprintf(": Missing named input: %s in 'inputs' object", c.info.Name)}
		}
	}
	return nil
}

// input is what was read, by instances or by inputs, as a request's input.
func (r *rows) input(sig *model.Signature, column bool) (*Input, error) {
	tensors := make([]model.Tensor, len(r.columns))
	for i, c := range r.columns {
		tensors[i] = c.tensor(!column)
	}
	return newInput(sig, tensors, column)
}

func (r *rows) names() string {
	infos := make([]model.TensorInfo, len(r.columns))
	for i, c := range r.columns {
		infos[i] = c.info
	}
	return inputNames(infos)
}

func duplicate() *fault {
	return &fault{code: CodeMalformed, text: " is there twice", hint: "give each key once"}
}
