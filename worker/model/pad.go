package model

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// Padding is how rows of different lengths share a run of one signature: what
// its model's Config says of the signature's inputs and outputs. Nil pads
// nothing. It is not changed once made, so it may be used concurrently.
type Padding struct {
	inputs  []*padded // by input; nil is not padded
	outputs []int     // by output: the input whose padding is cut off, or -1
	sig     *Signature
}

// padded is an input whose open dimensions are filled up.
type padded struct {
	sizes   []int64
	element []byte // what fills, as it lies in memory; a string's own bytes
}

// NewPadding gives the padding of sig, nil when c has none for its inputs. It
// errs when a value is not of its input's type.
func NewPadding(sig *Signature, c *Config) (*Padding, error) {
	p := &Padding{sig: sig, inputs: make([]*padded, len(sig.Inputs)), outputs: make([]int, len(sig.Outputs))}
	some := false
	for i, in := range sig.Inputs {
		pad, ok := c.Pad[in.Name]
		if !ok {
			continue
		}
		element, err := in.DType.element(pad.Value)
		if err != nil {
			return nil, fmt.Errorf("pad: input %q: %w", in.Name, err)
		}
		p.inputs[i] = &padded{sizes: pad.Sizes, element: element}
		some = true
	}
	if _, batched := sig.Batch(); !some || !batched {
		return nil, nil
	}
	for o, out := range sig.Outputs {
		name, ok := c.Trim[out.Name]
		p.outputs[o] = -1
		if i := slices.IndexFunc(sig.Inputs, func(in TensorInfo) bool { return in.Name == name }); ok && i >= 0 && p.inputs[i] != nil {
			p.outputs[o] = i
		}
	}
	return p, nil
}

// element gives the bytes of one element of type d that a model file writes as
// v; nil is zero.
func (d DType) element(v any) ([]byte, error) {
	if n, ok := v.(json.Number); ok {
		f, err := n.Float64()
		if err != nil {
			return nil, err
		}
		v = f
	}
	b := make([]byte, d.Size())
	switch v := v.(type) {
	case nil:
		return b, nil
	case string:
		if d == String {
			return []byte(v), nil
		}
	case bool:
		if d == Bool {
			if v {
				b[0] = 1
			}
			return b, nil
		}
	case float64:
		if bits, ok := d.bits(v); ok {
			var all [8]byte
			binary.LittleEndian.PutUint64(all[:], bits)
			copy(b, all[:])
			return b, nil
		}
	}
	return nil, fmt.Errorf("value %v is no %s", v, d)
}

// bits gives v as the bits of a number of type d, and false when d can't hold
// it, or is none.
func (d DType) bits(v float64) (bits uint64, ok bool) {
	size := uint(8 * d.Size())
	switch d {
	case Float32:
		return uint64(math.Float32bits(float32(v))), true
	case Float64:
		return math.Float64bits(v), true
	case Int8, Int16, Int32, Int64:
		most := math.Ldexp(1, int(size)-1)
		return uint64(int64(v)), v == math.Trunc(v) && v >= -most && v < most
	case Uint8, Uint16, Uint32, Uint64:
		return uint64(v), v == math.Trunc(v) && v >= 0 && v < math.Ldexp(1, int(size))
	}
	return 0, false
}

// RowShape is the shape that t's rows have in a run, t being a tensor for
// input i: t's own but for the first dimension, with the open dimensions
// filled up. A tensor that is not of the input's shape is left as it is, so
// that the model's complaint is about that.
func (p *Padding) RowShape(i int, t Tensor) []int64 {
	if len(t.Shape) == 0 {
		return nil
	}
	own := t.Shape[1:]
	if p == nil || p.inputs[i] == nil {
		return own
	}
	in := p.sig.Inputs[i]
	if !in.UnknownRank && len(in.Shape) != len(t.Shape) {
		return own
	}
	row := slices.Clone(own)
	for d := range own {
		if in.openAt(d + 1) {
			row[d] = p.inputs[i].fill(own[d])
		} else if in.Shape[d+1] != own[d] {
			return own
		}
	}
	if !bounded(t.Shape[0], row) {
		return own
	}
	return row
}

// bounded says whether rows of that shape can be counted, in bytes too.
func bounded(rows int64, row []int64) bool {
	n := float64(max(rows, 1))
	for _, d := range row {
		n *= float64(d)
	}
	return n < 1<<56
}

// fill is what a dimension of n is filled up to.
func (p *padded) fill(n int64) int64 {
	if len(p.sizes) > 0 {
		for _, size := range p.sizes {
			if size >= n {
				return size
			}
		}
		return n
	}
	size := int64(1)
	for size < n && size < 1<<40 {
		size *= 2
	}
	return max(size, n)
}

