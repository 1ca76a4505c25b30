package codec

import (
	"archive/zip"
	"bytes"
	"image"
	"image/png"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// Every kind of input that vouches for floats, by the format's name.
func oneOfEach(t *testing.T) map[string][]byte {
	t.Helper()
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 2, 2))); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"JSON":         []byte(` {"instances": [[[[1], [2]], [[3], [4]]]]}`),
		"JSON lines":   []byte(`{"x": [[[1], [2]], [[3], [4]]]}`),
		"CSV":          []byte("1,2,3,4\n"),
		"NPY":          npy("<f4", false, "(1, 2, 2, 1)", appendFloats(1, 2, 3, 4)),
		"NPZ":          npz(t, zip.Deflate, "x.npy", string(npy("<f4", false, "(1, 2, 2, 1)", appendFloats(1, 2, 3, 4)))),
		"TFRecord":     tfrecord(example("x", floatFeature(1, 2, 3, 4))),
		"image":        picture.Bytes(),
		"tensor bytes": appendFloats(1, 2, 3, 4),
	}
}

func appendFloats(v ...float32) []byte { return tensor(v).Data }

func TestFormatFollowsFromTypeThenNameThenContent(t *testing.T) {
	bodies := oneOfEach(t)
	for _, c := range []struct{ contentType, name, content string }{
		{"application/json", "", "JSON"},
		{"Application/JSON; charset=utf-8", "in/a.npy", "JSON"},
		{"application/json; charset=", "", "JSON"},
		{"text/json", "", "JSON"},
		{"application/x-npy", "a.json", "NPY"},
		{"image/png", "", "image"},
		{"image/jpeg", "", "image"}, // a PNG none the less: images are told apart by content
		{"", "a/b.json", "JSON"},
		{"binary/octet-stream", "a/b.JSON", "JSON"},
		{"application/octet-stream", "a/b.npy", "NPY"},
		{"", "a/b.PNG", "image"},
		{"", "", "JSON"},
		{"application/x-www-form-urlencoded", "", "JSON"},
		{"binary/octet-stream", "upload.bin", "NPY"},
		{"application/octet-stream", "upload", "image"},
		{"application/jsonlines", "", "JSON lines"},
		{"application/x-ndjson", "a.json", "JSON lines"},
		{"", "a/b.jsonl", "JSON lines"},
		{"binary/octet-stream", "a/b.ndjson", "JSON lines"},
		{"text/csv; charset=utf-8; header=absent", "", "CSV"},
		{"application/csv", "a.json", "CSV"},
		{"", "a/b.CSV", "CSV"},
		{"application/x-npz", "a.npy", "NPZ"},
		{"", "a/b.npz", "NPZ"},
		{"", "", "NPZ"},
		{"application/x-tfrecord", "a.npy", "TFRecord"},
		{"", "a/b.tfrecord", "TFRecord"},
		{"", "train.tfrecord-00000-of-00010", "TFRecord"},
		{"", "requests/0b2f.xyz", "JSON"}, // no format of that extension: the content decides
	} {
		f, err := formatOf(bodies[c.content], Source{ContentType: c.contentType, Name: c.name})
		if err != nil || f.name != c.content {
			t.Errorf("%s as %q, %q: got %+v, %v", c.content, c.contentType, c.name, f, err)
		}
	}
}

