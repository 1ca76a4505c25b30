package codec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

// Results writes the results of a stream of records, in their order and piece
// by piece: TensorFlow Serving's {"predictions": [...]}, JSON lines or CSV. A
// record that is bad has its error in its place. Each method appends to dst and
// gives the longer slice. Results is not safe for concurrent use.
type Results struct {
	r     result
	write *rowWriting
	begun bool
	width []int64 // of each output's rows, in CSV

	lines  bool     // they are pieces: a bad record has a line of its own, whatever the form
	headed bool     // a header is there already, or not wanted
	source *Records // whose records the results are joined with; nil when they stand by themselves
	of     []Record // those that the rows to be written are of
	filter *picker  // what of a result, with its record where they are joined, is written; nil for all

	remains *picker // what of a bad record is, and of a header
}

// rowWriting is a form of results that are written record by record.
type rowWriting struct {
	first, between, last string
	// refuses says why outputs of these signatures can't be written so,
	// whatever they are; empty when they may be.
	refuses func(sig *model.Signature) string
	rows    func(w *Results, dst []byte) ([]byte, error)
	header  bool // there may be one
	errors  bool // an error has a place
}

var (
	streamJSON      = &rowWriting{first: `{"predictions":[`, between: ",\n", last: "]}\n", rows: (*Results).jsonRows, errors: true}
	streamJSONLines = &rowWriting{between: "\n", last: "\n", rows: (*Results).jsonRows, errors: true}
	streamCSV       = &rowWriting{refuses: streamRefusesCSV, rows: (*Results).csvRows, header: true}
)

// NewResults chooses the form of the results of sig, a signature of m, by
// accept as Encode does. The error is an *Error: what can't be written piece by
// piece, as NPY and NPZ, is not chosen, nor CSV where an output's rows are more
// than lists.
func NewResults(sig *model.Signature, m model.Model, accept string) (*Results, error) {
	w := &Results{r: result{in: &Input{Signature: sig}, config: m.Config()}}
	e, err := negotiate(accept, &w.r, func(e *encoding) string {
		switch {
		case e.stream == nil:
			return "the input is a stream of records, whose results are written one after the other"
		case e.stream.refuses != nil:
			return e.stream.refuses(sig)
		}
		return ""
	})
	if err != nil {
		return nil, err
	}
	w.write = e.stream
	return w, nil
}

// NewLines is NewResults for results that are put together of pieces, such as
// those of the ranges of a file: JSON lines, also where accept asks for JSON, or
// CSV. first says that the results' beginning is written, where a header is.
func NewLines(sig *model.Signature, m model.Model, accept string, first bool) (*Results, error) {
	if strings.TrimSpace(accept) == "" {
		accept = m.Config().Accept
	}
	return newLines(sig, m, accept, first, func(*rowWriting) string { return "" })
}

// newLines chooses among the forms that are not refused.
func newLines(sig *model.Signature, m model.Model, accept string, first bool, refuses func(*rowWriting) string) (*Results, error) {
	ranges := strings.Split(accept, ",")
	for i, part := range ranges {
		if mediaTypeOf(part) == encodings[0].mediaTypes[0] {
			_, params, _ := strings.Cut(part, ";")
			ranges[i] = jsonLinesTypes[0] + ";" + params
		}
	}
	accept = strings.Join(ranges, ",")
	if strings.TrimSpace(accept) == "" {
		accept = jsonLinesTypes[0]
	}
	w := &Results{r: result{in: &Input{Signature: sig}, config: m.Config()}, lines: true, headed: !first}
	e, err := negotiate(accept, &w.r, func(e *encoding) string {
		if e.stream == nil || e.stream.first != "" {
			return "results of ranges are written line by line"
		}
		if why := refuses(e.stream); why != "" {
			return why
		}
		if e.stream.refuses != nil {
			return e.stream.refuses(sig)
		}
		return ""
	})
	if err != nil {
		return nil, err
	}
	w.write = e.stream
	return w, nil
}

// StreamsResults says whether accept allows, of a model, a form of results that
// can be written piece by piece. Where it does not, records are decoded whole.
func StreamsResults(m model.Model, accept string) bool {
	_, err := negotiate(accept, &result{config: m.Config()}, func(e *encoding) string {
		if e.stream == nil {
			return "it can't be written piece by piece"
		}
		return ""
	})
	return err == nil
}

