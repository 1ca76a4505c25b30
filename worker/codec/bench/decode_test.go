// Package bench measures the codec's reading of JSON beside Go's JSON
// libraries. It is a module of its own, so that none of them becomes a
// dependency of Penstock:
//
//	cd worker/codec/bench && go test -bench . -count 3
//
// Each gets the same predict requests of 64 rows of 784 numbers, and has to
// come to the bytes of a float32 tensor by the quickest way that it documents.
package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bytedance/sonic"
	jsonv2 "github.com/go-json-experiment/json"
	gojson "github.com/goccy/go-json"
	jsoniter "github.com/json-iterator/go"
	"github.com/minio/simdjson-go"
	segmentio "github.com/segmentio/encoding/json"
	"github.com/valyala/fastjson"

	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/model"
)

const rows, columns = 64, 784

// bodies are requests as clients write them: pixels, short decimals, and
// numbers as Python prints random ones of float32 and float64.
func bodies() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	numbers := map[string]func() string{
		"pixels":  func() string { return fmt.Sprint(r.IntN(256)) },
		"short":   func() string { return fmt.Sprintf("%.4f", r.Float64()) },
		"float32": func() string { return fmt.Sprint(r.Float32()) },
		"float64": func() string { return fmt.Sprint(r.Float64()) },
	}
	all := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(numbers)) {
		b := []byte(`{"instances": [`)
		for row := range rows {
			for i := range columns {
				switch {
				case i > 0:
					b = append(b, ", "...)
				case row > 0:
					b = append(b, "], ["...)
				default:
					b = append(b, '[')
				}
				b = append(b, numbers[name]()...)
			}
		}
		all[name] = append(b, "]]}"...)
	}
	return all
}

// readers make the tensor of a request, each by another library.
var readers = map[string]func(body []byte) ([]byte, error){
	"penstock":                viaCodec,
	"encoding-json":           via(json.Unmarshal),
	"go-json-experiment":      via(func(b []byte, v any) error { return jsonv2.Unmarshal(b, v) }),
	"goccy-go-json":           via(gojson.Unmarshal),
	"bytedance-sonic":         via(sonic.ConfigDefault.Unmarshal),
	"bytedance-sonic-fastest": via(sonic.ConfigFastest.Unmarshal),
	"json-iterator":           via(jsoniter.ConfigCompatibleWithStandardLibrary.Unmarshal),
	"segmentio-encoding":      via(segmentio.Unmarshal),
	"valyala-fastjson":        viaFastjson,
	"minio-simdjson-go":       viaSimdjson,
}

// via reads nested slices, and copies them into one tensor.
func via(unmarshal func([]byte, any) error) func([]byte) ([]byte, error) {
	return func(body []byte) ([]byte, error) {
		var request struct {
			Instances [][]float32 `json:"instances"`
		}
		if err := unmarshal(body, &request); err != nil {
			return nil, err
		}
		data := make([]byte, 0, rows*columns*4)
		for _, row := range request.Instances {
			for _, v := range row {
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
			}
		}
		return data, nil
	}
}

var fastjsonParser fastjson.Parser

func viaFastjson(body []byte) ([]byte, error) {
	v, err := fastjsonParser.ParseBytes(body)
	if err != nil {
		return nil, err
	}
	data := make([]byte, 0, rows*columns*4)
	for _, row := range v.GetArray("instances") {
		for _, x := range row.GetArray() {
			f, err := x.Float64()
			if err != nil {
				return nil, err
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(f)))
		}
	}
	return data, nil
}

var simdjsonTape *simdjson.ParsedJson

func viaSimdjson(body []byte) (data []byte, err error) {
	if simdjsonTape, err = simdjson.Parse(body, simdjsonTape, simdjson.WithCopyStrings(false)); err != nil {
		return nil, err
	}
	top := simdjsonTape.Iter()
	top.Advance()
	_, root, err := top.Root(nil)
	if err != nil {
		return nil, err
	}
	instances, err := root.FindElement(nil, "instances")
	if err != nil {
		return nil, err
	}
	list, err := instances.Iter.Array(nil)
	if err != nil {
		return nil, err
	}
	data = make([]byte, 0, rows*columns*4)
	var row *simdjson.Array
	for outer := list.Iter(); outer.Advance() != simdjson.TypeNone; {
		if row, err = outer.Array(row); err != nil {
			return nil, err
		}
		for inner := row.Iter(); inner.Advance() != simdjson.TypeNone; {
			f, err := inner.Float()
			if err != nil {
				return nil, err
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(f)))
		}
	}
	return data, nil
}

// floats is a model of rows of float32.
type floats struct{ model.Model }

var signature = &model.Signature{
	Name:    "serving_default",
	Inputs:  []model.TensorInfo{{Name: "x", DType: model.Float32, Shape: []int64{-1, columns}}},
	Outputs: []model.TensorInfo{{Name: "y", DType: model.Float32, Shape: []int64{-1}}},
}

func (floats) Name() string          { return "floats" }
func (floats) Config() *model.Config { return &model.Config{} }
func (floats) Signatures() map[string]*model.Signature {
	return map[string]*model.Signature{signature.Name: signature}
}

func viaCodec(body []byte) ([]byte, error) {
	in, err := codec.Decode(context.Background(), body, codec.Source{}, floats{})
	if err != nil {
		return nil, err
	}
	return in.Tensors[0].Data, nil
}

func TestAllReadTheSame(t *testing.T) {
	for name, body := range bodies() {
		want, err := via(json.Unmarshal)(body)
		if err != nil {
			t.Fatal(err)
		}
		for reader, read := range readers {
			if got, err := read(body); !bytes.Equal(got, want) || err != nil {
				t.Errorf("%s reads other %s, %v", reader, name, err)
			}
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	all := bodies()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, reader := range slices.Sorted(maps.Keys(readers)) {
			b.Run(name+"/"+reader, func(b *testing.B) {
				b.SetBytes(int64(len(all[name])))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := readers[reader](all[name]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
