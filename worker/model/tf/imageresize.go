//go:build cgo

package tf

import (
	tensorflow "github.com/galeone/tensorflow/tensorflow/go"
	"github.com/galeone/tensorflow/tensorflow/go/op"

	"github.com/penstock/penstock/worker/model"
)

// kernels are ScaleAndTranslate's names for the methods that it does.
var kernels = map[model.Resize]string{
	model.Bilinear: "triangle", model.Bicubic: "keyscubic", model.MitchellCubic: "mitchellcubic",
	model.Lanczos3: "lanczos3", model.Lanczos5: "lanczos5", model.Gaussian: "gaussian",
}

// resize adds what tf.image.resize does for the spec's method: the same
// operation with the same attributes.
func (g imageGraph) resize(p, size tensorflow.Output) tensorflow.Output {
	s := g.root.SubScope("resize")
	smooth := *g.spec.Antialias
	switch {
	case g.spec.Resize == model.Nearest:
		return op.ResizeNearestNeighbor(s, p, size, op.ResizeNearestNeighborHalfPixelCenters(true))
	case g.spec.Resize == model.Area:
		return op.ResizeArea(s, p, size)
	case g.spec.Resize == model.Bilinear && !smooth:
		return op.ResizeBilinear(s, p, size, op.ResizeBilinearHalfPixelCenters(true))
	case g.spec.Resize == model.Bicubic && !smooth:
		return op.ResizeBicubic(s, p, size, op.ResizeBicubicHalfPixelCenters(true))
	}
	return g.scaleAndTranslate(s, p, size, kernels[g.spec.Resize], smooth)
}

// scaleAndTranslate adds an operation for which the binding has no wrapper.
func (g imageGraph) scaleAndTranslate(s *op.Scope, p, size tensorflow.Output, kernel string, smooth bool) tensorflow.Output {
	from := op.Slice(g.root.SubScope("from"), op.Shape(g.root.SubScope("shape"), p),
		g.number("height", []int32{1}), g.number("two", []int32{2}))
	ratio := op.Div(g.root.SubScope("ratio"),
		op.Cast(g.root.SubScope("to32"), size, tensorflow.Float), op.Cast(g.root.SubScope("from32"), from, tensorflow.Float))
	resized := s.AddOperation(tensorflow.OpSpec{
		Type:  "ScaleAndTranslate",
		Input: []tensorflow.Input{p, size, ratio, g.number("nowhere", []float32{0, 0})},
		Attrs: map[string]any{"kernel_type": kernel, "antialias": smooth},
	})
	if resized == nil {
		return p // the scope holds the error
	}
	return resized.Output(0)
}
