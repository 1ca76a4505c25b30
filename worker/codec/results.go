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
	if w.write.header && w.r.hasHeader() {
		return w.r.mediaType + withHeader
	}
	return w.r.mediaType
}

// Rows writes all rows of outputs, which has one tensor for each of the
// signature's outputs, in order; their common first dimension counts the rows.
// The error is an *Error: outputs without one, or that the form can't hold.
// Nothing is written then.
func (w *Results) Rows(dst []byte, outputs []model.Tensor) ([]byte, error) {
	if err := checkOutputs(w.r.in.Signature, outputs); err != nil {
		return dst, err
	}
	w.r.outputs, w.r.in.Rows = outputs, outputs[0].Rows()
	defer func() { w.r.outputs = nil }()
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
		j.b = w.next(j.b)
		j.row(row)
	}
	return j.b, nil
}

// csvRows writes a line a row.
func (w *Results) csvRows(dst []byte) ([]byte, error) {
	if why := refusesCSV(&w.r); why != "" {
		return dst, &Error{Code: CodeNotAcceptable, Message: fmt.Sprintf("%s can't hold this result: %s", w.r.mediaType, why), Hint: "ask for " + jsonLinesTypes[0]}
	}
	var width []int64
	for _, t := range w.r.outputs {
		width = append(width, model.Elements(t.Shape[1:]))
	}
	switch {
	case !w.begun:
		w.begun, w.width = true, width
		if w.r.hasHeader() {
			dst = w.r.appendHeader(dst)
		}
	case !slices.Equal(width, w.width):
		return dst, &Error{
			Code:    CodeNotAcceptable,
			Message: fmt.Sprintf("%s can't hold this result: rows of the outputs have %d values, but those before them %d", w.r.mediaType, width, w.width),
			Hint:    "ask for " + jsonLinesTypes[0],
		}
	}
	return w.r.appendCSV(dst), nil
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
// CSV has no place for it: that is an *Error.
func (w *Results) Bad(dst []byte, r Record) ([]byte, error) {
	if !w.write.errors {
		return dst, &Error{
			Code:    CodeNotAcceptable,
			Message: fmt.Sprintf("record %d is bad, and %s has no place to say so: %s: %s", r.Number, w.r.mediaType, r.Err.Code, r.Err.Message),
			Hint:    fmt.Sprintf("correct or remove the record, or ask for %s: it has the other records' results, and the error in this one's place", jsonLinesTypes[0]),
		}
	}
	dst = append(w.next(dst), `{"error":{"code":`...)
	dst = appendText(dst, r.Err.Code)
	dst = append(dst, `,"message":`...)
	dst = appendText(dst, r.Err.Message)
	if r.Err.Hint != "" {
		dst = append(dst, `,"hint":`...)
		dst = appendText(dst, r.Err.Hint)
	}
	dst = append(dst, `,"record":`...)
	dst = strconv.AppendInt(dst, r.Number, 10)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendInt(dst, r.Offset, 10)
	return append(dst, "}}"...), nil
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
