package codec

import (
	"bytes"
	"context"
	"fmt"
	"mime"
	"path"
	"slices"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

// format is one kind of input.
type format struct {
	name       string                 // as messages call it
	mediaTypes []string               // the first is the one to recommend
	extensions []string               // lower case, with the dot
	sniff      func(body []byte) bool // whether body begins like it; nil when that can't be seen
	text       bool                   // may begin like another format of text: a JSON line like JSON
	opaque     bool                   // may begin like anything
	decode     func(ctx context.Context, body []byte, src Source, m model.Model) (*Input, error)
	// records says how its records are read, those of a file that begins with
	// head; nil when it is no sequence of records.
	records func(head []byte, src Source, m model.Model) (*recordKind, error)
	// wholly says that a file which begins with head is to be read as a whole
	// all the same; nil when that never is.
	wholly func(head []byte, src Source, m model.Model) bool
}

// Names of formats that others ask for.
const (
	formatCSV       = "CSV"
	formatJSONLines = "JSON lines"
)

// formats is all that Decode takes.
var formats = []*format{
	{
		name:       "JSON",
		mediaTypes: []string{"application/json", "text/json"},
		extensions: []string{".json"},
		sniff:      sniffJSON,
		text:       true,
		decode:     decodeJSON,
	},
	{
		name:       formatJSONLines,
		mediaTypes: jsonLinesTypes,
		extensions: []string{".jsonl", ".ndjson"},
		text:       true,
		decode:     decodeJSONLines,
		records:    jsonLinesRecords,
		wholly:     linesAreRequest,
	},
	{
		name:       formatCSV,
		mediaTypes: []string{"text/csv", "application/csv"},
		extensions: []string{".csv"},
		text:       true,
		decode:     decodeCSV,
		records:    csvRecords,
	},
	{
		name:       "NPY",
		mediaTypes: []string{"application/x-npy"},
		extensions: []string{".npy"},
		sniff:      func(b []byte) bool { return bytes.HasPrefix(b, []byte(npyMagic)) },
		decode:     decodeNPY,
	},
	{
		name:       "NPZ",
		mediaTypes: []string{"application/x-npz"},
		extensions: []string{".npz"},
		sniff:      func(b []byte) bool { return bytes.HasPrefix(b, []byte(zipMagic)) },
		decode:     decodeNPZ,
	},
	{
		name:       "TFRecord",
		mediaTypes: []string{"application/x-tfrecord"},
		extensions: []string{".tfrecord", ".tfrecords"},
		sniff:      sniffTFRecord,
		decode:     decodeTFRecord,
		records:    tfrecordRecords,
	},
	{
		name:       "image",
		mediaTypes: []string{"image/png", "image/jpeg", "image/jpg"},
		extensions: []string{".png", ".jpg", ".jpeg"},
		sniff:      func(b []byte) bool { return imageKind(b) != "" },
		decode:     decodeImage,
	},
	{
		name:       "text",
		mediaTypes: []string{plainText},
		extensions: []string{".txt"},
		text:       true,
		decode:     decodeText,
	},
	{
		name:       "tensor bytes",
		mediaTypes: []string{"application/x-tensor-bytes"},
		opaque:     true,
		decode:     decodeTensorBytes,
	},
}

// genericTypes say nothing about the content: S3 and HTTP clients put them
// where the uploader said nothing. curl -d is one such client, and the way
// TensorFlow Serving's own documentation posts JSON.
var genericTypes = []string{
	"", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded",
}

// takes lists the content types that can be decoded.
func takes() string {
	var all []string
	for _, f := range formats {
		all = append(all, f.mediaTypes...)
	}
	return strings.Join(all, ", ")
}

// formatOf says what body is: by its content type, else by its name, else by
// its first bytes.
func formatOf(body []byte, src Source) (*format, error) {
	if len(body) == 0 {
		return nil, &Error{Code: CodeEmpty, Message: "the input has no bytes"}
	}
	looks := src.Excerpt.begins(body)
	f, clue, err := declared(src)
	switch {
	case err != nil:
		return nil, err
	case f != nil && src.byDefault && f.denies(body, looks):
		return looks, nil // nobody said what this one is
	case f != nil && f.denies(body, looks):
		return nil, &Error{
			Code:    CodeMalformed,
			Message: fmt.Sprintf("the %s says %s, but the content begins like %s", clue, f.name, looks.name),
			Hint:    fmt.Sprintf("upload it with the content type %s", looks.mediaTypes[0]),
		}
	case f != nil:
		return f, nil
	case looks != nil:
		return looks, nil
	}
	if err := refuseOtherImage(body); err != nil {
		return nil, err
	}
	return nil, &Error{
		Code:    CodeUnsupportedType,
		Message: fmt.Sprintf("content type %q, key %q and the first bytes %.16q name no format that can be decoded: %s", src.ContentType, src.Name, body[:min(len(body), 16)], takes()),
		Hint:    "set the object's content type to what it is",
	}
}

// denies says whether body, which begins like the format looks (nil for none),
// can't be of format f.
func (f *format) denies(body []byte, looks *format) bool {
	switch {
	case looks == nil, f.opaque, f.sniff != nil && f.sniff(body):
		return false
	}
	return !(f.text && looks.text)
}

// plainText is true of JSON, JSON lines and CSV, too: where the extension says
// more, it counts.
const plainText = "text/plain"

// declared is the format that the content type names, else the extension, and
// which of the two it was. It is nil when neither says anything, and an error
// when the content type names something else.
func declared(src Source) (f *format, clue string, err error) {
	mediaType := mediaTypeOf(src.ContentType)
	named := formatWith(func(f *format) bool { return slices.Contains(f.mediaTypes, mediaType) })
	generic := slices.Contains(genericTypes, mediaType)
	if generic || mediaType == plainText {
		extension := strings.ToLower(path.Ext(src.Name))
		f := formatWith(func(f *format) bool { return slices.Contains(f.extensions, extension) })
		if f != nil {
			return f, fmt.Sprintf("extension of %q", src.Name), nil
		}
	}
	clue = fmt.Sprintf("content type %q", src.ContentType)
	if src.byDefault {
		clue = fmt.Sprintf("content_type %q of %s", src.ContentType, model.ConfigFile)
	}
	if named == nil && !generic {
		hint := "if the content is one of these, set the object's content type to it"
		if strings.HasPrefix(mediaType, "image/") {
			hint = pngOrJPEG
		}
		return nil, "", &Error{
			Code:    CodeUnsupportedType,
			Message: fmt.Sprintf("%s is not one that can be decoded: %s", clue, takes()),
			Hint:    hint,
		}
	}
	return named, clue, nil
}

// orDefault is s with the content type of m's model file, if s itself has no
// type and no extension that say what the content is.
func (s Source) orDefault(m model.Model) Source {
	c := m.Config().ContentType
	if c == "" || !slices.Contains(genericTypes, mediaTypeOf(s.ContentType)) {
		return s
	}
	if f, _, _ := declared(Source{Name: withoutGz(s.Name)}); f == nil {
		s.ContentType, s.byDefault = c, true
	}
	return s
}

// formatWith is the first format that fits, or nil.
func formatWith(fits func(*format) bool) *format {
	i := slices.IndexFunc(formats, fits)
	if i < 0 {
		return nil
	}
	return formats[i]
}

// mediaTypeOf drops the parameters of a content type. Broken parameters do no
// harm: nothing here depends on them.
func mediaTypeOf(contentType string) string {
	if mediaType, _, err := mime.ParseMediaType(contentType); err == nil {
		return mediaType
	}
	mediaType, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(mediaType))
}

