package broker

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// MoveStatus is the state of a message move task.
type MoveStatus string

// The states of a task. A cancelled one that still runs is CANCELLING.
const (
	MoveRunning    MoveStatus = "RUNNING"
	MoveCompleted  MoveStatus = "COMPLETED"
	MoveCancelling MoveStatus = "CANCELLING"
	MoveCancelled  MoveStatus = "CANCELLED"
	MoveFailed     MoveStatus = "FAILED"
)

const (
	// moveChunk bounds how long a task without a rate holds the lock.
	moveChunk = 100
	// movesKept is how many tasks of a queue are remembered, as in SQS.
	movesKept   = 10
	maxMoveRate = 500
)

// MoveTask moves messages out of a dead-letter queue.
type MoveTask struct {
	Handle      string     `json:"handle"`
	Source      string     `json:"source"`                // ARN
	Destination string     `json:"destination,omitempty"` // ARN; empty: where each message came from
	Rate        int        `json:"rate,omitempty"`        // messages a second; 0 is as fast as it goes
	Status      MoveStatus `json:"status"`
	Started     time.Time  `json:"started"`
	ToMove      int        `json:"toMove"` // counted at the start
	Moved       int        `json:"moved"`
	Failure     string     `json:"failure,omitempty"`
}

type move struct {
	MoveTask
	cancel chan struct{}
}

func (m *move) active() bool { return m.Status == MoveRunning || m.Status == MoveCancelling }

// StartMove starts a task and returns its handle. source and destination are
// ARNs; an empty destination sends each message back to where it came from.
// Moved messages are new ones: new ids, no receives, a fresh retention period.
func (b *Broker) StartMove(source, destination string, rate int) (string, error) {
	if rate < 0 || rate > maxMoveRate {
		return "", invalidValue(rate, "MaxNumberOfMessagesPerSecond", "Must be between 1 and 500, if provided.")
	}
	b.mu.Lock()
	m, err := b.newMove(source, destination, rate)
	if err != nil {
		b.mu.Unlock()
		return "", err
	}
	b.startMover(m)
	return m.Handle, b.unlock()
}

func (b *Broker) newMove(source, destination string, rate int) (*move, error) {
	if err := b.usable(); err != nil {
		return nil, err
	}
	q := b.named(source)
	if q == nil {
		return nil, Errorf(ResourceNotFound, "The resource that you specified for the SourceArn parameter doesn't exist.")
	}
	if !b.deadLetterQueue(source) {
		return nil, Errorf(InvalidParameterValue, "Source queue must be configured as a Dead Letter Queue.")
	}
	if destination != "" {
		target := b.named(destination)
		switch {
		case target == nil:
			return nil, Errorf(ResourceNotFound, "The resource that you specified for the DestinationArn parameter doesn't exist.")
		case target == q:
			return nil, Errorf(InvalidParameterValue, "Source queue arn and destination queue arn cannot be the same.")
		case target.fifo() != q.fifo():
			return nil, Errorf(InvalidParameterValue, "Source queue and destination queue must be of the same type.")
		}
	}
	if slices.ContainsFunc(b.moves, func(m *move) bool { return m.Source == source && m.active() }) {
		return nil, Errorf(UnsupportedOperation, "There is already a task running. Only one active task is allowed for a source queue arn at a given time.")
	}
	q.advance(time.Now())
	m := &move{MoveTask: MoveTask{
		Handle: NewID(), Source: source, Destination: destination, Rate: rate,
		Status: MoveRunning, Started: time.Now(), ToMove: q.readied,
	}, cancel: make(chan struct{})}
	b.moves = append(b.moves, m)
	b.forgetMoves(source)
	b.saveMove(m)
	return m, nil
}

func (b *Broker) deadLetterQueue(arn string) bool {
	for _, q := range b.queues {
		if q.settings.deadLetter == arn {
			return true
		}
	}
	return false
}

// forgetMoves keeps the latest tasks of a queue. The new one is the last.
func (b *Broker) forgetMoves(source string) {
	kept := 0
	for i := len(b.moves) - 1; i >= 0; i-- {
		m := b.moves[i]
		if m.Source != source {
			continue
		}
		if kept++; kept > movesKept {
			b.moves = slices.Delete(b.moves, i, i+1)
			b.write(Mutation{Table: Moves, Key: []byte(m.Handle)})
		}
	}
}

