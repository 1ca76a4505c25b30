package fake

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/penstock/penstock/worker/model"
)

// Knob puts something around a RunFunc.
type Knob func(RunFunc) RunFunc

// Delay makes every run take d longer. Like a real run, it can't be
// interrupted.
func Delay(d time.Duration) Knob {
	return func(next RunFunc) RunFunc {
		return func(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
			time.Sleep(d)
			return next(ctx, sig, parts)
		}
	}
}

// Cost makes every run take perRun and perRow for each of its rows, those that
// fill the batch included. Like a real run, it can't be interrupted.
func Cost(perRun, perRow time.Duration) Knob {
	return func(next RunFunc) RunFunc {
		return func(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
			time.Sleep(perRun + time.Duration(rows(parts))*perRow)
			return next(ctx, sig, parts)
		}
	}
}

// FailWhen fails a whole batch with err when match holds for one of its parts.
func FailWhen(match func(part []model.Tensor) bool, err error) Knob {
	return func(next RunFunc) RunFunc {
		return func(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
			if slices.ContainsFunc(parts, match) {
				return nil, err
			}
			return next(ctx, sig, parts)
		}
	}
}

// FailTimes fails the first n runs with err.
func FailTimes(n int, err error) Knob {
	left := make(chan struct{}, n)
	for range n {
		left <- struct{}{}
	}
	return func(next RunFunc) RunFunc {
		return func(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
			select {
			case <-left:
				return nil, err
			default:
				return next(ctx, sig, parts)
			}
		}
	}
}

// HangWhen holds a batch until release is closed when match holds for one of
// its parts. Like a real run, it ignores the context.
func HangWhen(match func(part []model.Tensor) bool, release <-chan struct{}) Knob {
	return func(next RunFunc) RunFunc {
		return func(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
			if slices.ContainsFunc(parts, match) {
				<-release
			}
			return next(ctx, sig, parts)
		}
	}
}

// Recorder remembers the batches that passed its Knob. The zero value is
// ready; its methods may be called concurrently.
type Recorder struct {
	mu       sync.Mutex // never held over a run, so it can't block a synctest bubble
	batches  []Batch
	running  int
	mostRuns int
}

// Batch is one recorded run.
type Batch struct {
	Signature string
	Parts     int
	Rows      int64 // of the first input, over all parts
	Start     time.Time
	End       time.Time // zero while the run is under way
	Err       error
}

// Knob records the runs below it.
func (r *Recorder) Knob() Knob {
	return func(next RunFunc) RunFunc {
		return func(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
			i := r.begin(sig, parts)
			results, err := next(ctx, sig, parts)
			r.end(i, err)
			return results, err
		}
	}
}

func (r *Recorder) begin(sig *model.Signature, parts [][]model.Tensor) int {
	b := Batch{Signature: sig.Name, Parts: len(parts), Rows: rows(parts), Start: time.Now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running++
	r.mostRuns = max(r.mostRuns, r.running)
	r.batches = append(r.batches, b)
	return len(r.batches) - 1
}

func (r *Recorder) end(i int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
	r.batches[i].End = time.Now()
	r.batches[i].Err = err
}

// Batches are the runs so far, in the order they began.
func (r *Recorder) Batches() []Batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.batches)
}

// MostConcurrent is the largest number of runs that were under way at once.
func (r *Recorder) MostConcurrent() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mostRuns
}

// rows counts those of the first input, over all parts.
func rows(parts [][]model.Tensor) (n int64) {
	for _, part := range parts {
		if len(part) > 0 {
			n += part[0].Rows()
		}
	}
	return n
}
