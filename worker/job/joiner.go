package job

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/storage"
)

// joiner puts an object together from pieces, in their order: bytes that pass
// through memory, of which it holds one part, and ranges of other objects, which
// need not. What stays small is written by one Put; more becomes an upload.
type joiner struct {
	ctx   context.Context
	store storage.Store
	ref   storage.Ref
	opts  storage.PutOptions
	least int64 // bytes of a part
	size  int64 // bytes of a part that passes through memory

	buffer []byte // the one that is being filled
	number int    // of the last part
	upload storage.Upload
	copies *errgroup.Group
	doing  context.Context // done when a copy went wrong
}

const (
	partSize       = 8 << 20
	copiesInFlight = 4
)

// newJoiner begins an object of about total bytes.
func newJoiner(ctx context.Context, s storage.Store, ref storage.Ref, total int64, opts storage.PutOptions) *joiner {
	j := &joiner{ctx: ctx, store: s, ref: ref, opts: opts, least: leastPart(total)}
	j.size = max(partSize, j.least)
	j.buffer = make([]byte, 0, min(total, j.size))
	return j
}

// leastPart is how many bytes each part has of an object of total bytes, but for
// the last: there can't be too many.
func leastPart(total int64) int64 {
	return max(storage.MinPartBytes, total/(storage.MaxParts-100)+1)
}

// room is how many bytes can be filled in.
func (j *joiner) room() int64 { return j.size - int64(len(j.buffer)) }

// fill appends n bytes, for which there is room, and has read write them.
func (j *joiner) fill(n int64, read func([]byte) error) error {
	from := len(j.buffer)
	j.buffer = append(j.buffer, make([]byte, n)...)
	if err := read(j.buffer[from:]); err != nil {
		return err
	}
	if j.room() > 0 {
		return nil
	}
	return j.flush()
}

// write appends bytes.
func (j *joiner) write(b []byte) error {
	for len(b) > 0 {
		n := min(int64(len(b)), j.room())
		if err := j.fill(n, func(to []byte) error { copy(to, b); return nil }); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// missing is how many bytes must be written before a piece can be copied: what
// waits to be written before it has to make a part.
func (j *joiner) missing() int64 {
	if len(j.buffer) == 0 {
		return 0
	}
	return max(0, j.least-int64(len(j.buffer)))
}

// copy appends a piece of at least j.least bytes, when nothing is missing.
func (j *joiner) copy(from storage.Info, offset, length int64) error {
	if err := j.flush(); err != nil {
		return err
	}
	number, err := j.next()
	if err != nil {
		return err
	}
	j.copies.Go(func() error { return j.upload.CopyPart(j.doing, number, from, offset, length) })
	return nil
}

// flush writes what has been filled in as a part.
func (j *joiner) flush() error {
	if len(j.buffer) == 0 {
		return nil
	}
	number, err := j.next()
	if err != nil {
		return err
	}
	err = j.upload.PutPart(j.doing, number, j.buffer)
	j.buffer = j.buffer[:0]
	if cause := context.Cause(j.doing); cause != nil {
		return cause
	}
	return err
}

// next is the number of the next part.
func (j *joiner) next() (int, error) {
	if j.upload == nil {
		u, err := j.store.Upload(j.ctx, j.ref, j.opts)
		if err != nil {
			return 0, err
		}
		j.upload = u
		j.copies, j.doing = errgroup.WithContext(j.ctx)
		j.copies.SetLimit(copiesInFlight)
	}
	if err := context.Cause(j.doing); err != nil {
		return 0, err
	}
	j.number++
	return j.number, nil
}

// finish writes the object. Of a conditional write that met another's it is
// storage.ErrPrecondition: so it is where our own took effect and its reply was
// lost.
func (j *joiner) finish() error {
	if j.upload == nil {
		_, err := j.store.Put(j.ctx, j.ref, j.buffer, j.opts)
		return err
	}
	if err := j.flush(); err != nil {
		return err
	}
	if err := j.copies.Wait(); err != nil {
		return err
	}
	_, err := j.upload.Complete(j.ctx)
	return err
}

// close frees what was not finished.
func (j *joiner) close() error {
	if j.upload == nil {
		return nil
	}
	_ = j.copies.Wait() // whoever closes has that error
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.ctx), abortLimit)
	defer cancel()
	return j.upload.Abort(ctx)
}
