package codec

import (
	"strings"

	"github.com/penstock/penstock/worker/jsonpath"
)

// Select has what a path selects be written of each result: of a joined one with
// its record beside it. It comes before anything is written. The error is an
// *Error: a path that leads to members, where results are CSV.
//
// A bad record's line has what the path finds in it, of several members or
// columns those that are there; where it finds nothing, the error alone. So does
// a header.
func (w *Results) Select(path jsonpath.Path) error {
	p := newPicker(path, "output filter")
	if p != nil && w.write == streamCSV && !path.OfColumns() {
		return columnsOnly(p)
	}
	w.filter, w.remains = p, nil
	if p != nil {
		w.remains = &picker{path: path, what: p.what, some: true}
	}
	return nil
}

// RowError says that of the rows that were to be written one has nothing that
// Select's path selects. Those before it were written, and none from it on.
type RowError struct {
	Row int64
	Err *Error
}

func (e *RowError) Error() string { return e.Err.Error() }

// refuses is the error of a row.
func (p *picker) refuses(row int64, f *fault) *RowError {
	where := strings.TrimPrefix(f.path, ".")
	return &RowError{Row: row, Err: &Error{Code: f.code, Message: strings.TrimPrefix(where+f.text, ": "), Hint: f.hint}}
}

// cutJSON leaves of the JSON text at the end of dst what is selected.
func (p *picker) cutJSON(dst []byte, at int) ([]byte, *fault) {
	if p == nil {
		return dst, nil
	}
	text, selected, f := p.json(dst[at:])
	if f != nil {
		return dst, f
	}
	return append(dst[:at], text[selected.from:selected.to]...), nil
}

// cutLine leaves of the line of CSV at the end of dst the selected columns.
func (p *picker) cutLine(dst []byte, at int) ([]byte, *fault) {
	if p == nil {
		return dst, nil
	}
	line, f := p.line(dst[at : len(dst)-1])
	if f != nil {
		return dst, f
	}
	if len(line) == 0 {
		return append(dst[:at], "\"\"\n"...), nil // it would be a blank line
	}
	return append(append(dst[:at], line...), '\n'), nil
}
