package codec

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const gzipMagic = "\x1f\x8b\x08"

// gzipTypes are content types that say no more than that it is gzip.
var gzipTypes = []string{"application/gzip", "application/x-gzip"}

// unpack undoes gzip: by the content encoding, else when the content begins
// like it. What remains of src is about the content within.
func unpack(body []byte, src Source) ([]byte, Source, error) {
	clue, err := src.saysGzip()
	if err != nil {
		return nil, src, err
	}
	isGzip := bytes.HasPrefix(body, []byte(gzipMagic))
	switch {
	case len(body) == 0, clue == "" && (!isGzip || src.maybeGzip()):
		return body, src, nil
	case !isGzip:
		return nil, src, &Error{
			Code:    CodeMalformed,
			Message: fmt.Sprintf("the %s says gzip, but the content begins with %.16q", clue, body[:min(len(body), 16)]),
			Hint:    "compress it, or don't say that it is",
		}
	}
	src.ContentEncoding = ""
	if slices.Contains(gzipTypes, mediaTypeOf(src.ContentType)) {
		src.ContentType = ""
	}
	if ext := len(src.Name) - len(".gz"); ext >= 0 && strings.EqualFold(src.Name[ext:], ".gz") {
		src.Name = src.Name[:ext]
	}
	body, err = gunzip(body, src.maxBytes(body))
	return body, src, err
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
	broken := func(err error) error {
		return &Error{Code: CodeMalformed, Message: fmt.Sprintf("broken gzip: %v", err), Hint: "check that the upload was complete"}
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, broken(err)
	}
	// The last four bytes say how much there is, of the last of several parts.
	size := binary.LittleEndian.Uint32(body[len(body)-4:])
	plain, err := expand(z, len(body), uint64(size), limit)
	if _, ok := errors.AsType[*Error](err); err != nil && !ok {
		return nil, broken(err)
	}
	return plain, err
}