// Put writes t, a tensor for input i whose elements are of a fixed size, to
// dst with every row filled up to the shape row, which RowShape gave. It
// returns how many bytes of dst that took.
func (p *Padding) Put(dst []byte, i int, t Tensor, row []int64) int {
	if len(t.Shape) == 0 || slices.Equal(t.Shape[1:], row) {
		return copy(dst, t.Data)
	}
	size := int64(t.DType.Size())
	dst = dst[:t.Shape[0]*Elements(row)*size]
	repeat(dst, p.inputs[i].element)
	spans(t.Shape, withRows(t.Shape[0], row), 0, 0, func(from, to, n int64) {
		copy(dst[to*size:], t.Data[from*size:(from+n)*size])
	})
	return len(dst)
}

// Strings gives the elements of t, a tensor of strings for input i, with every
// row filled up to the shape row. Strings themselves are not copied.
func (p *Padding) Strings(i int, t Tensor, row []int64) [][]byte {
	if len(t.Shape) == 0 || slices.Equal(t.Shape[1:], row) {
		return t.Bytes
	}
	list := slices.Repeat([][]byte{p.inputs[i].element}, int(t.Shape[0]*Elements(row)))
	spans(t.Shape, withRows(t.Shape[0], row), 0, 0, func(from, to, n int64) {
		copy(list[to:], t.Bytes[from:from+n])
	})
	return list
}

// Grow gives t, a tensor for input i, with every row filled up to the shape
// row: what Put and Strings write, as a tensor of its own.
func (p *Padding) Grow(i int, t Tensor, row []int64) Tensor {
	if len(t.Shape) == 0 || slices.Equal(t.Shape[1:], row) {
		return t
	}
	grown := Tensor{DType: t.DType, Shape: withRows(t.Shape[0], row)}
	if t.DType == String {
		grown.Bytes = p.Strings(i, t, row)
	} else {
		grown.Data = make([]byte, Elements(grown.Shape)*int64(t.DType.Size()))
		p.Put(grown.Data, i, t, row)
	}
	return grown
}

// Cut takes the padding off an output: part is what went in and rows the
// shapes that its inputs' rows had in the run. It gives a new tensor and true,
// or t and false when there is nothing to cut off. A dimension of the output is
// taken for the input's dimension of the same place if it has that one's
// length in the run, else for the first that has and stands for no other.
func (p *Padding) Cut(o int, t Tensor, part []Tensor, rows [][]int64) (Tensor, bool) {
	if p == nil || p.outputs[o] < 0 || len(t.Shape) < 2 {
		return t, false
	}
	i := p.outputs[o]
	own, row := part[i].Shape[1:], rows[i]
	if slices.Equal(own, row) {
		return t, false
	}
	free := make([]bool, len(row)) // dimensions of the input that an output's can stem from
	for d := range row {
		free[d] = p.sig.Inputs[i].openAt(d + 1)
	}
	shape := slices.Clone(t.Shape)
	for d, n := range t.Shape[1:] {
		if !p.sig.Outputs[o].openAt(d + 1) {
			continue
		}
		from := d
		if d >= len(row) || !free[d] || row[d] != n {
			from = 0
			for from < len(row) && (!free[from] || row[from] != n) {
				from++
			}
		}
		if from < len(row) {
			free[from], shape[d+1] = false, own[from]
		}
	}
	if slices.Equal(shape, t.Shape) {
		return t, false
	}
	return t.crop(shape), true
}

// openAt says whether dimension d is known at run time only.
func (t TensorInfo) openAt(d int) bool { return t.UnknownRank || d < len(t.Shape) && t.Shape[d] < 0 }

// crop copies the corner of t that has the given shape.
func (t Tensor) crop(shape []int64) Tensor {
	c := Tensor{DType: t.DType, Shape: shape}
	size := int64(t.DType.Size())
	if t.DType == String {
		c.Bytes = make([][]byte, Elements(shape))
	} else {
		c.Data = make([]byte, Elements(shape)*size)
	}
	spans(shape, t.Shape, 0, 0, func(to, from, n int64) {
		if t.DType == String {
			copy(c.Bytes[to:to+n], t.Bytes[from:])
		} else {
			copy(c.Data[to*size:(to+n)*size], t.Data[from*size:])
		}
	})
	return c
}

// withRows is the shape of that many rows of the shape row.
func withRows(rows int64, row []int64) []int64 { return append([]int64{rows}, row...) }

// repeat fills dst with element.
func repeat(dst, element []byte) {
	if !slices.ContainsFunc(element, func(b byte) bool { return b != 0 }) {
		clear(dst)
		return
	}
	for n := copy(dst, element); n < len(dst); n *= 2 {
		copy(dst[n:], dst[:n])
	}
}

// spans calls f for every stretch of n elements that lies in one piece in a
// tensor of shape small, at s, and in the corner of one of shape large, at l.
func spans(small, large []int64, s, l int64, f func(s, l, n int64)) {
	if slices.Equal(small[1:], large[1:]) {
		f(s, l, Elements(small))
		return
	}
	bySmall, byLarge := Elements(small[1:]), Elements(large[1:])
	for range small[0] {
		spans(small[1:], large[1:], s, l, f)
		s, l = s+bySmall, l+byLarge
	}
}
