// Package mem is a queue in memory that behaves as a standard SQS queue does:
// visibility, redelivery, receive counts, delays, receipts that go stale, long
// polls and a redrive to a dead-letter queue. It is for tests and for trying
// things out; nothing outlives the process.
//
// It starts no goroutine, and whoever waits in it waits on channels and timers
// only. So a queue made in a testing/synctest bubble runs on the bubble's
// clock, and twelve hours pass in no time.
package mem

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/queue"
)

// lastID makes ids unique over all queues, since a message keeps its id when it
// is redriven.
var lastID atomic.Int64

// longestWait is the longest poll that SQS offers.
const longestWait = 20 * time.Second

// Options describe a queue, in the words and with the defaults of SQS. The
// zero value is good.
type Options struct {
	Name              string        // the end of the queue's ARN; default "mem"
	VisibilityTimeout time.Duration // told by Attributes; Receive always names its own. Default 30 s
	RetentionPeriod   time.Duration // messages older than this vanish. Default 4 days
	MaximumMessage    int           // bytes; default queue.MaxMessageBytes

	// DeadLetter, when set, is where a message goes instead of being received
	// more than MaxReceiveCount times (default 10).
	DeadLetter      *Queue
	MaxReceiveCount int
}

// Queue is a standard queue in memory. Make one with New. All its methods may
// be called concurrently.
type Queue struct {
	opts Options

	mu       sync.Mutex // held for a moment only, never over a wait
	added    int
	byID     map[string]*entry
	schedule schedule      // all messages, the next one to be visible first
	changed  chan struct{} // closed and replaced when a message may have become visible sooner
}

var (
	_ queue.Receiver  = (*Queue)(nil)
	_ queue.Sender    = (*Queue)(nil)
	_ queue.Inspector = (*Queue)(nil)
)

// New makes an empty queue.
func New(opts Options) *Queue {
	if opts.Name == "" {
		opts.Name = "mem"
	}
	if opts.VisibilityTimeout == 0 {
		opts.VisibilityTimeout = 30 * time.Second
	}
	if opts.RetentionPeriod == 0 {
		opts.RetentionPeriod = 4 * 24 * time.Hour
	}
	if opts.MaximumMessage == 0 {
		opts.MaximumMessage = queue.MaxMessageBytes
	}
	if opts.DeadLetter != nil && opts.MaxReceiveCount == 0 {
		opts.MaxReceiveCount = 10
	}
	return &Queue{opts: opts, byID: map[string]*entry{}, changed: make(chan struct{})}
}

// Send implements queue.Sender. Every message is accepted or refused for good.
func (q *Queue) Send(ctx context.Context, messages ...queue.Outgoing) []error {
	q.mu.Lock()
	defer q.mu.Unlock()
	errs := make([]error, len(messages))
	for i, m := range messages {
		errs[i] = q.send(ctx, m)
	}
	q.wake()
	return errs
}

func (q *Queue) send(ctx context.Context, m queue.Outgoing) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("send to %s: %w", q.opts.Name, err)
	}
	err := m.Validate()
	switch {
	case err != nil:
	case m.Size() > q.opts.MaximumMessage:
		err = fmt.Errorf("%w: body and attributes are %d bytes; the queue takes %d", queue.ErrInvalid, m.Size(), q.opts.MaximumMessage)
	}
	if err != nil {
		return fmt.Errorf("send to %s: %w", q.opts.Name, err)
	}
	now := time.Now()
	q.add(&entry{
		message: queue.Message{
			ID:         "mem-" + strconv.FormatInt(lastID.Add(1), 10),
			Body:       m.Body,
			Attributes: attributes(m.Attributes),
			Group:      m.Group,
			Sent:       now,
		},
		visibleAt: now.Add(wholeSeconds(m.Delay)),
	})
	return nil
}

// Receive implements queue.Receiver. As with SQS, times are in whole seconds:
// visibility is rounded up, to at least one and at most 12 hours. A wait of
// more than 20 seconds ends after 20.
func (q *Queue) Receive(ctx context.Context, limit int, visibility, wait time.Duration) ([]*queue.Message, error) {
	if limit < 1 || limit > queue.MaxBatch {
		return nil, fmt.Errorf("receive from %s: at most %d messages asked for; it must be 1 to %d", q.opts.Name, limit, queue.MaxBatch)
	}
	visibility = min(max(wholeSeconds(visibility), time.Second), queue.MaxLease)
	deadline := time.Now().Add(min(wait, longestWait))
	for {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("receive from %s: %w", q.opts.Name, err)
		}
		messages, next, changed := q.take(limit, visibility)
		left := time.Until(deadline)
		if len(messages) > 0 || left <= 0 {
			return messages, nil
		}
		if !next.IsZero() {
			left = min(left, time.Until(next))
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(left):
		}
	}
}

