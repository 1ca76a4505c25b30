package codec

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// testModel is a model that is never run.
type testModel struct {
	signatures  map[string]*model.Signature
	config      model.Config
	decodeImage func(encoded []byte, spec model.ImageSpec, dtype model.DType) (model.Tensor, error)
}

var _ model.Model = (*testModel)(nil)

func (m *testModel) Name() string                            { return "test" }
func (m *testModel) Version() string                         { return "1" }
func (m *testModel) Signatures() map[string]*model.Signature { return m.signatures }
func (m *testModel) Config() *model.Config                   { return &m.config }
func (m *testModel) Close() error                            { return nil }

func (m *testModel) Run(context.Context, *model.Signature, [][]model.Tensor) ([][]model.Tensor, error) {
	return nil, errors.New("this model does not run")
}

func (m *testModel) DecodeImage(_ context.Context, encoded []byte, spec model.ImageSpec, dtype model.DType) (model.Tensor, error) {
	return m.decodeImage(encoded, spec, dtype)
}

// newModel has one signature, "serving_default", of these inputs and an output
// "y" float32[-1 3].
func newModel(inputs ...model.TensorInfo) *testModel {
	m := &testModel{signatures: map[string]*model.Signature{}}
	m.sign("serving_default", inputs, info("y", model.Float32, -1, 3))
	return m
}

func (m *testModel) sign(name string, inputs []model.TensorInfo, outputs ...model.TensorInfo) {
	m.signatures[name] = &model.Signature{Name: name, Inputs: inputs, Outputs: outputs}
}

func info(name string, dtype model.DType, shape ...int64) model.TensorInfo {
	return model.TensorInfo{Name: name, DType: dtype, Shape: shape}
}

func anyShape(name string, dtype model.DType) model.TensorInfo {
	return model.TensorInfo{Name: name, DType: dtype, UnknownRank: true}
}

// tensor makes a tensor of values, which are a slice of its element type.
func tensor(values any, shape ...int64) model.Tensor {
	t := model.Tensor{Shape: shape}
	switch v := values.(type) {
	case []string:
		t.DType = model.String
		for _, s := range v {
			t.Bytes = append(t.Bytes, []byte(s))
		}
		return t
	case []float32:
		t.DType = model.Float32
	case []float64:
		t.DType = model.Float64
	case []bool:
		t.DType = model.Bool
	case []int8:
		t.DType = model.Int8
	case []int16:
		t.DType = model.Int16
	case []int32:
		t.DType = model.Int32
	case []int64:
		t.DType = model.Int64
	case []uint8:
		t.DType = model.Uint8
	case []uint16:
		t.DType = model.Uint16
	case []uint32:
		t.DType = model.Uint32
	case []uint64:
		t.DType = model.Uint64
	}
	t.Data, _ = binary.Append(nil, binary.LittleEndian, values)
	return t
}

func sameTensor(a, b model.Tensor) bool {
	return a.DType == b.DType && slices.Equal(a.Shape, b.Shape) && string(a.Data) == string(b.Data) &&
		slices.EqualFunc(a.Bytes, b.Bytes, func(x, y []byte) bool { return string(x) == string(y) })
}

// values shows a tensor for messages.
func values(t model.Tensor) any {
	if t.DType == model.String {
		return t.Bytes
	}
	if t.DType == model.Float32 {
		v := make([]float32, len(t.Data)/4)
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
		}
		return v
	}
	return t.Data
}

// checkTensors fails t unless in has just these tensors.
func checkTensors(t *testing.T, in *Input, err error, want ...model.Tensor) {
	t.Helper()
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	if len(in.Tensors) != len(want) {
		t.Fatalf("got %d tensors, want %d", len(in.Tensors), len(want))
	}
	for i, got := range in.Tensors {
		if !sameTensor(got, want[i]) {
			t.Errorf("tensor %d is %v%v %v, want %v%v %v", i, got.DType, got.Shape, values(got), want[i].DType, want[i].Shape, values(want[i]))
		}
	}
}

// checkError fails t unless err is an *Error of that code whose message, or
// hint, holds every part.
func checkError(t *testing.T, err error, code string, parts ...string) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("error is %v, want an *Error of code %s", err, code)
	}
	if e.Code != code {
		t.Errorf("code is %s, want %s: %s", e.Code, code, e.Message)
	}
	for _, part := range parts {
		if text := e.Message + "\nhint: " + e.Hint; !strings.Contains(text, part) {
			t.Errorf("error lacks %q: %s", part, text)
		}
	}
}

func decode(t testing.TB, m model.Model, body string) (*Input, error) {
	t.Helper()
	return Decode(t.Context(), []byte(body), Source{}, m)
}
