package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/worker/model"
)

// awaited is a run, as seen by those who wait for it.
type awaited struct {
	by       int           // guarded by batcher.mu
	deserted chan struct{} // closed when nobody waits any more
}

// grace is how long a run goes on that nobody waits for any more. It can't be
// stopped and keeps its runner from the others, so past it the process ends.
const grace = time.Minute

// longRun is after how long a run's runner is lent to other models, and how
// often it is told of a run that it still goes on: whoever asks why nothing else
// of the model's is run finds the reason in the log.
const longRun = time.Minute

// ran is what is measured of a run.
type ran struct {
	model             string
	items             int
	rows, filled      int64         // of the items; added to them
	elements, padding int64         // of the run's inputs; those of them that no item sent
	wait, predict     time.Duration // of the item that waited longest; for the run
	background        bool          // it was led from there
}

// runShares runs shares of a batch in one go. What fails is halved until the
// culprit stands alone; the others succeed.
func (b *batcher) runShares(batch *batch, shares []*share) {
	began, q := time.Now(), batch.bucket
	r := assemble(q.key.policy, shares)
	outputs, err := b.bounded(batch, shares, r.parts)
	took := time.Since(began)
	if err == nil {
		outputs = outputs[:len(shares)]
		if len(shares) == 1 && !q.key.policy.fixed && !r.shared(outputs[0]) {
			b.unbatchable(q.key.policy, nil)
		}
		b.learn(q, r, shares, took)
		for i, s := range shares {
			b.deliver(s, done{outputs: outputs[i], predict: took})
		}
		return
	}
	_, unbatchable := errors.AsType[*model.UnbatchableError](err)
	switch {
	case unbatchable && !q.key.policy.fixed && (len(shares) > 1 || r.filled > 0):
		b.unbatchable(q.key.policy, err)
		for _, s := range shares {
			if s.length() < s.rows {
				b.deliver(s, done{predict: took})
			} else {
				b.runShares(batch, []*share{s})
			}
		}
	case len(shares) == 1 || errors.Is(err, errOverrun):
		for _, s := range shares {
			b.deliver(s, done{err: err, alone: len(shares) == 1, predict: took})
		}
	default:
		half := len(shares) / 2
		b.runShares(batch, shares[:half])
		b.runShares(batch, shares[half:])
	}
}

// learn takes note of a run that succeeded.
func (b *batcher) learn(q *bucket, r assembled, shares []*share, took time.Duration) {
	name := q.key.policy.model.Name()
	wait := time.Duration(0)
	for _, s := range shares {
		wait = max(wait, s.waited)
	}
	b.mu.Lock()
	q.cost.add(r.rows+r.filled, took.Seconds())
	q.model.cost.add(r.rows+r.filled, took.Seconds())
	b.mu.Unlock()
	b.observe(ran{
		model: name, items: len(shares), rows: r.rows, filled: r.filled,
		elements: r.elements, padding: r.padding, wait: wait, predict: took,
		background: q.key.lane == background,
	})
}

// bounded runs the model and watches the clock.
func (b *batcher) bounded(batch *batch, shares []*share, parts [][]model.Tensor) ([][]model.Tensor, error) {
	r, err := b.await(shares)
	if err != nil {
		return nil, err
	}
	type result struct {
		outputs [][]model.Tensor
		err     error
	}
	c, key := make(chan result, 1), batch.key
	// Not waited for: if it hangs, the process ends around it.
	go func() {
		defer func() {
			if p := recover(); p != nil {
				c <- result{err: &model.Error{Code: "PANIC", Message: fmt.Sprint(p)}}
			}
		}()
		outputs, err := key.policy.model.Run(context.Background(), key.policy.signature, parts)
		if _, ok := errors.AsType[*model.Error](err); err != nil && !ok {
			// Whatever it is, it counts as an attempt: taken for a fault of the
			// surroundings it would be tried for ever.
			err = &model.Error{Code: "UNKNOWN", Message: err.Error()}
		}
		if err == nil && len(outputs) != len(parts) {
			err = &model.Error{Code: "INTERNAL", Message: fmt.Sprintf("the model gave %d results for %d items", len(outputs), len(parts))}
		}
		c <- result{outputs, err}
	}()
	began := time.Now()
	t := time.NewTimer(b.limit)
	defer t.Stop()
	long := time.NewTicker(longRun)
	defer long.Stop()
	deserted := r.deserted
	for {
		select {
		case r := <-c:
			return r.outputs, r.err
		case <-long.C:
			b.lend(batch)
			b.log.Warn("a run of the model goes on: what else the model has to do waits for its end, other models go on beside it", zap.String("model", key.policy.model.Name()),
				zap.Int("items", len(shares)), zap.Duration("for", time.Since(began)), zap.Duration("limit", b.limit))
		case <-deserted:
			deserted = nil
			t.Reset(min(grace, b.limit-time.Since(began)))
		case <-t.C:
			b.overrun(shares)
			b.hung()
			return nil, fmt.Errorf("%w of %v", errOverrun, b.limit)
		}
	}
}

// await notes that the shares are in a run now. It errs when nobody waits for
// any of them, or when nothing is to start any more.
func (b *batcher) await(shares []*share) (*awaited, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &awaited{deserted: make(chan struct{})}
	for _, s := range shares {
		if s.run = r; !s.left {
			r.by++
		}
	}
	if b.stopped() || r.by == 0 {
		return nil, errDraining
	}
	return r, nil
}
