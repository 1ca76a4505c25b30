package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model"
)

// errExpired is the cause when a request's TTL is over before it was started.
var errExpired = errors.New("the request's time to live is over")

// pendingContext gives the context that an item's start depends on. done
// frees it.
func (w *Worker) pendingContext(it *item) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(it.lease.ctx)
	stop := context.AfterFunc(w.draining, func() { cancel(context.Cause(w.draining)) })
	if w.draining.Err() != nil {
		cancel(context.Cause(w.draining)) // at once: AfterFunc takes its time
	}
	return ctx, func() {
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
// large it is. A larger one is read twice.
const usualSize = 64 << 10

// fetch reads the item's input into memory that release gives back, and
// learns from it what only the object can tell: its version, and what its
// uploader chose.
func (w *Worker) fetch(it *item) (body []byte, release func(), err error) {
	began := time.Now()
	defer func() { it.spent.Fetch = time.Since(began) }()
	if err := w.startable(it); err != nil {
		return nil, nil, err
	}
	size := it.request.Size
	if size <= 0 {
		size = usualSize
	}
	size = min(size, w.cfg.MaxObjectSize)
	for {
		reserved := weight(size)
		if w.memory.Acquire(it.pending, reserved) != nil {
			return nil, nil, context.Cause(it.pending)
		}
		release = func() { w.memory.Release(reserved) }
		body, err = w.read(it, size)
		if err == nil {
			err = w.learn(it)
		}
		if err == nil {
			return body, release, nil
		}
		release()
		grown, ok := errors.AsType[*grownError](err)
		if !ok {
			return nil, nil, err
		}
		size = grown.size // the sender's word was too small: reserve anew
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

// grownError says that the input is larger than what was reserved for it.
type grownError struct{ size int64 }

func (e *grownError) Error() string { return fmt.Sprintf("the input has %d bytes", e.size) }

// slowestFetch is the rate, in bytes a second, below which a read is given up
// and begun anew.
const slowestFetch = 1 << 20

// read gets the input's bytes, at most reserved.
func (w *Worker) read(it *item, reserved int64) (body []byte, err error) {
	limit := 30*time.Second + time.Duration(reserved/slowestFetch)*time.Second
	var grown *grownError
	err = w.store.try(it.pending, limit, verbFetch, it.request.Input, func(ctx context.Context) error {
		o, err := w.cfg.Store.Get(ctx, it.request.Input, storage.GetOptions{})
		if err != nil {
			return err
		}
		defer o.Body.Close()
		it.input = o.Info
		if o.Size > w.cfg.MaxObjectSize {
			return &request.Problem{
				Code: request.CodeTooLarge, Stage: request.StageFetch,
				Message: fmt.Sprintf("the input has %d bytes; this worker takes at most %d", o.Size, w.cfg.MaxObjectSize),
				Hint:    "split the input, or raise the worker's -max-object-size and -memory-limit",
			}
		}
		if o.Size > reserved {
			grown = &grownError{o.Size}
			return nil
		}
		grown = nil
		body = make([]byte, o.Size)
		_, err = io.ReadFull(o.Body, body)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, w.notFound(it)
	case errors.Is(err, fs.ErrInvalid):
		return nil, &request.Problem{
			Code: request.CodeInvalid, Stage: request.StageFetch,
			Message: fmt.Sprintf("the object store refuses to look for %s: %v", it.request.Input, err),
			Hint:    "give the object another key, or correct the version id",
		}
	case errors.Is(err, storage.ErrForbidden):
		return nil, &attempt{request.Problem{
			Code: request.CodeForbidden, Stage: request.StageFetch, Retryable: true,
			Message: fmt.Sprintf("the worker's credentials may not read %s", it.request.Input),
			Hint:    "allow s3:GetObject on it (and s3:ListBucket, or a missing object looks like this too) for the worker's role",
		}}
	case err == nil && grown != nil:
		return nil, grown
	}
	return body, err
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
	if request.OwnResult(it.request.Input, it.input.Metadata) {
		return &skipped{outcomeIgnored, "the object is a result of Penstock's, where it was written"}
	}
	it.identity = it.request.Identify(it.input)
	r, name, err := it.request.ApplyUpload(it.input.Metadata)
	it.request = r
	it.id = it.request.InferenceID(it.identity)
	if it.request.Upload() && name != "" {
		it.id = name
	}
	if err != nil {
		return &request.Problem{
			Code: request.CodeInvalid, Stage: request.StageFetch,
			Message: fmt.Sprintf("the input object's metadata can't be understood: %v", err),
			Hint:    "upload it again with valid x-amz-meta-penstock-* values",
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
