package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
)

// resend sends items of a message with several alone, so that the rest can be
// acknowledged. It says whether the queue has them all.
func (w *Worker) resend(ctx context.Context, m *queue.Message, items []*item, delay time.Duration) bool {
	var out []queue.Outgoing
	for _, it := range items {
		r := it.request
		r.Enqueued = it.accepted // its time to live goes on
		body, err := request.Encode(r)
		if err != nil {
			return false
		}
		out = append(out, queue.Outgoing{
			Body: body, Delay: delay, Group: m.Group, Attributes: map[string]string{attrSuspect: "1"},
			DedupID: fmt.Sprintf("%s-%d-%s", m.ID, m.ReceiveCount, it.identity[:16]),
		})
	}
	for chunk := range slices.Chunk(out, queue.MaxBatch) { // each call has its own limit: a large pack takes many
		callCtx, cancel := context.WithTimeout(ctx, w.cfg.callLimit())
		err := errors.Join(w.cfg.Requests.Send(callCtx, chunk...)...)
		cancel()
		if err != nil {
			w.log.Warn("send items alone", zap.String(keyMessage, m.ID), zap.Error(err))
			return false
		}
	}
	return true
}

// acknowledge deletes the message. If that can't be done it comes back, and is
// found to be done.
func (w *Worker) acknowledge(ctx context.Context, l *lease) {
	w.leases.stop(l)
	for tries := 0; ; tries++ {
		callCtx, cancel := context.WithTimeout(ctx, w.cfg.callLimit())
		err := w.calls.do(callCtx, deletion, l.message)
		cancel()
		if err == nil {
			return
		}
		w.log.Warn("acknowledge", zap.String(keyMessage, l.message.ID), zap.Error(err))
		if l.lost() || errors.Is(err, queue.ErrLeaseLost) || tries == 2 || !sleep(ctx, jitter(time.Second<<tries)) {
			return
		}
	}
}

// release hands the message back, to be received again after delay.
func (w *Worker) release(ctx context.Context, l *lease, delay time.Duration) {
	w.leases.stop(l)
	ctx, cancel := context.WithTimeout(ctx, w.cfg.callLimit())
	defer cancel()
	if err := w.calls.do(ctx, delay, l.message); err != nil && !errors.Is(err, queue.ErrLeaseLost) {
		w.log.Warn("release", zap.String(keyMessage, l.message.ID), zap.Error(err))
	}
}

// backoff is how long a message rests after its n-th delivery, or attempt, went
// wrong. Deliveries count for drains and duplicates too, so the most is short:
// calls to a store at fault have waited in place before.
func backoff(n int) time.Duration {
	const least, most = 5 * time.Second, 2 * time.Minute
	return jitter(min(least<<min(n-1, 10), most))
}
