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
func (w *Worker) resend(ctx context.Context, l *lease, items []*item, delay time.Duration) bool {
	m := l.message
	attributes := map[string]string{attrSuspect: "1"}
	if reason, ok := m.Attributes[attrReason]; ok { // that a person has sent it again still counts
		attributes[attrReason] = reason
	}
	var out []queue.Outgoing
	for _, it := range items {
		body, err := request.Encode(it.again())
		if err != nil {
			return false
		}
		out = append(out, queue.Outgoing{
			Body: body, Delay: delay, Group: m.Group, Attributes: attributes,
			DedupID: fmt.Sprintf("%s-%d-%s", m.ID, m.ReceiveCount, it.identity[:16]),
		})
	}
	for chunk := range slices.Chunk(out, queue.MaxBatch) { // each call has its own limit: a large pack takes many
		callCtx, cancel := context.WithTimeout(ctx, w.cfg.callLimit())
		err := errors.Join(l.from.requests.Send(callCtx, chunk...)...)
		cancel()
		if err != nil {
			w.log.Warn("send items alone", zap.String(keyMessage, m.ID), zap.Error(err))
			return false
		}
	}
	return true
}

// again is the item's request as it is sent once more: its time to live goes on.
func (it *item) again() request.Request {
	r := it.sent
	r.Enqueued = it.accepted
	return r
}

// sendOn sends items of a job to which nothing has happened as a new message:
// handed back with their old one they would be taken for suspects.
func (w *Worker) sendOn(ctx context.Context, l *lease, items []*item) bool {
	requests := make([]request.Request, len(items))
	for i, it := range items {
		requests[i] = it.again()
	}
	body, err := request.Encode(requests...)
	out := queue.Outgoing{
		Body: body, Group: l.message.Group, Attributes: l.message.Attributes,
		DedupID: fmt.Sprintf("%s-%d-%s", l.message.ID, l.message.ReceiveCount, items[0].identity[:16]),
	}
	if half := len(items) / 2; err == nil && half > 0 && out.Size() > queue.MaxMessageBytes { // their numbers take some bytes
		return w.sendOn(ctx, l, items[:half]) && w.sendOn(ctx, l, items[half:])
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, w.cfg.callLimit())
		defer cancel()
		err = l.from.requests.Send(ctx, out)[0]
	}
	if err != nil {
		w.log.Warn("send on what was not begun", zap.String(keyMessage, l.message.ID), zap.Error(err))
	}
	return err == nil
}

// putOff sends a message that nothing has been done for once more, to come later,
// and acknowledges it.
func (w *Worker) putOff(ctx context.Context, l *lease, delay time.Duration) {
	m := l.message
	callCtx, cancel := context.WithTimeout(ctx, w.cfg.callLimit())
	defer cancel()
	err := l.from.requests.Send(callCtx, queue.Outgoing{Body: m.Body, Group: m.Group, Attributes: m.Attributes, Delay: delay, DedupID: m.ID + "-later"})[0]
	if err != nil {
		w.log.Warn("put off", zap.String(keyMessage, m.ID), zap.Error(err))
		w.release(ctx, l, backoff(m.ReceiveCount))
		return
	}
	w.acknowledge(ctx, l)
}

// acknowledge deletes the message. If that can't be done it comes back, and is
// found to be done.
func (w *Worker) acknowledge(ctx context.Context, l *lease) {
	l.from.leases.stop(l)
	for tries := 0; ; tries++ {
		callCtx, cancel := context.WithTimeout(ctx, w.cfg.callLimit())
		err := l.from.calls.do(callCtx, deletion, l.message)
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

// release hands the message back, to be received again after delay. One whose
// lease is over has gone back by itself, and may be another worker's: a queue can
// take the old receipt for good.
func (w *Worker) release(ctx context.Context, l *lease, delay time.Duration) {
	l.from.leases.stop(l)
	if l.left() <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, w.cfg.callLimit())
	defer cancel()
	if err := l.from.calls.do(ctx, delay, l.message); err != nil && !errors.Is(err, queue.ErrLeaseLost) {
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