// take receives what is visible now. When there is nothing, it says when the
// next message will be visible (zero for none) and gives the channel that is
// closed if that changes.
func (q *Queue) take(limit int, visibility time.Duration) ([]*queue.Message, time.Time, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var messages []*queue.Message
	var dead []*entry
	now := time.Now()
	for len(q.schedule) > 0 && len(messages) < limit && !q.schedule[0].visibleAt.After(now) {
		e := q.schedule[0]
		switch {
		case now.Sub(e.message.Sent) >= q.opts.RetentionPeriod:
			q.remove(e)
		case q.opts.DeadLetter != nil && e.message.ReceiveCount >= q.opts.MaxReceiveCount:
			q.remove(e)
			dead = append(dead, e)
		default:
			messages = append(messages, e.receive(now, visibility))
			heap.Fix(&q.schedule, e.index)
		}
	}
	var next time.Time
	if len(q.schedule) > 0 {
		next = q.schedule[0].visibleAt
	}
	if len(dead) > 0 {
		q.opts.DeadLetter.redrive(q.arn(), dead)
	}
	return messages, next, q.changed
}

// redrive takes in messages that another queue gave up. As with SQS they keep
// their id, their attributes, and the time they were first sent.
func (q *Queue) redrive(source string, dead []*entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range dead {
		m := e.message
		m.Source = source
		m.Receipt = ""
		q.add(&entry{message: m, visibleAt: time.Now()})
	}
	q.wake()
}

// ChangeVisibility implements queue.Receiver. The lease of a message is lost
// once its visibility has run out, even if nobody else received it yet, and
// cannot reach past 12 hours from its receive.
func (q *Queue) ChangeVisibility(ctx context.Context, d time.Duration, messages ...*queue.Message) []error {
	d = wholeSeconds(d)
	return q.each(ctx, "change visibility", messages, func(m *queue.Message) error {
		e, now := q.byID[m.ID], time.Now()
		switch {
		case e == nil:
			return fmt.Errorf("%w: the message is gone", queue.ErrLeaseLost)
		case e.message.Receipt != m.Receipt:
			return fmt.Errorf("%w: the message was received again", queue.ErrLeaseLost)
		case !e.visibleAt.After(now):
			return fmt.Errorf("%w: the visibility timeout has run out", queue.ErrLeaseLost)
		case now.Add(d).Sub(e.received) > queue.MaxLease:
			return fmt.Errorf("%w: a message can't be invisible for more than %v in all", queue.ErrLeaseLost, queue.MaxLease)
		}
		e.visibleAt = now.Add(d)
		heap.Fix(&q.schedule, e.index)
		q.wake()
		return nil
	})
}

// Delete implements queue.Receiver. A receipt whose visibility has run out
// still deletes, unless the message was received again: then, as with SQS,
// nothing is deleted and no error tells so.
func (q *Queue) Delete(ctx context.Context, messages ...*queue.Message) []error {
	return q.each(ctx, "delete", messages, func(m *queue.Message) error {
		if e := q.byID[m.ID]; e != nil && e.message.Receipt == m.Receipt {
			q.remove(e)
		}
		return nil
	})
}

func (q *Queue) each(ctx context.Context, step string, messages []*queue.Message, f func(*queue.Message) error) []error {
	q.mu.Lock()
	defer q.mu.Unlock()
	errs := make([]error, len(messages))
	for i, m := range messages {
		err := ctx.Err()
		switch {
		case err != nil:
		case len(messages) > queue.MaxBatch:
			err = errors.New("more than " + strconv.Itoa(queue.MaxBatch) + " messages in one call")
		case m.Receipt == "":
			err = fmt.Errorf("%w: the message has no receipt", queue.ErrLeaseLost)
		default:
			err = f(m)
		}
		if err != nil {
			errs[i] = fmt.Errorf("%s of message %s in %s: %w", step, m.ID, q.opts.Name, err)
		}
	}
	return errs
}

// Attributes implements queue.Inspector. Its counts are exact.
func (q *Queue) Attributes(ctx context.Context) (queue.Attributes, error) {
	if err := ctx.Err(); err != nil {
		return queue.Attributes{}, fmt.Errorf("attributes of %s: %w", q.opts.Name, err)
	}
	a := queue.Attributes{
		ARN:               q.arn(),
		VisibilityTimeout: q.opts.VisibilityTimeout,
		RetentionPeriod:   q.opts.RetentionPeriod,
		MaximumMessage:    q.opts.MaximumMessage,
	}
	if q.opts.DeadLetter != nil {
		a.DeadLetterARN = q.opts.DeadLetter.arn()
		a.MaxReceiveCount = q.opts.MaxReceiveCount
	}
	for _, s := range q.Snapshot() {
		switch s.State {
		case Visible:
			a.Visible++
		case InFlight:
			a.InFlight++
		case Delayed:
			a.Delayed++
		}
	}
	return a, nil
}

func (q *Queue) arn() string { return "arn:aws:sqs:mem:000000000000:" + q.opts.Name }

// wake ends all waits in Receive; they look again. The caller holds the lock.
func (q *Queue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *Queue) add(e *entry) {
	q.added++
	e.number = q.added
	q.byID[e.message.ID] = e
	heap.Push(&q.schedule, e)
}

func (q *Queue) remove(e *entry) {
	delete(q.byID, e.message.ID)
	heap.Remove(&q.schedule, e.index)
}

// attributes copies a message's attributes, never to nil.
func attributes(m map[string]string) map[string]string {
	c := make(map[string]string, len(m))
	maps.Copy(c, m)
	return c
}

// wholeSeconds rounds up, as the adapter for SQS has to.
func wholeSeconds(d time.Duration) time.Duration {
	return (max(d, 0) + time.Second - 1).Truncate(time.Second)
}
