package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/worker/model"
)

// errOverrun says that a run of the model took longer than an item's limit, or
// the worker's own. It can't be stopped; past the worker's limit the process
// has to end.
var errOverrun = errors.New("the model's run took longer than its time limit")

// lane keeps items apart that must not share a batch.
type lane int

const (
	ordinary   lane = iota
	background      // goes when none of the others waits, and fills the room that ordinary ones leave
	suspects        // were in flight when something went wrong; with their like only
	solo            // with nobody, not even in another run
)

// work is one item's wish to be run.
type work struct {
	model     model.Model
	signature *model.Signature
	tensors   []model.Tensor // one for each input of signature
	rows      int64
	lane      lane
	single    bool          // asks for runs of its own; others may have theirs at the same time
	limit     time.Duration // how long the item waits for a run to end
	flow      *flow         // what it is a piece of; nil when it is whole
}

// flow is what several works are pieces of, as the records of one object. It
// is made by who cuts the pieces, and is the same in all.
type flow struct {
	// Guarded by batcher.mu.
	rows  int64    // that have come in
	early []*entry // those that came in as small items
	hung  bool     // a run with a piece of it has overrun the batcher's limit
	alone bool     // and nothing else was in that run
}

// done is what became of a work that was run.
type done struct {
	outputs []model.Tensor
	wait    time.Duration // for the first run to begin
	predict time.Duration // the runs
	err     error
	alone   bool // nobody else was in the run that gave err
}

// batcher is where the goroutines of all messages meet: Do blocks until the
// item's rows have been through the model, together with whatever else was
// waiting by then.
//
// A runner is taken before items are gathered. So a batch grows while the
// model is busy, and an idle worker adds no delay. What a batch is made of is
// decided in batch_gather.go, batch_background.go and batch_bucket.go, by the
// settings in batch_policy.go and the cost learned in cost.go; batch.go runs it.
type batcher struct {
	maxRows int
	timeout time.Duration // how long an idle runner waits for a batch to fill
	limit   time.Duration // of one run
	observe func(ran)
	hung    func() // called when a run has overrun
	log     *zap.Logger

	mu       sync.Mutex
	idle     int // runners not taken
	buckets  map[bucketKey]*bucket
	turns    uint64 // counts whatever came in, so that it has an order
	models   map[holding]*shareholder
	yielded  int // runs in a row that others led while background waited
	policies recent[policyKey, *policy]
	flying   map[*batch]struct{} // runs under way
	wake     chan struct{}       // of size 1: something came in while a runner waits for a batch to fill
	closed   bool                // wait was called: nothing comes in any more
	stop     chan struct{}       // closed when a run has overrun: nothing starts any more
	runners  sync.WaitGroup
}

func newBatcher(runners, maxRows int, timeout, limit time.Duration) *batcher {
	return &batcher{
		maxRows: maxRows, timeout: timeout, limit: limit, idle: runners,
		buckets:  make(map[bucketKey]*bucket),
		models:   make(map[holding]*shareholder),
		policies: recent[policyKey, *policy]{most: maxPolicies},
		flying:   make(map[*batch]struct{}),
		wake:     make(chan struct{}, 1),
		stop:     make(chan struct{}),
		observe:  func(ran) {},
		hung:     func() {},
		log:      zap.NewNop(),
	}
}

