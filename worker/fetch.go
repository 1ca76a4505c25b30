package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/model"
)

// errExpired is the cause when a request's TTL is over before it was started.
var errExpired = errors.New("the request's time to live is over")

// pendingContext gives the context that an item's start depends on. done
// frees it.
func (w *Worker) pendingContext(it *item) (ctx context.Context, done func()) {
	ctx, it.withdraw, done = w.starting(it.lease)
	return ctx, done
}

// starting gives a context that ends when nothing of a message is to be started
// any more. done frees it.
func (w *Worker) starting(l *lease) (ctx context.Context, cancel context.CancelCauseFunc, done func()) {
	ctx, cancel = context.WithCancelCause(l.ctx)
	stop := context.AfterFunc(w.draining, func() { cancel(context.Cause(w.draining)) })
	if w.draining.Err() != nil {
		cancel(context.Cause(w.draining)) // at once: AfterFunc takes its time
	}
	return ctx, cancel, func() {
		stop()
		cancel(nil)
	}
}

// untilExpiry makes the item's pending context end with its time to live as
// far as that is known. done frees it.
func (w *Worker) untilExpiry(it *item) (done func()) {
	t := w.expires(it)
	if t.IsZero() {
		return func() {}
	}
	ctx, cancel := context.WithDeadlineCause(it.pending, t, errExpired)
	it.pending = ctx
	return cancel
}

// usualSize is what is reserved for an input, in bytes, when nobody said how
// large it is. The rest of a larger one is read by a second call.
const usualSize = 64 << 10

// fetch reads the item's input into memory that the content's release gives
// back, and learns from it what only the object can tell: its version, and what its
// uploader chose. Of a large input of records it reads the beginning: the rest
// is read as it is worked on.
func (w *Worker) fetch(it *item) (c *content, err error) {
	began := time.Now()
	defer func() { it.spent.Fetch = time.Since(began) }()
	if err := w.startable(it); err != nil {
		return nil, err
	}
	c = &content{memory: w.memoryFor(it)}
	defer func(held *content) {
		if err != nil {
			held.release()
		}
	}(c)
	atOnce := min(segmentSize, w.cfg.MaxObjectSize)
	size := min(cmp.Or(max(it.request.Size, 0), usualSize), atOnce)
	asked := it.request
	for {
		if err := c.reserve(it.pending, weight(size)); err != nil {
			return nil, err
		}
		if err := w.read(it, c, size); err != nil {
			return nil, err
		}
		it.request = asked // what was learned before was another upload's, if there is another by now
		if err := w.learn(it); err != nil {
			return nil, err
		}
		c.records = codec.Streams(c.body, w.source(it, c), it.model) && codec.StreamsResults(it.model, it.request.Accept)
		switch {
		case c.records && (c.total > atOnce || codec.Compressed(c.body)):
			return c, c.reserve(it.pending, min(streamWeight, w.cfg.MemoryLimit))
		case c.whole():
			return c, nil
		case c.total > w.cfg.MaxObjectSize:
			return nil, w.tooLarge(c.total)
		}
		size = c.total // the sender's word was too small, or it is no input of records
	}
}

// startable reports what forbids to read the item's input at all.
func (w *Worker) startable(it *item) error {
	switch t := w.expires(it); {
	case it.pending.Err() != nil:
		return context.Cause(it.pending)
	case !t.IsZero() && !time.Now().Before(t):
		return errExpired
	case !w.cfg.Locations.Allowed(it.request.Input):
		return &request.Problem{
			Code: request.CodeForbidden, Stage: request.StageAccept,
			Message: fmt.Sprintf("%s lies outside the locations that this worker may read", it.request.Input),
			Hint:    fmt.Sprintf("put the input below %s, or add its location to the worker's -input", refs(w.cfg.Locations.Inputs)),
		}
	case w.cfg.Locations.Reserved(it.request):
		return &request.Problem{
			Code: request.CodeReservedKey, Stage: request.StageAccept,
			Message: fmt.Sprintf("the result of %s would lie where Penstock keeps results of requests with an id, or its own state: uploads below requests/ and .penstock/ are refused", it.request.Input),
			Hint:    "upload it under another key",
		}
	}
	return nil
}

func (w *Worker) tooLarge(size int64) error {
	return &request.Problem{
		Code: request.CodeTooLarge, Stage: request.StageFetch,
		Message: fmt.Sprintf("the input has %d bytes; this worker takes at most %d, but for records (JSON lines, CSV, TFRecord) whose results are JSON, JSON lines or CSV", size, w.cfg.MaxObjectSize),
		Hint:    "split the input, send it as records, or raise the worker's -max-object-size and -memory-limit",
	}
}

// slowestFetch is the rate, in bytes a second, below which a read is given up
// and begun anew.
const slowestFetch = 1 << 20

