//go:build cgo

package tf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	stdjpeg "image/jpeg"
	stdpng "image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

func readFile(t testing.TB, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encodePNG(t *testing.T, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := stdpng.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestImagesAreResizedAsPythonResizesThem(t *testing.T) {
	t.Parallel()
	var golden []struct {
		Image         string
		Height, Width int64
		Mean          float64
		Corner        [][][]float32
	}
	if err := json.Unmarshal(readFile(t, "testdata", "resized.json"), &golden); err != nil {
		t.Fatal(err)
	}
	m := open(t, testModel("halfplustwo"))
	for _, g := range golden {
		spec := model.ImageSpec{Height: g.Height, Width: g.Width, Channels: 3, Scale: 1}
		row, err := m.DecodeImage(t.Context(), readFile(t, "testdata", g.Image), spec, model.Float32)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(row.Shape, []int64{1, g.Height, g.Width, 3}) {
			t.Fatalf("%s became %v", g.Image, row.Shape)
		}
		got, sum := values(row), 0.0
		for _, v := range got {
			sum += float64(v)
		}
		if mean := sum / float64(len(got)); math.Abs(mean-g.Mean) > 1e-3 {
			t.Errorf("%s to %dx%d: mean %v, want %v", g.Image, g.Width, g.Height, mean, g.Mean)
		}
		for y, line := range g.Corner {
			for x, want := range line {
				at := (int64(y)*g.Width + int64(x)) * 3
				for c := range want {
					if d := got[at+int64(c)] - want[c]; d > 1e-3 || d < -1e-3 {
						t.Errorf("%s to %dx%d: pixel %d,%d is %v, want %v", g.Image, g.Width, g.Height, x, y, got[at:at+3], want)
						break
					}
				}
			}
		}
	}
}

// pixels are three of a kind: black, a colour, white.
func pixels(img interface {
	image.Image
	Set(x, y int, c color.Color)
}, middle color.Color,
) image.Image {
	img.Set(0, 0, color.Black)
	img.Set(1, 0, middle)
	img.Set(2, 0, color.White)
	return img
}

func TestEveryKindOfPNGKeepsItsPixels(t *testing.T) {
	t.Parallel()
	m := open(t, testModel("halfplustwo"))
	bounds := image.Rect(0, 0, 3, 1)
	red := color.NRGBA{R: 200, G: 10, B: 20, A: 255}
	palette := color.Palette{color.Black, red, color.White}
	for name, c := range map[string]struct {
		img      image.Image
		channels int64
		want     []byte
	}{
		"grey":             {pixels(image.NewGray(bounds), color.Gray{Y: 99}), 1, []byte{0, 99, 255}},
		"16-bit grey":      {pixels(image.NewGray16(bounds), color.Gray16{Y: 99<<8 | 255}), 1, []byte{0, 99, 255}},
		"grey to RGB":      {pixels(image.NewGray(bounds), color.Gray{Y: 99}), 3, []byte{0, 0, 0, 99, 99, 99, 255, 255, 255}},
		"RGB":              {pixels(image.NewNRGBA(bounds), red), 3, []byte{0, 0, 0, 200, 10, 20, 255, 255, 255}},
		"16-bit RGB":       {pixels(image.NewNRGBA64(bounds), red), 3, []byte{0, 0, 0, 200, 10, 20, 255, 255, 255}},
		"palette":          {pixels(image.NewPaletted(bounds, palette), red), 3, []byte{0, 0, 0, 200, 10, 20, 255, 255, 255}},
		"RGB to RGBA":      {pixels(image.NewNRGBA(bounds), red), 4, []byte{0, 0, 0, 255, 200, 10, 20, 255, 255, 255, 255, 255}},
		"translucent RGBA": {pixels(image.NewNRGBA(bounds), color.NRGBA{1, 2, 3, 128}), 4, []byte{0, 0, 0, 255, 1, 2, 3, 128, 255, 255, 255, 255}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := model.ImageSpec{Height: 1, Width: 3, Channels: c.channels}
			row, err := m.DecodeImage(t.Context(), encodePNG(t, c.img), spec, model.Uint8)
			if err != nil || !bytes.Equal(row.Data, c.want) {
				t.Errorf("%v %v, want %v", row.Data, err, c.want)
			}
		})
	}
}

func TestPixelsAreScaledAsTheSpecSays(t *testing.T) {
	t.Parallel()
	m := open(t, testModel("halfplustwo"))
	img := image.NewNRGBA(image.Rect(0, 0, 1, 1))
	img.Set(0, 0, color.NRGBA{R: 255, G: 51, B: 0, A: 255})
	encoded := encodePNG(t, img)
	for name, c := range map[string]struct {
		spec model.ImageSpec
		want []float32
	}{
		"by default 0..1":   {model.ImageSpec{}, []float32{1, 0.2, 0}},
		"inverted":          {model.ImageSpec{Invert: true}, []float32{0, 0.8, 1}},
		"scale":             {model.ImageSpec{Scale: 2}, []float32{510, 102, 0}},
		"mean and std":      {model.ImageSpec{Scale: 1, Mean: []float64{51}, Std: []float64{2}}, []float32{102, 0, -25.5}},
		"one a channel":     {model.ImageSpec{Scale: 1, Mean: []float64{5, 1, 2}, Std: []float64{2, 5, 4}}, []float32{125, 10, -0.5}},
		"inverted and mean": {model.ImageSpec{Scale: 1, Mean: []float64{4}, Invert: true}, []float32{-4, 200, 251}},
	} {
		c.spec.Height, c.spec.Width, c.spec.Channels = 1, 1, 3
		row, err := m.DecodeImage(t.Context(), encoded, c.spec, model.Float32)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range values(row) {
			if math.Abs(float64(v-c.want[i])) > 1e-5 {
				t.Errorf("%s: %v, want %v", name, values(row), c.want)
				break
			}
		}
	}
	spec := model.ImageSpec{Height: 1, Width: 1, Channels: 3}
	for dtype, want := range map[model.DType][]byte{
		model.Uint8:   {255, 51, 0},
		model.Int8:    {127, 51, 0},
		model.Int16:   {255, 0, 51, 0, 0, 0},
		model.Uint32:  {255, 0, 0, 0, 51, 0, 0, 0, 0, 0, 0, 0},
		model.Float64: nil,
	} {
		row, err := m.DecodeImage(t.Context(), encoded, spec, dtype)
		if err != nil || row.DType != dtype || want != nil && !bytes.Equal(row.Data, want) {
			t.Errorf("%s: %v %v, want %v", dtype, row, err, want)
		}
	}
}

func TestDamagedImagesAreTheInputsFault(t *testing.T) {
	t.Parallel()
	m := open(t, testModel("halfplustwo"))
	spec := model.ImageSpec{Height: 4, Width: 4, Channels: 3}
	damaged := map[string][]byte{
		"nothing":       {},
		"text":          []byte("hello"),
		"only a magic":  []byte("\x89PNG\r\n\x1a\n"),
		"a huge PNG":    []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff\x08\x02\x00\x00\x00\x00\x00\x00\x00"),
		"only a marker": []byte("\xff\xd8\xff"),
	}
	for _, name := range []string{"photo.png", "photo.jpg", "cmyk.jpg"} {
		whole := readFile(t, "testdata", name)
		for _, n := range []int{20, len(whole) / 3, len(whole) / 2, len(whole) * 3 / 4} {
			damaged[name+" cut off"] = whole[:n]
		}
	}
	for name, encoded := range damaged {
		_, err := m.DecodeImage(t.Context(), encoded, spec, model.Float32)
		if e, ok := errors.AsType[*model.Error](err); !ok || !e.Permanent || e.Code != "INVALID_ARGUMENT" {
			t.Errorf("%s: %v, want a permanent INVALID_ARGUMENT", name, err)
		}
	}
}

func TestSpecsThatMakeNoRowErr(t *testing.T) {
	t.Parallel()
	m := open(t, testModel("halfplustwo"))
	encoded := readFile(t, "testdata", "photo.png")
	for want, c := range map[string]struct {
		spec  model.ImageSpec
		dtype model.DType
	}{
		"height 0 and width 4": {model.ImageSpec{Width: 4, Channels: 3}, model.Float32},
		"2 channels":           {model.ImageSpec{Height: 4, Width: 4, Channels: 2}, model.Float32},
		"mean has 2 numbers":   {model.ImageSpec{Height: 4, Width: 4, Channels: 3, Mean: []float64{1, 2}}, model.Float32},
		"an image as string":   {model.ImageSpec{Height: 4, Width: 4, Channels: 3}, model.String},
	} {
		_, err := m.DecodeImage(t.Context(), encoded, c.spec, c.dtype)
		wantError(t, err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.DecodeImage(ctx, encoded, model.ImageSpec{}, model.Float32); !errors.Is(err, context.Canceled) {
		t.Errorf("decoding in a cancelled context: %v", err)
	}
}

// A model that takes images of any size would else keep a graph for each.
func TestImagesOfAnySizeShareADecoder(t *testing.T) {
	t.Parallel()
	m := open(t, testModel("halfplustwo"))
	for n := int64(1); n <= 20; n++ {
		encoded := encodePNG(t, image.NewGray(image.Rect(0, 0, int(n), 3)))
		for _, crop := range []model.Crop{model.Stretch, model.CenterCrop} {
			row, err := m.DecodeImage(t.Context(), encoded, model.ImageSpec{Height: 3, Width: n, Channels: 1, Crop: crop}, model.Uint8)
			if err != nil || !slices.Equal(row.Shape, []int64{1, 3, n, 1}) {
				t.Errorf("%d x 3 pixels became %v, %v", n, row.Shape, err)
			}
		}
	}
	if n := len(m.decoders.made); n > 2 {
		t.Errorf("there are %d decoders, want one for each way to crop", n)
	}
}

func TestImagesAreDecodedAtOnce(t *testing.T) {
	t.Parallel()
	m := open(t, testModel("halfplustwo"))
	var encoded bytes.Buffer
	grey := image.NewGray(image.Rect(0, 0, 8, 8))
	if err := stdjpeg.Encode(&encoded, grey, nil); err != nil {
		t.Fatal(err)
	}
	files := [][]byte{encoded.Bytes(), readFile(t, "testdata", "photo.png"), readFile(t, "testdata", "photo.jpg")}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 20 {
				spec := model.ImageSpec{Height: 8, Width: 8, Channels: []int64{1, 3, 4}[i%3]}
				row, err := m.DecodeImage(t.Context(), files[(worker+i)%3], spec, model.Float32)
				if err != nil || int64(len(row.Data)) != 8*8*spec.Channels*4 {
					t.Errorf("%v %v", row.Shape, err)
				}
			}
		})
	}
	wg.Wait()
}