// sniffed is the format that body begins like, or nil.
func sniffed(body []byte) *format {
	return formatWith(func(f *format) bool { return f.sniff != nil && f.sniff(body) })
}

// pngOrJPEG is what to do about an image of another form.
const pngOrJPEG = "convert it to PNG or JPEG"

// refuseOtherImage is an error when body is an image of a form that is not
// decoded.
func refuseOtherImage(body []byte) error {
	kind := otherImage(body)
	if kind == "" {
		return nil
	}
	return &Error{Code: CodeUnsupportedType, Message: "it is an image in the form of " + kind + ", which is not decoded", Hint: pngOrJPEG}
}

// otherImage names the form of an image that is not decoded, or nothing.
func otherImage(body []byte) string {
	begins := func(at int, with string) bool { return len(body) > at && bytes.HasPrefix(body[at:], []byte(with)) }
	switch {
	case begins(0, "GIF8"):
		return "GIF"
	case begins(0, "RIFF") && begins(8, "WEBP"):
		return "WebP"
	case begins(0, "BM") && begins(6, "\x00\x00\x00\x00"):
		return "BMP"
	case begins(0, "II*\x00"), begins(0, "MM\x00*"):
		return "TIFF"
	case begins(4, "ftyphei"), begins(4, "ftypmif1"), begins(4, "ftypavif"):
		return "HEIF"
	}
	return ""
}
