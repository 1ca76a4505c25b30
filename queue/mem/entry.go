package mem

import (
	"container/heap"
	"fmt"
	"slices"
	"time"

	"github.com/penstock/penstock/queue"
)

// State is where a message is.
type State string

// The states of a message, by the names of SQS's counts.
const (
	Visible  State = "visible"   // can be received now
	InFlight State = "in flight" // received, and neither deleted nor timed out
	Delayed  State = "delayed"   // sent with a delay that is not over
)

// Snapshot is one message as it lies in the queue.
type Snapshot struct {
	Message   queue.Message // with the receipt of its latest delivery, if any
	State     State
	VisibleAt time.Time // when it became, or will become, visible
}

// Len is the number of messages in the queue, in whatever state.
func (q *Queue) Len() int { return len(q.Snapshot()) }

// Snapshot tells of every message in the queue, in the order they came.
// It receives nothing and counts nothing.
func (q *Queue) Snapshot() []Snapshot {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	all := make([]Snapshot, 0, len(q.schedule))
	byNumber := func(a, b *entry) int { return a.number - b.number }
	for _, e := range slices.SortedFunc(slices.Values(q.schedule), byNumber) {
		if now.Sub(e.message.Sent) >= q.opts.RetentionPeriod {
			continue
		}
		m := e.message
		m.Attributes = attributes(m.Attributes)
		all = append(all, Snapshot{Message: m, State: e.state(now), VisibleAt: e.visibleAt})
	}
	return all
}

// entry is a message in the queue. The queue's lock guards it.
type entry struct {
	message   queue.Message // as of its latest delivery
	visibleAt time.Time
	received  time.Time // latest; zero before the first
	number    int       // of its arrival in this queue
	index     int       // in the schedule
}

// receive makes one delivery.
func (e *entry) receive(now time.Time, visibility time.Duration) *queue.Message {
	e.message.ReceiveCount++
	e.message.Receipt = fmt.Sprintf("%s/%d", e.message.ID, e.message.ReceiveCount)
	if e.message.FirstReceived.IsZero() {
		e.message.FirstReceived = now
	}
	e.received = now
	e.visibleAt = now.Add(visibility)
	m := e.message
	m.Attributes = attributes(m.Attributes)
	return &m
}

func (e *entry) state(now time.Time) State {
	switch {
	case !e.visibleAt.After(now):
		return Visible
	case e.message.Receipt == "":
		return Delayed
	default:
		return InFlight
	}
}

// schedule is a heap of messages by the time they become visible; of those that
// did at once, the first to arrive is first.
type schedule []*entry

var _ heap.Interface = (*schedule)(nil)

func (s schedule) Len() int { return len(s) }

func (s schedule) Less(i, j int) bool {
	if c := s[i].visibleAt.Compare(s[j].visibleAt); c != 0 {
		return c < 0
	}
	return s[i].number < s[j].number
}

func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

func (s *schedule) Push(x any) {
	e := x.(*entry)
	e.index = len(*s)
	*s = append(*s, e)
}

func (s *schedule) Pop() any {
	old := *s
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	return e
}
