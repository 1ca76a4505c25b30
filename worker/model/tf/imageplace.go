//go:build cgo

package tf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	stdjpeg "image/jpeg"
	stdpng "image/png"

	tensorflow "github.com/galeone/tensorflow/tensorflow/go"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/exif"
)

// The tensors that say where an image's pixels come, all of type int32.
const (
	axes       = iota // the order of the stored image's dimensions
	flips             // the dimensions to be turned round
	boxBegin          // the corner of the box that is cut out
	boxSize           // and its size
	resized           // the height and width that the box is resized to
	frameBegin        // the corner of what is cut out of that
	frameSize         // and its size
	margins           // what is added on each side, by dimension
	fields
)

var geometry = [fields]string{
	axes: "axes", flips: "flips", boxBegin: "box_begin", boxSize: "box_size", resized: "size",
	frameBegin: "frame_begin", frameSize: "frame_size", margins: "margin_sizes",
}

// place is where an image's pixels come in a row, as the graph takes it.
func place(encoded []byte, f format, spec model.ImageSpec) (fed [fields][]int32, err error) {
	var stored image.Config
	if f == png {
		stored, err = stdpng.DecodeConfig(bytes.NewReader(encoded))
	} else {
		stored, err = stdjpeg.DecodeConfig(bytes.NewReader(encoded))
	}
	if err != nil {
		return fed, err
	}
	if stored.Width <= 0 || stored.Height <= 0 {
		return fed, fmt.Errorf("it has %d x %d pixels", stored.Width, stored.Height)
	}
	height, width := int64(stored.Height), int64(stored.Width)
	fed[axes] = []int32{0, 1, 2}
	if *spec.EXIFOrientation && f == jpeg {
		o := exif.OrientationOf(encoded)
		if o.Swaps() {
			fed[axes] = []int32{1, 0, 2}
			height, width = width, height
		}
		if o.FlipsY() {
			fed[flips] = append(fed[flips], 0)
		}
		if o.FlipsX() {
			fed[flips] = append(fed[flips], 1)
		}
	}
	p, err := spec.Place(height, width)
	if err != nil {
		return fed, err
	}
	fed[boxBegin] = []int32{int32(p.Y), int32(p.X), 0}
	fed[boxSize] = []int32{int32(p.Height), int32(p.Width), -1}
	fed[resized] = []int32{int32(p.ResizedHeight), int32(p.ResizedWidth)}
	y, h, above, below := along(p.Top, p.ResizedHeight, spec.Height)
	x, w, left, right := along(p.Left, p.ResizedWidth, spec.Width)
	fed[frameBegin] = []int32{0, y, x, 0}
	fed[frameSize] = []int32{-1, h, w, -1}
	fed[margins] = []int32{0, 0, above, below, left, right, 0, 0}
	return fed, nil
}

// along says of one dimension what of n pixels whose first comes at offset at
// lies in a row of size: the first and their number, and how much is left
// empty before and behind them.
func along(at, n, size int64) (first, number, before, behind int32) {
	begin, end := max(0, at), min(size, at+n)
	return int32(begin - at), int32(end - begin), int32(begin), int32(size - end)
}

// feed makes the tensors of place. The caller frees them.
func feed(fed [fields][]int32) (tensors [fields]*tensorflow.Tensor, err error) {
	for i, values := range fed {
		shape := []int64{int64(len(values))}
		if i == margins {
			shape = []int64{4, 2}
		}
		var b bytes.Buffer
		for _, v := range values {
			b.Write(binary.NativeEndian.AppendUint32(nil, uint32(v)))
		}
		if tensors[i], err = tensorflow.ReadTensor(tensorflow.Int32, shape, &b); err != nil {
			return tensors, err
		}
	}
	return tensors, nil
}
