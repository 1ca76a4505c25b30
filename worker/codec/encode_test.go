package codec

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// answer is a model whose signature has outputs of these names, and an input
// that was decoded for it.
func answer(column bool, outputs []model.Tensor, names ...string) (*testModel, *Input) {
	m := &testModel{signatures: map[string]*model.Signature{}}
	infos := make([]model.TensorInfo, len(names))
	for i, name := range names {
		infos[i] = info(name, outputs[i].DType, outputs[i].Shape...)
	}
	m.sign("serving_default", []model.TensorInfo{anyShape("x", model.Float32)}, infos...)
	in := &Input{Signature: m.signatures["serving_default"], Rows: 1, Column: column}
	if len(outputs) > 0 {
		in.Rows = outputs[0].Rows()
	}
	return m, in
}

var digits10 = []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}

func TestResultsAreWrittenAsTensorFlowServingDoes(t *testing.T) {
	scores := tensor([]float32{0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.5, 0.09, 0.13, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, 2, 10)
	nan := float32(math.NaN())
	cases := map[string]struct {
		outputs []model.Tensor
		names   []string
		config  model.Config
		accept  string
	}{
		"scalars":        {outputs: []model.Tensor{tensor([]float32{3.5, 4, 5.5}, 3)}, names: []string{"y"}},
		"matrix":         {outputs: []model.Tensor{tensor([]float64{1, 0.1, 1e-7, 123456789, 1e21, 2.0 / 3}, 2, 3)}, names: []string{"y"}},
		"special":        {outputs: []model.Tensor{tensor([]float32{nan, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.Copysign(0, -1))}, 1, 4)}, names: []string{"y"}},
		"integers":       {outputs: []model.Tensor{tensor([]int64{math.MinInt64, math.MaxInt64, 0}, 3)}, names: []string{"y"}},
		"bytes in name":  {outputs: []model.Tensor{tensor([]string{"image bytes", "\x00\xff"}, 2)}, names: []string{"out_bytes"}},
		"strings":        {outputs: []model.Tensor{tensor([]string{"a\"\\\b\f\n\r\t\x01\x7f/é😀\u2028", "\xff"}, 2)}, names: []string{"y"}},
		"named":          {outputs: []model.Tensor{tensor([]bool{true, false}, 2), tensor([]float32{1, 2, 3, 4}, 2, 1, 2), tensor([]uint8{}, 2, 0)}, names: []string{"flag", "odd \"name\"", "void"}},
		"labels":         {outputs: []model.Tensor{scores}, names: []string{"probabilities"}, config: model.Config{Labels: digits10}},
		"labels, raw":    {outputs: []model.Tensor{scores}, names: []string{"probabilities"}, config: model.Config{Labels: digits10}, accept: "application/json;raw=true"},
		"labels of many": {outputs: []model.Tensor{scores, tensor([]int32{7, 1}, 2)}, names: []string{"probabilities", "winner"}, config: model.Config{Labels: digits10, LabelOutput: "probabilities", TopK: 2}},
		"labels, ties":   {outputs: []model.Tensor{tensor([]float32{nan, 0.5, 0.5, nan}, 1, 4)}, names: []string{"y"}, config: model.Config{Labels: []string{"a", "b", "c", "d"}, TopK: 10}},
		"labels, ints":   {outputs: []model.Tensor{tensor([]int8{-3, -1, -2}, 1, 3)}, names: []string{"y"}, config: model.Config{Labels: []string{"a", "b", "c"}}},
		"labels, uints":  {outputs: []model.Tensor{tensor([]uint16{3, 65535, 2}, 1, 3)}, names: []string{"y"}, config: model.Config{Labels: []string{"a", "b", "c"}}},
		"labels of none": {outputs: []model.Tensor{tensor([]float32{1}, 1), tensor([]float32{2}, 1)}, names: []string{"a", "b"}, config: model.Config{Labels: digits10}},
	}
	var all bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		c := cases[name]
		for _, column := range []bool{false, true} {
			m, in := answer(column, c.outputs, c.names...)
			m.config = c.config
			body, contentType, err := Encode(in, c.outputs, m, c.accept)
			if err != nil || contentType != "application/json" {
				t.Fatalf("%s: %q, %v", name, contentType, err)
			}
			finite := strings.NewReplacer("-Infinity", "0", "Infinity", "0", "NaN", "0").Replace(string(body))
			if !json.Valid([]byte(finite)) {
				t.Errorf("%s: but for NaN and Infinity it is no JSON: %s", name, body)
			}
			fmt.Fprintf(&all, "# %s\n%s\n", name, body)
		}
	}
	golden(t, "results.golden", all.Bytes())
}

func TestColumnsMayDifferInTheirFirstDimension(t *testing.T) {
	outputs := []model.Tensor{tensor([]float32{1}), tensor([]int32{1, 2}, 2), tensor([]float32{}, 0)}
	m, in := answer(true, outputs, "a", "b", "c")
	body, _, err := Encode(in, outputs, m, "")
	if want := `{"outputs":{"a":1.0,"b":[1,2],"c":[]}}` + "\n"; string(body) != want || err != nil {
		t.Errorf("got %s, %v; want %s", body, err, want)
	}
}

