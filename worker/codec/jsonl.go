package codec

import (
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
	if linesAreRequest(body, src, m) {
		return decodeJSON(ctx, body, src, m)
	}
	return decodeRecords(body, src, m, jsonLinesRecords)
}

// jsonLinesRecords reads an instance a line.
func jsonLinesRecords(head []byte, src Source, m model.Model) (*recordKind, error) {
	if err := refuseUTF16(head, "JSON"); err != nil {
		return nil, err
	}
	sig, err := chooseSignature(m, src.Signature, "")
	if err != nil {
		return nil, err
	}
	return &recordKind{
		sig: sig, unit: unitLine, cut: lineCutter{}, decoder: &jsonLines{},
		nothing: "the input holds blank lines only",
	}, nil
}

// linesAreRequest says whether a file of lines begins like a predict request,
// which some clients send as JSON lines too.
func linesAreRequest(head []byte, src Source, m model.Model) bool {
	sig, _ := chooseSignature(m, src.Signature, "")
	return beginsRequest(bytes.TrimPrefix(head, []byte(utf8BOM)), sig)
}

// beginsRequest says whether text begins like a predict request: with an object
// whose first key is one of a request's, and not the name of an input of sig,
// which is nil when that isn't known.
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

// jsonLines reads instances, one a line.
type jsonLines struct {
	filter *picker // what of a line the instance is; nil for all of it
}

func (l *jsonLines) pick(p *picker) *Error {
	l.filter = p // any path can be applied to a value
	return nil
}

func (*jsonLines) reserve(r *rows, text []byte) {
	if len(r.columns) == 1 {
		r.columns[0].reserve(text, bytes.Count(text, newline))
	}
}

func (l *jsonLines) add(r *rows, line []byte) (isRow bool, f *fault) {
	s := &scanner{b: line}
	if s.peek() == 0 && s.i == len(line) {
		return false, nil
	}
	if l.filter != nil {
		f = l.filtered(r, line)
	} else if f = r.add(s); f == nil {
		f = s.end()
	}
	if f != nil && f.code == CodeMalformed && f.hint == "" {
		f.hint = "write each instance on one line of its own"
	}
	return true, f
}

// filtered adds what the filter selects of a line.
func (l *jsonLines) filtered(r *rows, line []byte) *fault {
	text, at, f := l.filter.json(line)
	if f != nil {
		return f
	}
	// As part of its line, so that a fault tells where in it.
	if f = r.add(&scanner{b: text[:at.to], i: at.from}); f != nil {
		return f.within(l.filter.path.String())
	}
	return nil
}

func (*jsonLines) lost(f *fault) *fault { return f }

// encodeJSONLines writes a prediction a line, each as in "predictions".
func encodeJSONLines(r *result) ([]byte, error) {
	labels, err := r.labelled()
	if err != nil {
		return nil, err
	}
	w := &jsonWriter{result: r, labels: labels}
	for row := range r.in.Rows {
		w.row(row)
		w.b = append(w.b, '\n')
	}
	return w.b, nil
}
