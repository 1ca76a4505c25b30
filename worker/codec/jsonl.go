package codec

import (
	"bufio"
	"bytes"
	"context"
	"slices"

	"github.com/penstock/penstock/worker/model"
)

// jsonLinesTypes are names of the same; none is registered.
var jsonLinesTypes = []string{"application/jsonlines", "application/x-ndjson", "application/jsonl", "application/x-jsonlines", "application/ndjson"}

// decodeJSONLines reads a file whose every line is an instance, written as an
// element of "instances" is.
func decodeJSONLines(ctx context.Context, body []byte, src Source, m model.Model) (*Input, error) {
	if err := refuseUTF16(body, "JSON"); err != nil {
		return nil, err
	}
	text := bytes.TrimPrefix(body, []byte(utf8BOM))
	sig, err := chooseSignature(m, src.Signature, "")
	if beginsRequest(text, sig) {
		return decodeJSON(ctx, body, src, m)
	}
	if err != nil {
		return nil, err
	}
	r := newRows(sig)
	if len(r.columns) == 1 {
		r.columns[0].reserve(text, bytes.Count(text, newline))
	}
	if err := r.lines().read(text); err != nil {
		return nil, err
	}
	if r.n == 0 {
		return nil, &Error{Code: CodeEmpty, Message: "the input holds blank lines only"}
	}
	return r.input(sig, false)
}

// beginsRequest says whether text begins like a predict request, which some
// clients send as JSON lines too: with an object whose first key is one of a
// request's, and not the name of an input.
func beginsRequest(text []byte, sig *model.Signature) bool {
	s := scanner{b: text}
	if !s.take('{') || s.peek() != '"' {
		return false
	}
	key, f := s.str()
	if f != nil || !slices.Contains([]string{"instances", "inputs", "signature_name"}, string(key)) {
		return false
	}
	return sig == nil || !slices.ContainsFunc(sig.Inputs, func(t model.TensorInfo) bool { return t.Name == string(key) })
}

// lines reads instances, one a line.
func (r *rows) lines() records {
	return records{unit: unitLine, split: bufio.ScanLines, add: func(line []byte) *fault {
		s := &scanner{b: line}
		if s.peek() == 0 && s.i == len(line) {
			return nil
		}
		f := r.add(s)
		if f == nil && (s.peek() != 0 || s.i < len(line)) {
			f = s.unexpected("the end of the line")
		}
		if f != nil && f.code == CodeMalformed && f.hint == "" {
			f.hint = "write each instance on one line of its own"
		}
		return f
	}}
}

// refusesRows says why r can't be written row by row.
func refusesRows(r *result) string {
	if _, err := r.commonRows(); err != nil {
		return err.Message
	}
	return ""
}

// encodeJSONLines writes a prediction a line, each as in "predictions".
func encodeJSONLines(r *result) ([]byte, error) {
	labels, err := r.labelled()
	if err != nil {
		return nil, err
	}
	w := &jsonWriter{result: r, labels: labels}
	for row := range r.outputs[0].Shape[0] {
		w.row(row)
		w.b = append(w.b, '\n')
	}
	return w.b, nil
}
