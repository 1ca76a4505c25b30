package model

import (
	"fmt"
	"slices"
)

// misfitsImage says what of the image section doesn't fit a signature, and
// whether the section is for it at all: it has one input, of the name given.
func (k *checker) misfitsImage(sig *Signature) ([]misfit, bool) {
	s := k.config.Image
	in, ok := find(sig.Inputs, s.Input)
	if s.Input == "" && len(sig.Inputs) == 1 {
		in, ok = sig.Inputs[0], true
	}
	switch {
	case !ok && s.Input != "":
		return []misfit{{"image.input", fmt.Sprintf("signature %q has no input %q; it has: %s", sig.Name, s.Input, list(sig.Inputs))}}, false
	case len(sig.Inputs) != 1:
		return []misfit{{"image", fmt.Sprintf("signature %q takes %d inputs, %s; an image can only be the sole input", sig.Name, len(sig.Inputs), list(sig.Inputs))}}, false
	}
	row, fault := s.ForInput(in)
	if fault != "" {
		return []misfit{{"image", fault}}, true
	}
	return slices.Concat(row.misfitsInput(in), row.misfitsChannels()), true
}

// ForInput is the spec with the sizes that it leaves to the input filled in,
// as far as that declares them. fault says why the input can be no image at
// all. An input [-1 height width] takes grey images.
func (s ImageSpec) ForInput(in TensorInfo) (filled ImageSpec, fault string) {
	sizes, ok := s.declared(in)
	if !ok {
		form := "[-1 height width channels]"
		if s.Layout == ChannelsFirst {
			form = "[-1 channels height width]"
		}
		return s, fmt.Sprintf("an image can't become the input %v: it has to be numbers of shape %s", in, form)
	}
	for _, size := range s.sizes() {
		if *size.n == 0 {
			*size.n = max(0, sizes[size.name])
		}
	}
	return s, ""
}

// size is one of a row's three.
type size struct {
	name string
	n    *int64
}

func (s *ImageSpec) sizes() []size {
	return []size{{"height", &s.Height}, {"width", &s.Width}, {"channels", &s.Channels}}
}

// declared are the sizes that an input for images declares, by name; -1 is
// open.
func (s ImageSpec) declared(in TensorInfo) (sizes map[string]int64, ok bool) {
	if in.DType == String || in.DType == Bool {
		return nil, false
	}
	names := []string{"rows", "height", "width", "channels"}
	if s.Layout == ChannelsFirst {
		names = []string{"rows", "channels", "height", "width"}
	}
	sizes = map[string]int64{"height": -1, "width": -1, "channels": -1}
	switch {
	case in.UnknownRank:
		return sizes, true
	case len(in.Shape) == 3:
		names, sizes["channels"] = []string{"rows", "height", "width"}, 1
	case len(in.Shape) != 4:
		return nil, false
	}
	for i, name := range names {
		sizes[name] = in.Shape[i]
	}
	return sizes, true
}

// misfitsInput says what of a spec that ForInput filled in contradicts the
// input.
func (s ImageSpec) misfitsInput(in TensorInfo) []misfit {
	var found []misfit
	at := func(path, format string, args ...any) {
		found = append(found, misfit{path, fmt.Sprintf(format, args...)})
	}
	declared, _ := s.declared(in)
	for _, size := range s.sizes() {
		if n := declared[size.name]; n >= 0 && n != *size.n {
			at("image."+size.name, "it is %d, but the model takes %v", *size.n, in)
		}
	}
	if s.Crop != "" && s.Crop != Stretch && (s.Height == 0 || s.Width == 0) {
		at("image.crop", "%q needs a height and a width, and input %v leaves them open: give them", s.Crop, in)
	}
	if s.ResizeShorter > 0 && s.ResizeShorter < max(s.Height, s.Width) {
		at("image.resize_shorter", "it is %d, less than the %d x %d that input %v takes", s.ResizeShorter, s.Width, s.Height, in)
	}
	scaled := s.Preset != "" || len(s.Mean) > 0 || len(s.Std) > 0 || s.Scale != 0 && s.Scale != 1
	if scaled && in.DType != Float32 && in.DType != Float64 {
		at("image", "input %v takes pixels as they are; leave out preset, scale, mean and std", in)
	}
	return found
}

// misfitsChannels says what of a spec doesn't go with its number of channels.
func (s ImageSpec) misfitsChannels() []misfit {
	if s.Channels == 0 {
		s.Channels = 3 // as images are decoded
	}
	if s.Channels != 1 && s.Channels != 3 && s.Channels != 4 {
		return []misfit{{"image.channels", fmt.Sprintf("the model takes %d; an image has 1, 3 or 4", s.Channels)}}
	}
	var f faults
	s.validatePixels(&f)
	if len(f) == 0 {
		return nil
	}
	return []misfit{{"image", fmt.Sprintf("with %d channels: %v", s.Channels, f.join())}}
}
