package codec

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// A stream of compressed records may become this many bytes: so much at once,
// and so many for each of its own that were read. Real ones become ten times
// as many, a bomb a thousand times.
const (
	inflateAtOnce = 64 << 20
	inflateRatio  = 200
)

// packedBuffer is how many compressed bytes are read at once.
const packedBuffer = 32 << 10

// meter counts what is read, and keeps the reader's error apart from those of a
// decompressor above it.
type meter struct {
	src   io.Reader
	bytes int64
	err   error // of src, but io.EOF
}

func (m *meter) Read(p []byte) (n int, err error) {
	n, err = m.src.Read(p)
	m.bytes += int64(n)
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

// inflater decompresses gzip, of one member or several. Its errors are io.EOF,
// the meter's, or an *Error.
type inflater struct {
	raw    *bufio.Reader
	packed *meter // beneath raw
	z      *gzip.Reader
	bytes  int64 // given
}

func (i *inflater) Read(p []byte) (n int, err error) {
	if i.z == nil {
		if i.z, err = gzip.NewReader(i.raw); err != nil {
			i.z = nil
			return 0, i.broken(err)
		}
	}
	n, err = i.z.Read(p)
	if i.bytes += int64(n); i.bytes-inflateAtOnce > inflateRatio*i.packed.bytes {
		return 0, &Error{
			Code:    CodeTooLarge,
			Message: fmt.Sprintf("%d compressed bytes became %d: more than %d MiB, and %d times as many", i.packed.bytes, i.bytes, inflateAtOnce>>20, inflateRatio),
			Hint:    "upload it uncompressed",
		}
	}
	if err != nil && err != io.EOF {
		err = i.broken(err)
	}
	return n, err
}

func (i *inflater) broken(err error) error {
	if i.packed.err != nil {
		return i.packed.err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return brokenGzip(err)
}

func brokenGzip(err error) *Error {
	return &Error{Code: CodeMalformed, Message: fmt.Sprintf("broken gzip: %v", err), Hint: "check that the upload was complete"}
}