// Do runs w and returns its outputs. Until a run of it has begun it can be
// withdrawn by pending; after that the result is awaited until held is done,
// and then left behind. Either way the context's cause is returned. Once any
// run has overrun nothing begins any more: what waits ends with errDraining.
//
// An item with more rows than a batch takes goes through in several runs, each
// of which it shares with others. Pending then withdraws what has not begun;
// what has is awaited, and is of no use. Only where pending's cause is that its
// time to live is over, or that its sender has cancelled it, an item that has
// begun goes on: those are too late by then.
func (b *batcher) Do(pending, held context.Context, w work) (done, error) {
	e, err := b.enqueue(pending, w)
	if err != nil {
		return done{}, err
	}
	defer b.leave(e)
	t := time.NewTimer(w.limit)
	defer t.Stop()
	withdrawn, begun, stop := pending.Done(), e.begun, b.stop
	for {
		select {
		case <-e.over:
			return e.outcome(pending)
		case <-begun: // the limit is for runs, not for the wait
			begun = nil
			t.Reset(w.limit)
		case <-withdrawn:
			b.withdraw(e, context.Cause(pending))
			withdrawn = nil
		case <-stop:
			b.withdraw(e, errDraining)
			stop = nil
		case <-held.Done():
			return done{}, context.Cause(held)
		case <-t.C:
			late, rest := b.overdue(e)
			if late != nil {
				return done{err: fmt.Errorf("%w of %v", errOverrun, w.limit), alone: late.alone, wait: e.wait, predict: w.limit}, nil
			}
			t.Reset(rest)
		}
	}
}

// enqueue makes w wait for a runner.
func (b *batcher) enqueue(pending context.Context, w work) (*entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped() || b.closed {
		return nil, errDraining
	}
	if pending.Err() != nil {
		return nil, context.Cause(pending)
	}
	p := b.policyFor(w.model, w.signature)
	e := newEntry(w, p)
	if w.flow != nil {
		b.join(w.flow, e)
	}
	b.line(b.bucketFor(bucketKey{p, p.shapeOf(w.tensors), w.lane, w.single}), e)
	b.engage()
	return e, nil
}

// withdraw takes what has not begun of e out of the queue, unless why comes too
// late for that.
func (b *batcher) withdraw(e *entry, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.hasBegun() && (why == errExpired || why == errCancelled) {
		return
	}
	if e.queue != nil || e.again {
		e.withdrawn = true
		b.unline(e)
		b.conclude(e)
	}
}

// leave says that nobody waits for e's result any more.
func (b *batcher) leave(e *entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.left = true
	b.unline(e)
	for _, s := range e.flying {
		if r := s.run; r != nil {
			if r.by--; r.by == 0 {
				close(r.deserted)
			}
		}
	}
}

// overrun notes that a run of shares has overrun: nothing starts any more.
func (b *batcher) overrun(shares []*share) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.stopped() {
		close(b.stop)
	}
	for _, s := range shares {
		if f := s.flow; f != nil {
			f.hung = true
			f.alone = !slices.ContainsFunc(shares, func(other *share) bool { return other.flow != f })
		}
	}
}

// stopped says that nothing starts any more, since a run has overrun.
func (b *batcher) stopped() bool {
	select {
	case <-b.stop:
		return true
	default:
		return false
	}
}

// hungOver says whether a run with a piece of f has overrun, and whether nothing
// else was in it.
func (b *batcher) hungOver(f *flow) (hung, alone bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return f.hung, f.alone
}

// overdue gives the share of e whose run has taken longer than e's limit, or
// how long until one can have.
func (b *batcher) overdue(e *entry) (late *share, rest time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if rest = e.limit; rest >= b.limit {
		return nil, rest // any run ends at that, and then it is known that nothing starts any more
	}
	for _, s := range e.flying {
		left := e.limit - time.Since(s.began)
		if left <= 0 {
			return s, 0
		}
		rest = min(rest, left)
	}
	return nil, rest
}

// wait awaits the end of all runs, and says which of them is still under way
// all the same: one that has overrun, or one that outlasts ctx. What comes later,
// as a query can that has not heard of the drain yet, ends with errDraining.
func (b *batcher) wait(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		b.runners.Wait()
		close(idle)
	}()
	left := error(nil)
	select {
	case <-idle:
	case <-ctx.Done():
		left = ErrRunLeft
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.stopped():
		return ErrModelHung
	case len(b.flying) == 0: // it was something else that took the time
		return nil
	}
	return left
}
