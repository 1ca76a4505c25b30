package codec

import (
	"bytes"
	"encoding/csv"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

func TestJSONLinesHoldAPredictionEach(t *testing.T) {
	scores := tensor([]float32{0.1, 0.7, 0.2, 0.5, 0.3, 0.2}, 2, 3)
	labels := model.Config{Labels: []string{"a", "b", "c"}, TopK: 1}
	for name, c := range map[string]struct {
		outputs []model.Tensor
		config  model.Config
		accept  string
		want    string
	}{
		"values":   {outputs: []model.Tensor{tensor([]int8{1, -2}, 2)}, want: "1\n-2\n"},
		"lists":    {outputs: []model.Tensor{scores}, want: "[0.1,0.7,0.2]\n[0.5,0.3,0.2]\n"},
		"several":  {outputs: []model.Tensor{tensor([]string{"u\nv", "\xff"}, 2), tensor([]bool{true, false}, 2)}, want: `{"a":"u\nv","b":true}` + "\n" + `{"a":{"b64":"/w=="},"b":false}` + "\n"},
		"labels":   {outputs: []model.Tensor{scores}, config: labels, want: `{"label":"b","confidence":0.7,"scores":{"b":0.7}}` + "\n" + `{"label":"a","confidence":0.5,"scores":{"a":0.5}}` + "\n"},
		"raw":      {outputs: []model.Tensor{scores}, config: labels, accept: ";raw=true", want: "[0.1,0.7,0.2]\n[0.5,0.3,0.2]\n"},
		"specials": {outputs: []model.Tensor{tensor([]float64{math.NaN(), math.Inf(-1)}, 2)}, want: "NaN\n-Infinity\n"},
	} {
		for _, column := range []bool{false, true} {
			m, in := answer(column, c.outputs, []string{"a", "b"}[:len(c.outputs)]...)
			m.config = c.config
			body, contentType, err := Encode(in, c.outputs, m, "application/jsonlines"+c.accept)
			if string(body) != c.want || contentType != "application/jsonlines" || err != nil {
				t.Errorf("%s: got %s%s, %v; want %s", name, body, contentType, err, c.want)
			}
		}
	}
}

func TestLabelsThatMisfitFailJSONLines(t *testing.T) {
	outputs := []model.Tensor{tensor([]float32{1, 2}, 1, 2)}
	m, in := answer(false, outputs, "a")
	m.config.Labels = digits10
	_, _, err := Encode(in, outputs, m, "application/jsonlines")
	checkError(t, err, CodeBadOutput, "10 labels")
}

func TestCSVHoldsARowALine(t *testing.T) {
	matrix := tensor([]float32{1, 0.1, float32(math.NaN()), float32(math.Inf(-1))}, 2, 2)
	for name, c := range map[string]struct {
		outputs []model.Tensor
		names   []string
		accept  string
		want    string
	}{
		"values":           {[]model.Tensor{tensor([]int64{math.MinInt64, 2}, 2)}, []string{"y"}, "", "-9223372036854775808\n2\n"},
		"lists":            {[]model.Tensor{matrix}, []string{"y"}, "", "1.0,0.1\nNaN,-Infinity\n"},
		"under a header":   {[]model.Tensor{matrix}, []string{"y"}, ";header=present", "y[0],y[1]\n1.0,0.1\nNaN,-Infinity\n"},
		"several":          {[]model.Tensor{matrix, tensor([]bool{true, false}, 2)}, []string{"y", "odd, \"name\""}, "", "y[0],y[1],\"odd, \"\"name\"\"\"\n1.0,0.1,true\nNaN,-Infinity,false\n"},
		"without a header": {[]model.Tensor{matrix, tensor([]uint8{7, 8}, 2)}, []string{"y", "z"}, ";header=absent", "1.0,0.1,7\nNaN,-Infinity,8\n"},
		"strings":          {[]model.Tensor{tensor([]string{"a b", "", "é,\n", `"`, "\r", "\ufeff"}, 6)}, []string{"y"}, "", "a b\n\"\"\n\"é,\n\"\n\"\"\"\"\n\"\r\"\n\"\ufeff\"\n"},
	} {
		m, in := answer(true, c.outputs, c.names...)
		body, contentType, err := Encode(in, c.outputs, m, "text/csv"+c.accept)
		if string(body) != c.want || err != nil {
			t.Errorf("%s: got %s%s, %v; want %s", name, body, contentType, err, c.want)
		}
		if _, err := csv.NewReader(bytes.NewReader(body)).ReadAll(); err != nil {
			t.Errorf("%s: %v: %s", name, err, body)
		}
	}
}

func TestWhyAFormCannotHoldAResultIsSaid(t *testing.T) {
	for _, c := range []struct {
		accept  string
		outputs []model.Tensor
		says    string
	}{
		{"text/csv", []model.Tensor{tensor([]float32{1}, 1, 1, 1)}, `output "a" has the shape [1 1 1]`},
		{"text/csv", []model.Tensor{tensor([]float32{}, 1, 0)}, `rows of output "a" have no values`},
		{"text/csv", []model.Tensor{tensor([]string{"b", "\xff"}, 2)}, `element 1 of output "a" is not valid UTF-8`},
		{"text/csv", []model.Tensor{tensor([]float32{1}, 1), tensor([]float32{1, 2}, 2)}, `output "b" has 2 rows, but the input has 1`},
		{"text/csv;header=maybe", []model.Tensor{tensor([]float32{1}, 1)}, "header=present"},
		{"application/x-ndjson", []model.Tensor{tensor([]float32{1})}, "application/x-ndjson can't hold this result: output \"a\" is a single value, not one a row"},
		{"application/x-npz", []model.Tensor{tensor([]float32{1}, 1), tensor([]string{"a"}, 1)}, `output "b" is of strings`},
	} {
		m, in := answer(false, c.outputs, []string{"a", "b"}[:len(c.outputs)]...)
		_, _, err := Encode(in, c.outputs, m, c.accept)
		checkError(t, err, CodeNotAcceptable, c.says)
	}
}

func TestNPZResultsReadBack(t *testing.T) {
	outputs := []model.Tensor{tensor([]float32{1, 2, 3, 4}, 2, 2), tensor([]bool{true, false}, 2), tensor([]int64{math.MinInt64, 7}, 2)}
	m, in := answer(false, outputs, "a", "b/c", "ü")
	body, contentType, err := Encode(in, outputs, m, "application/x-npz")
	if err != nil || contentType != "application/x-npz" {
		t.Fatal(contentType, err)
	}
	back := newModel(info("a", model.Float32, -1, 2), info("b/c", model.Bool, -1), info("ü", model.Int64, -1))
	got, err := Decode(t.Context(), body, Source{}, back)
	checkTensors(t, got, err, outputs...)
	golden(t, "results.npz", body)
}

// FuzzRowsRoundTrip: what Encode writes as JSON lines, CSV or NPZ, Decode reads
// back bit for bit.
func FuzzRowsRoundTrip(f *testing.F) {
	f.Add(tensor([]float32{1, 0.1, 1e-45, math.MaxFloat32, 5, 6}).Data, uint8(model.Float32), uint8(2))
	f.Add(tensor([]float64{1, 0.1, 5e-324, math.MaxFloat64}).Data, uint8(model.Float64), uint8(1))
	f.Add(tensor([]int64{math.MinInt64, math.MaxInt64}).Data, uint8(model.Int64), uint8(1))
	f.Add([]byte("a \"b, \r\n c"), uint8(model.String), uint8(2))
	f.Add([]byte{0, 1, 1, 0}, uint8(model.Bool), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, dtype, columns uint8) {
		want := model.Tensor{DType: model.DType(dtype)}
		k := int(columns)%4 + 1
		switch size := want.DType.Size(); {
		case want.DType == model.String:
			want.Bytes = bytes.SplitAfter(bytes.ToValidUTF8(data, nil), []byte{' '})
			want.Bytes = slices.Concat(want.Bytes, slices.Repeat([][]byte{nil}, k))[:(len(want.Bytes)+k-1)/k*k]
			want.Shape = []int64{int64(len(want.Bytes) / k), int64(k)}
		case size == 0 || len(data) < size*k:
			return
		default:
			want.Data = bytes.Clone(data[:len(data)/(size*k)*size*k])
			want.Shape = []int64{int64(len(data) / (size * k)), int64(k)}
		}
		canonical(model.Tensor{DType: want.DType, Shape: []int64{model.Elements(want.Shape)}, Data: want.Data})
		m, in := answer(false, []model.Tensor{want}, "y")
		reader := newModel(info("y", want.DType, -1, int64(k)))
		for _, accept := range []string{"application/jsonlines", "text/csv;header=present", "text/csv;header=absent", "application/x-npz"} {
			if strings.HasSuffix(accept, "npz") && want.DType == model.String {
				continue
			}
			body, contentType, err := Encode(in, []model.Tensor{want}, m, accept)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(accept, "absent") {
				contentType = accept
			}
			back, err := Decode(t.Context(), body, Source{ContentType: contentType}, reader)
			if err != nil {
				t.Fatalf("%s: %q: %v", accept, body, err)
			}
			if got := back.Tensors[0]; !sameTensor(got, want) {
				t.Errorf("%s: %q: got %v, want %v", accept, body, got, want)
			}
		}
	})
}

func BenchmarkEncodeRows(b *testing.B) {
	m := newModel(info("x", model.Float32, -1))
	in := &Input{Signature: m.Signatures()["serving_default"], Rows: 256}
	scores := make([]float32, 256*10)
	for i := range scores {
		scores[i] = 1 / float32(i+1)
	}
	outputs := []model.Tensor{tensor(scores, 256, 10)}
	for _, accept := range []string{"application/json", "application/jsonlines", "text/csv", "application/x-npz"} {
		b.Run(accept, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				body, _, err := Encode(in, outputs, m, accept)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(body)))
			}
		})
	}
}
