package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/model"
)

// Query is an input that somebody waits for, which comes by no queue.
type Query struct {
	Model     string // as Config.Models knows it; "" is the only one
	Signature string // "" leaves it to the body, else to the model
	Body      []byte
	// ContentType and ContentEncoding describe Body, Accept the reply; empty
	// leaves each to what Body begins like and to the model.
	ContentType, ContentEncoding, Accept string
}

// Reply is a query's result.
type Reply struct {
	Body        []byte
	ContentType string
}

// ErrDraining says that the worker takes no more queries: it is shutting down.
var ErrDraining = errDraining

// Query runs one input in batches with those of the queue, within the same
// bounds of memory, and waits for the answer until ctx is done. It leaves no
// trace: whoever asks has the answer, or asks again. A run of the model can't
// be stopped: one that nobody waits for any more keeps its memory to its end.
//
// The error is a *model.UnknownError, a *codec.Error (the input's fault), a
// *model.Error, ErrDraining, or ctx's cause.
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
	c := make(chan answer, 1)
	go func() {
		defer cancel(nil)
		r, err := w.query(pending, q)
		c <- answer{r, err}
	}()
	select {
	case a := <-c:
		return a.Reply, a.err
	case <-ctx.Done():
		return Reply{}, context.Cause(ctx)
	}
}

// query answers q, unless pending ends before its run begins.
func (w *Worker) query(pending context.Context, q Query) (r Reply, err error) {
	size := weight(int64(len(q.Body)))
	if int64(len(q.Body)) > w.cfg.MaxObjectSize {
		return r, &codec.Error{Code: codec.CodeTooLarge, Message: fmt.Sprintf("the input has %d bytes; this worker takes at most %d", len(q.Body), w.cfg.MaxObjectSize)}
	}
	if w.memory.Acquire(pending, size) != nil {
		return r, context.Cause(pending)
	}
	defer w.memory.Release(size)
	m, release, err := w.cfg.Models.Use(q.Model)
	if err != nil {
		return r, err
	}
	defer release()
	in, err := w.decodeQuery(pending, q, m)
	if err != nil {
		return r, err
	}
	if w.isolation.Acquire(pending, 1) != nil { // beside no suspect that runs alone
		return r, context.Cause(pending)
	}
	defer w.isolation.Release(1)
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

func (w *Worker) decodeQuery(pending context.Context, q Query, m model.Model) (in *codec.Input, err error) {
	if w.decoding.Acquire(pending, 1) != nil {
		return nil, context.Cause(pending)
	}
	defer w.decoding.Release(1)
	defer containQuery(&err)
	return codec.Decode(pending, q.Body, codec.Source{
		ContentType: q.ContentType, ContentEncoding: q.ContentEncoding, Signature: q.Signature,
		MaxBytes: min(codec.DefaultMaxBytes(len(q.Body)), w.cfg.MaxObjectSize),
	}, m)
}

// containQuery makes a panic over a query that query's error. It is deferred.
func containQuery(err *error) {
	if p := recover(); p != nil {
		*err = &model.Error{Code: "INTERNAL", Message: fmt.Sprintf("a fault of Penstock's own (%s): %v", request.CodeInternal, p)}
	}
}

// MaxQueryBytes is the largest body of a query.
func (w *Worker) MaxQueryBytes() int64 { return w.cfg.MaxObjectSize }

// QueryTimeout is how long a query may wait for its turn where nobody says.
const QueryTimeout = time.Minute
