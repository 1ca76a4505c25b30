package codec

import (
	"bytes"
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

// header says whether a CSV file's first record names the columns.
type header int

// What text/csv's parameter header says.
const (
	headerUnsaid header = iota // it follows from the content
	headerPresent
	headerAbsent
)

// declareHeader reads the parameter header of the content type, as in RFC 4180:
// text/csv; header=present.
func (t *table) declareHeader(contentType string) error {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil // broken parameters say nothing
	}
	h, ok := parseHeader(params["header"])
	if !ok {
		return &Error{Code: CodeMalformed, Message: fmt.Sprintf("the content type says header=%.40q", params["header"]), Hint: headerHint}
	}
	t.header = h
	return nil
}

const headerHint = "write header=present or header=absent, or leave it out"

// parseHeader reads the value of text/csv's parameter; none says nothing.
func parseHeader(v string) (h header, ok bool) {
	switch strings.ToLower(v) {
	case "":
		return headerUnsaid, true
	case "present":
		return headerPresent, true
	case "absent":
		return headerAbsent, true
	}
	return headerUnsaid, false
}

// begin looks at the first record: is it a header, and which columns hold
// which input?
func (t *table) begin() (isHeader bool, f *fault) {
	columns := t.rows.columns
	named := t.header != headerAbsent && t.namesInputs(len(columns) == 1)
	switch {
	case len(columns) > 1 && t.header == headerAbsent:
		return false, &fault{
			code: CodeInvalidShape,
			text: fmt.Sprintf(": without a header the columns can't be told apart: the model takes several inputs: %s", t.rows.names()),
			hint: "let the first line name the columns after the inputs",
		}
	case named:
		isHeader, f = true, t.bind()
	default:
		isHeader = t.header == headerPresent || t.header == headerUnsaid && t.featureNames()
	}
	if isHeader {
		t.names = make([]string, len(t.record))
		for i, field := range t.record {
			t.names[i] = string(field)
		}
	}
	if f == nil {
		t.makeRoom()
	}
	return isHeader, f
}

// namesInputs says whether the record is to be read as names of inputs. For a
// model with one input these may as well be values, or names of the model's
// features.
func (t *table) namesInputs(one bool) bool {
	return !one || !slices.ContainsFunc(t.record, func(field []byte) bool {
		c, _, _ := t.target(string(field))
		return c < 0
	})
}

// featureNames says whether the record holds names that are the user's own:
// the input is of numbers, and none of the fields is one.
func (t *table) featureNames() bool {
	c := newColumn(t.rows.columns[0].info)
	if c.info.DType == model.String {
		return false
	}
	return slices.ContainsFunc(t.record, func(field []byte) bool { return len(trimmed(field)) > 0 }) &&
		!slices.ContainsFunc(t.record, looksLikeValue)
}

// target is the input that a column's name means, or -1, and which of its
// elements: "x" means the only one, "x[3]" the one with index 3. The name of an
// input may itself have brackets: the last ones count.
func (t *table) target(name string) (input, index int, indexed bool) {
	name = strings.TrimSpace(name)
	find := func(name string) int {
		return slices.IndexFunc(t.rows.columns, func(c *column) bool { return c.info.Name == name })
	}
	if input = find(name); input >= 0 {
		return input, 0, false
	}
	open := strings.LastIndexByte(name, '[')
	if open < 0 {
		return -1, 0, false
	}
	index, err := strconv.Atoi(strings.TrimSuffix(name[open+1:], "]"))
	if err != nil || index < 0 {
		return -1, 0, false
	}
	return find(name[:open]), index, true
}

// bind has each column hold the input that the record names.
func (t *table) bind() *fault {
	count := make([]int, len(t.places))
	for i, field := range t.record {
		input, _, _ := t.target(string(field))
		if input < 0 {
			return (&fault{
				code: CodeInvalidShape,
				text: fmt.Sprintf(" is %.40q, which is no input of the model; it takes: %s", field, t.rows.names()),
				hint: t.namesHint(i),
			}).within(t.nthOf(i))
		}
		count[input]++
	}
	for input, n := range count {
		if n == 0 {
			return &fault{code: CodeInvalidShape, text: fmt.Sprintf(": no column is named after input %q; the model takes: %s", t.rows.columns[input].info.Name, t.rows.names())}
		}
		t.places[input] = slices.Repeat([]int{-1}, n)
	}
	for i, field := range t.record {
		input, index, indexed := t.target(string(field))
		places := t.places[input]
		switch {
		case !indexed && len(places) > 1, index < len(places) && places[index] >= 0:
			return (&fault{
				code: CodeMalformed,
				text: fmt.Sprintf(": %.40q is there twice, or another column of its input", field),
				hint: `name the columns of an input with several values "x[0]", "x[1]", ...`,
			}).within(t.nthOf(i))
		case index >= len(places):
			return (&fault{
				code: CodeMalformed,
				text: fmt.Sprintf(" is %.40q, but there are only %d columns of that input", field, len(places)),
				hint: "count the values of an input from 0, without gaps",
			}).within(t.nthOf(i))
		}
		places[index] = i
	}
	return nil
}

// nthOf names a column by its number in the file.
func (t *table) nthOf(i int) string {
	if t.filter != nil {
		i = t.filter.column(i)
	}
	return fmt.Sprintf("column %d", i+1)
}

// makeRoom reserves memory for the rows that the file may have: all inputs together
// for no more elements than it has fields.
func (t *table) makeRoom() {
	if t.room == 0 {
		return
	}
	rows := t.room / len(t.record)
	for i, c := range t.rows.columns {
		n := len(t.record)
		if t.places[i] != nil {
			n = len(t.places[i])
		}
		if c.info.DType == model.String {
			c.bytes = make([][]byte, 0, rows*n)
		} else {
			c.data = make([]byte, 0, rows*n*c.size)
		}
	}
}

// namesHint is what to do about a first line whose i-th column names no input.
func (t *table) namesHint(i int) string {
	switch field := t.record[i]; {
	case len(t.record) == 1 && bytes.ContainsAny(field, ";\t"):
		return "separate the columns by commas, not by semicolons or tabs"
	case i == 0 && len(field) == 0 && len(t.record) > 1:
		return "leave a column without a name out; pandas writes one unless told to_csv(index=False)"
	}
	return `name the columns in the first line after the inputs: "x", or "x[0]", "x[1]", ... for one of several values`
}
