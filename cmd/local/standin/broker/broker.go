package broker

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Config is how a Broker stands for an AWS account and region. Zero values
// take the defaults.
type Config struct {
	// Region is the region in ARNs. Default: us-east-1.
	Region string
	// Account is the account in ARNs and queue URLs. Default: 000000000000.
	Account string
	// MaxInFlight is how many messages of a standard queue can be in flight:
	// beyond it a short poll answers OverLimit and a long poll finds nothing.
	// Default: 120,000, as in SQS.
	MaxInFlight int
	// CacheBytes bounds the payloads that are kept in memory besides the
	// journal; older payloads stay, newer ones are read back when they are
	// received. Without a journal it is ignored. Default: 64 MiB.
	CacheBytes int
}

func (c Config) withDefaults() Config {
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.Account == "" {
		c.Account = "000000000000"
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 120_000
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 64 << 20
	}
	return c
}

// Broker holds queues. All methods may be called concurrently. See the
// package's documentation for what it promises.
type Broker struct {
	config  Config
	journal Journal // nil: memory only

	work   chan struct{} // tells the writer that there is a commit to write
	writer sync.WaitGroup
	movers sync.WaitGroup
	ctx    context.Context // ends when Close begins; for movers
	stop   context.CancelFunc

	mu       sync.Mutex // guards what follows, and everything below queues
	queues   map[string]*queue
	moves    []*move // oldest first
	seq      uint64  // the last sequence number given away
	turn     uint64  // the last turn in a queue given away
	cached   int     // bytes of payloads in memory
	next     *commit // collecting, nil when nothing is
	writing  *commit // on its way to disk, nil when none is
	broken   error   // why the journal failed
	closed   bool
	endPolls bool // long polls end at once
}

// ErrClosed says that the broker was closed.
var ErrClosed = errors.New("broker is closed")

// New returns a Broker with what journal holds, or an empty one that keeps
// everything in memory when journal is nil. The broker owns the journal from
// then on, also when New fails. Close it.
func New(config Config, journal Journal) (*Broker, error) {
	b := &Broker{
		config:  config.withDefaults(),
		journal: journal,
		work:    make(chan struct{}, 1),
		queues:  make(map[string]*queue),
		seq:     uint64(time.Now().UnixMicro()), // ahead of every earlier run
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	if journal == nil {
		return b, nil
	}
	if err := b.load(); err != nil {
		b.stop()
		return nil, errors.Join(fmt.Errorf("load queues: %w", err), journal.Close())
	}
	b.writer.Go(b.writeCommits)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.moves {
		if m.Status == MoveRunning {
			b.startMover(m)
		}
	}
	return b, nil
}

// Close ends long polls with no messages, refuses new calls, writes what
// calls under way have changed and closes the journal. It returns when all
// that is done.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	for _, q := range b.queues {
		q.timer.Stop()
		q.wakeAll()
	}
	b.mu.Unlock()
	b.stop()
	b.movers.Wait()
	close(b.work)
	b.writer.Wait()
	if b.journal == nil {
		return nil
	}
	return errors.Join(b.broken, b.journal.Close())
}

// usable is nil while calls can be served. b.mu is held.
func (b *Broker) usable() error {
	switch {
	case b.closed:
		return ErrClosed
	case b.broken != nil:
		return Errorf(InternalError, "the stand-in stopped because its journal failed, restart it: %v", b.broken)
	}
	return nil
}

// lock finds a queue, brings it up to now and leaves b.mu held; on an error
// it is not held.
func (b *Broker) lock(name string) (*queue, error) {
	b.mu.Lock()
	if err := b.usable(); err != nil {
		b.mu.Unlock()
		return nil, err
	}
	q, ok := b.queues[name]
	if !ok {
		b.mu.Unlock()
		return nil, Errorf(QueueDoesNotExist, "The specified queue does not exist.")
	}
	q.advance(time.Now())
	return q, nil
}

// unlock ends what lock began and waits until everything that was done or
// seen meanwhile is durable.
func (b *Broker) unlock() error {
	c := b.tail()
	b.mu.Unlock()
	return b.durable(c)
}

// nextSeq gives away a sequence number, unique in the journal. b.mu is held.
func (b *Broker) nextSeq() uint64 {
	b.seq++
	return b.seq
}

// load reads the journal. It runs before the broker is shared.
func (b *Broker) load() error {
	byID := make(map[uint64]*queue)
	now := time.Now()
	err := b.journal.Each(Queues, func(key, value []byte) error {
		q, err := b.decodeQueue(key, value)
		if err != nil {
			return err
		}
		b.queues[q.name], byID[q.id] = q, q
		b.seq = max(b.seq, q.id)
		return nil
	})
	if err != nil {
		return err
	}
	err = b.journal.Each(States, func(key, value []byte) error {
		m, queue, err := decodeMessage(binary.BigEndian.Uint64(key), value)
		if err != nil {
			return fmt.Errorf("message %x: %w", key, err)
		}
		q, ok := byID[queue]
		if !ok {
			return fmt.Errorf("message %x: queue %d is missing: %w", key, queue, errRecord)
		}
		b.seq = max(b.seq, m.seq)
		q.restore(m, now)
		return nil
	})
	if err != nil {
		return err
	}
	err = b.journal.Each(Dedups, func(key, value []byte) error {
		return restoreDedup(byID, key, value)
	})
	if err != nil {
		return err
	}
	for _, q := range byID {
		q.orderDedups()
	}
	return b.journal.Each(Moves, func(_, value []byte) error { return b.restoreMove(value) })
}

// NewID returns a random UUID.
func NewID() string {
	var u [16]byte
	rand.Read(u[:]) // never fails
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// EndPolls makes long polls, those under way and those to come, end at once
// with what there is. Other calls go on: it is the first step of a shutdown.
func (b *Broker) EndPolls() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endPolls = true
	for _, q := range b.queues {
		q.wakeAll()
	}
}
