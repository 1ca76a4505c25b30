package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// both has two inputs, a and b, of one int32 a row.
var both = newModel(info("a", model.Int32, -1), info("b", model.Int32, -1))

// decodeAs decodes body as that content type.
func decodeAs(t testing.TB, m model.Model, contentType, body string) (*Input, error) {
	t.Helper()
	return Decode(t.Context(), []byte(body), Source{ContentType: contentType}, m)
}

func TestEachJSONLineIsAnInstance(t *testing.T) {
	matrix := newModel(info("x", model.Float32, -1, 2))
	named := newModel(info("instances", model.Int32, -1))
	for name, c := range map[string]struct {
		model *testModel
		body  string
		want  []model.Tensor
	}{
		"values":               {floats, "1\n2.5\n-3e2\n", []model.Tensor{tensor([]float32{1, 2.5, -300}, 3)}},
		"lists":                {matrix, "[1, 2]\n[3, 4]\n", []model.Tensor{tensor([]float32{1, 2, 3, 4}, 2, 2)}},
		"objects of one input": {matrix, `{"x": [1, 2]}` + "\n" + `{"x": [3, 4]}`, []model.Tensor{tensor([]float32{1, 2, 3, 4}, 2, 2)}},
		"strings":              {text, `"a\nb"` + "\n" + `{"b64": "/w=="}` + "\n", []model.Tensor{tensor([]string{"a\nb", "\xff"}, 2)}},
		"no line end":          {floats, "1\n2", []model.Tensor{tensor([]float32{1, 2}, 2)}},
		"CRLF":                 {floats, "1\r\n2\r\n", []model.Tensor{tensor([]float32{1, 2}, 2)}},
		"blank lines":          {floats, "\n1\n\n \t\r\n2\n\n", []model.Tensor{tensor([]float32{1, 2}, 2)}},
		"byte order mark":      {floats, "\ufeff1\n2\n", []model.Tensor{tensor([]float32{1, 2}, 2)}},
		"one line":             {floats, "7", []model.Tensor{tensor([]float32{7}, 1)}},
		"several inputs": {both, `{"a": 1, "b": 2}` + "\n" + ` {"b": 4, "a": 3} `, []model.Tensor{
			tensor([]int32{1, 3}, 2), tensor([]int32{2, 4}, 2),
		}},
		"an input called instances": {named, `{"instances": 7}` + "\n" + `{"instances": 8}`, []model.Tensor{tensor([]int32{7, 8}, 2)}},
		"a whole request":           {matrix, `{"instances": [[1, 2], [3, 4]]}` + "\n", []model.Tensor{tensor([]float32{1, 2, 3, 4}, 2, 2)}},
		"a request over lines":      {matrix, "{\n \"instances\": [\n[1, 2],\n[3, 4]\n]}\n", []model.Tensor{tensor([]float32{1, 2, 3, 4}, 2, 2)}},
		"a request by columns":      {matrix, `{"signature_name": "serving_default", "inputs": [[1, 2]]}`, []model.Tensor{tensor([]float32{1, 2}, 1, 2)}},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := decodeAs(t, c.model, "application/jsonlines", c.body)
			checkTensors(t, in, err, c.want...)
			if in.Rows != c.want[0].Shape[0] {
				t.Errorf("%d rows, want %d", in.Rows, c.want[0].Shape[0])
			}
		})
	}
}

