package codec

import (
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// TestFilesThatPythonWroteAreRead reads what testdata/python/make.py wrote:
// always the same rows, or some of their inputs.
func TestFilesThatPythonWroteAreRead(t *testing.T) {
	all := map[string]model.Tensor{
		"x": tensor([]float32{1.5, -2.25, 1e-7, 3.4028235e38, float32(math.NaN()), float32(math.Inf(-1))}, 3, 2),
		"n": tensor([]int64{7, math.MinInt64, math.MaxInt64}, 3),
		"s": tensor([]string{"plain", `a "quoted", comma`, "two\nlines, é😀"}, 3),
	}
	inputs := map[string]model.TensorInfo{
		"x": info("x", model.Float32, -1, 2), "n": info("n", model.Int64, -1), "s": info("s", model.String, -1),
	}
	files := map[string][]string{
		"lines.jsonl":          {"n", "s", "x"},
		"inputs.csv":           {"n", "s", "x"},
		"features.csv":         {"x"},
		"savetxt.csv":          {"x"},
		"text.csv":             {"s"},
		"examples.tfrecord":    {"n", "s", "x"},
		"stored.npz":           {"n", "s", "x"},
		"deflated.npz":         {"n", "s", "x"},
		"x.raw":                {"x"},
		"lines.jsonl.gz":       {"n", "s", "x"},
		"examples.tfrecord.gz": {"n", "s", "x"},
		"unnamed.npz":          {"x"},
	}
	for file, names := range files {
		t.Run(file, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join("testdata", "python", file))
			if err != nil {
				t.Fatal(err)
			}
			m := &testModel{signatures: map[string]*model.Signature{}}
			infos, want := make([]model.TensorInfo, len(names)), make([]model.Tensor, len(names))
			for i, name := range names {
				infos[i], want[i] = inputs[name], all[name]
			}
			m.sign("serving_default", infos, info("y", model.Float32, -1))
			src := Source{Name: path.Join("in", file)}
			if path.Ext(file) == ".raw" {
				src.ContentType = "application/x-tensor-bytes"
			}
			in, err := Decode(t.Context(), body, src, m)
			if err != nil {
				t.Fatal(err)
			}
			// One pattern for all NaNs, so that they compare as equal.
			for i := range in.Tensors {
				if in.Tensors[i].DType == model.Float32 {
					in.Tensors[i].Data = slices.Clone(in.Tensors[i].Data)
					canonical(model.Tensor{DType: model.Float32, Shape: []int64{6}, Data: in.Tensors[i].Data})
				}
			}
			canonical(model.Tensor{DType: model.Float32, Shape: []int64{6}, Data: all["x"].Data})
			checkTensors(t, in, nil, want...)
		})
	}
}
