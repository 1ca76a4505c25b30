package codec

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"slices"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/exif"
)

// imageKind says "PNG" or "JPEG" by the first bytes, or nothing.
func imageKind(b []byte) string {
	switch {
	case bytes.HasPrefix(b, []byte("\x89PNG\r\n\x1a\n")):
		return "PNG"
	case bytes.HasPrefix(b, []byte("\xff\xd8\xff")):
		return "JPEG"
	}
	return ""
}

// decodeImage makes one row of a PNG or JPEG. Pixels are the model's business:
// here the header alone is read, to refuse what is too large to decode.
func decodeImage(ctx context.Context, body []byte, src Source, m model.Model) (*Input, error) {
	if in, ok := decodeOpaque(body, src, m); ok {
		return in, nil // the model decodes images itself
	}
	config := m.Config().Image
	if config == nil {
		return nil, &Error{
			Code:    CodeUnsupportedType,
			Message: fmt.Sprintf("model %q doesn't say how an image becomes its input", m.Name()),
			Hint:    `add an "image" section to ` + model.ConfigFile + " beside saved_model.pb, or send the pixels as JSON or .npy",
		}
	}
	sig, info, err := soleInput("an image", src, m)
	if err != nil {
		return nil, err
	}
	header, err := imageHeader(body, src.MaxPixels)
	if err != nil {
		return nil, err
	}
	if upright := config.EXIFOrientation; (upright == nil || *upright) && exif.OrientationOf(body).Swaps() {
		header.Width, header.Height = header.Height, header.Width
	}
	spec, shape, err := resolve(*config, info, header)
	if err != nil {
		return nil, err
	}
	if header.ColorModel == color.CMYKModel && spec.Channels == 1 { // TensorFlow would call it damaged
		return nil, &Error{
			Code:    CodeUnsupportedType,
			Message: "it is a JPEG image in CMYK, which can't become grey",
			Hint:    "convert it to RGB or grey before the upload",
		}
	}
	t, err := m.DecodeImage(ctx, body, spec, info.DType)
	if fault, ok := errors.AsType[*model.Error](err); ok && fault.Permanent && fault.Code == "INVALID_ARGUMENT" {
		return nil, &Error{Code: CodeMalformed, Message: "damaged image: " + fault.Message, Hint: "check that the upload was complete"}
	}
	if err != nil {
		return nil, fmt.Errorf("decode image: %w", err)
	}
	t.Shape = shape
	return newInput(sig, []model.Tensor{t}, false)
}

// imageHeader reads an image's dimensions and holds them against the limit.
func imageHeader(body []byte, maxPixels int64) (image.Config, error) {
	var c image.Config
	var err error
	kind := imageKind(body)
	switch kind {
	case "PNG":
		c, err = png.DecodeConfig(bytes.NewReader(body))
	case "JPEG":
		c, err = jpeg.DecodeConfig(bytes.NewReader(body))
	default:
		if err := refuseOtherImage(body); err != nil {
			return c, err // a WebP under the name of x.jpg, from the web
		}
		return c, &Error{Code: CodeMalformed, Message: "the content is neither PNG nor JPEG"}
	}
	if png, ok := errors.AsType[png.UnsupportedError](err); ok {
		return c, unsupportedImage(kind, string(png))
	}
	if jpeg, ok := errors.AsType[jpeg.UnsupportedError](err); ok {
		return c, unsupportedImage(kind, string(jpeg))
	}
	if err == nil && (c.Width <= 0 || c.Height <= 0) {
		err = fmt.Errorf("%d x %d pixels", c.Width, c.Height)
	}
	if err != nil {
		return c, &Error{
			Code:    CodeMalformed,
			Message: fmt.Sprintf("damaged image: no good %s header: %v", kind, err),
			Hint:    "check that the upload was complete",
		}
	}
	if maxPixels <= 0 {
		maxPixels = DefaultMaxPixels
	}
	if int64(c.Width) > maxPixels/int64(c.Height) {
		return c, &Error{
			Code:    CodeTooLarge,
			Message: fmt.Sprintf("the image has %d x %d pixels; the limit is %d in all", c.Width, c.Height, maxPixels),
			Hint:    "scale it down before the upload",
		}
	}
	if kind != "JPEG" {
		return c, nil
	}
	if n := scansOf(body); n > maxScans {
		return c, &Error{
			Code:    CodeTooLarge,
			Message: fmt.Sprintf("the JPEG image has %d scans; the limit is %d", n, maxScans),
			Hint:    "save it anew, as a baseline or progressive JPEG",
		}
	}
	return c, nil
}