// Moves lists the tasks of a queue, the latest first.
func (b *Broker) Moves(source string) ([]MoveTask, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.usable(); err != nil {
		return nil, err
	}
	if b.named(source) == nil {
		return nil, Errorf(ResourceNotFound, "The resource that you specified for the SourceArn parameter doesn't exist.")
	}
	var tasks []MoveTask
	for _, m := range slices.Backward(b.moves) {
		if m.Source == source {
			tasks = append(tasks, m.MoveTask)
		}
	}
	return tasks, nil
}

// CancelMove stops a task and returns how many messages it has moved; those
// stay where they are.
func (b *Broker) CancelMove(handle string) (int, error) {
	b.mu.Lock()
	i := slices.IndexFunc(b.moves, func(m *move) bool { return m.Handle == handle })
	err := b.usable()
	switch {
	case err != nil:
	case i < 0:
		err = Errorf(ResourceNotFound, "Task does not exist.")
	case b.moves[i].Status != MoveRunning:
		err = Errorf(UnsupportedOperation, "Only active tasks can be cancelled; this one is %s.", b.moves[i].Status)
	}
	if err != nil {
		b.mu.Unlock()
		return 0, err
	}
	m := b.moves[i]
	m.Status = MoveCancelling
	close(m.cancel)
	b.saveMove(m)
	moved := m.Moved
	return moved, b.unlock()
}

// startMover runs a task until it ends or the broker closes; a task that was
// running then goes on at the next start. b.mu is held.
func (b *Broker) startMover(m *move) {
	chunk, pause := moveChunk, time.Duration(0)
	if m.Rate > 0 {
		chunk, pause = 1, time.Second/time.Duration(m.Rate)
	}
	b.movers.Go(func() {
		for b.moveSome(m, chunk) {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-m.cancel:
			case <-b.ctx.Done():
			}
			timer.Stop()
		}
	})
}

// moveSome moves up to n messages and reports whether there is more to do.
func (b *Broker) moveSome(m *move, n int) bool {
	b.mu.Lock()
	if b.usable() != nil {
		b.mu.Unlock()
		return false
	}
	more := b.moveStep(m, n)
	b.saveMove(m)
	return b.unlock() == nil && more
}

func (b *Broker) moveStep(m *move, n int) bool {
	if m.Status == MoveCancelling {
		m.Status = MoveCancelled
		return false
	}
	q := b.named(m.Source)
	if q == nil {
		m.Status, m.Failure = MoveFailed, "AWS.SimpleQueueService.NonExistentQueue"
		return false
	}
	now := time.Now()
	q.advance(now)
	for range n {
		msg := q.head()
		if msg == nil || m.Moved >= m.ToMove {
			m.Status = MoveCompleted
			return false
		}
		target := m.Destination
		if target == "" {
			target = msg.source
		}
		to := b.named(target)
		if to == nil || to == q || to.fifo() != q.fifo() {
			m.Status, m.Failure = MoveFailed, "CouldNotDetermineMessageSource"
			return false
		}
		q.moveTo(to, msg, now)
		m.Moved++
	}
	return true
}

// head is the next message that could be received, nil when there is none.
func (q *queue) head() *message {
	switch {
	case q.ready.len() > 0:
		return q.ready.min().message
	case q.turns.len() > 0:
		return q.turns.min().ready.min()
	}
	return nil
}

// moveTo makes a message a new one of another queue.
func (q *queue) moveTo(to *queue, m *message, now time.Time) {
	q.detach(m)
	m.id, m.source, m.sent = NewID(), "", now
	m.hiddenUntil, m.received, m.firstReceived = time.Time{}, time.Time{}, time.Time{}
	m.receives, m.nonce = 0, 0
	to.add(m, ready, now)
	to.save(m)
}

func (b *Broker) saveMove(m *move) {
	value, err := json.Marshal(m.MoveTask)
	if err != nil {
		panic(err) // plain data always marshals
	}
	b.write(Mutation{Table: Moves, Key: []byte(m.Handle), Value: value})
}

func (b *Broker) restoreMove(value []byte) error {
	m := &move{cancel: make(chan struct{})}
	if err := json.Unmarshal(value, &m.MoveTask); err != nil {
		return fmt.Errorf("move task: %w: %w", errRecord, err)
	}
	if m.Status == MoveCancelling {
		m.Status = MoveCancelled
	}
	i, _ := slices.BinarySearchFunc(b.moves, m, func(a, b *move) int { return a.Started.Compare(b.Started) })
	b.moves = slices.Insert(b.moves, i, m)
	return nil
}
