//go:build cgo

package tf

import (
	"fmt"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// BenchmarkRun runs the digits model, a small CNN, on batches whose parts are
// of one row, as the worker gathers them.
func BenchmarkRun(b *testing.B) {
	m := open(b, testModel("digits/1"))
	sig := m.Signatures()["serving_default"]
	row := []model.Tensor{floats([]int64{1, 28, 28, 1}, make([]float32, 28*28)...)}
	for _, rows := range []int{1, 32, 256} {
		batch := make(parts, rows)
		for i := range batch {
			batch[i] = row
		}
		b.Run(fmt.Sprintf("batch=%d", rows), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Run(b.Context(), sig, batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkDecodeImage decodes a digit of 28x28 pixels.
func BenchmarkDecodeImage(b *testing.B) {
	m := open(b, testModel("digits/1"))
	encoded := readFile(b, testModel("digits"), "images", "0247-label-0.png")
	spec := model.ImageSpec{Height: 28, Width: 28, Channels: 1}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.DecodeImage(b.Context(), encoded, spec, model.Float32); err != nil {
			b.Fatal(err)
		}
	}
}
