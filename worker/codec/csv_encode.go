package codec

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/penstock/penstock/worker/model"
)

// setHeader notes what Accept says of a header.
func (r *result) setHeader(v string) error {
	h, ok := parseHeader(v)
	if !ok {
		return &Error{Code: CodeNotAcceptable, Message: fmt.Sprintf("Accept says header=%.40q", v), Hint: headerHint}
	}
	r.header = h
	return nil
}

// refusesCSV says why a CSV file can't hold r.
func refusesCSV(r *result) string {
	if why := refusesRows(r); why != "" {
		return why
	}
	for i, t := range r.outputs {
		name := r.in.Signature.Outputs[i].Name
		switch {
		case len(t.Shape) > 2:
			return fmt.Sprintf("output %q has the shape %v: a row of it is more than a list", name, t.Shape)
		case len(t.Shape) == 2 && t.Shape[1] == 0:
			return fmt.Sprintf("rows of output %q have no values", name)
		}
		for row, s := range t.Bytes {
			if !utf8.Valid(s) {
				return fmt.Sprintf("element %d of output %q is not valid UTF-8", row, name)
			}
		}
	}
	return ""
}

// encodeCSV writes a row a line. Several outputs stand side by side and have
// their names above them.
func encodeCSV(r *result) ([]byte, error) {
	var b []byte
	if r.hasHeader() {
		r.mediaType += withHeader
		b = r.appendHeader(b, r.columns())
	}
	for row := range r.in.Rows {
		b = r.appendCSV(b, row)
	}
	return b, nil
}

const withHeader = "; header=present"

// hasHeader says whether a CSV file of r has a header.
func (r *result) hasHeader() bool {
	return r.header == headerPresent || r.header == headerUnsaid && len(r.in.Signature.Outputs) > 1
}

// appendCSV writes a row.
func (r *result) appendCSV(b []byte, row int64) []byte {
	for i := range r.outputs {
		t := &r.outputs[i]
		size := model.Elements(t.Shape[1:])
		for k := range size {
			if i > 0 || k > 0 {
				b = append(b, ',')
			}
			if at := row*size + k; t.DType == model.String {
				b = appendField(b, t.Bytes[at])
			} else {
				b = appendElement(b, t, at, false)
			}
		}
	}
	return append(b, '\n')
}

// columns are the shapes of what a row has of each output.
func (r *result) columns() (shapes [][]int64) {
	for _, t := range r.outputs {
		shapes = append(shapes, t.Shape[1:])
	}
	return shapes
}

// declaredColumns are columns as far as the signature tells: an output of which
// it doesn't is taken for one of single values.
func (r *result) declaredColumns() (shapes [][]int64) {
	for _, info := range r.in.Signature.Outputs {
		var shape []int64
		if !info.UnknownRank && len(info.Shape) == 2 && info.Shape[1] >= 0 {
			shape = info.Shape[1:]
		}
		shapes = append(shapes, shape)
	}
	return shapes
}

// widths are how many values rows of those shapes have.
func widths(shapes [][]int64) (width []int64) {
	for _, shape := range shapes {
		width = append(width, model.Elements(shape))
	}
	return width
}

// appendHeader writes the outputs' names, as the names of inputs are read.
func (r *result) appendHeader(b []byte, columns [][]int64) []byte {
	for i, shape := range columns {
		name := r.in.Signature.Outputs[i].Name
		if i > 0 {
			b = append(b, ',')
		}
		if len(shape) == 0 {
			b = appendField(b, []byte(name))
			continue
		}
		for k := range shape[0] {
			if k > 0 {
				b = append(b, ',')
			}
			b = appendField(b, []byte(name+"["+strconv.FormatInt(k, 10)+"]"))
		}
	}
	return append(b, '\n')
}

// appendField writes a string, in quotes where it needs them: also when it is
// empty, since a line of one empty field would be a blank one, and when it
// begins like a byte order mark.
func appendField(b, s []byte) []byte {
	if len(s) > 0 && !bytes.ContainsAny(s, ",\"\r\n") && !strings.HasPrefix(view(s), utf8BOM) {
		return append(b, s...)
	}
	b = append(b, '"')
	for _, c := range s {
		if c == '"' {
			b = append(b, '"')
		}
		b = append(b, c)
	}
	return append(b, '"')
}
