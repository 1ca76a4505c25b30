package codec

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/penstock/penstock/worker/model"
)

// jsonWriter writes TensorFlow Serving's predict response. Its numbers and
// strings are TensorFlow Serving's to the letter, its white space is not: a
// line holds one prediction.
type jsonWriter struct {
	*result
	b      []byte
	labels int // the index of the output to label, or none
}

func encodeJSON(r *result) ([]byte, error) {
	labels, err := r.labelled()
	if err != nil {
		return nil, err
	}
	w := &jsonWriter{result: r, labels: labels}
	if r.column {
		w.column()
	} else {
		w.rows(r.in.Rows)
	}
	return w.b, nil
}

// rows writes a list of the predictions.
func (w *jsonWriter) rows(n int64) {
	w.b = append(w.b, `{"predictions":[`...)
	for row := range n {
		if row > 0 {
			w.b = append(w.b, ",\n"...)
		}
		w.row(row)
	}
	w.b = append(w.b, "]}\n"...)
}

// row writes one prediction.
func (w *jsonWriter) row(row int64) {
	w.each(func(i int) {
		size := model.Elements(w.outputs[i].Shape[1:])
		w.values(i, 1, row*size)
	})
}

// column writes each output whole.
func (w *jsonWriter) column() {
	w.b = append(w.b, `{"outputs":`...)
	w.each(func(i int) { w.values(i, 0, 0) })
	w.b = append(w.b, "}\n"...)
}

// each has every output written: bare when it is the only one, else as members
// of an object.
func (w *jsonWriter) each(write func(i int)) {
	if len(w.outputs) == 1 {
		write(0)
		return
	}
	for i, info := range w.in.Signature.Outputs {
		w.b = append(w.b, separator(i, '{'))
		w.b = append(appendString(w.b, info.Name), ':')
		write(i)
	}
	w.b = append(w.b, '}')
}

// separator is what goes before the i-th element.
func separator[T int | int64](i T, opening byte) byte {
	if i == 0 {
		return opening
	}
	return ','
}

// values writes the part of output i that begins at element at, from
// dimension dim on, and gives the next element.
func (w *jsonWriter) values(i, dim int, at int64) int64 {
	t := &w.outputs[i]
	if dim >= len(t.Shape) {
		w.b = appendElement(w.b, t, at, strings.HasSuffix(w.in.Signature.Outputs[i].Name, "_bytes"))
		return at + 1
	}
	n := t.Shape[dim]
	if i == w.labels && dim == len(t.Shape)-1 {
		w.prediction(t, at)
		return at + n
	}
	if n == 0 {
		w.b = append(w.b, "[]"...)
		return at
	}
	for k := range n {
		w.b = append(w.b, separator(k, '['))
		at = w.values(i, dim+1, at)
	}
	w.b = append(w.b, ']')
	return at
}

// appendElement writes one element. A string is written as base64 if binary
// says so or it is no text.
func appendElement(b []byte, t *model.Tensor, at int64, binary bool) []byte {
	switch t.DType {
	case model.String:
		if s := t.Bytes[at]; !binary && utf8.Valid(s) {
			return appendString(b, s)
		}
		b = append(b, `{"b64":"`...)
		b = base64.StdEncoding.AppendEncode(b, t.Bytes[at])
		return append(b, `"}`...)
	case model.Float32:
		return appendFloat(b, float(t, at), 32)
	case model.Float64:
		return appendFloat(b, float(t, at), 64)
	case model.Bool:
		return strconv.AppendBool(b, t.Data[at] != 0)
	case model.Int8, model.Int16, model.Int32, model.Int64:
		return strconv.AppendInt(b, signed(t, at), 10)
	}
	return strconv.AppendUint(b, element(t, at), 10)
}

// element is the bits of a numeric element, in the low bytes.
func element(t *model.Tensor, at int64) uint64 {
	switch t.DType.Size() {
	case 1:
		return uint64(t.Data[at])
	case 2:
		return uint64(binary.LittleEndian.Uint16(t.Data[2*at:]))
	case 4:
		return uint64(binary.LittleEndian.Uint32(t.Data[4*at:]))
	}
	return binary.LittleEndian.Uint64(t.Data[8*at:])
}

// signed is an element of a signed integer tensor.
func signed(t *model.Tensor, at int64) int64 {
	unused := 64 - 8*t.DType.Size()
	return int64(element(t, at)<<unused) >> unused
}

// float is an element of a float tensor.
func float(t *model.Tensor, at int64) float64 {
	if t.DType == model.Float32 {
		return float64(math.Float32frombits(uint32(element(t, at))))
	}
	return math.Float64frombits(element(t, at))
}

// appendFloat writes a number as TensorFlow Serving does: six digits if they
// are enough to get the same number back, else as many as always are; with a
// point or an exponent.
func appendFloat(b []byte, v float64, bits int) []byte {
	switch {
	case math.IsNaN(v):
		return append(b, "NaN"...)
	case math.IsInf(v, 1):
		return append(b, "Infinity"...)
	case math.IsInf(v, -1):
		return append(b, "-Infinity"...)
	}
	start, digits := len(b), 17
	if bits == 32 {
		digits = 9
	}
	b = strconv.AppendFloat(b, v, 'g', 6, bits)
	if back, err := strconv.ParseFloat(view(b[start:]), bits); err != nil || back != v {
		b = strconv.AppendFloat(b[:start], v, 'g', digits, bits)
	}
	for _, c := range b[start:] {
		if c == '.' || c == 'e' {
			return b
		}
	}
	return append(b, ".0"...)
}

// appendString writes a JSON string; s is valid UTF-8.
func appendString[S string | []byte](b []byte, s S) []byte {
	const hex = "0123456789ABCDEF"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ':
			b = append(b, c)
		case strings.IndexByte("\b\f\n\r\t", c) >= 0:
			b = append(b, '\\', "bfnrt"[strings.IndexByte("\b\f\n\r\t", c)])
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(b, '"')
}
