package codec

import (
	"fmt"
	"math"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

func TestBytesAreATensor(t *testing.T) {
	six := appendFloats(1, 2, 3, 4, 5, 6)
	scalar := &testModel{signatures: map[string]*model.Signature{}}
	scalar.sign("serving_default", []model.TensorInfo{info("x", model.Float64)}, info("y", model.Float32))
	of := func(shape ...int64) *testModel { return newModel(info("x", model.Float32, shape...)) }
	for name, c := range map[string]struct {
		model  *testModel
		params string
		body   []byte
		want   model.Tensor
	}{
		"rows":               {of(-1, 3), "", six, tensor([]float32{1, 2, 3, 4, 5, 6}, 2, 3)},
		"values":             {of(-1), "", six, tensor([]float32{1, 2, 3, 4, 5, 6}, 6)},
		"deep":               {of(-1, 1, 2), ";dtype=float32", six, tensor([]float32{1, 2, 3, 4, 5, 6}, 3, 1, 2)},
		"an open size":       {of(-1, -1), ";shape=3x2", six, tensor([]float32{1, 2, 3, 4, 5, 6}, 3, 2)},
		"with commas":        {of(-1, -1), `;shape="3, 2"`, six, tensor([]float32{1, 2, 3, 4, 5, 6}, 3, 2)},
		"no shape at all":    {floats, ";shape=1x6", six, tensor([]float32{1, 2, 3, 4, 5, 6}, 1, 6)},
		"the shape of a row": {of(-1, 2, 3), ";shape=2x3", six, tensor([]float32{1, 2, 3, 4, 5, 6}, 1, 2, 3)},
		"a single value":     {scalar, "", tensor([]float64{7}).Data, tensor([]float64{7})},
		"booleans":           {newModel(info("x", model.Bool, -1)), ";dtype=bool", []byte{1, 0}, tensor([]bool{true, false}, 2)},
		"like JSON":          {newModel(info("x", model.Uint8, -1)), "", []byte("{}"), tensor([]uint8{'{', '}'}, 2)},
		"like NPY":           {newModel(info("x", model.Uint8, -1)), "", []byte(npyMagic), tensor([]uint8(npyMagic), 6)},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := decodeAs(t, c.model, "application/x-tensor-bytes"+c.params, string(c.body))
			checkTensors(t, in, err, c.want)
		})
	}
}

func TestBytesThatAreNoTensorAreRefused(t *testing.T) {
	three := newModel(info("x", model.Float32, -1, 3))
	scalar := &testModel{signatures: map[string]*model.Signature{}}
	scalar.sign("serving_default", []model.TensorInfo{info("x", model.Float64)}, info("y", model.Float32))
	for name, c := range map[string]struct {
		model       *testModel
		contentType string
		size        int
		code        string
		says        []string
	}{
		"no multiple":      {three, "", 13, CodeInvalidShape, []string{"13 bytes, which is no multiple of the 12 that a row of x float32[-1 3] takes"}},
		"open size":        {newModel(info("x", model.Float32, -1, -1)), "", 8, CodeInvalidShape, []string{"the bytes of a row are not known", "shape=2x3"}},
		"unknown rank":     {floats, "", 8, CodeInvalidShape, []string{"not known"}},
		"empty rows":       {newModel(info("x", model.Float32, -1, 0)), "", 8, CodeInvalidShape, []string{"not known"}},
		"huge rows":        {newModel(info("x", model.Float32, -1, math.MaxInt64/2, 4)), "", 8, CodeInvalidShape, []string{"no multiple"}},
		"two values":       {scalar, "", 16, CodeInvalidShape, []string{"16 bytes, but the single value x float64[] takes 8"}},
		"dtype":            {three, ";dtype=float64", 24, CodeInvalidDType, []string{`dtype="float64", but input "x" takes float32`}},
		"strings":          {text, "", 8, CodeInvalidDType, []string{"can't be told apart as strings", "JSON"}},
		"several":          {both, "", 8, CodeInvalidShape, []string{"application/x-tensor-bytes holds one tensor, but"}},
		"another shape":    {three, ";shape=2x4", 32, CodeInvalidShape, []string{"[2 4]", "[-1 3]"}},
		"too little":       {three, ";shape=2x3", 20, CodeMalformed, []string{"float32 of shape [2 3] takes 24 bytes, but there are 20"}},
		"no shape":         {three, ";shape=two", 24, CodeMalformed, []string{`shape="two", which is none`}},
		"negative":         {three, ";shape=-1x3", 24, CodeMalformed, []string{"which is none"}},
		"overflow":         {three, ";shape=4294967296x4294967296", 24, CodeMalformed, []string{"which is none"}},
		"broken parameter": {three, ";shape=", 24, CodeMalformed, []string{"can't be understood", "dtype=float32;shape=2x3"}},
		"no boolean":       {newModel(info("x", model.Bool, -1)), "", 2, CodeMalformed, []string{"neither 0 nor 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			body := fmt.Sprintf("%0*d", c.size, 2)
			_, err := decodeAs(t, c.model, "application/x-tensor-bytes"+c.contentType, body)
			checkError(t, err, c.code, c.says...)
		})
	}
}

// Any file has a length that is a multiple of something: nothing but the
// explicit content type makes a tensor of bytes.
func TestBytesOfNoTypeAreNoTensor(t *testing.T) {
	for _, contentType := range []string{"", "application/octet-stream", "binary/octet-stream"} {
		_, err := decodeAs(t, newModel(info("x", model.Float32, -1)), contentType, "\x00\x00\x80\x3f")
		checkError(t, err, CodeUnsupportedType, "application/x-tensor-bytes")
	}
}
