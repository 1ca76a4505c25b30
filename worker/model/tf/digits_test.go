//go:build cgo

package tf

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// TestDigitsAreJudgedAsPythonJudgesThem goes all the way: PNG files, the
// model's own file, one batch, probabilities.
func TestDigitsAreJudgedAsPythonJudgesThem(t *testing.T) {
	t.Parallel()
	var golden []struct {
		Image         string
		Label         int
		Probabilities []float64
	}
	if err := json.Unmarshal(readFile(t, testModel("digits"), "golden.json"), &golden); err != nil {
		t.Fatal(err)
	}
	config, err := model.ParseConfig(readFile(t, testModel("digits/1"), model.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	m := open(t, testModel("digits/1"))
	var batch parts
	for _, g := range golden {
		row, err := m.DecodeImage(t.Context(), readFile(t, testModel("digits"), "images", g.Image), *config.Image, model.Float32)
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, []model.Tensor{row})
	}
	if len(batch) == 0 {
		t.Fatal("golden.json is empty")
	}
	for i, result := range run(t, m, batch) {
		for class, p := range values(result[0]) {
			if want := golden[i].Probabilities[class]; math.Abs(float64(p)-want) > 1e-5 {
				t.Errorf("%s: class %d has %v, want %v", golden[i].Image, class, p, want)
			}
		}
	}
}
