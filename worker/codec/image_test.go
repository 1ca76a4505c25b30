package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

func pngOf(t *testing.T, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func jpegOf(t *testing.T, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// jpegHeader is a JPEG up to its data: of a marker that tells baseline (0xc0)
// from progressive (0xc2), and a number of channels.
func jpegHeader(marker, channels byte, width, height uint16) []byte {
	b := []byte{0xff, 0xd8, 0xff, marker, 0, 8 + 3*channels, 8}
	b = binary.BigEndian.AppendUint16(b, height)
	b = binary.BigEndian.AppendUint16(b, width)
	b = append(b, channels)
	for c := range channels {
		b = append(b, c+1, 0x11, 0)
	}
	return append(b, 0xff, 0xda, 0, 2)
}

// jpegOfScans is a progressive JPEG of that many scans, with what stands between
// scans and is none of them.
func jpegOfScans(n int) []byte {
	b := jpegHeader(0xc2, 3, 28, 28)
	thumbnail := "\xff\xe1\x00\x06\xff\xda\x00\x02"
	for range n - 1 {
		b = append(b, thumbnail+"\xff\xff\xda\x00\x02pixels\xff\x00\xda\xff\xd7\xff\x01"...)
	}
	return append(b, strings.Repeat("\xff\xd9\xff\xda\x00\x02", maxScans)...) // what follows the end is nothing
}

// zeros is a DecodeImage that gives an image of zeros, and keeps the spec.
func zeros(spec *model.ImageSpec) func([]byte, model.ImageSpec, model.DType) (model.Tensor, error) {
	return func(_ []byte, s model.ImageSpec, dtype model.DType) (model.Tensor, error) {
		*spec = s
		shape := s.Shape()
		return model.Tensor{DType: dtype, Shape: shape, Data: make([]byte, model.Elements(shape)*int64(dtype.Size()))}, nil
	}
}

func TestImagesOfEveryKindReachTheModel(t *testing.T) {
	size := image.Rect(0, 0, 5, 4)
	for name, body := range map[string][]byte{
		"PNG, grey":             pngOf(t, image.NewGray(size)),
		"PNG, 16 bit":           pngOf(t, image.NewRGBA64(size)),
		"PNG, palette":          pngOf(t, image.NewPaletted(size, color.Palette{color.Black, color.White})),
		"PNG, transparent":      pngOf(t, image.NewNRGBA(size)),
		"JPEG":                  jpegOf(t, image.NewRGBA(size)),
		"JPEG, grey":            jpegOf(t, image.NewGray(size)),
		"JPEG, progressive":     jpegHeader(0xc2, 3, 5, 4),
		"JPEG, CMYK":            jpegHeader(0xc0, 4, 5, 4),
		"JPEG, CMYK in reverse": jpegHeader(0xc2, 4, 5, 4),
	} {
		t.Run(name, func(t *testing.T) {
			m := newModel(info("x", model.Float32, -1, 28, 28, 3))
			m.config.Image = &model.ImageSpec{Scale: 2, Invert: true}
			var spec model.ImageSpec
			m.decodeImage = zeros(&spec)
			in, err := Decode(t.Context(), body, Source{}, m)
			checkTensors(t, in, err, tensor(make([]float32, 28*28*3), 1, 28, 28, 3))
			if in.Rows != 1 || in.Column {
				t.Errorf("%d rows, column %v", in.Rows, in.Column)
			}
			if spec.Height != 28 || spec.Width != 28 || spec.Channels != 3 || spec.Scale != 2 || !spec.Invert {
				t.Errorf("the model was given %+v", spec)
			}
		})
	}
}

func TestImageSizeIsTheSpecsElseTheSignaturesElseTheImages(t *testing.T) {
	for name, c := range map[string]struct {
		input model.TensorInfo
		spec  model.ImageSpec
		shape []int64
	}{
		"the spec's":        {info("x", model.Uint8, -1, -1, -1, -1), model.ImageSpec{Height: 7, Width: 8, Channels: 4}, []int64{1, 7, 8, 4}},
		"the signature's":   {info("x", model.Uint8, -1, 9, 10, 1), model.ImageSpec{Input: "x"}, []int64{1, 9, 10, 1}},
		"the image's":       {info("x", model.Uint8, -1, -1, -1, 3), model.ImageSpec{}, []int64{1, 4, 5, 3}},
		"unknown rank":      {anyShape("x", model.Uint8), model.ImageSpec{Height: 2}, []int64{1, 2, 5, 3}},
		"grey, no channels": {info("x", model.Uint8, -1, 9, 10), model.ImageSpec{}, []int64{1, 9, 10}},
		"channels first":    {info("x", model.Uint8, -1, 3, 9, -1), model.ImageSpec{Layout: model.ChannelsFirst}, []int64{1, 3, 9, 5}},
		"fixed batch":       {info("x", model.Uint8, 8, 9, 10, 3), model.ImageSpec{}, []int64{1, 9, 10, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			m := &testModel{config: model.Config{Image: &c.spec}, decodeImage: zeros(new(model.ImageSpec)), signatures: map[string]*model.Signature{}}
			output := info("y", model.Float32, -1)
			if !c.input.UnknownRank {
				output.Shape[0] = c.input.Shape[0]
			}
			m.sign("serving_default", []model.TensorInfo{c.input}, output)
			in, err := Decode(t.Context(), pngOf(t, image.NewGray(image.Rect(0, 0, 5, 4))), Source{}, m)
			if err != nil || !slices.Equal(in.Tensors[0].Shape, c.shape) {
				t.Errorf("got %+v, %v; want shape %v", in, err, c.shape)
			}
		})
	}
}

func TestBadImagesAreRefusedBeforeDecoding(t *testing.T) {
	good := pngOf(t, image.NewGray(image.Rect(0, 0, 5, 4)))
	photo := info("x", model.Float32, -1, 28, 28, 3)
	some := &model.ImageSpec{}
	large := slices.Clone(good)
	binary.BigEndian.PutUint32(large[16:], 40_000)
	binary.BigEndian.PutUint32(large[20:], 40_000)
	binary.BigEndian.PutUint32(large[29:], 0xffffffff)
	twelveBits := jpegHeader(0xc1, 3, 5, 4)
	twelveBits[6] = 12
	long := jpegHeader(0xc0, 3, 65000, 1)
	for name, c := range map[string]struct {
		body  []byte
		spec  *model.ImageSpec
		input model.TensorInfo
		code  string
		says  string
	}{
		"no spec":           {good, nil, photo, CodeUnsupportedType, "penstock.json"},
		"other input":       {good, &model.ImageSpec{Input: "z"}, photo, CodeUnsupportedType, `names input "z" for images, but the signature takes "x"`},
		"no image input":    {good, some, info("x", model.Float32, -1, 10), CodeUnsupportedType, "has to be numbers of shape [-1 height width channels]"},
		"strings":           {good, some, info("x", model.String, -1, 2, 2, 3), CodeUnsupportedType, "has to be numbers"},
		"another size":      {good, &model.ImageSpec{Height: 5}, photo, CodeInvalidShape, "makes an image a row of shape [5 28 3]"},
		"channels for none": {good, &model.ImageSpec{Channels: 3}, info("x", model.Float32, -1, 28, 28), CodeInvalidShape, "row of shape [28 28 3]"},
		"magic alone":       {good[:8], some, photo, CodeMalformed, "damaged image: no good PNG header"},
		"cut header":        {good[:20], some, photo, CodeMalformed, "damaged image"},
		"broken header":     {large, some, photo, CodeMalformed, "checksum"},
		"JPEG magic alone":  {[]byte("\xff\xd8\xff"), some, photo, CodeMalformed, "no good JPEG header"},
		"JPEG of no size":   {jpegHeader(0xc0, 3, 0, 0), some, photo, CodeMalformed, "0 x 0 pixels"},
		"JPEG of 2 colours": {jpegHeader(0xc0, 2, 5, 4), some, photo, CodeUnsupportedType, "this kind of JPEG"},
		"CMYK for grey":     {jpegHeader(0xc0, 4, 28, 28), some, info("x", model.Float32, -1, 28, 28, 1), CodeUnsupportedType, "CMYK, which can't become grey"},
		"12-bit JPEG":       {twelveBits, some, photo, CodeUnsupportedType, "this kind of JPEG: unsupported precision"},
		"too narrow":        {long, &model.ImageSpec{Crop: model.CenterCrop, ResizeShorter: 256}, photo, CodeInvalidShape, "65000 x 1 pixels are too long and narrow"},
		"other layout":      {good, &model.ImageSpec{Layout: model.ChannelsFirst, Channels: 3, Height: 28}, photo, CodeInvalidShape, "row of shape [3 28 3]"},
		"JPEG bomb":         {jpegHeader(0xc0, 3, 65535, 65535), some, photo, CodeTooLarge, "65535 x 65535 pixels; the limit is 50000000"},
		"JPEG of scans":     {jpegOfScans(maxScans + 1), some, photo, CodeTooLarge, "has 501 scans; the limit is 500"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newModel(c.input)
			m.config.Image = c.spec
			_, err := Decode(t.Context(), c.body, Source{}, m)
			checkError(t, err, c.code, c.says)
		})
	}
}

func TestMaxPixelsIsTheLimit(t *testing.T) {
	m := newModel(info("x", model.Float32, -1, 28, 28, 3))
	m.config.Image = &model.ImageSpec{}
	m.decodeImage = zeros(new(model.ImageSpec))
	body := pngOf(t, image.NewGray(image.Rect(0, 0, 5, 4)))
	if _, err := Decode(t.Context(), body, Source{MaxPixels: 20}, m); err != nil {
		t.Errorf("20 pixels of 20: %v", err)
	}
	_, err := Decode(t.Context(), body, Source{MaxPixels: 19}, m)
	checkError(t, err, CodeTooLarge, "5 x 4 pixels; the limit is 19")
}

func TestAProgressiveImageMayHaveManyScans(t *testing.T) {
	m := newModel(info("x", model.Float32, -1, 28, 28, 3))
	m.config.Image = &model.ImageSpec{}
	m.decodeImage = zeros(new(model.ImageSpec))
	if _, err := Decode(t.Context(), jpegOfScans(maxScans), Source{}, m); err != nil {
		t.Error(err)
	}
}

func TestDamagedPixelsAreTheInputsFaultAndOthersTheModels(t *testing.T) {
	m := newModel(info("x", model.Float32, -1, 28, 28, 3))
	m.config.Image = &model.ImageSpec{}
	body := pngOf(t, image.NewGray(image.Rect(0, 0, 5, 4)))
	fail := func(err error) error {
		m.decodeImage = func([]byte, model.ImageSpec, model.DType) (model.Tensor, error) { return model.Tensor{}, err }
		_, err = Decode(t.Context(), body, Source{}, m)
		return err
	}
	err := fail(&model.Error{Code: "INVALID_ARGUMENT", Message: "invalid PNG data", Permanent: true})
	checkError(t, err, CodeMalformed, "damaged image: invalid PNG data")

	exhausted := &model.Error{Code: "RESOURCE_EXHAUSTED", Message: "out of memory"}
	if err := fail(exhausted); !errors.Is(err, exhausted) {
		t.Errorf("got %v, want %v in it", err, exhausted)
	}
}

// rotated is a JPEG with the orientation in its EXIF data.
func rotated(t *testing.T, m image.Image, orientation byte) []byte {
	t.Helper()
	exif := append([]byte("\xff\xe1\x00\x22Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00"), orientation, 0, 0, 0, 0, 0, 0)
	return slices.Insert(jpegOf(t, m), 2, exif...)
}

func TestAnImageThatStandsOnItsSideIsMeasuredUpright(t *testing.T) {
	body := rotated(t, image.NewGray(image.Rect(0, 0, 5, 4)), 6)
	for name, c := range map[string]struct {
		spec  model.ImageSpec
		shape []int64
	}{
		"by default": {model.ImageSpec{}, []int64{1, 5, 4, 3}},
		"ignored":    {model.ImageSpec{EXIFOrientation: new(false)}, []int64{1, 4, 5, 3}},
	} {
		m := newModel(info("x", model.Uint8, -1, -1, -1, 3))
		m.config.Image, m.decodeImage = &c.spec, zeros(new(model.ImageSpec))
		in, err := Decode(t.Context(), body, Source{}, m)
		if err != nil || !slices.Equal(in.Tensors[0].Shape, c.shape) {
			t.Errorf("%s: got %+v, %v; want shape %v", name, in, err, c.shape)
		}
	}
}
