// Package producer turns the events of uploads into requests in the queue. It
// is the whole of the Lambda producer but for Lambda itself, so that local
// mode runs the same code in its own process.
package producer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
)

// Handler puts a request into the queue for each object that an event tells
// of. It holds no state: Handle may be called concurrently.
type Handler struct {
	Locations request.Locations
	Queue     queue.Sender
	Log       *zap.Logger
}

// Result is what an event came to.
type Result struct {
	Enqueued int `json:"enqueued"` // requests that are in the queue now
	Dropped  int `json:"dropped"`  // objects outside the input locations
}

// EventError says that an event, or a part of it, can't be understood. To call
// again is no use.
type EventError struct{ Err error }

func (e *EventError) Error() string { return "read the event: " + e.Err.Error() }

// Unwrap gives what is wrong with the event.
func (e *EventError) Unwrap() error { return e.Err }

// QueueError says that requests of an event are not in the queue, or may not
// be. To call again may help.
type QueueError struct{ Err error }

func (e *QueueError) Error() string { return e.Err.Error() }

// Unwrap gives the faults of the single requests, joined.
func (e *QueueError) Unwrap() error { return e.Err }

// Handle takes any event that request.Decode understands: S3's and
// EventBridge's, each as it is or wrapped by SNS, and requests in Penstock's
// own form from a direct invocation.
//
// An error means that a part of the event is not in the queue, and is a
// *QueueError or an *EventError: Lambda shows the type's name. Whoever called
// is to call again with the whole event, as Lambda does by itself: what is
// sent twice takes effect once. An event that can't be understood is an error
// after what could be understood of it has been sent, so that it ends where
// failed events are kept and a person sees it.
//
// The any is a Result, for those who invoke the function by hand.
func (h *Handler) Handle(ctx context.Context, event json.RawMessage) (any, error) {
	requests, unreadable := request.Decode(string(event))
	if unreadable != nil {
		h.Log.Error("event not understood", zap.Error(unreadable), zap.ByteString("event", event[:min(len(event), 2048)]))
		unreadable = &EventError{unreadable}
	}
	if len(requests) == 0 && unreadable == nil {
		h.Log.Info("event asks for nothing")
		return Result{}, nil
	}
	var result Result
	accepted := make([]request.Request, 0, len(requests))
	for _, r := range requests {
		if !h.watched(r) {
			result.Dropped++
			h.Log.Warn("object dropped: it lies outside the input locations", zap.Stringer("input", r.Input))
			continue
		}
		accepted = append(accepted, r)
	}
	if err := h.enqueue(ctx, accepted, &result); err != nil {
		return result, &QueueError{errors.Join(err, unreadable)}
	}
	return result, unreadable
}

// watched says whether the object lies in an input location. Bodies in the
// state location, which a worker may read too, are sent by those who put them
// there and not by an event.
func (h *Handler) watched(r request.Request) bool {
	for _, in := range h.Locations.Inputs {
		if in.Contains(r.Input) {
			return true
		}
	}
	return false
}

// enqueue sends the requests and tells of each.
func (h *Handler) enqueue(ctx context.Context, requests []request.Request, result *Result) error {
	var errs []error
	for i, err := range Enqueue(ctx, h.Queue, requests) {
		fields := []zap.Field{zap.Stringer("input", requests[i].Input), zap.String("etag", requests[i].ETag), zap.Int64("size", requests[i].Size)}
		if err != nil {
			h.Log.Error("request not enqueued", append(fields, zap.Error(err))...)
			errs = append(errs, fmt.Errorf("enqueue %s: %w", requests[i].Input, err))
			continue
		}
		result.Enqueued++
		h.Log.Info("request enqueued", fields...)
	}
	return errors.Join(errs...)
}

// Enqueue sends one message for each request, so that each is retried and
// fails by itself. The result has one entry a request; nil means the queue has
// it. A request without a time of its own is accepted now.
func Enqueue(ctx context.Context, to queue.Sender, requests []request.Request) []error {
	now := time.Now()
	errs := make([]error, len(requests))
	messages := make([]queue.Outgoing, 0, len(requests))
	sent := make([]int, 0, len(requests)) // the requests of the messages
	for i, r := range requests {
		if r.Enqueued.IsZero() {
			r.Enqueued = now
		}
		body, err := request.Encode(r)
		if err != nil {
			errs[i] = fmt.Errorf("encode the request: %w", err)
			continue
		}
		messages, sent = append(messages, queue.Outgoing{Body: body}), append(sent, i)
	}
	for n, err := range to.Send(ctx, messages...) {
		errs[sent[n]] = err
	}
	return errs
}
