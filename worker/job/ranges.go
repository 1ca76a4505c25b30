package job

import (
	"context"
	"io"

	"github.com/penstock/penstock/storage"
)

// rangeSize is how much of a file one call reads.
const rangeSize = 8 << 20

// ranges reads bytes of one version of an object, by calls that are tried again
// by themselves, so that no connection waits while nobody reads.
type ranges struct {
	ctx   context.Context
	store storage.Reader
	info  storage.Info
	next  int64
	end   int64
	piece []byte
}

func newRanges(ctx context.Context, s storage.Reader, info storage.Info, from, to int64) *ranges {
	return &ranges{ctx: ctx, store: s, info: info, next: from, end: to}
}

// Read implements io.Reader.
func (r *ranges) Read(b []byte) (int, error) {
	if len(r.piece) == 0 {
		if r.next >= r.end {
			return 0, io.EOF
		}
		length := min(rangeSize, r.end-r.next)
		err := patiently(r.ctx, func() (err error) {
			r.piece, err = read(r.ctx, r.store, r.info.Ref, storage.GetOptions{IfMatch: r.info.ETag, Offset: r.next, Length: length})
			if err == nil && int64(len(r.piece)) != length {
				err = io.ErrUnexpectedEOF
			}
			return err
		})
		if err != nil {
			return 0, err
		}
		r.next += length
	}
	n := copy(b, r.piece)
	r.piece = r.piece[n:]
	return n, nil
}
