//go:build cgo && verify

// Package keras_test compares the SavedModels that export.py made of a trained
// Keras file with that file's own predictions: see verify.sh.
package keras_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/source"
	"github.com/penstock/penstock/worker/model/tf"
)

// expected is what verify.py wrote.
type expected struct {
	Labels []string
	Cases  []struct {
		Input string
		Rows  [][]float64
	}
}

func TestTheExportedModelPredictsWhatKerasDoes(t *testing.T) {
	out := os.Getenv("KERAS_OUT")
	if out == "" {
		t.Fatal("KERAS_OUT is not set: run deploy/keras/verify.sh")
	}
	b, err := os.ReadFile(filepath.Join(out, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want expected
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	if len(want.Cases) < 4 {
		t.Fatalf("there are only %d inputs", len(want.Cases))
	}
	for _, kind := range []string{"h5", "keras"} {
		t.Run(kind, func(t *testing.T) {
			local, err := source.Open(t.Context(), nil, filepath.Join(out, kind), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			m, err := tf.Load(local.Dir, tf.Options{Name: "emotion", Version: local.Version, Config: local.Config})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			largest := 0.0
			for _, c := range want.Cases {
				apart := compare(t, m, c.Input, want.Labels, c.Rows)
				largest = max(largest, apart)
			}
			t.Logf("%d inputs, at most %.1e apart", len(want.Cases), largest)
		})
	}
}

// compare runs a file through the model, from its bytes to the bytes of the
// result, and gives the largest difference.
func compare(t *testing.T, m *tf.Model, file string, labels []string, want [][]float64) float64 {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	in, err := codec.Decode(t.Context(), body, codec.Source{Name: file}, m)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	parts, err := m.Run(t.Context(), in.Signature, oneItem(in))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var raw struct{ Predictions [][]float64 }
	encode(t, in, parts[0], m, "application/json;raw=true", &raw)
	var labelled struct{ Predictions []struct{ Label string } }
	encode(t, in, parts[0], m, "", &labelled)
	if len(raw.Predictions) != len(want) || len(labelled.Predictions) != len(want) {
		t.Fatalf("%s: %d rows and %d labels, want %d", file, len(raw.Predictions), len(labelled.Predictions), len(want))
	}
	largest := 0.0
	for i, row := range want {
		best := 0
		for class, v := range row {
			apart := math.Abs(raw.Predictions[i][class] - v)
			if largest = max(largest, apart); !(apart <= 1e-5) {
				t.Errorf("%s: row %d, class %d is %v, want %v", filepath.Base(file), i, class, raw.Predictions[i][class], v)
			}
			if v > row[best] {
				best = class
			}
		}
		if got := labelled.Predictions[i].Label; got != labels[best] {
			t.Errorf("%s: row %d is %q, want %q", filepath.Base(file), i, got, labels[best])
		}
	}
	return largest
}

// oneItem is a batch of one input.
func oneItem(in *codec.Input) [][]model.Tensor { return [][]model.Tensor{in.Tensors} }

// encode writes a result as accept says and reads it again.
func encode(t *testing.T, in *codec.Input, outputs []model.Tensor, m model.Model, accept string, into any) {
	t.Helper()
	body, _, err := codec.Encode(in, outputs, m, accept)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
}
