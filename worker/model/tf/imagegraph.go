//go:build cgo

package tf

import (
	"fmt"
	"math"

	tensorflow "github.com/galeone/tensorflow/tensorflow/go"
	"github.com/galeone/tensorflow/tensorflow/go/op"
	"github.com/galeone/tfgo"

	"github.com/penstock/penstock/worker/model"
)

// imageGraph builds the graph of a decoder. Each step gets a scope of its own,
// because names within one must differ. What differs from image to image, its
// orientation and its place in the row, is fed.
type imageGraph struct {
	root  *op.Scope
	spec  model.ImageSpec // complete, but for the sizes
	dtype model.DType
}

// limits are the largest pixel of an integer type and whether it is one.
var limits = map[model.DType]float32{
	model.Uint8: 255, model.Uint16: 255, model.Uint32: 255, model.Uint64: 255,
	model.Int8: math.MaxInt8, model.Int16: 255, model.Int32: 255, model.Int64: 255,
}

func newDecoder(f format, spec model.ImageSpec, dtype model.DType) (*decoder, error) {
	g := imageGraph{tfgo.NewRoot(), spec, dtype}
	d := new(decoder)
	d.encoded = op.Placeholder(g.root.SubScope("encoded"), tensorflow.String, op.PlaceholderShape(tensorflow.ScalarShape()))
	for i, name := range geometry {
		d.geometry[i] = op.Placeholder(g.root.SubScope(name), tensorflow.Int32)
	}
	pixels := g.cut(g.orient(g.decode(f, d.encoded), d.geometry), d.geometry)
	// As float32 only once it has the row's size: before, it can take 600 MB.
	pixels = op.Cast(g.root.SubScope("float"), g.resize(pixels, d.geometry[resized]), tensorflow.Float)
	pixels = g.frame(pixels, d.geometry)
	if _, integer := limits[dtype]; integer {
		pixels = g.round(pixels)
	} else {
		pixels = g.scale(g.order(pixels))
	}
	pixels = op.Cast(g.root.SubScope("type"), g.layout(pixels), tensorflow.DataType(dtype))
	session, err := newSession(g.root)
	if err != nil {
		return nil, err
	}
	d.session, d.pixels = session, pixels
	return d, nil
}

// check errs when a complete spec makes no row of that type.
func check(s model.ImageSpec, dtype model.DType) error {
	if s.Height <= 0 || s.Width <= 0 || s.Height > math.MaxInt32 || s.Width > math.MaxInt32 {
		return fmt.Errorf("an image of height %d and width %d", s.Height, s.Width)
	}
	if s.Channels != 1 && s.Channels != 3 && s.Channels != 4 {
		return fmt.Errorf("an image of %d channels; it must be 1, 3 or 4", s.Channels)
	}
	for name, list := range map[string][]float64{"mean": s.Mean, "std": s.Std} {
		if n := int64(len(list)); n > 1 && n != s.Channels {
			return fmt.Errorf("%s has %d numbers; it must have 1 or one a channel (%d)", name, n, s.Channels)
		}
	}
	if _, integer := limits[dtype]; !integer && dtype != model.Float32 && dtype != model.Float64 {
		return fmt.Errorf("an image as %s; the input must be a number", dtype)
	}
	return nil
}

func (g imageGraph) number(name string, value any) tensorflow.Output {
	return op.Const(g.root.SubScope(name), value)
}

// decode gives pixels of type uint8 and shape [height, width, channels].
func (g imageGraph) decode(f format, encoded tensorflow.Output) tensorflow.Output {
	s := g.root.SubScope("decode")
	switch {
	case f == png:
		return op.DecodePng(s, encoded, op.DecodePngChannels(g.spec.Channels))
	case g.spec.Channels == 4: // a JPEG has no alpha
		return op.PadV2(g.root.SubScope("alpha"), op.DecodeJpeg(s, encoded, op.DecodeJpegChannels(3)),
			g.number("behind", [][]int32{{0, 0}, {0, 0}, {0, 1}}), g.number("opaque", uint8(255)))
	}
	return op.DecodeJpeg(s, encoded, op.DecodeJpegChannels(g.spec.Channels))
}

// orient turns an image upright; one that is so already is not copied.
func (g imageGraph) orient(p tensorflow.Output, fed [fields]tensorflow.Output) tensorflow.Output {
	p = op.Transpose(g.root.SubScope("swap"), p, fed[axes])
	return op.ReverseV2(g.root.SubScope("flip"), p, fed[flips])
}

// cut takes a box out of an image and gives it as a row.
func (g imageGraph) cut(p tensorflow.Output, fed [fields]tensorflow.Output) tensorflow.Output {
	p = op.Slice(g.root.SubScope("cut"), p, fed[boxBegin], fed[boxSize])
	return op.ExpandDims(g.root.SubScope("row"), p, g.number("first", int32(0)))
}

// frame cuts off what of the resized image lies beyond the row, and fills what
// it leaves of it.
func (g imageGraph) frame(p tensorflow.Output, fed [fields]tensorflow.Output) tensorflow.Output {
	p = op.Slice(g.root.SubScope("centre"), p, fed[frameBegin], fed[frameSize])
	return op.PadV2(g.root.SubScope("margins"), p, fed[margins], g.number("fill", float32(g.spec.Fill)))
}

// order puts the colours into the order of the spec.
func (g imageGraph) order(p tensorflow.Output) tensorflow.Output {
	if g.spec.ColorOrder != model.BGR || g.spec.Channels == 1 {
		return p
	}
	channels := []int32{2, 1, 0, 3}[:g.spec.Channels]
	return op.GatherV2(g.root.SubScope("order"), p, g.number("channels", channels), g.number("last", int32(3)))
}

// layout puts the channels first, where the spec says so.
func (g imageGraph) layout(p tensorflow.Output) tensorflow.Output {
	if g.spec.Layout != model.ChannelsFirst {
		return p
	}
	return op.Transpose(g.root.SubScope("layout"), p, g.number("axes", []int32{0, 3, 1, 2}))
}

// scale adds (p*Scale - Mean)/Std.
func (g imageGraph) scale(p tensorflow.Output) tensorflow.Output {
	p = op.Mul(g.root.SubScope("scale"), g.invert(p), g.number("factor", float32(g.spec.Scale)))
	if len(g.spec.Mean) > 0 {
		p = op.Sub(g.root.SubScope("mean"), p, g.number("means", float32s(g.spec.Mean)))
	}
	if len(g.spec.Std) > 0 {
		p = op.Div(g.root.SubScope("spread"), p, g.number("deviations", float32s(g.spec.Std)))
	}
	return p
}

// round adds what an integer type needs: whole pixels within its range.
func (g imageGraph) round(p tensorflow.Output) tensorflow.Output {
	p = op.Round(g.root.SubScope("round"), g.invert(g.order(p)))
	return op.ClipByValue(g.root.SubScope("clip"), p, g.number("least", float32(0)), g.number("most", limits[g.dtype]))
}

func (g imageGraph) invert(p tensorflow.Output) tensorflow.Output {
	if !g.spec.Invert {
		return p
	}
	return op.Sub(g.root.SubScope("invert"), g.number("white", float32(255)), p)
}

func float32s(list []float64) []float32 {
	out := make([]float32, len(list))
	for i, v := range list {
		out[i] = float32(v)
	}
	return out
}