// ContentType is the results' media type, with its parameters.
func (w *Results) ContentType() string {
	if w.write.header && w.hasHeader() {
		return w.r.mediaType + withHeader
	}
	return w.r.mediaType
}

// Rows writes all rows of outputs, which has one tensor for each of the
// signature's outputs, in order; their common first dimension counts the rows.
// They are of the records `of`, which only joined results need. The error is an
// *Error: outputs without one, or that the form can't hold. Nothing is written
// then. Where Select was called, it may be a *RowError.
func (w *Results) Rows(dst []byte, outputs []model.Tensor, of ...Record) ([]byte, error) {
	if err := checkOutputs(w.r.in.Signature, outputs); err != nil {
		return dst, err
	}
	w.r.outputs, w.r.in.Rows, w.of = outputs, outputs[0].Rows(), of
	defer func() { w.r.outputs, w.of = nil, nil }()
	if why := refusesRows(&w.r); why != "" {
		return dst, badOutput("results can't be written row by row: %s", why)
	}
	if w.r.in.Rows == 0 {
		return dst, nil
	}
	return w.write.rows(w, dst)
}

// jsonRows writes a value a row.
func (w *Results) jsonRows(dst []byte) ([]byte, error) {
	labels, err := w.r.labelled()
	if err != nil {
		return dst, err
	}
	j := jsonWriter{result: &w.r, b: dst, labels: labels}
	for row := range w.r.in.Rows {
		before, begun := len(j.b), w.begun
		j.b = w.next(j.b)
		at := len(j.b)
		if w.source == nil {
			j.row(row)
		} else {
			j.b = appendBeforeOutput(j.b, w.of[row].Text)
			j.row(row)
			j.b = append(j.b, '}')
		}
		var f *fault
		if j.b, f = w.filter.cutJSON(j.b, at); f != nil {
			w.begun = begun
			return j.b[:before], w.filter.refuses(row, f)
		}
	}
	return j.b, nil
}

// csvRows writes a line a row.
func (w *Results) csvRows(dst []byte) ([]byte, error) {
	if why := refusesCSV(&w.r); why != "" {
		return dst, &Error{Code: CodeNotAcceptable, Message: fmt.Sprintf("%s can't hold this result: %s", w.r.mediaType, why), Hint: "ask for " + jsonLinesTypes[0]}
	}
	columns := w.r.columns()
	width := widths(columns)
	if !w.begun {
		w.begun, w.width = true, width
	}
	if !slices.Equal(width, w.width) {
		return dst, &Error{
			Code:    CodeNotAcceptable,
			Message: fmt.Sprintf("%s can't hold this result: rows of the outputs have %d values, but those before them %d", w.r.mediaType, width, w.width),
			Hint:    "ask for " + jsonLinesTypes[0],
		}
	}
	dst, err := w.head(dst, columns)
	if err != nil {
		return dst, err
	}
	for row := range w.r.in.Rows {
		at := len(dst)
		if w.source != nil {
			dst = append(append(dst, w.of[row].Text...), ',')
		}
		dst = w.r.appendCSV(dst, row)
		var f *fault
		if dst, f = w.filter.cutLine(dst, at); f != nil {
			return dst[:at], w.filter.refuses(row, f)
		}
	}
	return dst, nil
}

// hasHeader says whether the results are CSV with a header.
func (w *Results) hasHeader() bool {
	if w.source != nil {
		return w.source.header != nil && w.r.header != headerAbsent
	}
	return w.r.hasHeader()
}

// head writes the header of a CSV file, where one is due.
func (w *Results) head(dst []byte, columns [][]int64) ([]byte, error) {
	if w.source != nil && w.source.header == nil && w.r.header == headerPresent {
		return dst, &Error{
			Code:    CodeNotAcceptable,
			Message: "a header is asked for, and the input that the results are joined with has none",
			Hint:    "ask for text/csv without header=present, or name the input's columns in its first line",
		}
	}
	if w.headed || !w.hasHeader() {
		return dst, nil
	}
	w.headed = true
	at := len(dst)
	if w.source != nil {
		dst = append(append(dst, w.source.header...), ',')
	}
	dst, _ = w.remains.cutLine(w.r.appendHeader(dst, columns), at)
	return dst, nil
}

