package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/terminal"
)

// The bounds of one look through the dead-letter queue.
const (
	maxLetters   = 10_000
	letterLease  = 2 * time.Minute  // after a crash the messages are to be seen again then
	letterTime   = 90 * time.Second // and none is received twice in one look
	letterPoll   = time.Second
	releaseLimit = 30 * time.Second
)

// letters explains the messages in the dead-letter queue that SQS put there:
// nobody has said why, and their requests have no terminal object. All others
// are put back as they were. They can't be told apart without receiving them.
func (w *sweep) letters(ctx context.Context) error {
	a, err := w.DeadLetters.Attributes(ctx)
	if err != nil {
		return fmt.Errorf("look at the dead-letter queue: %w", err)
	}
	until := time.Now().Add(min(letterTime, time.Until(w.until)/2))
	var errs []error
	var others []*queue.Message
	defer func() { w.putBack(ctx, others) }()
	for seen := 0; a.Visible > 0 && seen < maxLetters; {
		if ctx.Err() != nil || time.Now().After(until) {
			w.counts.Partly = true
			break
		}
		// Not under ctx: who cancels a poll strands what it would have brought.
		messages, err := w.DeadLetters.Receive(context.WithoutCancel(ctx), queue.MaxBatch, letterLease, letterPoll)
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("receive dead letters: %w", err))...)
		}
		if len(messages) == 0 {
			break
		}
		seen += len(messages)
		for _, m := range messages {
			if m.Attributes[request.LetterReason] != "" {
				others = append(others, &queue.Message{ID: m.ID, Receipt: m.Receipt}) // not its body: there may be thousands of them
			} else if err := w.explain(ctx, m); err != nil { // it comes back
				errs = append(errs, fmt.Errorf("dead letter %s: %w", m.ID, err))
			}
		}
	}
	if len(errs) > 10 {
		errs = append(errs[:10], fmt.Errorf("and %d more", len(errs)-10))
	}
	return errors.Join(errs...)
}

// putBack lets others see messages again that are not for this sweep.
func (w *sweep) putBack(ctx context.Context, messages []*queue.Message) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseLimit)
	defer cancel()
	for some := range slices.Chunk(messages, queue.MaxBatch) {
		if err := errors.Join(w.DeadLetters.ChangeVisibility(ctx, 0, some...)...); err != nil {
			w.log.Info("put dead letters back; they come back by themselves", zap.Error(err))
		}
	}
}

// letter is what is to be said of a message.
type letter struct {
	body             string
	code, id, reason string
}

// explain gives the requests of a message that SQS dead-lettered their failure
// objects, and puts it back with a reason. It is sent before it is deleted: a
// crash in between doubles it, and loses nothing.
func (w *sweep) explain(ctx context.Context, m *queue.Message) error {
	l, err := w.judge(ctx, m)
	if err != nil {
		return err
	}
	if l != nil {
		attributes := map[string]string{
			request.LetterReason: request.LetterText(l.reason), request.LetterCode: l.code, request.LetterID: request.LetterText(l.id),
		}
		for _, name := range slices.Sorted(maps.Keys(m.Attributes)) {
			if _, ours := attributes[name]; !ours && len(attributes) < queue.MaxAttributes {
				attributes[name] = m.Attributes[name]
			}
		}
		out := queue.Outgoing{Body: l.body, Attributes: attributes, Group: m.Group, DedupID: m.ID + "-" + l.code}
		if err := w.DeadLetters.Send(ctx, out)[0]; err != nil {
			return fmt.Errorf("put it back with its reason: %w", err)
		}
	}
	if err := w.DeadLetters.Delete(ctx, m)[0]; err != nil {
		return fmt.Errorf("delete it, which is there again with its reason: %w", err)
	}
	w.count(func(c *Counts) {
		if l != nil {
			c.Explained++
		} else {
			c.Dropped++
		}
	})
	return nil
}