func fetchLimit(size int64) time.Duration {
	return 30*time.Second + time.Duration(size/slowestFetch)*time.Second
}

// read gets the input's bytes from those that c has up to size.
func (w *Worker) read(it *item, c *content, size int64) error {
	err := w.store.try(it.pending, fetchLimit(size), verbFetch, it.request.Input, func(ctx context.Context) error {
		from := int64(len(c.body))
		var opts storage.GetOptions
		// Of a whole object the checksum is checked on the way.
		if from > 0 {
			opts = storage.GetOptions{IfMatch: it.input.ETag, Offset: from, Length: size - from}
		} else if it.request.Size > size {
			opts.Length = size
		}
		o, err := w.cfg.Store.Get(ctx, it.request.Input, opts)
		if err != nil {
			return err
		}
		defer o.Body.Close()
		it.input, c.total = o.Info, o.Size
		body := make([]byte, min(size, o.Size))
		copy(body, c.body)
		if _, err := io.ReadFull(o.Body, body[from:]); err != nil {
			return err
		}
		c.body = body
		return nil
	})
	if errors.Is(err, storage.ErrPrecondition) {
		c.body = nil // overwritten: it is read from its beginning
		return w.read(it, c, size)
	}
	return w.unreadable(it, err)
}

// unreadable is the problem that a store's answer to a read is, or err.
func (w *Worker) unreadable(it *item, err error) error {
	locked, _ := errors.AsType[*storage.LockedError](err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return w.notFound(it)
	case errors.Is(err, fs.ErrInvalid):
		return &request.Problem{
			Code: request.CodeInvalid, Stage: request.StageFetch,
			Message: fmt.Sprintf("the object store refuses to look for %s: %v", it.request.Input, err),
			Hint:    "give the object another key, or correct the version id",
		}
	case locked != nil:
		return &attempt{request.Problem{
			Code: request.CodeForbidden, Stage: request.StageFetch, Retryable: true,
			Message: fmt.Sprintf("%s can't be read: %s", it.request.Input, locked.Why),
			Hint:    locked.Remedy,
		}}
	case errors.Is(err, storage.ErrForbidden):
		return &attempt{request.Problem{
			Code: request.CodeForbidden, Stage: request.StageFetch, Retryable: true,
			Message: fmt.Sprintf("the worker's credentials may not read %s", it.request.Input),
			Hint:    "allow the worker's role s3:GetObject on it (s3:GetObjectVersion where its bucket keeps versions), kms:Decrypt where it is encrypted with a KMS key, and s3:ListBucket, without which a missing object looks like this too",
		}}
	}
	return err
}

func (w *Worker) notFound(it *item) error {
	p := &request.Problem{
		Code: request.CodeNotFound, Stage: request.StageFetch,
		Message: fmt.Sprintf("there is no object %s", it.request.Input),
		Hint:    "upload it (again); it was deleted or never there",
	}
	if it.request.Input.Version != "" {
		p.Code, p.Hint = request.CodeChanged, "that version was deleted or never there; send the request for the current one"
	}
	return p
}

// learn takes over what the input object itself says of the request.
func (w *Worker) learn(it *item) error {
	// Of an event it is the worker's own doing; who names it in a job means it.
	if it.request.Job == nil && request.OwnResult(it.request.Input, it.input.Metadata) {
		return &skipped{outcomeIgnored, "the object is a result of Penstock's, where it was written"}
	}
	it.identity = it.request.Identify(it.input)
	r, name, err := it.request.ApplyUpload(it.input.Metadata)
	it.request = r
	it.id = it.request.InferenceID(it.identity)
	w.aboard.enter(it)
	if it.request.Upload() && it.request.Job == nil && name != "" {
		it.id = name
	}
	if err != nil {
		return &request.Problem{
			Code: request.CodeInvalid, Stage: request.StageFetch,
			Message: fmt.Sprintf("the input object's metadata can't be understood: %v", err),
			Hint:    "upload it again with x-amz-meta-penstock-* names and values that are known",
		}
	}
	if t := w.expires(it); !t.IsZero() && !time.Now().Before(t) {
		return errExpired
	}
	return w.choose(it)
}

// choose finds the model that a request names; with one model it need not. The
// item keeps it until its end.
func (w *Worker) choose(it *item) error {
	m, release, err := w.cfg.Models.Use(it.request.Model)
	if e, ok := errors.AsType[*model.UnknownError](err); ok {
		return &request.Problem{
			Code: request.CodeUnknownModel, Stage: request.StageAccept, Message: e.Error(),
			Hint: "name one of: " + strings.Join(e.Known, ", "),
		}
	}
	if err == nil {
		it.leave() // fetched anew: a larger input than was thought
		it.model, it.leave = m, release
	}
	return err
}

func refs(list []storage.Ref) string {
	var s []string
	for _, r := range list {
		s = append(s, r.String())
	}
	return strings.Join(s, ", ")
}