// next writes what goes before a result.
func (w *Results) next(dst []byte) []byte {
	if !w.begun {
		w.begun = true
		return append(dst, w.write.first...)
	}
	return append(dst, w.write.between...)
}

// Bad writes what is wrong with a bad record in the place of its result:
//
//	{"error":{"code":"InvalidShape","message":"...","hint":"...","record":3,"offset":118}}
//
// CSV has no place for it: of results that are pieces it has a line without
// values there, for any others that is an *Error. A record without a number is
// written without one.
func (w *Results) Bad(dst []byte, r Record) ([]byte, error) {
	switch {
	case w.write.errors && w.source != nil:
		dst = w.next(dst)
		at := len(dst)
		dst = append(appendFaultAt(appendBeforeOutput(dst, asJSON(r.Text)), r), '}')
		dst, f := w.remains.cutJSON(dst, at)
		if f != nil { // the error alone: what is not selected has no place here
			dst = append(appendFaultAt(appendBeforeOutput(dst[:at], nil), r), '}')
		}
		return dst, nil
	case w.write.errors:
		return appendFaultAt(w.next(dst), r), nil
	case w.lines:
		return w.badLine(dst, r)
	}
	return dst, &Error{
		Code:    CodeNotAcceptable,
		Message: fmt.Sprintf("record %d is bad, and %s has no place to say so: %s: %s", r.Number, w.r.mediaType, r.Err.Code, r.Err.Message),
		Hint:    fmt.Sprintf("correct or remove the record, or ask for %s: it has the other records' results, and the error in this one's place", jsonLinesTypes[0]),
	}
}

// appendFaultAt writes what is wrong with r.
func appendFaultAt(dst []byte, r Record) []byte {
	dst = append(dst, `{"error":{"code":`...)
	dst = appendText(dst, r.Err.Code)
	dst = append(dst, `,"message":`...)
	dst = appendText(dst, r.Err.Message)
	if r.Err.Hint != "" {
		dst = append(dst, `,"hint":`...)
		dst = appendText(dst, r.Err.Hint)
	}
	if r.Number > 0 {
		dst = append(dst, `,"record":`...)
		dst = strconv.AppendInt(dst, r.Number, 10)
	}
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendInt(dst, r.Offset, 10)
	return append(dst, "}}"...)
}

// badLine writes the CSV line of a bad record.
func (w *Results) badLine(dst []byte, r Record) ([]byte, error) {
	columns, width := w.r.declaredColumns(), w.width
	if !w.begun {
		width = widths(columns)
	}
	dst, err := w.head(dst, columns)
	if err != nil {
		return dst, err
	}
	at := len(dst)
	if w.source != nil && isCSV(r.Text) {
		dst = append(dst, r.Text...)
		for _, n := range width {
			dst = append(dst, strings.Repeat(",", int(n))...)
		}
		if w.remains != nil {
			selected, _ := w.remains.line(dst[at:])
			dst = append(dst[:at], selected...)
		}
	}
	return append(dst, '\n'), nil
}

// Cut ends a piece of results that NewLines began: what is written from then on
// is the next piece, and goes behind it.
func (w *Results) Cut(dst []byte) []byte {
	if w.begun && w.write.between != "" {
		w.begun = false
		return append(dst, w.write.last...)
	}
	return dst
}

// appendText writes a JSON string of text that may hold anything.
func appendText(dst []byte, s string) []byte {
	return appendString(dst, strings.ToValidUTF8(s, "\ufffd"))
}

// End writes what follows the last result.
func (w *Results) End(dst []byte) []byte {
	if !w.begun {
		if w.begun = true; w.write.first == "" {
			return dst
		}
		dst = append(dst, w.write.first...)
	}
	return append(dst, w.write.last...)
}

// streamRefusesCSV says why rows of sig's outputs are no lists of values.
func streamRefusesCSV(sig *model.Signature) string {
	for _, t := range sig.Outputs {
		if !t.UnknownRank && len(t.Shape) > 2 {
			return fmt.Sprintf("a row of output %v is more than a list", t)
		}
	}
	return ""
}