func TestOutputsThatAreNotPerRowAreWrittenWhole(t *testing.T) {
	for name, c := range map[string]struct {
		outputs []model.Tensor
		want    string
	}{
		"a single value":  {[]model.Tensor{tensor([]float32{1})}, `{"outputs":1.0}`},
		"one more":        {[]model.Tensor{tensor([]int8{1, 2, 3}, 3)}, `{"outputs":[1,2,3]}`},
		"one of several":  {[]model.Tensor{tensor([]int8{1, 2}, 2), tensor([]int8{1, 2, 3}, 3)}, `{"outputs":{"a":[1,2],"b":[1,2,3]}}`},
		"none":            {[]model.Tensor{tensor([]int8{}, 0)}, `{"outputs":[]}`},
		"as many as rows": {[]model.Tensor{tensor([]int8{1, 2}, 2)}, "{\"predictions\":[1,\n2]}"},
	} {
		m, in := answer(false, c.outputs, []string{"a", "b"}[:len(c.outputs)]...)
		in.Rows = 2
		body, contentType, err := Encode(in, c.outputs, m, "")
		if got := strings.TrimSpace(string(body)); got != c.want || contentType != "application/json" || err != nil {
			t.Errorf("%s: got %s%s, %v; want %s", name, got, contentType, err, c.want)
		}
	}
	labelled := []model.Tensor{tensor([]float32{0.2, 0.8}, 2)}
	m, in := answer(false, labelled, "a")
	in.Rows, m.config.Labels = 1, []string{"no", "yes"}
	body, _, err := Encode(in, labelled, m, "")
	if want := `{"outputs":{"label":"yes","confidence":0.8,"scores":{"yes":0.8,"no":0.2}}}` + "\n"; string(body) != want || err != nil {
		t.Errorf("got %s, %v; want %s", body, err, want)
	}
}

func TestOutputsThatCannotBeWrittenAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		outputs []model.Tensor
		config  model.Config
		column  bool
		says    string
	}{
		"too few":           {outputs: nil, says: "the model gave 0 tensors"},
		"too little data":   {outputs: []model.Tensor{{DType: model.Float32, Shape: []int64{2}, Data: make([]byte, 4)}}, says: `output "a" is a float32 tensor of shape [2] with 1 elements`},
		"too few strings":   {outputs: []model.Tensor{{DType: model.String, Shape: []int64{2}}}, says: "of shape [2] with 0 elements"},
		"negative sizes":    {outputs: []model.Tensor{{DType: model.Float32, Shape: []int64{-1, -1}, Data: make([]byte, 4)}}, says: "of shape [-1 -1]"},
		"unknown type":      {outputs: []model.Tensor{{DType: 19, Shape: []int64{1}, Data: make([]byte, 2)}}, says: "float16"},
		"labels misfit":     {outputs: []model.Tensor{tensor([]float32{1, 2}, 1, 2)}, config: model.Config{Labels: digits10}, says: `penstock.json has 10 labels for output "a", which is float32 of shape [1 2]`},
		"labels of scalars": {outputs: []model.Tensor{tensor(make([]float32, 10), 10)}, config: model.Config{Labels: digits10}, says: "raw=true"},
		"labels of strings": {outputs: []model.Tensor{tensor(digits10, 10)}, column: true, config: model.Config{Labels: digits10}, says: "labels for output"},
	} {
		t.Run(name, func(t *testing.T) {
			m, in := answer(c.column, c.outputs, []string{"a", "b"}[:len(c.outputs)]...)
			m.config = c.config
			_, _, err := Encode(in, c.outputs, m, "")
			checkError(t, err, CodeBadOutput, c.says)
		})
	}
}

func TestFloatsAreWrittenAsTensorFlowServingDoes(t *testing.T) {
	for _, c := range []struct {
		v    float64
		bits int
		want string
	}{
		{0.2, 32, "0.2"},
		{0.2, 64, "0.2"},
		{3, 32, "3.0"},
		{-3, 32, "-3.0"},
		{0, 32, "0.0"},
		{100000, 32, "100000.0"},
		{9000000, 32, "9e+06"},
		{0.00003, 32, "3e-05"},
		{1234567, 32, "1234567.0"},
		{0.123456789, 32, "0.123456791"},
		{1.0 / 3, 32, "0.333333343"},
		{1.0 / 3, 64, "0.33333333333333331"},
		{16777216, 32, "16777216.0"},
		{1e10, 64, "1e+10"},
		{12345678901, 64, "12345678901.0"},
		{math.MaxFloat32, 32, "3.40282347e+38"},
		{math.SmallestNonzeroFloat32, 32, "1.4013e-45"},
		{math.MaxFloat64, 64, "1.7976931348623157e+308"},
		{math.SmallestNonzeroFloat64, 64, "4.94066e-324"},
	} {
		if c.bits == 32 {
			c.v = float64(float32(c.v))
		}
		if got := string(appendFloat(nil, c.v, c.bits)); got != c.want {
			t.Errorf("%v of %d bits is %s, want %s", c.v, c.bits, got, c.want)
		}
	}
}

