package codec

import (
	"bytes"
	"fmt"
	"io"
	"math"
)

// DefaultMaxBytes is what n bytes of input may become when they are
// decompressed: eight times as many and 64 MiB more, but no more than 1 GiB.
func DefaultMaxBytes(n int) int64 { return min(8*int64(n)+64<<20, 1<<30) }

// maxBytes is the limit for a decompressed body.
func (s Source) maxBytes(body []byte) int64 {
	if s.MaxBytes > 0 {
		return s.MaxBytes
	}
	return DefaultMaxBytes(len(body))
}

// expand reads all that decompress gives, of a source of packed bytes that
// claims to become size bytes. More than limit is an *Error; any other error is
// decompress's. The claim alone takes no memory out of proportion.
func expand(decompress io.Reader, packed int, size uint64, limit int64) ([]byte, error) {
	limit = min(limit, math.MaxInt64-1)
	const usual = 16 // what data shrinks by; more than that is taken as it comes
	var b bytes.Buffer
	b.Grow(int(min(size, uint64(limit), usual*uint64(packed))) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(decompress, limit+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) > limit {
		return nil, &Error{
			Code:    CodeTooLarge,
			Message: fmt.Sprintf("%d compressed bytes become more than the %d that are allowed", packed, limit),
			Hint:    "split the input, or upload it uncompressed",
		}
	}
	return b.Bytes(), nil
}
