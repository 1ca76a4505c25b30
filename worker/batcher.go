package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/penstock/penstock/worker/model"
)

// errOverrun says that a run of the model took longer than an item's limit, or
// the worker's own. It can't be stopped; past the worker's limit the process
// has to end.
var errOverrun = errors.New("the model's run took longer than its time limit")

// lane keeps items apart that must not share a batch.
type lane int

const (
	ordinary lane = iota
	suspects      // were in flight when something went wrong; with their like only
	solo          // with nobody
)

// work is one item's wish to be run.
type work struct {
	model     model.Model
	signature *model.Signature
	tensors   []model.Tensor // one for each input of signature
	rows      int64
	lane      lane
	limit     time.Duration // how long the item waits for its run to end
}

// done is what became of a work that was run.
type done struct {
	outputs []model.Tensor
	wait    time.Duration // for the batch to begin
	predict time.Duration // the run
	err     error
	alone   bool // nobody else was in the run that gave err
}

// batcher is where the goroutines of all messages meet: Do blocks until the
// item's rows have been through the model, together with whatever else was
// waiting by then.
//
// A runner is taken before items are gathered. So a batch grows while the
// model is busy, and an idle worker adds no delay.
type batcher struct {
	maxRows int
	timeout time.Duration // how long an idle runner waits for a batch to fill
	limit   time.Duration // of one run
	observe func(items int, rows int64, wait, predict time.Duration)
	hung    func() // called when a run has overrun

	mu      sync.Mutex
	idle    int // runners not taken
	buckets map[bucketKey]*bucket
	wake    chan struct{} // of size 1: something came in while a runner waits for a batch to fill
	stopped bool          // a run has overrun: nothing starts any more
	runners sync.WaitGroup
}

// bucketKey is what items must share to be in one run.
type bucketKey struct {
	model     model.Model
	signature *model.Signature
	shape     string // of all inputs, but for the first dimension
	lane      lane
}

// bucket holds what waits for one kind of run, oldest first.
type bucket struct {
	key      bucketKey
	maxRows  int64
	maxItems int
	entries  []*entry
}

type entry struct {
	work
	since  time.Time
	taken  bool          // by a runner: guarded by batcher.mu
	begun  chan struct{} // closed when its first run begins
	alone  bool          // in its first run; to be read once that has begun
	left   bool          // nobody waits for its result any more: guarded by batcher.mu
	run    *awaited      // the run that it is in: guarded by batcher.mu
	result chan done
}

func newBatcher(runners, maxRows int, timeout, limit time.Duration) *batcher {
	return &batcher{
		maxRows: maxRows, timeout: timeout, limit: limit, idle: runners,
		buckets: make(map[bucketKey]*bucket),
		wake:    make(chan struct{}, 1),
		observe: func(int, int64, time.Duration, time.Duration) {},
		hung:    func() {},
	}
}

// Do runs w and returns its outputs. Until the run has begun it can be
// withdrawn by pending; after that the result is awaited until held is done,
// and then left behind. Either way the context's cause is returned.
//
// An item with more rows than a batch takes goes through in pieces, two of
// them waiting at any time, so that smaller items get their turn between them.
func (b *batcher) Do(pending, held context.Context, w work) (done, error) {
	most := b.rowLimit(w.model, w.signature)
	if w.rows <= most {
		return b.one(pending, held, w)
	}
	type piece struct {
		done
		withdrawn error
	}
	var pieces []chan piece
	ctx, cancel := context.WithCancel(pending)
	defer cancel()
	window := make(chan struct{}, 2)
	var wg sync.WaitGroup
	defer wg.Wait()
	for from := int64(0); from < w.rows && ctx.Err() == nil; from += most {
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			continue // ends the loop
		}
		part := w.slice(from, min(from+most, w.rows))
		out := make(chan piece, 1)
		pieces = append(pieces, out)
		wg.Go(func() {
			d, err := b.one(ctx, held, part)
			if err != nil || d.err != nil {
				cancel() // the rest is of no use
			}
			out <- piece{d, err}
			<-window
		})
	}
	var all done
	var outputs [][]model.Tensor
	var withdrawn error
	for _, c := range pieces {
		p := <-c
		if p.err != nil {
			return p.done, nil
		}
		withdrawn = cmp.Or(withdrawn, p.withdrawn)
		all.wait = max(all.wait, p.wait)
		all.predict += p.predict
		outputs = append(outputs, p.outputs)
	}
	// Done is done: what was withdrawn after the last piece had begun came late.
	if withdrawn != nil || int64(len(pieces))*most < w.rows {
		return done{}, cmp.Or(context.Cause(pending), context.Cause(held), withdrawn, ctx.Err())
	}
	var err error
	if all.outputs, err = model.Concat(outputs); err != nil {
		all.err = &model.Error{Code: "INTERNAL", Message: fmt.Sprintf("an input of %d rows was run in %d pieces: %v", w.rows, len(pieces), err), Permanent: true}
	}
	return all, nil
}

// slice gives rows [from, to) of w.
func (w work) slice(from, to int64) work {
	w.rows, w.tensors = to-from, slices.Clone(w.tensors)
	for i, t := range w.tensors {
		w.tensors[i] = t.Slice(from, to)
	}
	return w
}

