//go:build cgo

package tf

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync"

	tensorflow "github.com/galeone/tensorflow/tensorflow/go"
	"github.com/galeone/tensorflow/tensorflow/go/op"
	"github.com/galeone/tfgo"

	"github.com/penstock/penstock/worker/model"
)

// join copies tensors of input i, one a part, one below the other into native
// memory, their rows filled up as the plan says, and fills the rest with zeros
// or empty strings. The caller frees the result.
func (c *callable) join(i int, p plan, tensors []model.Tensor) (*tensorflow.Tensor, error) {
	dtype, shape, row := c.Inputs[i].DType, slices.Clone(tensors[0].Shape), []int64(nil)
	switch {
	case !p.asIs:
		row = p.shapes[i]
		shape = append([]int64{p.total}, row...)
	case len(shape) > 0:
		row = shape[1:]
	}
	put := func(native []byte) {
		for _, t := range tensors {
			native = native[c.padding.Put(native, i, t, row):]
		}
		clear(native)
	}
	switch dtype {
	case model.String, model.Uint32, model.Uint64: // ReadTensor refuses them
		t, err := allocate(dtype, shape)
		if err != nil {
			return nil, err
		}
		if dtype != model.String {
			put(contents(t))
			return t, nil
		}
		at := int64(0)
		for _, part := range tensors {
			for _, s := range c.padding.Strings(i, part, row) {
				putString(t, at, s)
				at++
			}
		}
		return t, nil
	}
	return tensorflow.ReadTensor(tensorflow.DataType(dtype), shape, writer(put))
}

// writer is a reader that has what it gives written in its place, all at once:
// ReadTensor asks for the whole of a tensor.
type writer func(native []byte)

func (w writer) Read(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

// view is an output where it lies in native memory: it is valid until t is
// freed. Only strings are copied.
func view(t *tensorflow.Tensor) (model.Tensor, error) {
	dtype, shape := model.DType(t.DataType()), slices.Clone(t.Shape())
	if !dtype.Known() {
		return model.Tensor{}, fmt.Errorf("it came as type %s", dtype)
	}
	if shape == nil {
		shape = []int64{}
	}
	whole := model.Tensor{DType: dtype, Shape: shape}
	if dtype == model.String {
		whole.Bytes = stringsOf(t, model.Elements(shape))
	} else {
		whole.Data = contents(t)
	}
	return whole, nil
}

// owned moves a tensor's fixed-size elements from native memory to Go's.
func owned(t model.Tensor) model.Tensor {
	if t.DType != model.String {
		t.Data = append([]byte{}, t.Data...)
	}
	return t
}

// blank is a graph that makes zeroed tensors of the types that ReadTensor
// refuses. TensorFlow owns their memory and destroys their strings; the
// binding's own NewTensor would leak every string of more than 22 bytes.
type blank struct {
	session *tensorflow.Session
	shape   tensorflow.Output
	filled  map[model.DType]tensorflow.Output
}

var blanks = sync.OnceValues(func() (*blank, error) {
	root := tfgo.NewRoot()
	shape := op.Placeholder(root.SubScope("shape"), tensorflow.Int64)
	b := &blank{shape: shape, filled: map[model.DType]tensorflow.Output{
		model.String: op.Fill(root.SubScope("string"), shape, tfgo.Const(root.SubScope("empty"), "")),
		model.Uint32: op.Fill(root.SubScope("uint32"), shape, tfgo.Const(root.SubScope("zero32"), uint32(0))),
		model.Uint64: op.Fill(root.SubScope("uint64"), shape, tfgo.Const(root.SubScope("zero64"), uint64(0))),
	}}
	var err error
	b.session, err = newSession(root)
	return b, err
})

// allocate makes a zeroed string, uint32 or uint64 tensor. The caller frees it.
func allocate(dtype model.DType, shape []int64) (*tensorflow.Tensor, error) {
	b, err := blanks()
	if err != nil {
		return nil, fmt.Errorf("allocate a %s tensor: %w", dtype, err)
	}
	dims, err := tensorflow.NewTensor(shape)
	if err != nil {
		return nil, err
	}
	defer free([]*tensorflow.Tensor{dims})
	t, err := execSession(b.session, []tensorflow.Output{b.filled[dtype]}, feeds{b.shape: dims})
	if err != nil {
		return nil, err
	}
	return t[0], nil
}

// newSession runs a graph of our own on the calling thread: such graphs are a
// chain of a few operations, so handing them to other threads only costs.
func newSession(root *op.Scope) (*tensorflow.Session, error) {
	graph, err := root.Finalize()
	if err != nil {
		return nil, err
	}
	options, err := sessionOptions(0, -1)
	if err != nil {
		return nil, err
	}
	return tensorflow.NewSession(graph, options)
}

// checkTensor errs when t's elements don't fill its shape. TensorFlow aborts
// the process when a shape's product overflows.
func checkTensor(t model.Tensor) error {
	n, empty := uint64(1), false
	for _, d := range t.Shape {
		if d < 0 {
			return fmt.Errorf("shape %v has a negative dimension", t.Shape)
		}
		empty = empty || d == 0
		hi, lo := bits.Mul64(n, uint64(max(d, 1)))
		if hi != 0 || lo > math.MaxInt64/16 {
			return fmt.Errorf("shape %v is too large", t.Shape)
		}
		n = lo
	}
	if empty {
		n = 0
	}
	got, size := uint64(len(t.Data)), uint64(t.DType.Size())
	if t.DType == model.String {
		got, size = uint64(len(t.Bytes)), 1
	}
	if got != n*size {
		return fmt.Errorf("shape %v of %s needs %d of its elements, there are %d", t.Shape, t.DType, n, got/max(size, 1))
	}
	return nil
}
