package worker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/penstock/penstock/worker/model"
)

// entry is a work in the batcher. What is not said to be otherwise is guarded
// by batcher.mu.
type entry struct {
	work   // not changed
	policy *policy
	since  time.Time // not changed
	small  bool      // stands in the line of small ones

	queue  *bucket // that it waits in; nil when none of it waits
	turn   uint64  // its place among its like
	queued time.Time

	begun  chan struct{} // closed when its first run begins
	wait   time.Duration // for that; to be read once that has begun
	taken  int64         // rows that have been handed to runs, from the first one on
	flying []*share      // in runs under way
	whole  bool          // is not to be divided, though it is large
	again  bool          // is to go once more, whole, when what is in runs has ended

	pieces    []piece
	predict   time.Duration
	failed    *done // the first share that failed
	withdrawn bool
	left      bool          // nobody waits for its result any more
	over      chan struct{} // closed when the above has its last word
}

// share is an entry's part in a run: rows [from, to) of it.
type share struct {
	*entry
	from, to int64
	waited   time.Duration // in its line
	began    time.Time
	alone    bool     // in its first run
	run      *awaited // guarded by batcher.mu
}

// piece is what came out for the rows of a share.
type piece struct {
	from, to int64
	outputs  []model.Tensor
}

// newEntry makes the entry of w.
func newEntry(w work, p *policy) *entry {
	now := time.Now()
	e := &entry{work: w, policy: p, since: now, queued: now, begun: make(chan struct{}), over: make(chan struct{})}
	e.small = w.rows <= p.small()
	return e
}

// join makes e a piece of f. When that is more than a small item in all, its
// pieces are large, those that came before too.
func (b *batcher) join(f *flow, e *entry) {
	f.rows += e.rows
	if f.rows <= e.policy.small() {
		f.early = append(f.early, e)
		return
	}
	e.small = false
	for _, piece := range f.early {
		if q := piece.queue; q != nil {
			b.unline(piece)
			piece.small = false
			b.line(q, piece)
		}
	}
	f.early = nil
}

// hasBegun says whether a run of e has begun.
func (e *entry) hasBegun() bool {
	select {
	case <-e.begun:
		return true
	default:
		return false
	}
}

// divisible says whether e may have its rows in several runs. What fits into
// one stays in one.
func (e *entry) divisible() bool {
	return !e.whole && !e.policy.single.Load() && e.rows > e.policy.maxRows
}

// rest is how many rows have not been handed to a run.
func (e *entry) rest() int64 { return e.rows - e.taken }

// complete says whether outputs are there for all rows.
func (e *entry) complete() bool {
	n := int64(0)
	for _, p := range e.pieces {
		n += p.to - p.from
	}
	return n == e.rows && len(e.pieces) > 0
}

// part gives the tensors of a share.
func (s *share) part() []model.Tensor {
	if s.from == 0 && s.to == s.rows {
		return s.tensors
	}
	return sliceAll(s.tensors, s.from, s.to)
}

// length is how many rows the share has.
func (s *share) length() int64 { return s.to - s.from }

// deliver takes in what came of a share. Rows of an item that turns out not to
// be divisible are of no use without the others: it goes once more, as a whole.
func (b *batcher) deliver(s *share, d done) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := s.entry
	e.flying = slices.DeleteFunc(e.flying, func(f *share) bool { return f == s })
	e.predict += d.predict
	switch {
	case d.err != nil:
		if e.failed == nil {
			e.failed = &d
		}
		b.unline(e) // the rest is of no use
	case s.length() < e.rows && e.policy.single.Load():
		e.whole, e.again = true, true
		b.unline(e)
	default:
		e.pieces = append(e.pieces, piece{s.from, s.to, d.outputs})
	}
	b.conclude(e)
}

// conclude gives e its result if nothing of it is in a run any more, and none
// is to be.
func (b *batcher) conclude(e *entry) {
	switch {
	case len(e.flying) > 0 || e.queue != nil || e.left:
	case e.failed != nil || e.withdrawn || e.again && b.stopped():
		e.again = false // who withdraws it now finds nothing
		close(e.over)
	case e.again:
		e.again, e.pieces, e.taken = false, nil, 0
		b.line(b.bucketFor(bucketKey{e.policy, e.policy.shapeOf(e.tensors), e.lane, e.single}), e)
		b.engage()
	case e.complete():
		close(e.over)
	}
}

// outcome is e's result, once it is over.
func (e *entry) outcome(pending context.Context) (done, error) {
	d := done{wait: e.wait, predict: e.predict}
	switch {
	case e.failed != nil:
		d.err, d.alone = e.failed.err, e.failed.alone
		return d, nil
	case !e.complete(): // what is done is done: a withdrawal after that came late
		if err := context.Cause(pending); err != nil {
			return done{}, err
		}
		return done{}, errDraining // the batcher has stopped
	}
	slices.SortFunc(e.pieces, func(p, q piece) int { return int(p.from - q.from) })
	outputs := make([][]model.Tensor, len(e.pieces))
	for i, p := range e.pieces {
		outputs[i] = p.outputs
	}
	var err error
	if d.outputs, err = model.Concat(outputs); err != nil {
		d.err = &model.Error{Code: "INTERNAL", Message: fmt.Sprintf("an input of %d rows was run in %d pieces: %v", e.rows, len(outputs), err), Permanent: true}
	}
	return d, nil
}