// rowLimit is how many rows one run of the signature takes here.
func (b *batcher) rowLimit(m model.Model, s *model.Signature) int64 {
	most := int64(b.maxRows)
	if n := m.Config().MaxBatchSize; n > 0 {
		most = min(most, int64(n))
	}
	switch fixed, ok := s.Batch(); {
	case !ok:
		return 1 // rows of such an item count as one
	case fixed > 0:
		return fixed
	}
	return most
}

// one runs work that fits into a batch.
func (b *batcher) one(pending, held context.Context, w work) (done, error) {
	e := &entry{work: w, since: time.Now(), begun: make(chan struct{}), result: make(chan done, 1)}
	if err := b.enqueue(pending, e); err != nil {
		return done{}, err
	}
	select {
	case <-e.begun:
	case <-pending.Done():
		if b.withdraw(e) {
			return done{}, context.Cause(pending)
		}
		<-e.begun // a runner has it
	}
	t := time.NewTimer(w.limit)
	defer t.Stop()
	select {
	case d := <-e.result:
		return d, nil
	case <-held.Done():
		b.leave(e)
		return done{}, context.Cause(held)
	case <-t.C:
		b.leave(e)
		return done{err: fmt.Errorf("%w of %v", errOverrun, w.limit), alone: e.alone, wait: time.Since(e.since) - w.limit, predict: w.limit}, nil
	}
}

func (b *batcher) enqueue(pending context.Context, e *entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return errDraining
	}
	if pending.Err() != nil {
		return context.Cause(pending)
	}
	key := bucketKey{e.model, e.signature, shapeOf(e.tensors), e.lane}
	q := b.buckets[key]
	if q == nil {
		q = &bucket{key: key, maxRows: b.rowLimit(e.model, e.signature), maxItems: b.maxRows}
		if _, ok := e.signature.Batch(); !ok || e.lane == solo {
			q.maxItems = 1
		} else if e.lane == suspects {
			q.maxItems = maxSuspects
		}
		b.buckets[key] = q
	}
	q.entries = append(q.entries, e)
	if b.idle > 0 {
		b.idle--
		b.runners.Go(b.run)
	} else {
		b.nudge()
	}
	return nil
}

// nudge makes a runner look again that waits for a batch to fill.
func (b *batcher) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// withdraw takes e out of the queue, unless a runner has it.
func (b *batcher) withdraw(e *entry) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.taken {
		return false
	}
	for key, q := range b.buckets {
		if i := slices.Index(q.entries, e); i >= 0 {
			q.entries = slices.Delete(q.entries, i, i+1)
			if len(q.entries) == 0 {
				delete(b.buckets, key)
			}
			break
		}
	}
	return true
}

// run is a runner: it gathers and runs batches until nothing waits.
func (b *batcher) run() {
	for {
		batch, q, wait := b.gather()
		if batch != nil {
			b.runBatch(q, batch)
			continue
		}
		if wait == 0 {
			return // gather gave the runner back
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-b.wake:
		}
		t.Stop()
	}
}

// gather takes the next batch: of the buckets that are full or have waited
// long enough, the one whose head is oldest. Otherwise it says how long to
// wait for one; with nothing to wait for it gives the runner back and says 0.
func (b *batcher) gather() ([]*entry, *bucket, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var best *bucket
	soonest := time.Duration(-1)
	for _, q := range b.buckets {
		if wait := b.timeout - time.Since(q.entries[0].since); wait > 0 && !q.full() && q.maxItems > 1 {
			if soonest < 0 || wait < soonest {
				soonest = wait
			}
			continue
		}
		if best == nil || q.entries[0].since.Before(best.entries[0].since) {
			best = q
		}
	}
	if b.stopped || best == nil && soonest < 0 {
		b.idle++
		return nil, nil, 0
	}
	if best == nil {
		return nil, nil, soonest
	}
	n, _ := best.fit()
	batch := slices.Clone(best.entries[:n])
	best.entries = slices.Delete(best.entries, 0, n)
	if len(best.entries) == 0 {
		delete(b.buckets, best.key)
	}
	for _, e := range batch {
		e.taken, e.alone = true, len(batch) == 1
		close(e.begun)
	}
	if len(b.buckets) > 0 {
		b.nudge() // one nudge can be for several batches that have filled
	}
	return batch, best, 0
}

// fit is how many of the oldest entries go into one run, and their rows.
func (q *bucket) fit() (items int, rows int64) {
	for _, e := range q.entries {
		if items == q.maxItems || items > 0 && rows+e.rows > q.maxRows {
			break
		}
		items++
		rows += e.rows
	}
	return items, rows
}

// full says that waiting would not make the next run larger.
func (q *bucket) full() bool {
	items, rows := q.fit()
	return items < len(q.entries) || items == q.maxItems || rows >= q.maxRows
}

// shapeOf gives what the tensors' shapes have to share with others' to be in
// one batch: all but the first dimension.
func shapeOf(tensors []model.Tensor) string {
	var b []byte
	for _, t := range tensors {
		b = fmt.Appendf(b, "%d:", t.DType)
		if len(t.Shape) > 1 {
			b = fmt.Append(b, t.Shape[1:])
		}
	}
	return string(b)
}
