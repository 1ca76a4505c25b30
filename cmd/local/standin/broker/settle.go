package broker

import (
	"time"
)

// Delete removes messages by their receipts, with one result each. See the
// package's documentation for what a stale receipt does.
func (b *Broker) Delete(queue string, receipts []string) ([]error, error) {
	q, err := b.lock(queue)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	results := make([]error, len(receipts))
	for i, handle := range receipts {
		results[i] = q.delete(handle, now)
	}
	return results, b.unlock()
}

func (q *queue) delete(handle string, now time.Time) error {
	r, err := q.parseReceipt(handle)
	if err != nil {
		return err
	}
	m, ok := q.messages[r.seq]
	if !ok {
		return nil // deleting what is gone is no error
	}
	stale := m.nonce != r.nonce
	if q.fifo() && (stale || m.phase != inFlight) {
		return invalidValue(handle, "ReceiptHandle", "The receipt handle has expired.")
	}
	if !stale {
		q.remove(m)
	}
	return nil
}

// VisibilityChange makes the message of a receipt invisible for Timeout from
// now; 0 releases it.
type VisibilityChange struct {
	Receipt string
	Timeout time.Duration
}

// ChangeVisibility has one result a change.
func (b *Broker) ChangeVisibility(queue string, changes []VisibilityChange) ([]error, error) {
	q, err := b.lock(queue)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	results := make([]error, len(changes))
	for i, c := range changes {
		results[i] = q.changeVisibility(c, now)
	}
	return results, b.unlock()
}

func (q *queue) changeVisibility(c VisibilityChange, now time.Time) error {
	if c.Timeout < 0 || c.Timeout > MaxVisibility {
		return invalidValue(int(c.Timeout.Seconds()), attrVisibility, "Must be between 0 and 43200.")
	}
	r, err := q.parseReceipt(c.Receipt)
	if err != nil {
		return err
	}
	m, ok := q.messages[r.seq]
	switch {
	case !ok:
		return invalidValue(c.Receipt, "ReceiptHandle", "Message does not exist or is not available for visibility timeout change.")
	case m.phase != inFlight || m.nonce != r.nonce:
		return Errorf(MessageNotInflight, "The message referred to isn't in flight.")
	case now.Add(c.Timeout).After(m.received.Add(MaxVisibility)):
		return invalidValue(int(c.Timeout.Seconds()), attrVisibility, "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]")
	}
	q.unhide(m)
	m.hiddenUntil = now.Add(c.Timeout)
	if c.Timeout == 0 {
		q.makeReady(m)
	} else {
		q.hide(m, inFlight)
	}
	q.save(m)
	return nil
}

// Expire ends the visibility of deliveries as if their time had run out. It
// is a fault for tests; receipts that are not in flight are passed over.
func (b *Broker) Expire(queue string, receipts []string) error {
	q, err := b.lock(queue)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, handle := range receipts {
		r, err := q.parseReceipt(handle)
		if err != nil {
			continue
		}
		if m, ok := q.messages[r.seq]; ok && m.nonce == r.nonce && m.phase == inFlight {
			m.hiddenUntil = now
			q.show(m)
			q.save(m)
		}
	}
	return b.unlock()
}

// Duplicate puts a copy of messages into the queue: the same id and payload,
// a life of its own, as when one of SQS's servers missed a delete. It is a
// fault for tests.
func (b *Broker) Duplicate(queue string, deliveries []Delivery) error {
	q, err := b.lock(queue)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, d := range deliveries {
		m := &message{
			seq:           b.nextSeq(),
			id:            d.ID,
			groupID:       d.Group,
			dedupID:       d.DedupID,
			source:        d.Source,
			size:          len(d.Body),
			sent:          d.Sent,
			firstReceived: d.FirstReceived,
			receives:      d.Receives,
			index:         absent,
		}
		b.keep(m, d.Payload, d.encode())
		q.add(m, ready, now)
		q.save(m)
	}
	return b.unlock()
}
