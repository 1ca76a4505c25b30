package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// runBatch runs entries in one go. A batch that fails is halved until the
// culprit stands alone; the others succeed.
func (b *batcher) runBatch(q *bucket, batch []*entry) {
	began := time.Now()
	parts := make([][]model.Tensor, len(batch))
	var rows int64
	for i, e := range batch {
		parts[i] = e.tensors
		rows += e.rows
	}
	outputs, err := b.bounded(q.key, batch, parts)
	predict := time.Since(began)
	if err == nil {
		for i, e := range batch {
			e.result <- done{outputs: outputs[i], wait: began.Sub(e.since), predict: predict}
		}
		b.observe(len(batch), rows, began.Sub(batch[0].since), predict)
		return
	}
	if len(batch) == 1 || errors.Is(err, errOverrun) {
		for _, e := range batch {
			e.result <- done{err: err, alone: len(batch) == 1, wait: began.Sub(e.since), predict: predict}
		}
		return
	}
	half := len(batch) / 2
	b.runBatch(q, batch[:half])
	b.runBatch(q, batch[half:])
}

// bounded runs the model and watches the clock.
func (b *batcher) bounded(key bucketKey, batch []*entry, parts [][]model.Tensor) ([][]model.Tensor, error) {
	r, err := b.await(batch)
	if err != nil {
		return nil, err
	}
	type result struct {
		outputs [][]model.Tensor
		err     error
	}
	c := make(chan result, 1)
	// Not waited for: if it hangs, the process ends around it.
	go func() {
		defer func() {
			if p := recover(); p != nil {
				c <- result{err: &model.Error{Code: "PANIC", Message: fmt.Sprint(p)}}
			}
		}()
		outputs, err := key.model.Run(context.Background(), key.signature, parts)
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
	deserted := r.deserted
	for {
		select {
		case r := <-c:
			return r.outputs, r.err
		case <-deserted:
			deserted = nil
			t.Reset(min(grace, b.limit-time.Since(began)))
		case <-t.C:
			b.mu.Lock()
			b.stopped = true
			b.mu.Unlock()
			b.hung()
			return nil, fmt.Errorf("%w of %v", errOverrun, b.limit)
		}
	}
}

// wait awaits the end of all runs, and says which of them is still under way
// all the same: one that has overrun, or one that outlasts ctx.
func (b *batcher) wait(ctx context.Context) error {
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
	if b.stopped {
		return ErrModelHung
	}
	return left
}

// leave says that nobody waits for e's result any more.
func (b *batcher) leave(e *entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.left = true
	if r := e.run; r != nil {
		if r.by--; r.by == 0 {
			close(r.deserted)
		}
	}
}

// await notes that the entries are in a run now. It errs when nobody waits for
// any of them, or when nothing is to start any more.
func (b *batcher) await(batch []*entry) (*awaited, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &awaited{deserted: make(chan struct{})}
	for _, e := range batch {
		if e.run = r; !e.left {
			r.by++
		}
	}
	if b.stopped || r.by == 0 {
		return nil, errDraining
	}
	return r, nil
}
