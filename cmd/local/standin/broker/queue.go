package broker

import (
	"slices"
	"strings"
	"time"
)

// queue is one queue. It is guarded by Broker.mu.
type queue struct {
	broker   *Broker
	id       uint64
	name     string
	created  time.Time
	modified time.Time
	purged   time.Time
	settings settings
	tags     map[string]string

	messages map[uint64]*message
	ready    heap[byTurn]      // standard queues
	groups   map[string]*group // FIFO queues: groups with messages
	turns    heap[*group]      // FIFO queues: groups that can deliver
	hidden   heap[byTime]      // delayed and in flight
	readied  int               // messages in phase ready
	flying   int               // messages in phase inFlight

	sweepAt time.Time // when the next message may have outlived its retention

	dedups     map[string]dedup // FIFO queues, by dedupID and scope
	dedupOrder []string         // keys of dedups, the one that ends first in front

	waiters []chan struct{} // long polls, the one that waits longest in front
	timer   *time.Timer     // fires at the first end of a delay or time-out while there are waiters
}

func (b *Broker) newQueue(id uint64, name string) *queue {
	q := &queue{
		broker:   b,
		id:       id,
		name:     name,
		messages: make(map[uint64]*message),
		groups:   make(map[string]*group),
		dedups:   make(map[string]dedup),
	}
	q.timer = time.AfterFunc(time.Hour, q.onTimer)
	q.timer.Stop()
	return q
}

func (q *queue) fifo() bool { return strings.HasSuffix(q.name, fifoSuffix) }

func (q *queue) arn() string { return q.broker.arn(q.name) }

// advance makes visible what is due and drops what outlived its retention.
func (q *queue) advance(now time.Time) {
	for q.hidden.len() > 0 && !q.hidden.min().hiddenUntil.After(now) {
		q.show(q.hidden.min().message)
	}
	q.sweep(now)
	q.forgetDedups(now)
}

// add puts a message that belongs to no queue into this one: hidden until
// hiddenUntil when that is to come, else ready.
func (q *queue) add(m *message, p phase, now time.Time) {
	m.queue = q
	q.messages[m.seq] = m
	if q.fifo() {
		g, ok := q.groups[m.groupID]
		if !ok {
			g = &group{id: m.groupID, index: absent}
			q.groups[m.groupID] = g
		}
		m.group = g
	}
	if expires := q.expires(m); q.sweepAt.IsZero() || expires.Before(q.sweepAt) {
		q.sweepAt = expires
	}
	if p != ready && m.hiddenUntil.After(now) {
		q.hide(m, p)
		return
	}
	q.makeReady(m)
}

// restore puts a message back that the journal held.
func (q *queue) restore(m *message, now time.Time) {
	p := delayed
	if m.receives > 0 {
		p = inFlight
	}
	q.add(m, p, now)
}

// hide puts a message that is in no heap among the hidden ones.
func (q *queue) hide(m *message, p phase) {
	m.phase = p
	q.hidden.push(byTime{m})
	if p == inFlight {
		q.flying++
	}
	if g := m.group; g != nil {
		g.hidden++
		if p == inFlight {
			g.locked++
		}
		q.requeue(g)
	}
	q.arm()
}

// show makes a hidden message ready.
func (q *queue) show(m *message) {
	q.unhide(m)
	q.makeReady(m)
}

// unhide takes a message out of the hidden ones.
func (q *queue) unhide(m *message) {
	q.hidden.remove(byTime{m})
	if m.phase == inFlight {
		q.flying--
	}
	if g := m.group; g != nil {
		g.hidden--
		if m.phase == inFlight {
			g.locked--
		}
	}
}

func (q *queue) makeReady(m *message) {
	m.phase = ready
	q.readied++
	if g := m.group; g != nil {
		if g.index != absent { // its head may change
			q.turns.remove(g)
		}
		g.ready.push(m)
		q.requeue(g)
	} else {
		q.broker.turn++
		m.turn = q.broker.turn
		q.ready.push(byTurn{m})
		q.wake()
	}
}

