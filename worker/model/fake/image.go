package fake

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // the formats
	_ "image/png"  // that models take
	"math"

	"github.com/penstock/penstock/worker/model"
)

// DecodeImage decodes by the standard library, resizes by the nearest pixel
// and scales as spec says. dtype is Float32 or Uint8.
func (m *Model) DecodeImage(ctx context.Context, encoded []byte, spec model.ImageSpec, dtype model.DType) (model.Tensor, error) {
	if err := ctx.Err(); err != nil {
		return model.Tensor{}, err
	}
	if dtype != model.Float32 && dtype != model.Uint8 {
		return model.Tensor{}, fmt.Errorf("fake model: an image of type %s", dtype)
	}
	img, _, err := image.Decode(bytes.NewReader(encoded))
	if err != nil {
		return model.Tensor{}, &model.Error{Code: "INVALID_ARGUMENT", Message: err.Error(), Permanent: true}
	}
	bounds := img.Bounds()
	t := model.Tensor{DType: dtype, Shape: []int64{1, spec.Height, spec.Width, spec.Channels}}
	for y := range spec.Height {
		for x := range spec.Width {
			pixel := img.At(
				bounds.Min.X+int(x)*bounds.Dx()/int(spec.Width),
				bounds.Min.Y+int(y)*bounds.Dy()/int(spec.Height))
			for c, v := range samples(pixel, spec.Channels) {
				t.Data = appendSample(t.Data, v, c, spec, dtype)
			}
		}
	}
	return t, nil
}

// samples are the pixel's values 0..255, one a channel.
func samples(pixel color.Color, channels int64) []uint8 {
	if channels == 1 {
		return []uint8{color.GrayModel.Convert(pixel).(color.Gray).Y}
	}
	p := color.NRGBAModel.Convert(pixel).(color.NRGBA)
	return []uint8{p.R, p.G, p.B, p.A}[:channels]
}

func appendSample(b []byte, p uint8, channel int, spec model.ImageSpec, dtype model.DType) []byte {
	if spec.Invert {
		p = 255 - p
	}
	if dtype == model.Uint8 {
		return append(b, p)
	}
	scale := spec.Scale
	if scale == 0 {
		scale = 1.0 / 255
	}
	v := (float64(p)*scale - oneOf(spec.Mean, channel, 0)) / oneOf(spec.Std, channel, 1)
	return binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(v)))
}

// oneOf is the channel's number of a list that holds one a channel, one for
// all, or none.
func oneOf(list []float64, channel int, none float64) float64 {
	switch {
	case len(list) == 0:
		return none
	case channel < len(list):
		return list[channel]
	}
	return list[0]
}
