package worker

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/penstock/penstock/storage"
)

// segmentSize is how much of a large input is read by one call, in bytes. What
// is no larger is read whole.
const segmentSize = 8 << 20

// errInputChanged says that an input was overwritten while it was read. The
// request is tried again, on the object that is there then.
var errInputChanged = errors.New("the input was overwritten while it was read")

// streamWeight is what is reserved for an input that is worked on while it is
// read: two segments, the chunks in flight with their tensors, and the parts of
// the result on their way. See weight.
const streamWeight = 64 << 20

// content is an input as far as it has been read, and the memory that is
// reserved for it.
type content struct {
	body    []byte // from its first byte: all of it, or its first segment
	total   int64  // bytes of all of it
	records bool   // it is worked on record by record

	memory   bound
	reserved int64
}

func (c *content) whole() bool { return c.body != nil && int64(len(c.body)) == c.total }

// reserve makes the reservation at least n. Nobody waits for memory while
// holding some: what can't be had at once is waited for with nothing in hand.
func (c *content) reserve(ctx context.Context, n int64) error {
	switch more := n - c.reserved; {
	case more <= 0:
		return nil
	case c.reserved > 0 && c.memory.TryAcquire(more):
		c.reserved = n
		return nil
	}
	c.release()
	c.body = nil
	if c.memory.Acquire(ctx, n) != nil {
		return context.Cause(ctx)
	}
	c.reserved = n
	return nil
}

// release gives the memory back.
func (c *content) release() {
	c.memory.Release(c.reserved)
	c.reserved = 0
}

// segments reads an object piece by piece, one piece ahead of its reader: each
// by a call that is tried again by itself, and all of the version that the
// first was of. It takes two pieces of memory, and no connection waits while
// the model is busy. Close waits for the call under way.
type segments struct {
	ctx    context.Context
	cancel context.CancelFunc
	fetch  func(ctx context.Context, offset, length int64) ([]byte, error)
	total  int64        // offset of their end
	step   int64        // bytes of a piece
	next   int64        // offset of the piece that is to be asked for
	piece  []byte       // what of it has not been read
	ahead  chan fetched // the piece under way; nil when there is none
	err    error        // of the piece that is missing: nothing follows it
}

type fetched struct {
	body []byte
	err  error
}

// newSegments reads the bytes [from, to) of the item's input, of which the
// first are there.
func (w *Worker) newSegments(ctx context.Context, it *item, first []byte, from, to int64) *segments {
	return w.newSegmentsOf(ctx, it, first, from, to, segmentSize)
}

// newSegmentsOf is newSegments with pieces of another size.
func (w *Worker) newSegmentsOf(ctx context.Context, it *item, first []byte, from, to, step int64) *segments {
	s := &segments{total: to, step: step, next: from + int64(len(first)), piece: first}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.fetch = func(ctx context.Context, offset, length int64) (body []byte, err error) {
		return w.readFrom(ctx, it, offset, length)
	}
	s.order()
	return s
}

// order asks for the next piece, if there is one.
func (s *segments) order() {
	s.ahead = nil
	if s.next >= s.total {
		return
	}
	offset, length := s.next, min(s.step, s.total-s.next)
	s.next += length
	ahead := make(chan fetched, 1)
	s.ahead = ahead
	go func() {
		body, err := s.fetch(s.ctx, offset, length)
		ahead <- fetched{body, err}
	}()
}

// Read implements io.Reader.
func (s *segments) Read(b []byte) (int, error) {
	if len(s.piece) == 0 {
		switch {
		case s.err != nil: // not the end: some readers ask again after an error
			return 0, s.err
		case s.ahead == nil:
			return 0, io.EOF
		}
		f := <-s.ahead
		s.ahead = nil
		if s.err = f.err; s.err != nil {
			return 0, s.err
		}
		s.piece = f.body
		s.order()
	}
	n := copy(b, s.piece)
	s.piece = s.piece[n:]
	return n, nil
}

// Close ends the reading.
func (s *segments) Close() {
	s.cancel()
	if s.ahead != nil {
		<-s.ahead
	}
}

// readFrom gets a part of the item's input, of the version that was seen first.
func (w *Worker) readFrom(ctx context.Context, it *item, offset, length int64) (body []byte, err error) {
	ref := it.input.Ref
	err = w.store.try(ctx, fetchLimit(length), verbFetch, ref, func(ctx context.Context) error {
		o, err := w.cfg.Store.Get(ctx, ref, storage.GetOptions{IfMatch: it.input.ETag, Offset: offset, Length: length})
		if err != nil {
			return err
		}
		defer o.Body.Close()
		body = make([]byte, length)
		_, err = io.ReadFull(o.Body, body)
		return err
	})
	if errors.Is(err, storage.ErrPrecondition) {
		return nil, fmt.Errorf("%w: %s", errInputChanged, ref)
	}
	return body, w.unreadable(it, err)
}
