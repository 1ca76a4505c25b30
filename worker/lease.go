package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue"
)

// errHeldTooLong hands a message back before SQS's twelve hours end.
var errHeldTooLong = errors.New("the message was held for eleven hours")

// longestHold is when a lease is given up by choice: an hour before the queue
// would end it, so that the message goes back cleanly.
const longestHold = queue.MaxLease - time.Hour

// lease is the right to work on one received message. Its clock is ours: it
// runs from before the last receive or extension that succeeded was sent, so
// it ends no later than the queue's own.
type lease struct {
	message *queue.Message
	from    *inlet
	ctx     context.Context // done when the lease is lost; its cause says why
	cancel  context.CancelCauseFunc

	received time.Time     // before the receive was sent
	calls    chan struct{} // of size 1: holds a token while no queue call about this message is under way

	mu    sync.Mutex // never held over a call
	until time.Time  // when the lease ends
	next  time.Time  // when it is to be extended
}

// left is how much of the lease remains for certain.
func (l *lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.until)
}

// lost ends the lease if its time is over, and says whether it has ended.
func (l *lease) lost() bool {
	if l.left() <= 0 {
		l.cancel(queue.ErrLeaseLost)
	}
	return l.ctx.Err() != nil
}

// leases extends every lease it keeps, ten messages a call, from receive until
// the lease is stopped. One goroutine, run, owns the extending.
type leases struct {
	queue      queue.Receiver
	visibility time.Duration
	log        *zap.Logger

	mu   sync.Mutex
	held map[*lease]struct{}
}

func newLeases(q queue.Receiver, visibility time.Duration, log *zap.Logger) *leases {
	return &leases{queue: q, visibility: visibility, log: log, held: make(map[*lease]struct{})}
}

// hold starts keeping the lease of a message whose receive was sent at asked.
// The lease is lost when parent is done.
func (k *leases) hold(parent context.Context, m *queue.Message, asked time.Time) *lease {
	ctx, cancel := context.WithCancelCause(parent)
	l := &lease{
		message: m, ctx: ctx, cancel: cancel, received: asked,
		calls: make(chan struct{}, 1),
		until: asked.Add(k.visibility), next: asked.Add(k.visibility / 3),
	}
	l.calls <- struct{}{}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[l] = struct{}{}
	return l
}

// stop ends the extending and waits for a call that is under way, so that no
// extension can overtake the delete or release that follows.
func (k *leases) stop(l *lease) {
	k.mu.Lock()
	delete(k.held, l)
	k.mu.Unlock()
	<-l.calls // kept: nothing extends this lease again
}

// count is how many leases are kept.
func (k *leases) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.held)
}

// run extends what is due until ctx is done.
func (k *leases) run(ctx context.Context) {
	// A twelfth: an extension that fails is tried several times more before
	// the lease is over.
	tick := time.NewTicker(max(k.visibility/12, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			k.extendDue(ctx)
		}
	}
}

func (k *leases) extendDue(ctx context.Context) {
	var due []*lease
	k.mu.Lock()
	for l := range k.held {
		if l.lost() {
			continue
		}
		if time.Since(l.received) >= longestHold {
			l.cancel(errHeldTooLong)
			continue
		}
		l.mu.Lock()
		if !time.Now().Before(l.next) {
			due = append(due, l)
		}
		l.mu.Unlock()
	}
	k.mu.Unlock()

	var calls errgroup.Group
	calls.SetLimit(16)
	for len(due) > 0 {
		n := min(len(due), queue.MaxBatch)
		batch := due[:n]
		due = due[n:]
		calls.Go(func() error {
			k.extend(ctx, batch)
			return nil
		})
	}
	_ = calls.Wait() // the functions return no error
}

// extend renews leases by one call. Leases that another call is about are left
// out: they are being extended or stopped.
func (k *leases) extend(ctx context.Context, batch []*lease) {
	var mine []*lease
	for _, l := range batch {
		select {
		case <-l.calls:
			mine = append(mine, l)
		default:
		}
	}
	if len(mine) > 0 {
		k.renew(ctx, mine)
	}
	for _, l := range mine {
		l.calls <- struct{}{}
	}
}

// renew makes the call. The caller has the leases' tokens.
func (k *leases) renew(ctx context.Context, batch []*lease) {
	messages := make([]*queue.Message, len(batch))
	visibility := k.visibility
	for i, l := range batch {
		messages[i] = l.message
		// The queue refuses to go over its limit, and counts whole seconds; the
		// last extension of a lease is cut for all in the call, which only
		// costs one more.
		visibility = min(visibility, (queue.MaxLease - time.Since(l.received)).Truncate(time.Second))
	}
	ctx, cancel := context.WithTimeout(ctx, k.visibility/3)
	defer cancel()
	asked := time.Now()
	errs := k.queue.ChangeVisibility(ctx, visibility, messages...)
	for i, l := range batch {
		k.extended(l, asked, visibility, errs[i])
	}
}

func (k *leases) extended(l *lease, asked time.Time, visibility time.Duration, err error) {
	switch {
	case err == nil:
		l.mu.Lock()
		l.until, l.next = asked.Add(visibility), asked.Add(k.visibility/3)
		l.mu.Unlock()
	case errors.Is(err, queue.ErrLeaseLost):
		l.cancel(queue.ErrLeaseLost)
	default: // tried again at the next tick, until the lease ends
		k.log.Warn("extend lease", zap.String(keyMessage, l.message.ID), zap.Duration("left", l.left()), zap.Error(err))
	}
}

// secure makes sure that the lease has more than need left, extending it now
// if it has not. It returns queue.ErrLeaseLost when that can't be had.
func (k *leases) secure(l *lease, need time.Duration) error {
	if l.left() < need {
		select {
		case <-l.calls: // after the call that is under way, which may have done it
			if l.left() < need {
				k.renew(l.ctx, []*lease{l})
			}
			l.calls <- struct{}{}
		case <-l.ctx.Done():
		}
	}
	if l.lost() || l.left() < need {
		l.cancel(queue.ErrLeaseLost)
		return context.Cause(l.ctx)
	}
	return nil
}
