package codec

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

const gzipMagic = "\x1f\x8b\x08"

// Compressed says whether content that begins with head looks like gzip, so
// that how much is in it can't be told from its length.
func Compressed(head []byte) bool { return bytes.HasPrefix(head, []byte(gzipMagic)) }

// gzipTypes are content types that say no more than that it is gzip.
var gzipTypes = []string{"application/gzip", "application/x-gzip"}

// unpack undoes gzip. What remains of src is about the content within.
func unpack(body []byte, src Source, m model.Model) ([]byte, Source, error) {
	src, isGzip, err := src.within(body, m)
	if err == nil && isGzip {
		body, err = gunzip(body, src.maxBytes(body))
	}
	return body, src, err
}

// within says whether content that begins with head is gzip: by the content
// encoding, else when it begins like it. The Source is about what is within,
// and has the model's default content type where nothing else says one.
func (s Source) within(head []byte, m model.Model) (within Source, isGzip bool, err error) {
	clue, err := s.saysGzip()
	if err != nil {
		return s, false, err
	}
	s = s.orDefault(m)
	isGzip = Compressed(head)
	switch {
	case len(head) == 0, clue == "" && (!isGzip || s.maybeGzip()):
		return s, false, nil
	case !isGzip:
		return s, false, &Error{
			Code:    CodeMalformed,
			Message: fmt.Sprintf("the %s says gzip, but the content begins with %.16q", clue, head[:min(len(head), 16)]),
			Hint:    "compress it, or don't say that it is",
		}
	}
	s.ContentEncoding = ""
	if slices.Contains(gzipTypes, mediaTypeOf(s.ContentType)) {
		s.ContentType = ""
	}
	s.Name = withoutGz(s.Name)
	return s.orDefault(m), true, nil
}

// withoutGz is a name without the extension .gz.
func withoutGz(name string) string {
	if end := len(name) - len(".gz"); end >= 0 && strings.EqualFold(name[end:], ".gz") {
		return name[:end]
	}
	return name
}

// saysGzip is what declares the content to be gzip, if something does. It is
// an error when the content is encoded in another way.
func (s Source) saysGzip() (clue string, err error) {
	for encoding := range strings.SplitSeq(s.ContentEncoding, ",") {
		switch e := strings.ToLower(strings.TrimSpace(encoding)); {
		case e == "", e == "identity", e == "aws-chunked": // of the upload, not of the object
		case (e == "gzip" || e == "x-gzip") && clue == "":
			clue = fmt.Sprintf("content encoding %q", s.ContentEncoding)
		default:
			return "", &Error{
				Code:    CodeUnsupportedType,
				Message: fmt.Sprintf("content encoding %q is not one that can be undone", s.ContentEncoding),
				Hint:    "use gzip, once, or none",
			}
		}
	}
	switch {
	case clue != "":
	case slices.Contains(gzipTypes, mediaTypeOf(s.ContentType)):
		clue = fmt.Sprintf("content type %q", s.ContentType)
	case strings.HasSuffix(strings.ToLower(s.Name), ".gz"):
		clue = fmt.Sprintf("extension of %q", s.Name)
	}
	return clue, nil
}

// maybeGzip says that content which looks like gzip, while nothing says so, may
// be something else.
func (s Source) maybeGzip() bool {
	mediaType := mediaTypeOf(s.ContentType)
	f := formatWith(func(f *format) bool { return slices.Contains(f.mediaTypes, mediaType) })
	return f != nil && f.opaque
}

// gunzip decompresses to at most limit bytes.
func gunzip(body []byte, limit int64) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, brokenGzip(err)
	}
	// The last four bytes say how much there is, of the last of several parts.
	size := binary.LittleEndian.Uint32(body[len(body)-4:])
	plain, err := expand(z, len(body), uint64(size), limit)
	if _, ok := errors.AsType[*Error](err); err != nil && !ok {
		return nil, brokenGzip(err)
	}
	return plain, err
}
