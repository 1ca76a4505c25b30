package worker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

// numbers is a tensor of rows of the given width, filled with values.
func numbers(width int64, values ...float32) model.Tensor {
	t := model.Tensor{DType: model.Float32, Shape: []int64{int64(len(values)) / width, width}}
	for _, v := range values {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
	}
	return t
}

// values reads a tensor of float32.
func values(t model.Tensor) (v []float32) {
	for d := t.Data; len(d) > 0; d = d[4:] {
		v = append(v, math.Float32frombits(binary.LittleEndian.Uint32(d)))
	}
	return v
}

// wish is work of rows of one number on m.
func wish(m model.Model, v ...float32) work {
	return work{model: m, signature: m.Signatures()["serving_default"], tensors: []model.Tensor{numbers(1, v...)}, rows: int64(len(v)), limit: time.Hour}
}

// doubled checks that a work came back doubled.
func doubled(t *testing.T, w work, d done, err error) {
	t.Helper()
	if err != nil || d.err != nil {
		t.Errorf("%v and %v", err, d.err)
		return
	}
	in, out := values(w.tensors[0]), values(d.outputs[0])
	for i := range in {
		in[i] *= 2
	}
	if !slices.Equal(in, out) {
		t.Errorf("got %v, want %v", out, in)
	}
}

// together runs works at the same time, in their order, and checks them all.
func together(t *testing.T, b *batcher, works ...work) {
	t.Helper()
	var wg sync.WaitGroup
	for _, w := range works {
		wg.Go(func() {
			d, err := b.Do(t.Context(), t.Context(), w)
			doubled(t, w, d, err)
		})
		synctest.Wait() // it stands in its place
	}
	wg.Wait()
}

// partsOf are the sizes of the recorded runs.
func partsOf(r *fake.Recorder) (parts []int) {
	for _, b := range r.Batches() {
		parts = append(parts, b.Parts)
	}
	return parts
}

func TestAnIdleWorkerAddsNoDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		m := fake.Double(1, r.Knob())
		b := newBatcher(1, 32, 0, time.Hour)
		began := time.Now()
		w := wish(m, 1)
		d, err := b.Do(t.Context(), t.Context(), w)
		doubled(t, w, d, err)
		if took := time.Since(began); took != 0 || d.wait != 0 {
			t.Errorf("it took %v and says that it waited %v", took, d.wait)
		}
		b.runners.Wait()
	})
}

func TestABatchGrowsWhileTheModelIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		m := fake.Double(1, r.Knob(), fake.Delay(time.Second))
		b := newBatcher(1, 4, 0, time.Hour)
		var works []work
		for i := range 10 {
			works = append(works, wish(m, float32(i)))
		}
		together(t, b, works...)
		if got, want := partsOf(&r), []int{1, 4, 4, 1}; !slices.Equal(got, want) {
			t.Errorf("batches of %v, want %v", got, want)
		}
		b.runners.Wait()
	})
}

func TestAnIdleModelWaitsForItsBatchToFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		m := fake.Double(1, r.Knob())
		b := newBatcher(1, 4, time.Second, time.Hour)
		began := time.Now()
		together(t, b, wish(m, 1), wish(m, 2), wish(m, 3))
		if got := partsOf(&r); !slices.Equal(got, []int{3}) || time.Since(began) != time.Second {
			t.Errorf("batches of %v after %v, want one of 3 after the timeout", got, time.Since(began))
		}
		began = time.Now()
		together(t, b, wish(m, 1), wish(m, 2), wish(m, 3), wish(m, 4))
		if took := time.Since(began); took != 0 {
			t.Errorf("a full batch waited %v", took)
		}
		b.runners.Wait()
	})
}

func TestABatchHasNoMoreRowsThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		m := fake.Double(1, r.Knob(), fake.Delay(time.Second)).WithConfig(&model.Config{MaxBatchSize: 5})
		b := newBatcher(1, 8, 0, time.Hour) // the model's own limit counts
		together(t, b, wish(m, 0), wish(m, 1, 2), wish(m, 3, 4), wish(m, 5, 6), wish(m, 7))
		for _, batch := range r.Batches() {
			if batch.Rows > 5 {
				t.Errorf("a batch of %d rows, want at most 5", batch.Rows)
			}
		}
		if got, want := partsOf(&r), []int{1, 2, 2}; !slices.Equal(got, want) {
			t.Errorf("batches of %v, want %v", got, want)
		}
		b.runners.Wait()
	})
}

func TestShapesSignaturesAndLanesDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		sig := func(name string) *model.Signature {
			return &model.Signature{
				Name:    name,
				Inputs:  []model.TensorInfo{{Name: "x", DType: model.Float32, Shape: []int64{-1, -1}}},
				Outputs: []model.TensorInfo{{Name: "y", DType: model.Float32, Shape: []int64{-1, -1}}},
			}
		}
		echo := fake.Each(func(part []model.Tensor) ([]model.Tensor, error) { return part, nil })
		m := fake.New("m", "1", []*model.Signature{sig("a"), sig("b")}, echo, r.Knob(), fake.Delay(time.Second))
		b := newBatcher(1, 32, time.Second, time.Hour)
		var wg sync.WaitGroup
		for range 3 {
			for _, w := range []work{
				{signature: m.Signatures()["a"], tensors: []model.Tensor{numbers(1, 1)}},
				{signature: m.Signatures()["a"], tensors: []model.Tensor{numbers(2, 1, 2)}},
				{signature: m.Signatures()["b"], tensors: []model.Tensor{numbers(1, 1)}},
				{signature: m.Signatures()["a"], tensors: []model.Tensor{numbers(1, 1)}, lane: suspects},
				{signature: m.Signatures()["a"], tensors: []model.Tensor{numbers(1, 1)}, lane: solo},
			} {
				w.model, w.rows, w.limit = m, 1, time.Hour
				wg.Go(func() { // the model checks that shapes are the same
					if d, err := b.Do(t.Context(), t.Context(), w); err != nil || d.err != nil {
						t.Errorf("%v and %v", err, d.err)
					}
				})
			}
		}
		wg.Wait()
		got := partsOf(&r)
		slices.Sort(got)
		if want := []int{1, 1, 1, 3, 3, 3, 3}; !slices.Equal(got, want) {
			t.Errorf("batches of %v, want %v", got, want)
		}
		b.runners.Wait()
	})
}

func TestBisectionFailsTheCulpritsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fake.Double(1, fake.FailWhen(first(3), errPermanent), fake.FailWhen(first(11), errSoft))
		b := newBatcher(1, 32, time.Second, time.Hour)
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				w := wish(m, float32(i))
				d, err := b.Do(t.Context(), t.Context(), w)
				switch want := map[int]error{3: errPermanent, 11: errSoft}[i]; {
				case want == nil:
					doubled(t, w, d, err)
				case !errors.Is(d.err, want) || !d.alone:
					t.Errorf("%d has %v, alone %t; want %v", i, d.err, d.alone, want)
				}
			})
		}
		wg.Wait()
		b.runners.Wait()
	})
}

func TestAHugeItemIsSplitAndJoinedInOrderAndLetsOthersBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		m := fake.Double(1, r.Knob(), fake.Delay(time.Second))
		b := newBatcher(1, 4, 0, time.Hour)
		huge := make([]float32, 41)
		for i := range huge {
			huge[i] = float32(i)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			w := wish(m, huge...)
			d, err := b.Do(t.Context(), t.Context(), w)
			doubled(t, w, d, err)
			if d.predict != 11*time.Second {
				t.Errorf("the model is said to have run for %v, want 11s", d.predict)
			}
		})
		time.Sleep(1500 * time.Millisecond)
		began := time.Now()
		w := wish(m, 99)
		d, err := b.Do(t.Context(), t.Context(), w)
		doubled(t, w, d, err)
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("a small item waited %v behind the huge one", took)
		}
		wg.Wait()
		b.runners.Wait()
	})
}

func TestAFaultInOnePieceFailsTheWholeItemAndStopsItsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		m := fake.Double(1, r.Knob(), fake.FailWhen(first(2), errPermanent), fake.Delay(time.Second))
		b := newBatcher(1, 2, 0, time.Hour)
		d, err := b.Do(t.Context(), t.Context(), wish(m, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9))
		if err != nil || !errors.Is(d.err, errPermanent) {
			t.Errorf("got %v and %v, want the piece's error", err, d.err)
		}
		if n := len(r.Batches()); n > 3 {
			t.Errorf("%d runs, want no more than the piece after the fault", n)
		}
		b.runners.Wait()
	})
}

func TestPiecesThatDoNotFitTogetherAreThePermanentFaultOfTheModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := int64(0)
		odd := fake.Each(func(part []model.Tensor) ([]model.Tensor, error) {
			n++
			return []model.Tensor{numbers(n, make([]float32, n*part[0].Rows())...)}, nil
		})
		m := fake.New("odd", "1", []*model.Signature{fake.Double(1).Signatures()["serving_default"]}, odd)
		b := newBatcher(1, 2, 0, time.Hour)
		d, err := b.Do(t.Context(), t.Context(), wish(m, 1, 2, 3, 4))
		if e, ok := errors.AsType[*model.Error](d.err); err != nil || !ok || !e.Permanent {
			t.Errorf("got %v and %v, want a permanent error of the model", err, d.err)
		}
		b.runners.Wait()
	})
}

func TestAWithdrawnItemDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		m := fake.Double(1, r.Knob(), fake.Delay(time.Minute))
		b := newBatcher(1, 4, 0, time.Hour)
		var wg sync.WaitGroup
		wg.Go(func() {
			d, err := b.Do(t.Context(), t.Context(), wish(m, 1))
			doubled(t, wish(m, 1), d, err)
		})
		synctest.Wait()
		pending, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errExpired) })
		began := time.Now()
		if _, err := b.Do(pending, t.Context(), wish(m, 2)); !errors.Is(err, errExpired) || time.Since(began) != time.Second {
			t.Errorf("got %v after %v, want the cause after a second", err, time.Since(began))
		}
		if _, err := b.Do(pending, t.Context(), wish(m, 3)); !errors.Is(err, errExpired) {
			t.Errorf("got %v, want the cause", err)
		}
		wg.Wait()
		b.runners.Wait()
		if got := partsOf(&r); !slices.Equal(got, []int{1}) {
			t.Errorf("batches of %v, want one of 1", got)
		}
	})
}

// However sizes, shapes, lanes, withdrawals and timeouts fall together, every
// item gets its own rows or its own cause, no batch is too large, and nobody
// waits for ever: the bubble would tell of a deadlock.
func TestNothingIsLostInTheBatcher(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			var r fake.Recorder
			m := fake.Double(1, r.Knob(), fake.Delay(time.Duration(rnd.IntN(50))*time.Millisecond), fake.FailWhen(first(13), errSoft))
			runners, most := 1+rnd.IntN(3), 1+rnd.IntN(8)
			timeout := time.Duration(rnd.IntN(3)) * 20 * time.Millisecond
			b := newBatcher(runners, most, timeout, time.Hour)
			var wg sync.WaitGroup
			for range 300 {
				v := make([]float32, 1+rnd.IntN(2*most))
				for i := range v {
					v[i] = float32(rnd.IntN(40))
				}
				w := wish(m, v...)
				w.lane = lane(rnd.IntN(3))
				w.limit = time.Duration(1+rnd.IntN(2)) * time.Hour
				start, patience := time.Duration(rnd.IntN(2000))*time.Millisecond, time.Duration(rnd.IntN(3000))*time.Millisecond
				wg.Go(func() {
					time.Sleep(start)
					pending, cancel := context.WithTimeoutCause(t.Context(), patience, errExpired)
					defer cancel()
					switch d, err := b.Do(pending, t.Context(), w); {
					case errors.Is(err, errExpired):
						if pending.Err() == nil {
							t.Error("withdrawn before its time")
						}
					case errors.Is(d.err, errSoft):
						if !slices.Contains(v, 13) {
							t.Errorf("%v failed for another's fault", v)
						}
					default:
						doubled(t, w, d, err)
					}
				})
			}
			wg.Wait()
			if err := b.wait(t.Context()); err != nil {
				t.Error(err)
			}
			for _, batch := range r.Batches() {
				if batch.Rows > int64(most) {
					t.Errorf("a batch of %d rows, want at most %d", batch.Rows, most)
				}
			}
			if n := r.MostConcurrent(); n > runners {
				t.Errorf("%d runs at once, want at most %d", n, runners)
			}
			if b.idle != runners || len(b.buckets) != 0 {
				t.Errorf("%d of %d runners are idle, %d buckets are left", b.idle, runners, len(b.buckets))
			}
		})
		if t.Failed() {
			t.Fatal(fmt.Sprint("seed ", seed))
		}
	}
}

func TestEveryFullBatchFindsAnIdleRunnerAtOnce(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			m := fake.Double(1, fake.Delay(time.Second))
			b := newBatcher(2, 2, time.Minute, time.Hour)
			var wg sync.WaitGroup
			enter := func(l lane) {
				w := wish(m, 1)
				w.lane = l
				wg.Go(func() {
					d, err := b.Do(t.Context(), t.Context(), w)
					doubled(t, w, d, err)
				})
			}
			enter(ordinary)
			enter(suspects)
			synctest.Wait() // two runners wait for a batch each
			began := time.Now()
			enter(ordinary)
			enter(suspects)
			wg.Wait()
			if took := time.Since(began); took > time.Second {
				t.Errorf("two full batches took %v, want the second of their runs", took)
			}
			b.runners.Wait()
		})
	}
}