// judge sees to it that each request of a message has its terminal object. It
// gives the letter that is to take the message's place, or nil when all have
// succeeded: it was left over.
func (w *sweep) judge(ctx context.Context, m *queue.Message) (*letter, error) {
	requests, unreadable := request.Decode(m.Body)
	var l *letter
	var failed []request.Request
	job := false
	for _, r := range requests {
		if job = job || r.Job != nil; job {
			break
		}
		p, id, err := w.abandon(ctx, r, m)
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		if l == nil {
			l = &letter{code: p.Code, id: id, reason: p.Message}
		}
		r.Enqueued = time.Time{} // who redrives it wants it run, whenever that is
		failed = append(failed, r)
	}
	switch {
	case unreadable != nil:
		return &letter{body: m.Body, code: request.CodeUnreadable, id: m.ID, reason: unreadable.Error()}, nil
	case job: // its items are accounted for by the job, which waits for them
		return &letter{
			body: m.Body, code: request.CodeReceivedTooOften, id: requests[0].Job.ID,
			reason: "this part of a batch job was received too often, and no worker has ended it or said why; the job waits for it: send it to the queue again",
		}, nil
	case l == nil:
		return nil, nil
	}
	var err error
	l.body, err = request.Encode(failed...)
	return l, err
}

// abandon gives a request its failure object, unless it has a terminal object.
// It gives what is wrong with the request, nil if nothing is, and its id.
func (w *sweep) abandon(ctx context.Context, r request.Request, m *queue.Message) (*request.Problem, string, error) {
	if r.Enqueued.IsZero() {
		r.Enqueued = m.Sent
	}
	c, err := w.claim(ctx, target{request: r, found: storage.Info{Ref: r.Input}})
	if err != nil {
		return nil, "", err
	}
	id := r.InferenceID(c.Identity)
	v, found, err := w.terminals.Finished(ctx, c)
	switch {
	case err != nil:
		return nil, id, fmt.Errorf("look for the result of %s: %w", r.Input, err)
	case v == terminal.Superseded, v == terminal.Overruled:
		return nil, id, nil
	case v != terminal.Committed && found.Ref.Key == w.Locations.OutputOf(r).Key && found.Ref.Bucket == w.Locations.Output.Bucket:
		return nil, id, nil
	case v != terminal.Committed:
		p, err := w.readProblem(ctx, found.Ref)
		return p, id, err
	}
	p := request.Problem{
		Code: request.CodeReceivedTooOften, Stage: request.StageAccept, Retryable: true,
		Message: "the queue has given the request up: it was received too often, and no worker has ended it or said why",
		Hint:    "look into the workers' logs for why they end over it or hand it back, and see that the queue's maxReceiveCount is 100; then send its message from the dead-letter queue to the queue again (penstock dead-letter redrive)",
	}
	v, err = w.fail(ctx, c, p)
	switch {
	case err != nil:
		return nil, id, fmt.Errorf("write the failure object of %s: %w", r.Input, err)
	case v == terminal.Overruled, v == terminal.Superseded:
		return nil, id, nil
	}
	w.count(func(counts *Counts) { counts.Abandoned++ })
	w.log.Warn("a request that the queue has dead-lettered", zap.String("id", id), zap.Stringer("input", r.Input), zap.String("message", m.ID))
	return &p, id, nil
}

// readProblem reads what a failure object says.
func (w *sweep) readProblem(ctx context.Context, ref storage.Ref) (*request.Problem, error) {
	o, err := w.Store.Get(ctx, ref, storage.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the failure object: %w", err)
	}
	defer o.Body.Close()
	body, err := io.ReadAll(io.LimitReader(o.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read the failure object: %w", err)
	}
	var f request.Failure
	if json.Unmarshal(body, &f) != nil || f.Error.Code == "" {
		f.Error = request.Problem{Code: request.CodeReceivedTooOften, Message: "the request has failed: " + ref.String()}
	}
	return &f.Error, nil
}
