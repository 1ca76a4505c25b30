package model

import (
	"fmt"
	"iter"
	"maps"
	"slices"
)

// maxSide bounds the sides of a row that a model file asks for, in pixels.
const maxSide = 1 << 15

func (s *ImageSpec) validate(f *faults) {
	for name, n := range sorted(map[string]int64{"height": s.Height, "width": s.Width, "resize_shorter": s.ResizeShorter}) {
		if n < 0 || n > maxSide {
			f.at("image."+name, "it is %d; it must be from 0 to %d", n, maxSide)
		}
	}
	switch s.Channels {
	case 0, 1, 3, 4:
	default:
		f.at("image.channels", "it is %d; it must be 1, 3 or 4", s.Channels)
	}
	oneOf(f, "image.resize", s.Resize, Bilinear, Nearest, Bicubic, Area, Lanczos3, Lanczos5, Gaussian, MitchellCubic)
	oneOf(f, "image.crop", s.Crop, Stretch, CenterCrop, CropToAspect, Letterbox)
	oneOf(f, "image.preset", s.Preset, Caffe, TF, Torch)
	oneOf(f, "image.color_order", s.ColorOrder, RGB, BGR)
	oneOf(f, "image.layout", s.Layout, ChannelsLast, ChannelsFirst)
	s.validateSize(f)
	s.validatePixels(f)
}

func (s *ImageSpec) validateSize(f *faults) {
	if s.Antialias != nil && *s.Antialias && !s.Resize.antialiases() {
		f.at("image.antialias", "the method %q knows no antialiasing", s.Resize)
	}
	if s.ResizeShorter > 0 {
		switch {
		case s.Crop != CenterCrop:
			f.at("image.resize_shorter", "it goes with crop %q alone", CenterCrop)
		case s.ResizeShorter < max(s.Height, s.Width):
			f.at("image.resize_shorter", "it is %d, less than the %d x %d that are cut out", s.ResizeShorter, s.Width, s.Height)
		}
	}
	if s.Fill != 0 && s.Crop != Letterbox {
		f.at("image.fill", "it goes with crop %q alone", Letterbox)
	}
	if !(s.Fill >= 0 && s.Fill <= 255) {
		f.at("image.fill", "it is %v; it must be a pixel, 0 to 255", s.Fill)
	}
}

func (s *ImageSpec) validatePixels(f *faults) {
	for name, list := range sorted(map[string][]float64{"mean": s.Mean, "std": s.Std}) {
		if n := int64(len(list)); n > 1 && s.Channels != 0 && n != s.Channels {
			f.at("image."+name, "it has %d numbers; it must have 1 or one a channel (%d)", n, s.Channels)
		}
	}
	for i, v := range s.Std {
		if v == 0 {
			f.at(fmt.Sprintf("image.std[%d]", i), "it must not be 0: pixels are divided by it")
		}
	}
	if s.ColorOrder == BGR && s.Channels == 1 {
		f.at("image.color_order", "an image of one channel has no colours")
	}
	if _, ok := presets[s.Preset]; !ok {
		return
	}
	if s.Channels != 0 && s.Channels != 3 && s.Preset != TF {
		f.at("image.preset", "%q is for 3 channels, not %d", s.Preset, s.Channels)
	}
	for name, set := range sorted(map[string]bool{
		"scale": s.Scale != 0, "mean": len(s.Mean) > 0, "std": len(s.Std) > 0, "color_order": s.ColorOrder != "",
	}) {
		if set {
			f.at("image."+name, "the preset %q says it already; give one of the two", s.Preset)
		}
	}
}

// sorted ranges over a map in the order of its keys, so that faults come in
// the same order each time.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
