package tf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	tensorpb "github.com/galeone/tensorflow/tensorflow/go/core/framework/tensor_go_proto"

	"github.com/penstock/penstock/worker/model"
)

// stringBytes is about what an empty string takes, in Go and in TensorFlow.
const stringBytes = 48

// fromProto reads a tensor as TensorFlow does: its elements stand in
// tensor_content, or in the list of its type, the last of which counts for all
// that are left out.
func fromProto(p *tensorpb.TensorProto) (model.Tensor, error) {
	t := model.Tensor{DType: model.DType(p.GetDtype()), Shape: []int64{}}
	if !t.DType.Known() {
		return t, fmt.Errorf("it is of type %s, which isn't supported", t.DType)
	}
	if p.GetTensorShape().GetUnknownRank() {
		return t, errors.New("it has no shape")
	}
	n := uint64(1)
	for _, d := range p.GetTensorShape().GetDim() {
		size := d.GetSize()
		if size < 0 {
			return t, fmt.Errorf("its shape has the dimension %d", size)
		}
		t.Shape = append(t.Shape, size)
		hi, lo := bits.Mul64(n, uint64(size))
		if n = lo; hi != 0 || n > maxWarmUpRecord {
			return t, fmt.Errorf("its shape has more elements than %d", maxWarmUpRecord)
		}
	}
	if t.DType == model.String {
		return fillStrings(t, p.GetStringVal(), n)
	}
	size := uint64(t.DType.Size())
	if n*size > maxWarmUpRecord {
		return t, fmt.Errorf("shape %v of %s has more bytes than %d", t.Shape, t.DType, maxWarmUpRecord)
	}
	t.Data = p.GetTensorContent()
	if len(t.Data) == 0 {
		t.Data = elements(p, t.DType)
		if given := uint64(len(t.Data)); given < n*size {
			last := make([]byte, size)
			copy(last, t.Data[given-min(given, size):])
			for uint64(len(t.Data)) < n*size {
				t.Data = append(t.Data, last...)
			}
		}
	}
	if uint64(len(t.Data)) != n*size {
		return t, fmt.Errorf("shape %v of %s needs %d bytes, there are %d", t.Shape, t.DType, n*size, len(t.Data))
	}
	return t, nil
}

func fillStrings(t model.Tensor, values [][]byte, n uint64) (model.Tensor, error) {
	if uint64(len(values)) > n {
		return t, fmt.Errorf("shape %v needs %d strings, there are %d", t.Shape, n, len(values))
	}
	if n*stringBytes > maxWarmUpRecord {
		return t, fmt.Errorf("shape %v has too many strings", t.Shape)
	}
	var last []byte
	if len(values) > 0 {
		last = values[len(values)-1]
	}
	t.Bytes = values
	for uint64(len(t.Bytes)) < n {
		t.Bytes = append(t.Bytes, last)
	}
	return t, nil
}

// elements are the bytes of the list of a type.
func elements(p *tensorpb.TensorProto, d model.DType) (b []byte) {
	le := binary.LittleEndian
	switch d {
	case model.Float32:
		for _, v := range p.GetFloatVal() {
			b = le.AppendUint32(b, math.Float32bits(v))
		}
	case model.Float64:
		for _, v := range p.GetDoubleVal() {
			b = le.AppendUint64(b, math.Float64bits(v))
		}
	case model.Int64:
		for _, v := range p.GetInt64Val() {
			b = le.AppendUint64(b, uint64(v))
		}
	case model.Uint64:
		for _, v := range p.GetUint64Val() {
			b = le.AppendUint64(b, v)
		}
	case model.Uint32:
		for _, v := range p.GetUint32Val() {
			b = le.AppendUint32(b, v)
		}
	case model.Bool:
		for _, v := range p.GetBoolVal() {
			if v {
				b = append(b, 1)
			} else {
				b = append(b, 0)
			}
		}
	default: // Int32 and the smaller ones share a list
		for _, v := range p.GetIntVal() {
			b = append(b, le.AppendUint32(nil, uint32(v))[:d.Size()]...)
		}
	}
	return b
}
