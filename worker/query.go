package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/model"
)

// Query is an input that somebody waits for, which comes by no queue.
type Query struct {
	Model     string // as Config.Models knows it; "" is the only one
	Signature string // "" leaves it to the body, else to the model
	// Body is the input. It is read once there is memory for it, and not after
	// [Worker.Query] has returned.
	Body io.Reader
	// Size is how many bytes Body has; negative when nobody knows.
	Size int64
	// ContentType and ContentEncoding describe Body, Accept the reply; empty
	// leaves each to what Body begins like and to the model.
	ContentType, ContentEncoding, Accept string
}

// Reply is a query's result.
type Reply struct {
	Body        []byte
	ContentType string
}

// The errors of a query that are nobody's fault.
var (
	// ErrDraining says that the worker takes no more queries: it is shutting down.
	ErrDraining = errDraining
	// ErrNoMemory says that other inputs have taken the worker's memory.
	ErrNoMemory = errors.New("there is no memory for the request beside those at work")
	// ErrBody wraps what Query.Body's Read said.
	ErrBody = errors.New("the request could not be read")
)

// Query runs one input in batches with those of the queue, within the same
// bounds of memory, and waits for the answer until ctx is done; the reading of
// the input is the caller's to bound. It leaves no trace: whoever asks has the
// answer, or asks again. A run of the model can't be stopped: one that nobody
// waits for any more keeps its memory to its end.
//
// The error is a *model.UnknownError, a *codec.Error (the input's fault), a
// *model.Error, ErrDraining, ErrNoMemory, an ErrBody, or ctx's cause.
func (w *Worker) Query(ctx context.Context, q Query) (Reply, error) {
	type answer struct {
		Reply
		err error
	}
	pending, cancel := context.WithCancelCause(ctx)
	defer context.AfterFunc(w.draining, func() { cancel(errDraining) })()
	if w.draining.Err() != nil {
		cancel(errDraining)
	}
	input, err := w.readQuery(pending, q)
	if err != nil {
		cancel(nil)
		return Reply{}, err
	}
	c := make(chan answer, 1)
	go func() {
		defer cancel(nil)
		r, err := w.query(pending, q, input)
		c <- answer{r, err}
	}()
	select {
	case a := <-c:
		return a.Reply, a.err
	case <-ctx.Done():
		return Reply{}, context.Cause(ctx)
	}
}

// readQuery reads q's body into memory that the content's release gives back.
func (w *Worker) readQuery(pending context.Context, q Query) (c *content, err error) {
	if q.Size > w.cfg.MaxObjectSize {
		return nil, w.queryTooLarge()
	}
	size := q.Size
	if size < 0 {
		size = usualSize
	}
	c = &content{memory: w.memory}
	if err := c.reserve(pending, weight(size)); errors.Is(err, context.DeadlineExceeded) {
		return nil, ErrNoMemory
	} else if err != nil {
		return nil, err
	}
	c.body, err = io.ReadAll(&metered{w, q.Body, c})
	if err != nil {
		c.release()
		return nil, err
	}
	return c, nil
}

// metered reads a query's body into a content, and reserves memory for what of
// it nobody announced: only what is free at once, as nobody waits for memory
// while holding some.
type metered struct {
	w    *Worker
	body io.Reader
	into *content
}

// Read implements io.Reader.
func (m *metered) Read(p []byte) (int, error) {
	n, err := m.body.Read(p)
	m.into.total += int64(n)
	more := weight(m.into.total) - m.into.reserved
	switch {
	case m.into.total > m.w.cfg.MaxObjectSize:
		return n, m.w.queryTooLarge()
	case more > 0 && !m.into.memory.TryAcquire(more):
		return n, fmt.Errorf("%w; say its length beforehand (Content-Length), and it waits for its turn", ErrNoMemory)
	case more > 0:
		m.into.reserved += more
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", ErrBody, err)
	}
	return n, err
}

func (w *Worker) queryTooLarge() error {
	return &codec.Error{
		Code: codec.CodeTooLarge, Message: fmt.Sprintf("the request has more than %d bytes", w.cfg.MaxObjectSize),
		Hint: "send it through the queue, or raise the worker's -max-object-size",
	}
}

// query answers q, unless pending ends before its run begins.
func (w *Worker) query(pending context.Context, q Query, input *content) (r Reply, err error) {
	defer input.release()
	m, release, err := w.cfg.Models.Use(q.Model)
	if err != nil {
		return r, err
	}
	defer release()
	in, err := w.decodeQuery(pending, q, input.body, m)
	if err != nil {
		return r, err
	}
	leave, err := w.room(pending, 1) // beside no suspect that runs alone
	if err != nil {
		return r, err
	}
	defer leave()
	d, err := w.batcher.Do(pending, context.WithoutCancel(pending), work{
		model: m, signature: in.Signature, tensors: in.Tensors, rows: in.Rows, lane: ordinary, limit: w.cfg.RunTimeout,
	})
	if err = errors.Join(err, d.err); err != nil {
		return r, err
	}
	defer containQuery(&err)
	r.Body, r.ContentType, err = codec.Encode(in, d.outputs, m, q.Accept)
	return r, err
}

func (w *Worker) decodeQuery(pending context.Context, q Query, body []byte, m model.Model) (in *codec.Input, err error) {
	if w.decoding.Acquire(pending, 1) != nil {
		return nil, context.Cause(pending)
	}
	defer w.decoding.Release(1)
	defer containQuery(&err)
	return codec.Decode(pending, body, codec.Source{
		ContentType: q.ContentType, ContentEncoding: q.ContentEncoding, Signature: q.Signature,
		MaxBytes: min(codec.DefaultMaxBytes(len(body)), w.cfg.MaxObjectSize),
	}, m)
}

// containQuery makes a panic over a query that query's error. It is deferred.
func containQuery(err *error) {
	if p := recover(); p != nil {
		*err = &model.Error{Code: "INTERNAL", Message: fmt.Sprintf("a fault of Penstock's own (%s): %v", request.CodeInternal, p)}
	}
}

// QueryTimeout is how long a query may wait for its turn where nobody says.
const QueryTimeout = time.Minute
