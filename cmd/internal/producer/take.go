package producer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// fate is what became of one request. One that is neither dropped nor at fault
// is in the queue.
type fate struct {
	dropped bool
	err     error // an *EventError, when to try again is no use
}

// origin is how objects came to be asked for.
type origin struct {
	named bool // by someone: those that are no inputs are refused. Others, which an event or a prefix told of, are dropped
	many  bool // too many for a log line each, unless something is wrong
}

// What bounds a call.
const (
	heads   = 16 // HEADs at a time
	accepts = 16 // requests with an id at a time, each a PUT and a SendMessage
	senders = 8  // SendMessageBatches at a time
)

// take decides over each request and puts into the queue what is an input.
func (h *Handler) take(ctx context.Context, requests []request.Request, from origin) []fate {
	fates := make([]fate, len(requests))
	h.sift(ctx, requests, from, fates)
	var named, plain []int // those without an id need no record
	for i, r := range requests {
		switch {
		case fates[i] != fate{}:
		case !r.Upload() && h.Intake != nil:
			named = append(named, i)
		default:
			plain = append(plain, i)
		}
	}
	h.acceptAll(ctx, requests, named, fates)
	h.send(ctx, requests, plain, fates)
	for i, r := range requests {
		h.tell(r, fates[i], from)
	}
	return fates
}

// sift marks what is no input.
func (h *Handler) sift(ctx context.Context, requests []request.Request, from origin, fates []fate) {
	var group errgroup.Group
	group.SetLimit(heads)
	look := func(i int) {
		why, err := h.Filter.pass(ctx, h.Store, requests[i])
		if why != "" && !from.many {
			h.Log.Info("object dropped: "+string(why), zap.Stringer("input", requests[i].Input))
		}
		fates[i] = fate{why != "", err}
	}
	for i, r := range requests {
		outside := h.outside(r)
		switch {
		case outside != "" && from.named:
			fates[i].err = &EventError{fmt.Errorf("%s: %s", r.Input, outside)}
		case outside != "":
			h.Log.Warn("object dropped: "+string(outside), zap.Stringer("input", r.Input))
			fates[i].dropped = true
		case from.named || !r.Upload():
		case !h.Filter.looks(r):
			look(i)
		default:
			group.Go(func() error { look(i); return nil })
		}
	}
	_ = group.Wait() // each has its own fate
}

// outside says why an object is no input by where it lies. Bodies in the state
// location, which a worker may read too, are sent by those who put them there
// and not by an event.
func (h *Handler) outside(r request.Request) reason {
	if slices.ContainsFunc(h.Locations.Inputs, func(in storage.Ref) bool { return in.Contains(r.Input) }) {
		return ""
	}
	if !r.Upload() && h.Intake != nil && h.Locations.Allowed(r.Input) {
		return "" // what was uploaded for a request with an id; the intake knows
	}
	if h.Locations.Output.Contains(r.Input) || h.Locations.Failure.Contains(r.Input) {
		return "it is a result of Penstock's own: let the notification not tell of the output and failure locations"
	}
	return "it lies outside the input locations"
}

// acceptAll hands the requests with these indices to the intake. Those of a
// FIFO queue are sent in their order.
func (h *Handler) acceptAll(ctx context.Context, requests []request.Request, which []int, fates []fate) {
	limit := accepts
	if isFIFO(h.QueueURL) {
		limit = 1
	}
	var group errgroup.Group
	group.SetLimit(limit)
	for _, i := range which {
		group.Go(func() error {
			_, fates[i].err = h.accept(ctx, intake.Submission{Request: requests[i]})
			return nil
		})
	}
	_ = group.Wait() // each has its own fate
}

// accept hands a request with an id, or one with its body, to the intake.
func (h *Handler) accept(ctx context.Context, s intake.Submission) (intake.Accepted, error) {
	a, err := h.Intake.Accept(ctx, s)
	_, invalid := errors.AsType[*intake.InvalidError](err)
	_, conflict := errors.AsType[*intake.ConflictError](err)
	if invalid || conflict {
		err = &EventError{err}
	}
	return a, err
}

// send puts the requests with these indices into the queue. Those of a FIFO
// queue are sent in their order.
func (h *Handler) send(ctx context.Context, requests []request.Request, which []int, fates []fate) {
	limit := senders
	if isFIFO(h.QueueURL) {
		limit = 1
	}
	var group errgroup.Group
	group.SetLimit(limit)
	for batch := range slices.Chunk(which, queue.MaxBatch) {
		group.Go(func() error {
			some := make([]request.Request, len(batch))
			for n, i := range batch {
				some[n] = requests[i]
			}
			for n, err := range Enqueue(ctx, h.Queue, h.Group, some) {
				if errors.Is(err, queue.ErrInvalid) {
					err = &EventError{err}
				}
				if err != nil {
					err = fmt.Errorf("enqueue %s: %w", some[n].Input, err)
				}
				fates[batch[n]].err = err
			}
			return nil
		})
	}
	_ = group.Wait() // each has its own fate
}

func isFIFO(queue string) bool { return strings.HasSuffix(queue, ".fifo") }

// tell writes a request's line, but of what was dropped: its line says why.
func (h *Handler) tell(r request.Request, f fate, from origin) {
	fields := []zap.Field{zap.Stringer("input", r.Input), zap.String("etag", r.ETag), zap.Int64("size", r.Size)}
	if !r.Upload() {
		fields = append(fields, zap.String("id", r.ID))
	}
	switch {
	case f.err != nil:
		h.Log.Error("request not enqueued", append(fields, zap.Error(f.err))...)
	case f.dropped:
	case from.many:
		h.Log.Debug("request enqueued", fields...)
	default:
		h.Log.Info("request enqueued", fields...)
	}
}

// Enqueue sends one message for each request, so that each is retried and
// fails by itself. group gives a request's MessageGroupId; nil is none. The
// result has one entry a request; nil means the queue has it. A request without
// a time of its own is accepted now.
func Enqueue(ctx context.Context, to queue.Sender, group func(request.Request) string, requests []request.Request) []error {
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
		m := queue.Outgoing{Body: body}
		if group != nil {
			m.Group, m.DedupID = group(r), r.DedupID()
		}
		messages, sent = append(messages, m), append(sent, i)
	}
	for n, err := range to.Send(ctx, messages...) {
		errs[sent[n]] = err
	}
	return errs
}
