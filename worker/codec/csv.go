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
	if err := refuseUTF16(body, "CSV"); err != nil {
		return nil, err
	}
	sig, err := chooseSignature(m, src.Signature, "")
	if err != nil {
		return nil, err
	}
	r := newTable(sig)
	if err := r.declareHeader(src.ContentType); err != nil {
		return nil, err
	}
	text := bytes.TrimPrefix(body, []byte(utf8BOM))
	r.room = bytes.Count(text, []byte{','}) + bytes.Count(text, newline) + 1
	if err := r.lines().read(text); err != nil {
		return nil, err
	}
	if r.rows.columns[0].rows == 0 {
		return nil, &Error{Code: CodeEmpty, Message: "the input has no lines of values"}
	}
	return r.rows.input(sig, false)
}

// table builds the tensors of a signature from the records of a CSV file.
type table struct {
	rows   *rows
	header header
	// fields is the number of columns in the file, 0 before the first record.
	fields int
	names  []string // of the file's columns, for messages; nil without a header
	// places says for each input which columns of the file hold its elements,
	// in order; nil when all of them do.
	places [][]int
	room   int      // how many fields the whole file may have; 0 when that is unknown
	record [][]byte // the fields of the record that is read
}

func newTable(sig *model.Signature) *table {
	return &table{rows: newRows(sig), places: make([][]int, len(sig.Inputs))}
}

// lines reads rows, one a record.
func (t *table) lines() records { return records{unit: unitLine, split: splitCSV, add: t.add} }

// splitCSV cuts at the line ends that are not within quotes: those before
// which there are as many closing quotes as opening ones.
func splitCSV(data []byte, atEOF bool) (advance int, record []byte, err error) {
	end, quotes := 0, 0
	for {
		n := bytes.IndexByte(data[end:], '\n')
		if n < 0 {
			break
		}
		quotes += bytes.Count(data[end:end+n], quote)
		end += n + 1
		if quotes%2 == 0 {
			return end, bytes.TrimSuffix(data[:end-1], []byte{'\r'}), nil
		}
	}
	if !atEOF || len(data) == 0 {
		return 0, nil, nil
	}
	return len(data), bytes.TrimSuffix(data, []byte{'\r'}), nil
}

// add reads one record: the header or a row.
func (t *table) add(record []byte) *fault {
	if len(record) == 0 {
		return nil
	}
	if f := t.cut(record); f != nil {
		return f
	}
	if t.fields == 0 {
		t.fields = len(t.record)
		isHeader, f := t.begin()
		if isHeader || f != nil {
			return f
		}
	}
	if len(t.record) != t.fields {
		return &fault{
			code: CodeInvalidShape,
			text: fmt.Sprintf(" has %d columns, but the lines before it have %d", len(t.record), t.fields),
			hint: "fields that hold commas, quotes or line ends must be in quotes",
		}
	}
	for i, c := range t.rows.columns {
		if f := t.row(c, t.places[i]); f != nil {
			return f
		}
	}
	return nil
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
		return fmt.Sprintf("column %d", i+1)
	}
	return fmt.Sprintf("column %d (%.40q)", i+1, t.names[i])
}

// cut separates a record's fields into t.record. They share its memory, but
// for those that hold quotes.
func (t *table) cut(record []byte) *fault {
	t.record = t.record[:0]
	if cap(t.record) == 0 {
		t.record = make([][]byte, 0, bytes.Count(record, []byte{','})+1)
	}
	quotes := bytes.IndexByte(record, '"') >= 0
	for {
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