// requeue gives a group its right place: among those that can deliver, out of
// them, or gone.
func (q *queue) requeue(g *group) {
	if g.index != absent {
		q.turns.remove(g)
	}
	switch {
	case g.locked == 0 && g.ready.len() > 0:
		q.turns.push(g)
		q.wake()
	case g.hidden == 0 && g.ready.len() == 0:
		delete(q.groups, g.id)
	}
}

// take removes a ready message from the ready ones.
func (q *queue) take(m *message) {
	q.readied--
	g := m.group
	if g == nil {
		q.ready.remove(byTurn{m})
		return
	}
	if g.index != absent {
		q.turns.remove(g)
	}
	g.ready.remove(m)
}

// detach takes a message out of the queue; its journal records stay.
func (q *queue) detach(m *message) {
	if m.phase == ready {
		q.take(m)
	} else {
		q.unhide(m)
	}
	delete(q.messages, m.seq)
	if m.group != nil {
		q.requeue(m.group)
		m.group = nil
	}
}

// remove takes a message out of the queue and out of the journal.
func (q *queue) remove(m *message) {
	q.detach(m)
	b := q.broker
	if m.payload != nil && b.journal != nil {
		b.cached -= m.size
	}
	key := seqKey(m.seq)
	b.write(Mutation{Table: States, Key: key}, Mutation{Table: Payloads, Key: key})
}

// save writes what changed of a message.
func (q *queue) save(m *message) {
	if q.broker.journal != nil {
		q.broker.write(Mutation{Table: States, Key: seqKey(m.seq), Value: m.encode()})
	}
}

func (q *queue) expires(m *message) time.Time { return m.sent.Add(q.settings.retention) }

// sweep drops messages older than the retention period. It looks at all of
// them, so it runs at most once a second and only when one may be due.
func (q *queue) sweep(now time.Time) {
	if q.sweepAt.IsZero() || now.Before(q.sweepAt) {
		return
	}
	var first time.Time
	for _, m := range q.messages {
		expires := q.expires(m)
		switch {
		case !expires.After(now):
			q.remove(m)
		case first.IsZero() || expires.Before(first):
			first = expires
		}
	}
	q.sweepAt = first
	if soonest := now.Add(time.Second); !first.IsZero() && first.Before(soonest) {
		q.sweepAt = soonest
	}
}

// wait registers a long poll; the channel is closed when it should look again.
func (q *queue) wait() chan struct{} {
	w := make(chan struct{})
	q.waiters = append(q.waiters, w)
	q.arm()
	return w
}

// leave ends a wait, nil for one that was woken. A wake-up that it may have
// swallowed goes to another.
func (q *queue) leave(w chan struct{}) {
	q.waiters = slices.DeleteFunc(q.waiters, func(o chan struct{}) bool { return o == w })
	if q.ready.len() > 0 || q.turns.len() > 0 {
		q.wake()
	}
}

// wake tells the longest-waiting poll to look.
func (q *queue) wake() {
	if len(q.waiters) > 0 {
		close(q.waiters[0])
		q.waiters = q.waiters[1:]
	}
}

func (q *queue) wakeAll() {
	for len(q.waiters) > 0 {
		q.wake()
	}
}

// arm sets the timer for the polls that wait.
func (q *queue) arm() {
	if len(q.waiters) == 0 || q.hidden.len() == 0 || q.broker.closed {
		q.timer.Stop()
		return
	}
	q.timer.Reset(time.Until(q.hidden.min().hiddenUntil))
}

func (q *queue) onTimer() {
	q.broker.mu.Lock()
	defer q.broker.mu.Unlock()
	if q.broker.closed || q.broker.queues[q.name] != q {
		return
	}
	q.advance(time.Now())
	q.arm()
}
