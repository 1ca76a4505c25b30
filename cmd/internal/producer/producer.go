// Package producer turns what a Lambda function is invoked with into requests
// in the queue: events of uploads, batches of messages, HTTP requests and
// invocations by hand. It is the whole of the Lambda producer but for Lambda
// itself, so that local mode runs the same code in its own process.
package producer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/producer/proxy"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Handler answers whatever the function is invoked with. It holds no state:
// Handle may be called concurrently. What is nil is not served.
type Handler struct {
	Locations request.Locations
	Queue     queue.Sender
	QueueURL  string                       // for knowing the queue in an event of its own
	Group     func(request.Request) string // MessageGroupId; nil gives none, which a FIFO queue does not take
	Filter    Filter
	Store     storage.Reader // for prefixes, manifests, and filters that look at the object
	Intake    Acceptor       // of requests with an id, and of inline bodies
	Door      *proxy.Door    // to the front door
	Sweep     func(context.Context) (any, error)
	// Invocation is the id of the invocation that a context belongs to. A body
	// without an id is given it, so that Lambda's retry is known for the same.
	Invocation func(context.Context) string
	Log        *zap.Logger
}

// Acceptor is an [intake.Intake].
type Acceptor interface {
	Accept(context.Context, intake.Submission) (intake.Accepted, error)
}

// Result is what an event came to.
type Result struct {
	Enqueued int `json:"enqueued"` // requests that are in the queue now
	Dropped  int `json:"dropped"`  // objects that are no inputs: outside the input locations, filtered, folder markers
	Refused  int `json:"refused,omitempty"`

	// Problems are the reasons of the first that were refused.
	Problems []string `json:"problems,omitempty"`
	// Requests says of each request of an invocation by hand where its result
	// will be.
	Requests []Placed `json:"requests,omitempty"`
	// Continue is there when the function's time was too short for the whole
	// list: the event to invoke it with again, for the rest.
	Continue json.RawMessage `json:"continue,omitempty"`

	moved bool // a page of a list is done
}

// Placed is a request that was accepted.
type Placed struct {
	ID      string `json:"id,omitempty"`
	Input   string `json:"input"`
	Output  string `json:"output"`
	Failure string `json:"failure"`
}

// EventError says that an event, or a part of it, can't be understood or is
// not allowed. To call again is no use.
type EventError struct{ Err error }

func (e *EventError) Error() string { return e.Err.Error() }

// Unwrap gives what is wrong with the event.
func (e *EventError) Unwrap() error { return e.Err }

// QueueError says that requests of an event are not in the queue, or may not
// be, or that a sweep could not do all. To call again may help.
type QueueError struct{ Err error }

func (e *QueueError) Error() string { return e.Err.Error() }

// Unwrap gives the faults of the single requests, joined.
func (e *QueueError) Unwrap() error { return e.Err }

// Handle takes an event of any kind, and gives what Lambda is to answer.
//
// An error means that a part of the event is not in the queue, and is a
// *QueueError or an *EventError: Lambda shows the type's name. Whoever called
// is to call again with the whole event, as Lambda does by itself: what is
// sent twice takes effect once. An event that can't be understood is an error
// after what could be understood of it has been sent, so that it ends where
// failed events are kept and a person sees it.
//
// Handle returns a little before ctx's deadline, so that Lambda hears what was
// done instead of ending the function.
func (h *Handler) Handle(ctx context.Context, event json.RawMessage) (any, error) {
	ctx, cancel := inTime(ctx)
	defer cancel()
	answer, err := h.answer(ctx, event)
	if unreadable, ok := errors.AsType[*EventError](err); ok {
		h.Log.Error("event not understood", zap.Error(unreadable), zap.ByteString("event", event[:min(len(event), 2048)]))
	}
	return answer, err
}

func (h *Handler) answer(ctx context.Context, event json.RawMessage) (any, error) {
	kind, err := kindOf(event)
	if err != nil {
		return nil, &EventError{err}
	}
	switch kind {
	case kindMessages:
		return h.messages(ctx, event)
	case kindHTTP:
		return h.http(ctx, event)
	case kindSchedule:
		return h.sweep(ctx)
	case kindUploads:
		return h.uploads(ctx, event)
	}
	return h.invoke(ctx, kind, event)
}

// inTime ends before ctx does: by a tenth of what is left, and by at most five
// seconds.
func inTime(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, deadline.Add(-min(time.Until(deadline)/10, 5*time.Second)), errTimeUp)
}

var errTimeUp = errors.New("the function's time is up")

// http lets the front door answer.
func (h *Handler) http(ctx context.Context, event json.RawMessage) (any, error) {
	if h.Door == nil {
		return nil, &EventError{errors.New("it is an HTTP request, and this producer has no front door")}
	}
	reply, err := h.Door.Serve(ctx, event)
	if err != nil {
		return nil, &EventError{err}
	}
	return reply, nil
}

// sweep answers the schedule.
func (h *Handler) sweep(ctx context.Context) (any, error) {
	if h.Sweep == nil {
		return nil, &EventError{errors.New("it is a schedule's, and this producer does not sweep")}
	}
	counts, err := h.Sweep(ctx)
	if err != nil {
		return counts, &QueueError{fmt.Errorf("sweep: %w", err)}
	}
	h.Log.Info("swept", zap.Any("counts", counts))
	return counts, nil
}

// uploads puts a request into the queue for each object that appeared.
func (h *Handler) uploads(ctx context.Context, event json.RawMessage) (any, error) {
	requests, unreadable := request.Decode(string(event))
	if len(requests) == 0 && unreadable == nil {
		h.Log.Info("event asks for nothing")
		return Result{}, nil
	}
	fates := h.take(ctx, requests, origin{})
	result, faults := tally(fates)
	return result, fault(faults, unreadable)
}

// tally counts the fates, and gives their faults.
func tally(fates []fate) (r Result, faults []error) {
	for _, f := range fates {
		switch {
		case f.err != nil:
			faults = append(faults, f.err)
		case f.dropped:
			r.Dropped++
		default:
			r.Enqueued++
		}
	}
	return r, faults
}

// maxFaults is how many faults an error tells of. All are logged.
const maxFaults = 10

// fault joins the faults of an event and what of it could not be read. It tells
// what to call again for from what is no use to repeat: where an event has
// both, the first counts.
func fault(faults []error, unreadable error) error {
	permanent := !slices.ContainsFunc(faults, func(err error) bool { return !isPermanent(err) })
	if n := len(faults) - maxFaults; n > 0 {
		faults = append(slices.Clip(faults[:maxFaults]), fmt.Errorf("and %d more", n))
	}
	all := errors.Join(append(slices.Clip(faults), unreadable)...)
	switch {
	case all == nil:
		return nil
	case permanent:
		return &EventError{all}
	}
	return &QueueError{all}
}

// isPermanent says that no part of err is worth another try.
func isPermanent(err error) bool {
	switch e := err.(type) {
	case *EventError:
		return true
	case interface{ Unwrap() error }:
		return isPermanent(e.Unwrap())
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(e.Unwrap(), func(part error) bool { return !isPermanent(part) })
	}
	return false
}
