package broker

import (
	"time"
)

// Attribute is a message attribute. Binary is used when Type begins with
// "Binary", else String.
type Attribute struct {
	Type   string // String, Number or Binary, with an optional custom suffix after a dot
	String string
	Binary []byte
}

// Payload is what a sender said; it never changes.
type Payload struct {
	Body          string
	Attributes    map[string]Attribute
	Trace         string // the system attribute AWSTraceHeader, or empty
	Sender        string // SenderId
	BodyMD5       string
	AttributesMD5 string // empty without attributes
}

// phase is where a message is in its life.
type phase byte

const (
	ready    phase = iota // can be received
	delayed               // sent with a delay that has not passed
	inFlight              // received, its visibility time-out has not passed
)

// message is one message in one queue. It is guarded by Broker.mu, but for
// payload, which never changes once it is set.
type message struct {
	seq     uint64
	id      string
	queue   *queue
	group   *group // FIFO queues only
	groupID string
	dedupID string // FIFO queues only
	source  string // ARN of the queue it was dead-lettered from
	size    int    // bytes, by SQS's count

	sent          time.Time
	hiddenUntil   time.Time // when the delay or the visibility time-out ends
	received      time.Time // the latest delivery
	firstReceived time.Time
	receives      int
	nonce         uint64 // names the latest delivery; 0 before the first

	phase   phase
	turn    uint64 // place among the ready messages of a standard queue
	index   int    // place in the heap it is in
	payload *Payload
}

func (m *message) place() *int { return &m.index }

// before orders the ready messages of a group by when they were sent; see
// waiting and hidden for the other orders.
func (m *message) before(o *message) bool { return m.seq < o.seq }

// byTurn orders ready messages of a standard queue by when they became
// visible, so one that fails over and over doesn't hold up the others.
type byTurn struct{ *message }

func (m byTurn) before(o byTurn) bool { return m.turn < o.turn }

// byTime orders hidden messages by when they become visible.
type byTime struct{ *message }

func (m byTime) before(o byTime) bool { return m.hiddenUntil.Before(o.hiddenUntil) }

// group is a message group of a FIFO queue.
type group struct {
	id     string
	ready  heap[*message]
	locked int // messages in flight; while there are any nothing else of the group is delivered
	hidden int // messages delayed or in flight
	index  int // place in queue.groups, absent while nothing can be delivered
}

func (g *group) place() *int { return &g.index }

func (g *group) before(o *group) bool { return g.ready.min().seq < o.ready.min().seq }
