package broker

import (
	"context"
	"fmt"
	"time"
)

// ReceiveOptions are what a receiver asks for. Zero values take the queue's
// settings, and one message.
type ReceiveOptions struct {
	Max        int            // 1 to MaxBatch; 0 is 1
	Visibility *time.Duration // nil: the queue's
	Wait       *time.Duration // nil: the queue's
}

// Delivery is one delivery of a message.
type Delivery struct {
	*Payload
	ID            string
	Receipt       string
	Group         string
	DedupID       string
	Sequence      uint64 // of a FIFO queue, else 0
	Sent          time.Time
	FirstReceived time.Time
	Receives      int    // deliveries so far, this one included
	Source        string // ARN of the queue it was dead-lettered from, or empty

	message *message
}

func (o ReceiveOptions) check() error {
	switch {
	case o.Max < 0 || o.Max > MaxBatch:
		return invalidValue(o.Max, "MaxNumberOfMessages", "Must be between 1 and 10, if provided.")
	case o.Visibility != nil && (*o.Visibility < 0 || *o.Visibility > MaxVisibility):
		return invalidValue(int(o.Visibility.Seconds()), attrVisibility, "Must be between 0 and 43200, if provided.")
	case o.Wait != nil && (*o.Wait < 0 || *o.Wait > MaxWait):
		return invalidValue(int(o.Wait.Seconds()), "WaitTimeSeconds", "Must be >= 0 and <= 20, if provided.")
	}
	return nil
}

// Receive takes messages, and waits for the first one if there is none. No
// message in that time is an empty slice and no error, and so is the end of
// ctx or of the broker while it waits.
func (b *Broker) Receive(ctx context.Context, queue string, o ReceiveOptions) ([]Delivery, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	start := time.Now()
	for {
		q, err := b.lock(queue)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		wait := q.settings.wait
		if o.Wait != nil {
			wait = *o.Wait
		}
		if ctx.Err() == nil {
			deliveries, err := q.receive(o, wait == 0, now)
			if err != nil || len(deliveries) > 0 {
				return b.hand(deliveries, err)
			}
		}
		rest := wait - now.Sub(start)
		if rest <= 0 || ctx.Err() != nil || b.endPolls {
			q.leave(nil) // it may have been woken for a message that it does not take
			return b.hand(nil, nil)
		}
		w := q.wait()
		b.mu.Unlock()
		if again := b.await(ctx, q, w, rest); !again {
			return nil, nil
		}
	}
}

// await returns false when a long poll is over without a message: its caller is
// gone, or the broker closes. One whose time is up looks once more, for what
// became visible in that time: on a machine that stood still its end may be seen
// before it is woken.
func (b *Broker) await(ctx context.Context, q *queue, w chan struct{}, rest time.Duration) bool {
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-w:
		b.mu.Lock()
		defer b.mu.Unlock()
		return !b.closed
	case <-timer.C:
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	q.leave(w)
	return ctx.Err() == nil && !b.closed
}

// hand waits until the deliveries are durable and reads the payloads that are
// not in memory. b.mu is held, and not any more when it returns.
func (b *Broker) hand(deliveries []Delivery, err error) ([]Delivery, error) {
	if len(deliveries) == 0 {
		b.mu.Unlock()
		return nil, err
	}
	for i := range deliveries {
		deliveries[i].Payload = deliveries[i].message.payload
	}
	if err := b.unlock(); err != nil {
		return nil, err
	}
	kept := deliveries[:0]
	for _, d := range deliveries {
		if d.Payload == nil {
			p, err := b.read(d.message)
			if err != nil {
				return nil, err
			}
			if p == nil {
				continue // purged or expired meanwhile
			}
			d.Payload = p
		}
		kept = append(kept, d)
	}
	return kept, nil
}

// read gets the payload of a message from the journal, nil when it is gone.
func (b *Broker) read(m *message) (*Payload, error) {
	value, err := b.journal.Get(Payloads, seqKey(m.seq))
	if err != nil || value == nil {
		return nil, err
	}
	p, err := decodePayload(value)
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", m.id, err)
	}
	return p, nil
}

// receive takes up to o.Max messages that are ready; b.mu is held.
func (q *queue) receive(o ReceiveOptions, short bool, now time.Time) ([]Delivery, error) {
	limit := max(o.Max, 1)
	if !q.fifo() {
		room := q.broker.config.MaxInFlight - q.flying
		if room <= 0 && short {
			return nil, Errorf(OverLimit, "The maximum number of in flight messages is reached: %d. Delete messages or let them become visible.", q.broker.config.MaxInFlight)
		}
		limit = min(limit, room)
	}
	visibility := q.settings.visibility
	if o.Visibility != nil {
		visibility = *o.Visibility
	}
	var deliveries []Delivery
	for len(deliveries) < limit && q.ready.len() > 0 {
		if m := q.ready.min().message; q.deliverable(m, now) {
			deliveries = append(deliveries, q.deliver(m, visibility, now))
		}
	}
	for len(deliveries) < limit && q.turns.len() > 0 {
		g := q.turns.min()
		for len(deliveries) < limit && g.ready.len() > 0 {
			if m := g.ready.min(); q.deliverable(m, now) {
				deliveries = append(deliveries, q.deliver(m, visibility, now))
			}
		}
	}
	return deliveries, nil
}

// deliverable removes a message that is to be delivered no more: it is older
// than the retention period, or was received too often and goes to the
// dead-letter queue.
func (q *queue) deliverable(m *message, now time.Time) bool {
	if !q.expires(m).After(now) {
		q.remove(m)
		return false
	}
	if q.settings.deadLetter == "" || m.receives < q.settings.maxReceives {
		return true
	}
	target := q.broker.named(q.settings.deadLetter)
	if target == nil || target == q {
		return true // the dead-letter queue was deleted: better delivered than lost
	}
	q.detach(m)
	m.source = q.arn()
	if target.fifo() {
		m.sent = now // SQS counts a FIFO message's retention anew, a standard one's not
	}
	m.hiddenUntil, m.nonce = time.Time{}, 0
	target.add(m, ready, now)
	target.save(m)
	return false
}

func (q *queue) deliver(m *message, visibility time.Duration, now time.Time) Delivery {
	q.take(m)
	m.receives++
	m.nonce = newNonce()
	m.received, m.hiddenUntil = now, now.Add(visibility)
	if m.firstReceived.IsZero() {
		m.firstReceived = now
	}
	q.hide(m, inFlight)
	q.save(m)
	d := Delivery{
		ID:            m.id,
		Receipt:       receipt{q.id, m.seq, m.nonce}.String(),
		Group:         m.groupID,
		DedupID:       m.dedupID,
		Sent:          m.sent,
		FirstReceived: m.firstReceived,
		Receives:      m.receives,
		Source:        m.source,
		message:       m,
	}
	if q.fifo() {
		d.Sequence = m.seq
	}
	return d
}
