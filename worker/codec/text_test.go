package codec

import (
	"image"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// stringModels take strings, one a row, with the shape of one row as a tensor.
func stringModels() map[string]struct {
	model *testModel
	shape []int64
} {
	scalar := &testModel{signatures: map[string]*model.Signature{}}
	scalar.sign("serving_default", []model.TensorInfo{info("x", model.String)}, info("y", model.Float32))
	fixed := &testModel{signatures: map[string]*model.Signature{}}
	fixed.sign("serving_default", []model.TensorInfo{info("x", model.String, 8)}, info("y", model.Float32, 8, 3))
	return map[string]struct {
		model *testModel
		shape []int64
	}{
		"list":         {newModel(info("x", model.String, -1)), []int64{1}},
		"column":       {newModel(info("x", model.String, -1, 1)), []int64{1, 1}},
		"unknown rank": {text, []int64{1}},
		"fixed batch":  {fixed, []int64{1}},
		"single value": {scalar, []int64{}},
	}
}

func TestATextIsOneString(t *testing.T) {
	for name, c := range stringModels() {
		for body, want := range map[string]string{
			"Grüße,\n\"all\"\n":  "Grüße,\n\"all\"\n",
			"\ufeffmarked":       "marked",
			`{"looks": "JSON"}`:  `{"looks": "JSON"}`,
			"\ufffd is no error": "\ufffd is no error",
		} {
			in, err := decodeAs(t, c.model, "text/plain; charset=utf-8", body)
			checkTensors(t, in, err, tensor([]string{want}, c.shape...))
			if in.Rows != 1 {
				t.Errorf("%s: %d rows", name, in.Rows)
			}
		}
	}
}

func TestContentWithoutADecoderIsAStringIfTheModelTakesThat(t *testing.T) {
	picture := string(pngOf(t, image.NewGray(image.Rect(0, 0, 2, 2))))
	for name, c := range stringModels() {
		for _, s := range []struct {
			src  Source
			body string
		}{
			{Source{}, picture},
			{Source{ContentType: "image/png"}, picture},
			{Source{Name: "in/a.png"}, picture},
			{Source{ContentType: "image/webp"}, "RIFF\x00\xff"},
			{Source{ContentType: "application/pdf"}, "%PDF"},
			{Source{ContentType: "binary/octet-stream", Name: "a.bin"}, "\x00\xff"},
			{Source{ContentType: "application/vnd.ms-excel"}, zipMagic},
		} {
			in, err := Decode(t.Context(), []byte(s.body), s.src, c.model)
			if err != nil {
				t.Errorf("%s, %+v: %v", name, s.src, err)
				continue
			}
			checkTensors(t, in, err, tensor([]string{s.body}, c.shape...))
		}
	}
	// What has a decoder is not taken as it is.
	in, err := Decode(t.Context(), []byte(`{"instances": ["a", "b"]}`), Source{}, text)
	checkTensors(t, in, err, tensor([]string{"a", "b"}, 2))
}

func TestAnImageIsAStringOfTheSignatureThatTakesStrings(t *testing.T) {
	m := newModel(info("pixels", model.Float32, -1, 2, 2, 3))
	m.sign("encoded", []model.TensorInfo{info("x", model.String, -1)}, info("y", model.Float32, -1))
	m.config.Image = &model.ImageSpec{}
	m.decodeImage = zeros(new(model.ImageSpec))
	body := pngOf(t, image.NewGray(image.Rect(0, 0, 2, 2)))
	in, err := Decode(t.Context(), body, Source{Signature: "encoded"}, m)
	checkTensors(t, in, err, tensor([]string{string(body)}, 1))
	in, err = Decode(t.Context(), body, Source{}, m)
	checkTensors(t, in, err, tensor(make([]float32, 12), 1, 2, 2, 3))
}

func TestPlainTextIsWhatItsExtensionSays(t *testing.T) {
	m := newModel(info("x", model.Float32, -1))
	for name, body := range map[string]string{"a.csv": "1\n2\n", "a.jsonl": "1\n2\n", "a.json": `{"instances": [1, 2]}`} {
		in, err := Decode(t.Context(), []byte(body), Source{ContentType: "text/plain", Name: name}, m)
		checkTensors(t, in, err, tensor([]float32{1, 2}, 2))
	}
	in, err := Decode(t.Context(), []byte("1\n"), Source{Name: "a.TXT"}, text)
	checkTensors(t, in, err, tensor([]string{"1\n"}, 1))
}

func TestTextThatNoModelTakesIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		model *testModel
		body  string
		code  string
		says  []string
	}{
		"numbers":    {floats, "1", CodeUnsupportedType, []string{"a text can't become the input x float32[...]", "JSON lines or CSV"}},
		"lists":      {newModel(info("x", model.String, -1, 2)), "a", CodeUnsupportedType, []string{"one a row"}},
		"open lists": {newModel(info("x", model.String, -1, -1)), "a", CodeUnsupportedType, []string{"one a row"}},
		"several":    {both, "a", CodeInvalidShape, []string{"takes 2 inputs: a,b"}},
		"not UTF-8":  {text, "Gr\xfc\xdfe", CodeMalformed, []string{"not valid UTF-8 at byte 2"}},
		"UTF-16":     {text, "\xfe\xff\x00a", CodeMalformed, []string{"UTF-16"}},
		"binary":     {text, npyMagic, CodeMalformed, []string{"begins like NPY"}},
		"signature":  {newModel(), "a", CodeUnknownSignature, []string{"takes no inputs"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeAs(t, c.model, "text/plain", c.body)
			checkError(t, err, c.code, c.says...)
		})
	}
	unbatched := &testModel{signatures: map[string]*model.Signature{}}
	unbatched.sign("serving_default", []model.TensorInfo{info("x", model.String, 2)}, info("y", model.Float32))
	_, err := decodeAs(t, unbatched, "application/pdf", "%PDF")
	checkError(t, err, CodeUnsupportedType, `"application/pdf"`)
}

// FuzzDecode gives any content of any type to models of any kind.
func FuzzDecode(f *testing.F) {
	for _, format := range formats {
		f.Add([]byte("1,2\n"), format.mediaTypes[0], "", uint8(0))
	}
	f.Add([]byte{0, 0, 128, 63}, "application/x-tensor-bytes;dtype=float32;shape=1x1", "a", uint8(1))
	f.Add([]byte("a"), "text/plain", "a.csv", uint8(2))
	f.Add([]byte("\xff\xd8\xff"), "", "a.jpg", uint8(3))
	models := []*testModel{floats, text, both, sensors, newModel(info("x", model.Float32, -1, -1)), newModel(info("x", model.Bool, -1)), newModel(info("x", model.String))}
	f.Fuzz(func(t *testing.T, body []byte, contentType, name string, which uint8) {
		m := models[int(which)%len(models)]
		if len(contentType)+len(name) > 1000 {
			return
		}
		in, err := checkProportionAs(t, body, Source{ContentType: contentType, Name: name, MaxBytes: 1 << 10}, m)
		if err != nil {
			return
		}
		sig := &model.Signature{Outputs: in.Signature.Inputs}
		if err := checkOutputs(sig, in.Tensors); err != nil || len(body) == 0 || strings.HasPrefix(contentType, "text/") && in.Rows < 1 {
			t.Errorf("%d rows: %v", in.Rows, err)
		}
	})
}
