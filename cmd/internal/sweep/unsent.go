package sweep

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// unsentAge is how old a request is before it is taken for unsent first. By then
// SQS has counted its message.
const unsentAge = 15 * time.Minute

// nothingWaits says that no message waits for a worker.
func (w *sweep) nothingWaits(ctx context.Context) bool {
	if w.Queue == nil || w.Again == nil {
		return false
	}
	a, err := w.Queue.Attributes(ctx)
	if err != nil {
		w.log.Warn("whether requests were recorded and not sent is left to the next sweep, for the queue can't be looked at", zap.Error(err))
		return false
	}
	return a.Visible+a.Delayed == 0
}

// unsent sees to a request without a time to live: whoever recorded it may have
// died before it was sent, or the queue was out of reach. When no message waits,
// and no worker has it, it is sent again. Each time its age has doubled, for it
// is no use more often where it is lost for another reason.
func (w *sweep) unsent(ctx context.Context, t target) (*pending, error) {
	ended, err := w.ended(ctx, t)
	if ended || err != nil {
		return nil, err
	}
	r := t.request
	age := w.asOf.Sub(r.Enqueued)
	due := w.asOf // by the first sweep that can
	switch {
	case age < unsentAge:
		due = r.Enqueued.Add(unsentAge)
	case w.idle && !w.fleet.Cut() && !w.fleet.Has(r.ID):
		due = w.asOf.Add(age)
		if err := w.Again(ctx, r); err != nil {
			return nil, fmt.Errorf("send it: %w", err)
		}
		w.count(func(c *Counts) { c.Resent++ })
		w.log.Warn("a request was recorded, and its message is not in the queue: it is sent", zap.String("id", r.ID), zap.Stringer("input", r.Input), zap.Time("accepted", r.Enqueued))
	}
	return &pending{Due: due.Unix(), Unsent: true}, nil
}
