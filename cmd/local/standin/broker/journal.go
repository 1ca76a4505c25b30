package broker

import "fmt"

// Table names a part of the journal.
type Table byte

// The tables of a journal. Keys and values are the broker's own.
const (
	Queues   Table = iota // queue id → definition
	Payloads              // message sequence → what was sent; written once
	States                // message sequence → what changes: queue, visibility, receives, receipt
	Dedups                // queue id and deduplication key → the message it stands for
	Moves                 // message move task → its progress
	tables
)

// Tables is how many tables there are.
const Tables = int(tables)

// Mutation is one change of a table. A nil Value deletes Key.
type Mutation struct {
	Table Table
	Key   []byte
	Value []byte
}

// Journal is the durable store of a Broker. Only one goroutine calls Commit;
// Get may be called concurrently with it.
type Journal interface {
	// Commit applies the mutations in order, all or none, and returns when
	// they would survive the death of the process.
	Commit([]Mutation) error
	// Get returns a copy of a value, or nil when there is none.
	Get(Table, []byte) ([]byte, error)
	// Each calls fn for every pair in the order of the keys. The slices are
	// valid during the call only.
	Each(Table, func(key, value []byte) error) error
	// Close is called once, after the last Commit.
	Close() error
}

// commit is a group of changes that become durable together.
type commit struct {
	mutations []Mutation
	done      chan struct{}
	err       error // read after done
}

// write adds changes to the commit that is being collected. b.mu is held.
func (b *Broker) write(mutations ...Mutation) {
	if b.journal == nil {
		return
	}
	if b.next == nil {
		b.next = &commit{done: make(chan struct{})}
	}
	b.next.mutations = append(b.next.mutations, mutations...)
	select {
	case b.work <- struct{}{}:
	default: // the writer has been told already
	}
}

// tail returns the latest commit that is not known to be done. A call that
// changed nothing itself waits for it too when its answer rests on a change
// of another call. b.mu is held.
func (b *Broker) tail() *commit {
	if b.next != nil {
		return b.next
	}
	return b.writing
}

// durable waits until c and everything before it is on disk.
func (b *Broker) durable(c *commit) error {
	if c == nil {
		return nil
	}
	<-c.done
	if c.err != nil {
		return Errorf(InternalError, "the journal could not be written: %v", c.err)
	}
	return nil
}

// writeCommits is the single writer: while one commit is on its way to disk
// the next one collects, so concurrent calls share its cost.
func (b *Broker) writeCommits() {
	for range b.work {
		b.mu.Lock()
		c := b.next
		b.next, b.writing = nil, c
		err := b.broken // what was collected meanwhile rests on what failed
		b.mu.Unlock()
		if c == nil {
			continue
		}
		if err == nil {
			err = b.journal.Commit(c.mutations)
		}
		b.mu.Lock()
		if err != nil && b.broken == nil {
			// Memory is ahead of the disk now. Going on would hand out state
			// that a restart forgets, so everything after this is refused.
			b.broken = fmt.Errorf("write journal: %w", err)
		}
		c.err = err
		b.writing = nil
		close(c.done)
		b.mu.Unlock()
	}
}
