package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// benchBodies are requests of 64 images of 28x28 as clients write them: pixels
// as short decimals, and as Python prints random float32 and float64 numbers.
func benchBodies() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	bodies := map[string][]byte{}
	for name, number := range map[string]func() string{
		"pixels":  func() string { return fmt.Sprint(r.IntN(256)) },
		"short":   func() string { return fmt.Sprintf("%.4f", r.Float64()) },
		"float32": func() string { return fmt.Sprint(r.Float32()) },
		"float64": func() string { return fmt.Sprint(r.Float64()) },
	} {
		b := []byte(`{"instances": [`)
		for row := range 64 {
			for i := range 784 {
				b = append(b, ", "[:2*min(1, row+i)]...)
				if i == 0 {
					b = append(b, '[')
				}
				b = append(b, number()...)
			}
			b = append(b, ']')
		}
		bodies[name] = append(b, "]}"...)
	}
	return bodies
}

func BenchmarkDecodeJSON(b *testing.B) {
	m := newModel(info("x", model.Float32, -1, 784))
	for name, body := range benchBodies() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(b.Context(), body, Source{}, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchLines are the same numbers, a row a line: as JSON lists, or as CSV.
func benchLines(contentType string) map[string][]byte {
	bodies := benchBodies()
	for name, body := range bodies {
		body = bytes.TrimSuffix(bytes.TrimPrefix(body, []byte(`{"instances": [`)), []byte("]}"))
		body = bytes.ReplaceAll(body, []byte("], ["), []byte("]\n["))
		if contentType == "text/csv" {
			body = []byte(strings.NewReplacer("[", "", "]", "", ", ", ",").Replace(string(body)))
		}
		bodies[name] = body
	}
	return bodies
}

func BenchmarkDecodeLines(b *testing.B) {
	m := newModel(info("x", model.Float32, -1, 784))
	for _, contentType := range []string{"application/jsonlines", "text/csv"} {
		for name, body := range benchLines(contentType) {
			b.Run(contentType+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Decode(b.Context(), body, Source{ContentType: contentType}, m); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkStandardJSON is what BenchmarkDecodeJSON is measured against; its
// floats are not even in a tensor yet.
func BenchmarkStandardJSON(b *testing.B) {
	for name, body := range benchBodies() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				var request struct {
					Instances [][]float32 `json:"instances"`
				}
				if err := json.Unmarshal(body, &request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncodeJSON(b *testing.B) {
	m := newModel(info("x", model.Float32, -1))
	r := rand.New(rand.NewPCG(1, 2))
	scores := make([]float32, 256*10)
	for i := range scores {
		scores[i] = r.Float32()
	}
	in := &Input{Signature: m.Signatures()["serving_default"], Rows: 256}
	outputs := []model.Tensor{tensor(scores, 256, 10)}
	b.ReportAllocs()
	for b.Loop() {
		body, _, err := Encode(in, outputs, m, "")
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(body)))
	}
}
