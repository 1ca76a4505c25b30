//go:build cgo

package tf

import (
	"bytes"
	"reflect"
	"testing"

	tensorflow "github.com/galeone/tensorflow/tensorflow/go"
	typespb "github.com/galeone/tensorflow/tensorflow/go/core/framework/types_go_proto"
	corepb "github.com/galeone/tensorflow/tensorflow/go/core/protobuf/for_core_protos_go_proto"
	"github.com/galeone/tensorflow/tensorflow/go/op"
	"github.com/galeone/tfgo"

	"github.com/penstock/penstock/worker/model"
)

var everyType = []model.DType{
	model.Float32, model.Float64, model.Int8, model.Int16, model.Int32, model.Int64,
	model.Uint8, model.Uint16, model.Uint32, model.Uint64, model.Bool, model.String,
}

// identity writes a model that gives back what it takes, with a signature for
// each type, of unknown rank.
func identity(t testing.TB) string {
	t.Helper()
	root := tfgo.NewRoot()
	sigs := map[string]*corepb.SignatureDef{}
	for _, dtype := range everyType {
		s := root.SubScope(dtype.String())
		op.Identity(s, op.Placeholder(s, tensorflow.DataType(dtype)))
		x := tensorDef(dtype.String()+"/Placeholder", typespb.DataType(dtype))
		y := tensorDef(dtype.String()+"/Identity", typespb.DataType(dtype))
		x.TensorShape, y.TensorShape = nil, nil
		sigs[dtype.String()] = &corepb.SignatureDef{
			Inputs:  map[string]*corepb.TensorInfo{"x": x},
			Outputs: map[string]*corepb.TensorInfo{"y": y},
		}
	}
	return save(t, root, sigs)
}

// sample makes a tensor of a type, with odd values.
func sample(dtype model.DType, shape ...int64) model.Tensor {
	t := model.Tensor{DType: dtype, Shape: shape}
	n := model.Elements(shape)
	if dtype == model.String {
		t.Bytes = [][]byte{}
		for i := range n {
			t.Bytes = append(t.Bytes, bytes.Repeat([]byte{byte(i), 0xff}, int(i)*7))
		}
		return t
	}
	t.Data = make([]byte, n*int64(dtype.Size()))
	for i := range t.Data {
		if t.Data[i] = byte(i*37 + 1); dtype == model.Bool {
			t.Data[i] &= 1
		}
	}
	return t
}

func TestEveryTypeAndRankComesBackAsItWent(t *testing.T) {
	t.Parallel()
	m := open(t, identity(t))
	for _, dtype := range everyType {
		for _, shape := range [][]int64{{}, {1}, {3}, {0}, {2, 3}, {0, 3}, {2, 0}, {2, 2, 2, 2, 2}} {
			x := sample(dtype, shape...)
			got, err := m.Run(t.Context(), m.Signatures()[dtype.String()], parts{{x}})
			if err != nil || !reflect.DeepEqual(got, parts{{x}}) {
				t.Errorf("got  %v %v,\nwant %v", got, err, x)
			}
		}
		batch := parts{{sample(dtype, 2, 3)}, {sample(dtype, 0, 3)}, {sample(dtype, 1, 3)}}
		got, err := m.Run(t.Context(), m.Signatures()[dtype.String()], batch)
		if err != nil || !reflect.DeepEqual(got, batch) {
			t.Errorf("got  %v %v,\nwant %v", got, err, batch)
		}
	}
	_, err := m.Run(t.Context(), m.Signatures()["float32"], parts{{floats([]int64{}, 1)}, {floats([]int64{}, 1)}})
	wantError(t, err, "takes one part, not 2")
}

func TestAnOutputWithoutTheBatchsRowsIsNamed(t *testing.T) {
	t.Parallel()
	root := tfgo.NewRoot()
	x := op.Placeholder(root.SubScope("x"), tensorflow.Float)
	op.Concat(root.SubScope("twice"), tfgo.Const(root.SubScope("axis"), int32(0)), []tensorflow.Output{x, x})
	m := open(t, save(t, root, map[string]*corepb.SignatureDef{"s": {
		Inputs:  map[string]*corepb.TensorInfo{"x": tensorDef("x/Placeholder", typespb.DataType_DT_FLOAT, -1)},
		Outputs: map[string]*corepb.TensorInfo{"twice": tensorDef("twice/Concat", typespb.DataType_DT_FLOAT, -1)},
	}}))
	_, err := m.Run(t.Context(), m.Signatures()["s"], parts{{floats([]int64{1}, 1)}, {floats([]int64{1}, 2)}})
	wantError(t, err, `output "twice" has shape [4] for 2 rows`)
}

func TestASignatureWithoutInputsRuns(t *testing.T) {
	t.Parallel()
	root := tfgo.NewRoot()
	op.Const(root, []float32{1, 2})
	m := open(t, save(t, root, map[string]*corepb.SignatureDef{"s": {
		Outputs: map[string]*corepb.TensorInfo{"y": tensorDef("Const", typespb.DataType_DT_FLOAT, 2)},
	}}))
	got, err := m.Run(t.Context(), m.Signatures()["s"], parts{{}})
	if want := (parts{{floats([]int64{2}, 1, 2)}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
}