// maxScans is how many scans a JPEG may have. Each is a pass over all pixels,
// and may be a hundred bytes long; progressive images have about ten.
const maxScans = 500

// scansOf counts the scans of a JPEG, up to its end.
func scansOf(b []byte) (n int) {
	const fill, stuffed, temporary, firstRestart, lastRestart, end, scan = 0xff, 0x00, 0x01, 0xd0, 0xd7, 0xd9, 0xda
	for i := len("\xff\xd8"); ; {
		next := bytes.IndexByte(b[min(i, len(b)):], 0xff)
		if i += next; next < 0 || i+4 > len(b) {
			return n
		}
		switch m := b[i+1]; {
		case m == fill:
			i++
		case m == stuffed, m == temporary, m >= firstRestart && m <= lastRestart: // they have no length
			i += 2
		case m == end:
			return n
		default:
			if m == scan {
				n++
			}
			i += 2 + int(binary.BigEndian.Uint16(b[i+2:]))
		}
	}
}

func unsupportedImage(kind, why string) *Error {
	return &Error{
		Code:    CodeUnsupportedType,
		Message: fmt.Sprintf("can't read this kind of %s: unsupported %s", kind, why),
		Hint:    "save it with 8 bits a sample, as a baseline or progressive JPEG or as PNG",
	}
}

// resolve fills in what spec leaves to the signature: first the sizes that the
// input declares; the image's own, of header, where that leaves them free, and
// three channels. shape is the row's as the input has it: one without channels
// takes grey images.
func resolve(spec model.ImageSpec, info model.TensorInfo, header image.Config) (model.ImageSpec, []int64, error) {
	if spec.Input != "" && spec.Input != info.Name {
		return spec, nil, &Error{
			Code:    CodeUnsupportedType,
			Message: fmt.Sprintf("%s names input %q for images, but the signature takes %q", model.ConfigFile, spec.Input, info.Name),
			Hint:    "correct image.input in " + model.ConfigFile,
		}
	}
	spec, fault := spec.ForInput(info)
	if fault != "" {
		return spec, nil, &Error{Code: CodeUnsupportedType, Message: fault}
	}
	spec.Height = firstSize(spec.Height, int64(header.Height))
	spec.Width = firstSize(spec.Width, int64(header.Width))
	spec.Channels = firstSize(spec.Channels, 3)
	if _, err := spec.Place(int64(header.Height), int64(header.Width)); err != nil {
		return spec, nil, &Error{Code: CodeInvalidShape, Message: err.Error(), Hint: "crop it before the upload"}
	}
	shape := spec.Shape()
	if !info.UnknownRank && len(info.Shape) == 3 && spec.Channels == 1 {
		shape = []int64{1, spec.Height, spec.Width}
	}
	if !fits(info, shape, true) {
		return spec, nil, &Error{
			Code:    CodeInvalidShape,
			Message: fmt.Sprintf("%s makes an image a row of shape %v, but the model takes %v", model.ConfigFile, shape[1:], info),
			Hint:    "correct height, width, channels and layout in " + model.ConfigFile,
		}
	}
	return spec, shape, nil
}

// firstSize is the first of sizes that is set; the last one is.
func firstSize(sizes ...int64) int64 {
	i := slices.IndexFunc(sizes, func(n int64) bool { return n > 0 })
	return sizes[i]
}
