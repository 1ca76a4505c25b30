//go:build cgo

package tf

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// TestImagesBecomeThePixelsThatPythonMakesOfThem holds every way of resizing,
// cropping and scaling against TensorFlow and Keras for Python: see
// testdata/cat.
func TestImagesBecomeThePixelsThatPythonMakesOfThem(t *testing.T) {
	t.Parallel()
	var golden []struct {
		Image string
		Spec  json.RawMessage
		Shape []int64
		Row   []byte
	}
	if err := json.Unmarshal(readFile(t, "testdata", "cat", "golden.json"), &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden) < 50 {
		t.Fatalf("there are only %d rows", len(golden))
	}
	m := open(t, testModel("halfplustwo"))
	for _, g := range golden {
		t.Run(fmt.Sprintf("%s %s", g.Image, g.Spec), func(t *testing.T) {
			t.Parallel()
			config, err := model.ParseConfig(fmt.Appendf(nil, `{"image": %s}`, g.Spec))
			if err != nil {
				t.Fatal(err)
			}
			row, err := m.DecodeImage(t.Context(), readFile(t, "testdata", "cat", g.Image), *config.Image, model.Float32)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(row.Shape[1:], g.Shape) {
				t.Fatalf("its shape is %v, want %v", row.Shape[1:], g.Shape)
			}
			want := values(model.Tensor{DType: model.Float32, Shape: g.Shape, Data: g.Row})
			for i, v := range values(row) {
				if math.Abs(float64(v-want[i])) > 1e-5*max(1, math.Abs(float64(want[i]))) {
					t.Fatalf("number %d of %d is %v, want %v", i, len(want), v, want[i])
				}
			}
		})
	}
}