func TestBadJSONLinesAreRefusedByTheirNumber(t *testing.T) {
	for name, c := range map[string]struct {
		model *testModel
		body  string
		code  string
		says  []string
	}{
		"a string":          {floats, "1\n\n\"2\"\n", CodeInvalidDType, []string{`line 3 is a string ("2"), but input "x" takes float32`}},
		"deep":              {newModel(info("x", model.Int8, -1, 2)), "[1, 2]\n{\"x\": [1, 2]}", CodeInvalidShape, []string{"line 2 is an object, but the instances before it are plain"}},
		"in an object":      {newModel(info("x", model.Int8, -1, 2)), "{\"x\": [1, 300]}", CodeInvalidDType, []string{`line 1: x[1] is 300, which input "x" of type int8 can't hold`}},
		"ragged":            {newModel(info("x", model.Float32, -1, -1)), "[1, 2]\n[3]", CodeInvalidShape, []string{"line 2 has 1 elements, but the lists before it have 2"}},
		"another key":       {both, `{"a": 1, "b": 2, "c": 3}`, CodeInvalidShape, []string{"line 1: c is no input of the model", "a,b"}},
		"a missing key":     {both, `{"a": 1, "b": 2}` + "\n" + `{"a": 1}`, CodeInvalidShape, []string{`line 2 lacks input "b"`}},
		"no object":         {both, "[1, 2]", CodeInvalidShape, []string{"line 1 is a list, but an object is expected"}},
		"two on a line":     {floats, "1\n2 3\n", CodeMalformed, []string{"line 2: broken JSON at byte 2: expected the end of the line, not '3'", "one line of its own"}},
		"pretty-printed":    {both, "{\n  \"a\": 1,\n  \"b\": 2\n}\n", CodeMalformed, []string{"line 1: the JSON ends too early, at byte 1", "write each instance on one line"}},
		"commas":            {floats, "1,\n2\n", CodeMalformed, []string{"line 1: broken JSON at byte 1: expected the end of the line, not ','"}},
		"requests":          {floats, `{"instances": [1]}` + "\n" + `{"instances": [2]}`, CodeMalformed, []string{"there is more behind the JSON object"}},
		"a request in line": {newModel(info("x", model.Float32, -1)), "{\"x\": 1}\n" + `{"instances": [2]}`, CodeInvalidShape, []string{"line 2: instances is no input of the model"}},
		"zero byte":         {floats, "1\n\x00\n", CodeMalformed, []string{"line 2: broken JSON at byte 0"}},
		"blank":             {floats, "\n \n", CodeEmpty, []string{"blank lines only"}},
		"UTF-16":            {floats, "\xff\xfe1\x00", CodeMalformed, []string{"UTF-16"}},
		"another shape":     {newModel(info("x", model.Float32, -1, 3)), "[1, 2]\n", CodeInvalidShape, []string{"[1 2]", "[-1 3]"}},
		"binary":            {floats, npyMagic + "\x01\x00", CodeMalformed, []string{"begins like NPY"}},
		"signature":         {newModel(), "1", CodeUnknownSignature, []string{"takes no inputs"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeAs(t, c.model, "application/x-ndjson", c.body)
			checkError(t, err, c.code, c.says...)
		})
	}
}

func TestJSONLinesWithoutATypeAreAdvisedToHaveOne(t *testing.T) {
	_, err := decode(t, floats, "{\"x\": 1}\n{\"x\": 2}\n")
	checkError(t, err, CodeMalformed, "more behind the JSON object", "application/jsonlines")
}

// FuzzDecodeJSONLines takes the lines that a request takes as its instances,
// and makes the same tensors of them.
func FuzzDecodeJSONLines(f *testing.F) {
	models := []*testModel{floats, text, both, sensors}
	for _, body := range []string{"1\n2", "[1]\r\n\n[2.5e3]", `{"a": 1, "b": 2}`, `"a"`, "{\"b64\": \"YQ==\"}\n\"b\"\n", "[[]]\n[[]]", `{"instances": [1]}`} {
		for which := range models {
			f.Add([]byte(body), uint8(which))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, which uint8) {
		m := models[int(which)%len(models)]
		src := Source{ContentType: "application/jsonlines"}
		got, err := checkProportionAs(t, body, src, m)
		if beginsRequest(bytes.TrimPrefix(body, []byte(utf8BOM)), m.signatures["serving_default"]) {
			return
		}
		var lines [][]byte
		for line := range bytes.Lines(bytes.TrimPrefix(body, []byte(utf8BOM))) {
			if line = bytes.Trim(line, " \t\r\n"); len(line) > 0 {
				lines = append(lines, line)
			}
		}
		want, wantErr := decode(t, m, fmt.Sprintf(`{"instances": [%s]}`, bytes.Join(lines, []byte(","))))
		if (err == nil) != (wantErr == nil) {
			// What is broken by line may be whole with its neighbour.
			for _, line := range lines {
				if err != nil && !json.Valid(line) {
					return
				}
			}
			if looks := sniffed(body); err != nil && looks != nil && !looks.text {
				return
			}
			t.Fatalf("lines: %v; as instances: %v", err, wantErr)
		}
		if err != nil {
			return
		}
		checkTensors(t, got, nil, want.Tensors...)
	})
}