func TestAcceptChoosesTheForm(t *testing.T) {
	one := []model.Tensor{tensor([]float32{1, 2}, 2)}
	several := []model.Tensor{one[0], one[0]}
	words := []model.Tensor{tensor([]string{"a"}, 1)}
	const asJSON, asLines, asCSV, asNPY, asNPZ, none = "application/json", "application/jsonlines", "text/csv", "application/x-npy", "application/x-npz", ""
	for _, c := range []struct {
		accept  string
		outputs []model.Tensor
		want    string
	}{
		{"", one, asJSON},
		{"  ", one, asJSON},
		{"application/json", one, asJSON},
		{"Application/JSON; charset=utf-8", one, asJSON},
		{"*/*", one, asJSON},
		{"application/*", one, asJSON},
		{"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", one, asJSON},
		{"application/x-npy", one, asNPY},
		{"application/x-npy, application/json", one, asNPY},
		{"application/json, application/x-npy", one, asJSON},
		{"application/json;q=0.5, application/x-npy;q=0.9", one, asNPY},
		{"application/json;q=0, */*", one, asLines},
		{"application/xml, application/json", one, asJSON},
		{"application/xml, */*;q=0.1", one, asJSON},
		{"application/jsonlines", several, asLines},
		{"application/x-ndjson;q=0.9, application/json;q=0.8", one, "application/x-ndjson"},
		{"text/csv", one, asCSV},
		{"text/*", words, asCSV},
		{"application/csv", one, "application/csv"},
		{"text/csv;header=absent", several, asCSV},
		{"text/csv", several, "text/csv; header=present"},
		{"text/csv; Header=Present", one, "text/csv; header=present"},
		{"application/x-npz", several, asNPZ},
		{"application/x-npz", one, asNPZ},
		{"application/x-npy, application/json;q=0.1", several, asJSON},
		{"/, application/json;q=x, application/json", one, asJSON},
		{"text/html", one, none},
		{"image/*", one, none},
		{"application/x-npz", words, none},
		{"text/csv", []model.Tensor{tensor([]string{"\xff"}, 1)}, none},
		{"text/csv", []model.Tensor{tensor([]float32{1}, 1, 1, 1)}, none},
		{"text/csv", []model.Tensor{tensor([]float32{}, 1, 0)}, none},
		{"text/csv", []model.Tensor{tensor([]float32{1})}, none},
		{"application/jsonlines", []model.Tensor{one[0], tensor([]float32{1}, 1)}, none},
		{"*/*;q=0", one, none},
		{"application/json;q=0", one, none},
		{"application/x-npy", several, none},
		{"application/x-npy", []model.Tensor{tensor([]string{"a"}, 1)}, none},
		{",;", one, none},
	} {
		m, in := answer(false, c.outputs, []string{"a", "b"}[:len(c.outputs)]...)
		body, contentType, err := Encode(in, c.outputs, m, c.accept)
		if c.want == none {
			checkError(t, err, CodeNotAcceptable, c.accept, "application/json, application/jsonlines, text/csv, application/x-npy, application/x-npz")
		} else if err != nil || contentType != c.want || bytes.HasPrefix(body, []byte(npyMagic)) != (c.want == asNPY) {
			t.Errorf("Accept %q: %q, %v; want %s", c.accept, contentType, err, c.want)
		}
	}
}

func TestNPYResultsReadBack(t *testing.T) {
	for _, want := range []model.Tensor{
		tensor([]float32{1, 2, 3, 4, 5, 6}, 2, 3), tensor([]float64{1}, 1), tensor([]bool{true}, 1),
		tensor([]int8{-1}, 1), tensor([]int16{-1}, 1), tensor([]int32{-1}, 1), tensor([]int64{-1}, 1),
		tensor([]uint8{1}, 1), tensor([]uint16{1}, 1), tensor([]uint32{1}, 1), tensor([]uint64{1}, 1),
	} {
		m, in := answer(false, []model.Tensor{want}, "y")
		body, _, err := Encode(in, []model.Tensor{want}, m, "application/x-npy")
		if err != nil {
			t.Fatal(err)
		}
		if offset := len(body) - len(want.Data); offset%64 != 0 || body[offset-1] != '\n' {
			t.Errorf("data begins at byte %d", offset)
		}
		back, err := Decode(t.Context(), body, Source{}, newModel(anyShape("x", want.DType)))
		checkTensors(t, back, err, want)
	}
	m, in := answer(true, []model.Tensor{tensor([]float32{1})}, "y")
	body, _, err := Encode(in, []model.Tensor{tensor([]float32{1})}, m, "application/x-npy")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "scalar.npy", body)
}
