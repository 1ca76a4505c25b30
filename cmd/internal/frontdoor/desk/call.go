package desk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Call is what is known of one HTTP request on its way through the front door.
// It travels in the request's context. One goroutine uses it at a time.
type Call struct {
	RequestID string // of this call
	Caller    string // who calls, as far as that was asked
	ID        string // of the inference that the call was about, for the log

	arrived  func() // ends the time that the body has to arrive; nil when there is none
	bodyDone func() // gives back what the body takes; nil when it takes nothing
}

type callKey struct{}

// CallOf gives the call that the context belongs to, or an empty one.
func CallOf(ctx context.Context) *Call {
	if c, ok := ctx.Value(callKey{}).(*Call); ok {
		return c
	}
	return new(Call)
}

// With gives the context of a call.
func With(ctx context.Context, c *Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// BodyDone says that the body is not in memory any more. It may be said more
// than once.
func (c *Call) BodyDone() {
	if c.bodyDone != nil {
		c.bodyDone()
	}
}

// Bodies bounds the bodies that are in memory at a time.
type Bodies struct {
	Max      int64         // bytes of one body
	All      int64         // bytes of all bodies
	Patience time.Duration // for a body to arrive, and for room

	once sync.Once
	free *semaphore.Weighted
}

// ErrNoRoom says that too many bodies are in memory. A later call may find
// room.
var ErrNoRoom = errors.New("too many large requests are under way; try again in a second")

// Admit waits for room for a call's body, until the call's BodyDone, and gives
// it time to arrive.
func (b *Bodies) Admit(w http.ResponseWriter, r *http.Request, c *Call) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	b.once.Do(func() { b.free = semaphore.NewWeighted(max(b.All, b.Max)) })
	size := b.Max // where the length is not told, or more than is read
	if r.ContentLength > 0 {
		size = min(size, r.ContentLength)
	}
	ctx, cancel := context.WithTimeout(r.Context(), b.Patience)
	defer cancel()
	if err := b.free.Acquire(ctx, size); err != nil {
		return ErrNoRoom
	}
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(b.Patience)) // Lambda's bodies are there already
	// Only for a body that has arrived: the server reads what is left of others
	// before it answers, and must not wait for that.
	c.arrived = func() { _ = deadline.SetReadDeadline(time.Time{}) }
	c.bodyDone = sync.OnceFunc(func() { b.free.Release(size) })
	return nil
}

// BodyTooLargeError says that a call's body exceeds what its API takes.
type BodyTooLargeError struct{ Max int64 }

func (e *BodyTooLargeError) Error() string {
	return fmt.Sprintf("the body has more than %d bytes", e.Max)
}

// drained is how much of a body that is too large is read and dropped: many
// clients read no answer before they have sent it all.
const drained = 32 << 20

// ReadBody takes a call's body of at most limit bytes; more is a
// *BodyTooLargeError. Where the length is told it is in memory once: by that it
// was admitted.
func ReadBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		drop(r)
		return nil, &BodyTooLargeError{limit}
	}
	body := bytes.NewBuffer(make([]byte, 0, max(r.ContentLength, 0)+bytes.MinRead))
	if _, err := body.ReadFrom(io.LimitReader(r.Body, limit+1)); err != nil {
		return nil, fmt.Errorf("the body could not be read: %w", err)
	}
	if int64(body.Len()) > limit {
		drop(r)
		return nil, &BodyTooLargeError{limit}
	}
	r.Body = http.NoBody // it may hold what was read to check a signature
	if arrived := CallOf(r.Context()).arrived; arrived != nil {
		arrived()
	}
	return body.Bytes(), nil
}

func drop(r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Expect"), "100-continue") { // that client waits to be asked for it
		_, _ = io.CopyN(io.Discard, r.Body, drained)
	}
}