func TestEveryFormatDecodes(t *testing.T) {
	want := tensor([]float32{1, 2, 3, 4}, 1, 2, 2, 1)
	m := newModel(info("x", model.Float32, -1, 2, 2, 1))
	m.config.Image = &model.ImageSpec{}
	m.decodeImage = func([]byte, model.ImageSpec, model.DType) (model.Tensor, error) { return want, nil }
	bodies := oneOfEach(t)
	for _, f := range formats {
		name, body := f.name, bodies[f.name]
		if name == "text" {
			continue // for models of strings: TestATextIsOneString
		}
		in, err := Decode(t.Context(), body, Source{ContentType: f.mediaTypes[0]}, m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkTensors(t, in, err, want)
	}
}

func TestWrongFormatIsNamed(t *testing.T) {
	bodies := oneOfEach(t)
	for _, c := range []struct {
		source Source
		body   []byte
		code   string
		says   []string
	}{
		{Source{ContentType: "text/html"}, []byte("1,2"), CodeUnsupportedType, []string{`"text/html"`, "application/json", "application/x-npy", "image/png", "image/jpeg"}},
		{Source{ContentType: "image/webp"}, []byte("RIFF"), CodeUnsupportedType, []string{`"image/webp"`}},
		{Source{ContentType: "application/json"}, bodies["NPY"], CodeMalformed, []string{`content type "application/json" says JSON, but the content begins like NPY`, "application/x-npy"}},
		{Source{Name: "a.npy"}, bodies["JSON"], CodeMalformed, []string{`extension of "a.npy" says NPY, but the content begins like JSON`}},
		{Source{ContentType: "image/png"}, bodies["JSON"], CodeMalformed, []string{"begins like JSON"}},
		{Source{ContentType: "text/plain", Name: "a.csv"}, bodies["image"], CodeMalformed, []string{`extension of "a.csv" says CSV, but the content begins like image`}},
		{Source{ContentType: "image/png"}, []byte("no image"), CodeMalformed, []string{"neither PNG nor JPEG"}},
		{Source{ContentType: "image/png"}, []byte("GIF89a"), CodeUnsupportedType, []string{"the form of GIF", "convert it to PNG or JPEG"}},
		{Source{Name: "a.jpg"}, []byte("RIFF\x24\x00\x00\x00WEBPVP8 "), CodeUnsupportedType, []string{"the form of WebP"}},
		{Source{Name: "a.bin"}, []byte("\x7fELF..."), CodeUnsupportedType, []string{`key "a.bin"`, `"\x7fELF..."`, "application/json"}},
		{Source{ContentType: "application/json"}, nil, CodeEmpty, []string{"no bytes"}},
	} {
		m := newModel(info("x", model.Float32, -1, 2, 2, 1))
		m.config.Image = &model.ImageSpec{}
		_, err := Decode(t.Context(), c.body, c.source, m)
		checkError(t, err, c.code, c.says...)
	}
}

func TestOneTensorFormatsNeedOneInput(t *testing.T) {
	m := newModel(info("a", model.Float32, -1), info("b", model.Float32, -1))
	m.config.Image = &model.ImageSpec{}
	bodies := oneOfEach(t)
	for _, name := range []string{"NPY", "image"} {
		_, err := Decode(t.Context(), bodies[name], Source{}, m)
		checkError(t, err, CodeInvalidShape, "takes 2 inputs: a,b", "send JSON")
		_, err = Decode(t.Context(), bodies[name], Source{Signature: "none"}, m)
		checkError(t, err, CodeUnknownSignature, `no signature "none"`)
	}
}

// An image that is not decoded is named, and the person told what to make of it.
func TestOtherImagesAreNamed(t *testing.T) {
	for body, want := range map[string]string{
		"GIF89a\x01\x00":                     "GIF",
		"RIFF\x24\x00\x00\x00WEBPVP8 ":       "WebP",
		"BM\x36\x00\x00\x00\x00\x00\x00\x00": "BMP",
		"II*\x00\x08\x00\x00\x00":            "TIFF",
		"\x00\x00\x00\x18ftypheic":           "HEIF",
	} {
		_, err := Decode(t.Context(), []byte(body), Source{Name: "in/x.bin"}, floats)
		checkError(t, err, CodeUnsupportedType, "the form of "+want, "convert it to PNG or JPEG")
	}
	_, err := Decode(t.Context(), []byte("GIF89a"), Source{ContentType: "image/gif"}, floats)
	checkError(t, err, CodeUnsupportedType, `"image/gif" is not one`, "convert it to PNG or JPEG")
}
