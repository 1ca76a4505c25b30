package deadletter

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
)

// reasonRedriven is the reason that a letter gets which has none.
const reasonRedriven = "redriven by hand; the queue had moved it by its redrive policy"

// Redrive sends letters to the queue again, and deletes those that the queue
// has: in this order, so that none is lost. The result has one entry a letter:
// nil, a *StillThereError when it was sent but could not be deleted, or why it
// was not sent.
func (s *Session) Redrive(ctx context.Context, to queue.Sender, letters []Letter) []error {
	out := make([]queue.Outgoing, len(letters))
	for i, l := range letters {
		out[i] = s.again(l)
	}
	sendCtx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	errs := to.Send(sendCtx, out...)
	var sent []Letter
	var at []int
	for i, err := range errs {
		if err == nil {
			sent, at = append(sent, letters[i]), append(at, i)
		}
	}
	// What was sent is deleted even if the person has had enough meanwhile.
	for i, err := range s.Delete(context.WithoutCancel(ctx), sent...) {
		if err != nil {
			errs[at[i]] = &StillThereError{err}
		}
	}
	return errs
}

// StillThereError says that a letter was sent to the queue, and is in the
// dead-letter queue too.
type StillThereError struct{ Err error }

func (e *StillThereError) Error() string {
	return fmt.Sprintf("it was sent to the queue, but is still in the dead-letter queue as well: %v; drop it there, or redrive it again, which costs a run and changes nothing", e.Err)
}

func (e *StillThereError) Unwrap() error { return e.Err }

// again is the message to send. It keeps the letter's attributes: by the reason
// among them a worker knows to run it afresh, and to replace its failure.
func (s *Session) again(l Letter) queue.Outgoing {
	m := l.Message
	o := queue.Outgoing{
		Body: m.Body, Attributes: map[string]string{}, Group: m.Group,
		// A queue that drops what it had in the last five minutes must not take
		// this for what was redriven before: it would be deleted here and lost.
		DedupID: rand.Text(),
	}
	maps.Copy(o.Attributes, m.Attributes)
	if _, ok := o.Attributes[request.LetterReason]; !ok && len(o.Attributes) < queue.MaxAttributes {
		o.Attributes[request.LetterReason] = reasonRedriven
	}
	if _, ok := o.Attributes[request.LetterRedrive]; ok || len(o.Attributes) < queue.MaxAttributes {
		o.Attributes[request.LetterRedrive] = s.id
	}
	if body, ok := withoutTime(l); ok {
		o.Body = body
	}
	return o
}

// withoutTime is the body without the time at which its requests were
// accepted, where that and a time to live would let them expire at once: who
// redrives them wants them run.
func withoutTime(l Letter) (string, bool) {
	dated := func(r request.Request) bool { return r.TTL > 0 && !r.Enqueued.IsZero() }
	if l.Unreadable != nil || !slices.ContainsFunc(l.Requests, dated) {
		return "", false
	}
	requests := slices.Clone(l.Requests)
	for i := range requests {
		requests[i].Enqueued = time.Time{}
	}
	body, err := request.Encode(requests...)
	return body, err == nil
}
