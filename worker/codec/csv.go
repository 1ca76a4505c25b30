package codec

import (
	"bytes"
	"context"
	"fmt"

	"github.com/penstock/penstock/worker/model"
)

var quote = []byte{'"'}

// decodeCSV reads comma-separated values, a row a record.
func decodeCSV(_ context.Context, body []byte, src Source, m model.Model) (*Input, error) {
	return decodeRecords(body, src, m, csvRecords)
}

// csvRecords reads a row a record.
func csvRecords(head []byte, src Source, m model.Model) (*recordKind, error) {
	if err := refuseUTF16(head, "CSV"); err != nil {
		return nil, err
	}
	sig, err := chooseSignature(m, src.Signature, "")
	if err != nil {
		return nil, err
	}
	t := &table{places: make([][]int, len(sig.Inputs))}
	if err := t.declareHeader(src.ContentType); err != nil {
		return nil, err
	}
	return &recordKind{
		sig: sig, unit: unitLine, cut: &csvCutter{limit: src.maxRecordBytes()}, decoder: t,
		nothing: "the input has no lines of values",
	}, nil
}

// table reads the records of a CSV file.
type table struct {
	rows   *rows // what the record is added to
	header header
	begun  bool // the first record was seen: what follows is no header
	// fields is the number of columns in the file, 0 before the header or the
	// first row.
	fields int
	names  []string // of the file's columns, for messages; nil without a header
	// places says for each input which columns of the file hold its elements,
	// in order; nil when all of them do.
	places [][]int
	room   int      // how many fields the whole file may have; 0 when that is unknown
	record [][]byte // the fields of the record that is read; of its selected columns once they are taken
	filter *picker  // which columns are read; nil for all of them
}

func (t *table) pick(p *picker) *Error {
	if p != nil && !p.path.OfColumns() {
		return columnsOnly(p)
	}
	t.filter = p
	return nil
}

// columnsOnly is the error of a path that leads to members, or deeper, where
// there are columns.
func columnsOnly(p *picker) *Error {
	return &Error{
		Code:    CodeNothingSelected,
		Message: fmt.Sprintf("the %s %v finds nothing: a record of CSV has columns only", p.what, p.path),
		Hint:    "choose columns by their numbers, which count from 0: $[1:], $[0,4] or $[-1]",
	}
}

func (t *table) reserve(_ *rows, text []byte) {
	t.room = bytes.Count(text, []byte{','}) + bytes.Count(text, newline) + 1
}

// add reads one record: the header or a row.
func (t *table) add(r *rows, record []byte) (isRow bool, f *fault) {
	if len(record) == 0 {
		return false, nil
	}
	t.rows = r
	if f := t.cut(record); f != nil {
		return true, t.lost(f)
	}
	fields := len(t.record)
	if t.fields != 0 && fields != t.fields {
		return true, &fault{
			code: CodeInvalidShape,
			text: fmt.Sprintf(" has %d columns, but the lines before it have %d", fields, t.fields),
			hint: "fields that hold commas, quotes or line ends must be in quotes",
		}
	}
	missing := t.choose()
	if !t.begun {
		t.begun = true
		if missing != nil && len(r.columns) > 1 {
			missing.fatal = true // nobody knows which columns are whose
			return false, missing
		}
		isHeader, f := t.begin()
		if f != nil {
			f.fatal = true
		}
		if isHeader || f != nil {
			t.fields = fields
			return false, f
		}
	}
	if missing != nil {
		return true, missing
	}
	r.n++
	for i, c := range r.columns {
		if f := t.row(c, t.places[i]); f != nil {
			return true, f
		}
	}
	t.fields = fields
	return true, nil
}

// choose leaves of the record the columns that the filter selects.
func (t *table) choose() *fault {
	if t.filter == nil {
		return nil
	}
	selected, f := t.filter.columns(t.record)
	if f == nil {
		t.record, t.filter.fields = selected, t.record
	}
	return f
}

// lost has no header follow a first record that can't be read. Where that had
// to be one, no other can be.
func (t *table) lost(f *fault) *fault {
	if !t.begun {
		t.begun = true
		f.fatal = t.header == headerPresent || len(t.places) > 1
	}
	return f
}

// row reads what the record holds of one input.
func (t *table) row(c *column, places []int) *fault {
	if places == nil {
		for i, field := range t.record {
			if f := c.field(field); f != nil {
				return f.within(t.column(i))
			}
		}
		return c.flatRow(len(t.record))
	}
	for _, i := range places {
		if f := c.field(t.record[i]); f != nil {
			return f.within(t.column(i))
		}
	}
	return c.flatRow(len(places))
}

// column is how a column of the file appears in messages.
func (t *table) column(i int) string {
	if t.names == nil {
		return t.nthOf(i)
	}
	return fmt.Sprintf("%s (%.40q)", t.nthOf(i), t.names[i])
}

// cut separates a record's fields into t.record. They share its memory, but
// for those that hold quotes.
func (t *table) cut(record []byte) *fault {
	t.record = t.record[:0]
	if cap(t.record) == 0 {
		t.record = make([][]byte, 0, min(bytes.Count(record, []byte{','})+1, maxPieces))
	}
	quotes := bytes.IndexByte(record, '"') >= 0
	for {
		if len(t.record) == maxPieces {
			return tooManyPieces("fields")
		}
		if quotes && len(record) > 0 && record[0] == '"' {
			field, rest, f := unquote(record[1:])
			if f != nil {
				return f.within(t.nth())
			}
			t.record = append(t.record, field)
			if len(rest) == 0 {
				return nil
			}
			record = rest[1:]
			continue
		}
		end := bytes.IndexByte(record, ',')
		field := record
		if end >= 0 {
			field = record[:end]
		}
		if quotes && bytes.IndexByte(field, '"') >= 0 {
			return (&fault{
				code: CodeMalformed,
				text: ": a quote within a field that doesn't begin with one",
				hint: `put the field in quotes and double those that it holds: "say ""hi"""`,
			}).within(t.nth())
		}
		t.record = append(t.record, field)
		if end < 0 {
			return nil
		}
		record = record[end+1:]
	}
}

// nth names the column that is next to be cut.
func (t *table) nth() string { return fmt.Sprintf("column %d", len(t.record)+1) }

// unquote reads a field from behind its opening quote. rest is empty or begins
// with a comma.
func unquote(b []byte) (field, rest []byte, f *fault) {
	for start := 0; ; {
		i := bytes.IndexByte(b[start:], '"')
		switch i += start; {
		case i < start:
			return nil, nil, &fault{code: CodeMalformed, text: ": a field has no closing quote"}
		case i+1 < len(b) && b[i+1] == '"':
			start = i + 2
		case i+1 < len(b) && b[i+1] != ',':
			return nil, nil, &fault{
				code: CodeMalformed,
				text: ": text behind a field's closing quote",
				hint: `double the quotes that the field holds: "say ""hi"""`,
			}
		case start == 0:
			return b[:i:i], b[i+1:], nil
		default:
			return bytes.ReplaceAll(b[:i], []byte(`""`), quote), b[i+1:], nil
		}
	}
}
