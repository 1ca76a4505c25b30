// Package desk is what the front door's APIs have in common, in whatever words
// they say it: taking a request's body in bounded memory, handing it in,
// waiting for its end, and reading its result.
package desk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/status"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Desk is where requests are handed in. All fields but those with a default
// are required. Its methods may be called concurrently.
type Desk struct {
	Intake *intake.Intake
	Finder *status.Finder
	Store  storage.Reader // of results
	Log    *zap.Logger

	// MaxResult is the largest result that can be answered, in bytes; 0 is any.
	MaxResult int64
	// Closing ends waits when it is done. Nil never is.
	Closing context.Context
	// MaxWaiting bounds how many calls wait at a time: each looks for its
	// result every second at least.
	MaxWaiting int64
	// Accepted, when set, is told of each request that goes on when its call
	// has been answered.
	Accepted func(request.Request)

	waiting atomic.Int64
}

// Accept hands a request in that goes on whether anybody waits for it or not.
func (d *Desk) Accept(ctx context.Context, s intake.Submission) (intake.Accepted, error) {
	a, err := d.Intake.Accept(ctx, s)
	if err == nil && d.Accepted != nil {
		d.Accepted(a.Request)
	}
	return a, err
}

// Causes of a wait's end. Test with errors.Is.
var (
	ErrWaited  = errors.New("the wait is over")
	ErrClosing = errors.New("this server is shutting down")
)

// answering is the time between the end of a wait and the answer.
const answering = time.Second

// Wait gives a context for a wait: done after limit with the cause ErrWaited,
// or when the server closes with the cause ErrClosing. done ends it. ok is false
// when too many wait already: then there is nothing to end.
func (d *Desk) Wait(ctx context.Context, limit time.Duration) (waiting context.Context, done func(), ok bool) {
	if d.waiting.Add(1) > d.MaxWaiting {
		d.waiting.Add(-1)
		return nil, nil, false
	}
	if deadline, ok := ctx.Deadline(); ok { // a function of Lambda's must have answered by then
		limit = min(limit, time.Until(deadline)-answering)
	}
	ctx, stop := context.WithTimeoutCause(ctx, limit, ErrWaited)
	ctx, end := context.WithCancelCause(ctx)
	forget := func() bool { return true }
	if d.Closing != nil {
		forget = context.AfterFunc(d.Closing, func() { end(ErrClosing) })
	}
	return ctx, func() {
		forget()
		end(nil)
		stop()
		d.waiting.Add(-1)
	}, true
}

// TooLargeError says that a result is larger than can be answered.
type TooLargeError struct {
	Ref       storage.Ref
	Size, Max int64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the result has %d bytes, and at most %d can be answered here; read it from %s", e.Size, e.Max, e.Ref)
}

// Open opens the result of a request that succeeded. The caller closes its
// body.
func (d *Desk) Open(ctx context.Context, s status.Status) (*storage.Object, error) {
	if d.MaxResult > 0 && s.ResultSize > d.MaxResult {
		return nil, &TooLargeError{s.Output, s.ResultSize, d.MaxResult}
	}
	return d.Store.Get(ctx, s.Output, storage.GetOptions{})
}

// cancelLimit bounds the cancel of a request whose caller has gone.
const cancelLimit = 10 * time.Second

// Send answers with a result, and closes it. To HEAD it sends no bytes. A result
// that breaks off ends the connection: half of one must not look whole.
func Send(w http.ResponseWriter, r *http.Request, object *storage.Object) {
	defer object.Body.Close()
	h := w.Header()
	h.Set("Content-Type", cmp.Or(object.ContentType, "application/octet-stream"))
	if object.ContentEncoding != "" {
		h.Set("Content-Encoding", object.ContentEncoding)
	}
	h.Set("Content-Length", strconv.FormatInt(object.Size, 10))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.Copy(w, object.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// Cancel asks that a request is not started for nobody. ctx may be done.
func (d *Desk) Cancel(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelLimit)
	defer cancel()
	if _, err := d.Finder.Cancel(ctx, id); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.Log.Warn("a request that nobody waits for could not be cancelled; it ends by its time to live", zap.String("id", id), zap.Error(err))
	}
}

// StatusOf is the HTTP status of a request's failure: 422 where its sender
// must change something, 504 where there was not enough time, 410 where its
// sender cancelled it, 409 where its name is another's, and 500 for all else.
func StatusOf(p request.Problem) int {
	switch p.Code {
	case request.CodeExpired, request.CodeTimeout:
		return http.StatusGatewayTimeout
	case request.CodeCancelled:
		return http.StatusGone
	case request.CodeOutputTaken:
		return http.StatusConflict
	case request.CodePoison, request.CodeInternal:
		return http.StatusInternalServerError
	case codeNotAcceptable:
		return http.StatusUnprocessableEntity
	}
	if p.Retryable || p.Stage == request.StageEncode || p.Stage == request.StageStore {
		return http.StatusInternalServerError
	}
	return http.StatusUnprocessableEntity
}

// codeNotAcceptable is worker/codec's, which this package does not need
// otherwise.
const codeNotAcceptable = "NotAcceptable"
