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
// because names within one must differ.
type imageGraph struct {
	root  *op.Scope
	spec  model.ImageSpec
	dtype model.DType
}

// limits are the largest pixel of an integer type and whether it is one.
var limits = map[model.DType]float32{
	model.Uint8: 255, model.Uint16: 255, model.Uint32: 255, model.Uint64: 255,
	model.Int8: math.MaxInt8, model.Int16: 255, model.Int32: 255, model.Int64: 255,
}

func newDecoder(f format, spec model.ImageSpec, dtype model.DType) (*decoder, error) {
	g := imageGraph{tfgo.NewRoot(), spec, dtype}
	if err := g.check(); err != nil {
		return nil, err
	}
	encoded := op.Placeholder(g.root.SubScope("encoded"), tensorflow.String, op.PlaceholderShape(tensorflow.ScalarShape()))
	pixels := g.resize(g.decode(f, encoded))
	if _, integer := limits[dtype]; integer {
		pixels = g.round(pixels)
	} else {
		pixels = g.scale(pixels)
	}
	pixels = op.Cast(g.root.SubScope("type"), pixels, tensorflow.DataType(dtype))
	session, err := newSession(g.root)
	if err != nil {
		return nil, err
	}
	return &decoder{session, encoded, pixels}, nil
}

func (g imageGraph) check() error {
	s := g.spec
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
	if _, integer := limits[g.dtype]; !integer && g.dtype != model.Float32 && g.dtype != model.Float64 {
		return fmt.Errorf("an image as %s; the input must be a number", g.dtype)
	}
	return nil
}

func (g imageGraph) number(name string, value any) tensorflow.Output {
	return op.Const(g.root.SubScope(name), value)
}

// decode gives float32 pixels 0..255 of shape [1, height, width, channels].
func (g imageGraph) decode(f format, encoded tensorflow.Output) tensorflow.Output {
	s := g.root.SubScope("decode")
	var pixels tensorflow.Output
	switch {
	case f == png:
		pixels = op.DecodePng(s, encoded, op.DecodePngChannels(g.spec.Channels))
	case g.spec.Channels == 4: // a JPEG has no alpha
		pixels = op.DecodeJpeg(s, encoded, op.DecodeJpegChannels(3))
		pixels = op.PadV2(g.root.SubScope("alpha"), pixels,
			g.number("behind", [][]int32{{0, 0}, {0, 0}, {0, 1}}), g.number("opaque", uint8(255)))
	default:
		pixels = op.DecodeJpeg(s, encoded, op.DecodeJpegChannels(g.spec.Channels))
	}
	pixels = op.ExpandDims(g.root.SubScope("row"), pixels, g.number("first", int32(0)))
	return op.Cast(g.root.SubScope("float"), pixels, tensorflow.Float)
}

// resize adds what tf.image.resize(…, antialias=True) does. The binding has no
// wrapper for its operation.
func (g imageGraph) resize(pixels tensorflow.Output) tensorflow.Output {
	size := g.number("size", []int32{int32(g.spec.Height), int32(g.spec.Width)})
	from := op.Slice(g.root.SubScope("from"), op.Shape(g.root.SubScope("shape"), pixels),
		g.number("height", []int32{1}), g.number("two", []int32{2}))
	ratio := op.Div(g.root.SubScope("ratio"),
		op.Cast(g.root.SubScope("to32"), size, tensorflow.Float), op.Cast(g.root.SubScope("from32"), from, tensorflow.Float))
	resized := g.root.SubScope("resize").AddOperation(tensorflow.OpSpec{
		Type:  "ScaleAndTranslate",
		Input: []tensorflow.Input{pixels, size, ratio, g.number("nowhere", []float32{0, 0})},
		Attrs: map[string]any{"kernel_type": "triangle", "antialias": true},
	})
	if resized == nil {
		return pixels // the scope holds the error
	}
	return resized.Output(0)
}

// scale adds (p*Scale - Mean)/Std.
func (g imageGraph) scale(p tensorflow.Output) tensorflow.Output {
	factor := g.spec.Scale
	if factor == 0 {
		factor = 1.0 / 255
	}
	p = op.Mul(g.root.SubScope("scale"), g.invert(p), g.number("factor", float32(factor)))
	if len(g.spec.Mean) > 0 {
		p = op.Sub(g.root.SubScope("centre"), p, g.number("mean", float32s(g.spec.Mean)))
	}
	if len(g.spec.Std) > 0 {
		p = op.Div(g.root.SubScope("spread"), p, g.number("std", float32s(g.spec.Std)))
	}
	return p
}

// round adds what an integer type needs: whole pixels within its range.
func (g imageGraph) round(p tensorflow.Output) tensorflow.Output {
	p = op.Round(g.root.SubScope("round"), g.invert(p))
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
