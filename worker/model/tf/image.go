//go:build cgo

package tf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	tensorflow "github.com/galeone/tensorflow/tensorflow/go"

	"github.com/penstock/penstock/worker/model"
)

// DecodeImage decodes, places and scales an image as spec says, with the same
// operations as Python's tf.image. An image of the row's size keeps its pixels.
// Alpha is dropped for 1 and 3 channels and opaque where an image has none;
// 16-bit samples lose their low byte; CMYK becomes RGB without its profile. For
// an integer type pixels are rounded, and those beyond its range become its
// largest number.
func (m *Model) DecodeImage(ctx context.Context, encoded []byte, spec model.ImageSpec, dtype model.DType) (model.Tensor, error) {
	if ctx.Err() != nil {
		return model.Tensor{}, context.Cause(ctx)
	}
	if m.closed.Load() {
		return model.Tensor{}, fmt.Errorf("model %s is closed", m.opts.Name)
	}
	format, ok := formatOf(encoded)
	if !ok {
		return model.Tensor{}, invalid("the image is neither a PNG nor a JPEG")
	}
	spec = spec.Complete()
	d, err := m.decoders.of(format, spec, dtype)
	if err != nil {
		return model.Tensor{}, fmt.Errorf("prepare to decode %s images: %w", format, err)
	}
	t, err := d.decode(encoded, format, spec)
	if e, ok := errors.AsType[*model.Error](err); ok && e.Permanent {
		return model.Tensor{}, invalid(fmt.Sprintf("the %s image can't be decoded: %s", format, e.Message))
	}
	return t, err
}

type format string

const (
	png  format = "PNG"
	jpeg format = "JPEG"
)

func formatOf(encoded []byte) (format, bool) {
	switch {
	case bytes.HasPrefix(encoded, []byte("\x89PNG\r\n\x1a\n")):
		return png, true
	case bytes.HasPrefix(encoded, []byte("\xff\xd8\xff")):
		return jpeg, true
	}
	return "", false
}

// decoder is a graph from an encoded image to one row of any size.
type decoder struct {
	session         *tensorflow.Session
	encoded, pixels tensorflow.Output
	geometry        [fields]tensorflow.Output
}

func (d *decoder) decode(encoded []byte, f format, spec model.ImageSpec) (model.Tensor, error) {
	numbers, err := place(encoded, f, spec)
	if err != nil {
		return model.Tensor{}, invalid(err.Error())
	}
	in, err := allocate(model.String, []int64{})
	if err != nil {
		return model.Tensor{}, err
	}
	defer free([]*tensorflow.Tensor{in})
	putString(in, 0, encoded)
	tensors, err := feed(numbers)
	defer free(tensors[:])
	if err != nil {
		return model.Tensor{}, err
	}
	all := feeds{d.encoded: in}
	for i, t := range tensors {
		all[d.geometry[i]] = t
	}
	out, err := execSession(d.session, []tensorflow.Output{d.pixels}, all)
	if err != nil {
		return model.Tensor{}, err
	}
	defer free(out)
	row, err := view(out[0])
	return owned(row), err
}

// decoders keeps a decoder for each format, spec and type that was asked for.
// A model has one spec, but for the sizes, which each image may have its own of:
// they are fed, so that there are few decoders. The zero value is ready.
type decoders struct {
	mu   sync.Mutex
	made map[string]*decoder
}

func (ds *decoders) of(f format, spec model.ImageSpec, dtype model.DType) (*decoder, error) {
	if err := check(spec, dtype); err != nil {
		return nil, err
	}
	spec.Height, spec.Width, spec.ResizeShorter = 0, 0, 0
	key := fmt.Sprintf("%s %s %+v", f, dtype, named(spec))
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if d, ok := ds.made[key]; ok {
		return d, nil
	}
	d, err := newDecoder(f, spec, dtype)
	if err != nil {
		return nil, err
	}
	if ds.made == nil {
		ds.made = make(map[string]*decoder)
	}
	ds.made[key] = d
	return d, nil
}

// named is a complete spec whose pointers are told apart by what they point to.
func named(s model.ImageSpec) any {
	smooth, upright := *s.Antialias, *s.EXIFOrientation
	s.Antialias, s.EXIFOrientation = nil, nil
	return []any{s, smooth, upright}
}

func (ds *decoders) close() {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for _, d := range ds.made {
		_ = d.session.Close() // a local session has nobody to contact
	}
	ds.made = nil
}
