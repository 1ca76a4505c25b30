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
	"github.com/penstock/penstock/worker/model/exif"
)

// DecodeImage decodes by the standard library, places the image and scales it
// as spec says, and resizes by the nearest pixel whatever spec says. dtype is
// Float32 or Uint8.
func (m *Model) DecodeImage(ctx context.Context, encoded []byte, spec model.ImageSpec, dtype model.DType) (model.Tensor, error) {
	if err := ctx.Err(); err != nil {
		return model.Tensor{}, err
	}
	if dtype != model.Float32 && dtype != model.Uint8 {
		return model.Tensor{}, fmt.Errorf("fake model: an image of type %s", dtype)
	}
	stored, _, err := image.Decode(bytes.NewReader(encoded))
	if err != nil {
		return model.Tensor{}, &model.Error{Code: "INVALID_ARGUMENT", Message: err.Error(), Permanent: true}
	}
	spec = spec.Complete()
	img := upright{Image: stored, Orientation: exif.Upright}
	if *spec.EXIFOrientation {
		img.Orientation = exif.OrientationOf(encoded)
	}
	width, height := img.size()
	place, err := spec.Place(height, width)
	if err != nil {
		return model.Tensor{}, &model.Error{Code: "INVALID_ARGUMENT", Message: err.Error(), Permanent: true}
	}
	t := model.Tensor{DType: dtype, Shape: spec.Shape()}
	first, second, third := spec.Height, spec.Width, spec.Channels
	if spec.Layout == model.ChannelsFirst {
		first, second, third = spec.Channels, spec.Height, spec.Width
	}
	for i := range first {
		for j := range second {
			for k := range third {
				y, x, c := i, j, k
				if spec.Layout == model.ChannelsFirst {
					c, y, x = i, j, k
				}
				t.Data = appendSample(t.Data, sample(img, place, spec, y, x, c), int(c), spec, dtype)
			}
		}
	}
	return t, nil
}

// sample is the pixel's value 0..255 at y, x of the row, for its channel c.
func sample(img upright, p model.Placement, spec model.ImageSpec, y, x, c int64) uint8 {
	y, x = y-p.Top, x-p.Left
	if y < 0 || x < 0 || y >= p.ResizedHeight || x >= p.ResizedWidth {
		return uint8(spec.Fill)
	}
	if spec.ColorOrder == model.BGR && c < 3 {
		c = 2 - c
	}
	return samples(img.at(p.X+x*p.Width/p.ResizedWidth, p.Y+y*p.Height/p.ResizedHeight), spec.Channels)[c]
}

// upright is a stored image as it is to be shown.
type upright struct {
	image.Image
	exif.Orientation
}

func (u upright) size() (width, height int64) {
	b := u.Bounds()
	if u.Swaps() {
		return int64(b.Dy()), int64(b.Dx())
	}
	return int64(b.Dx()), int64(b.Dy())
}

func (u upright) at(x, y int64) color.Color {
	width, height := u.size()
	if u.FlipsX() {
		x = width - 1 - x
	}
	if u.FlipsY() {
		y = height - 1 - y
	}
	if u.Swaps() {
		x, y = y, x
	}
	return u.At(u.Bounds().Min.X+int(x), u.Bounds().Min.Y+int(y))
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
	v := (float64(p)*spec.Scale - oneOf(spec.Mean, channel, 0)) / oneOf(spec.Std, channel, 1)
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
