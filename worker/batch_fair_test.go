package worker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

// crowd is what large items wait or run beside a small one.
type crowd struct {
	story string
	enter func(m model.Model) []work // what comes in first, all at once
}

// pieces is an item in pieces of that many rows, of which so many wait at a
// time, as a stream of records sends them.
func pieces(m model.Model, n int, rows int) (works []work) {
	f := new(flow)
	for range n {
		w := wish(m, make([]float32, rows)...)
		w.flow = f
		works = append(works, w)
	}
	return works
}

// crowds are what the small item must get through.
func crowds() []crowd {
	many := func(n int, of func(m model.Model) []work) func(m model.Model) []work {
		return func(m model.Model) (works []work) {
			for range n {
				works = append(works, of(m)...)
			}
			return works
		}
	}
	huge := func(m model.Model) []work { return []work{wish(m, make([]float32, 100_000)...)} }
	return []crowd{
		{"nothing", func(model.Model) []work { return nil }},
		{"an item of 100,000 rows", huge},
		{"200 items of 100,000 rows", many(200, huge)},
		{"200 items of 32 rows", many(200, func(m model.Model) []work { return []work{wish(m, make([]float32, 32)...)} })},
		{"50 streams, each with 8 pieces of 8 rows", many(50, func(m model.Model) []work { return pieces(m, 8, 8) })},
	}
}

// enterAll has works done until ctx is, and waits until all have come in.
func enterAll(ctx context.Context, wg *sync.WaitGroup, b *batcher, works []work) {
	for _, w := range works {
		wg.Go(func() { _, _ = b.Do(ctx, ctx, w) })
	}
	synctest.Wait()
}

// A small item waits for the run that is under way, and, once in a while, for
// one that a large item leads. What it waits beside does not matter.
func TestASmallItemWaitsForAFewRunsAtMost(t *testing.T) {
	const most = 32
	for _, c := range crowds() {
		t.Run(c.story, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r fake.Recorder
				m := fake.Double(1, r.Knob(), fake.Cost(10*time.Millisecond, time.Millisecond))
				b := newBatcher(1, most, 0, time.Hour)
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				enterAll(ctx, &wg, b, c.enter(m))
				var total, longest time.Duration
				worst := 0
				const probes = 50
				for i := range probes {
					time.Sleep(time.Duration(i) * 7 * time.Millisecond) // not in step with the runs
					came := time.Now()
					w := wish(m, 1)
					d, err := b.Do(t.Context(), t.Context(), w)
					doubled(t, w, d, err)
					total, longest = total+d.wait, max(longest, d.wait)
					runs := 0
					for _, run := range r.Batches() {
						if run.End.After(came) && run.Start.Before(came.Add(d.wait)) {
							runs++
						}
					}
					worst = max(worst, runs)
				}
				t.Logf("a row beside %s waits %v on average and %v at most, for %d runs of up to %v", c.story, total/probes, longest, worst, 42*time.Millisecond)
				if worst > 2 {
					t.Errorf("a row waited for %d runs, want at most the one under way and one more", worst)
				}
				cancel()
				wg.Wait()
				b.runners.Wait()
			})
		})
	}
}

// Large items fill what small ones leave, so that no run is half empty, and
// go on however many small ones come.
func TestLargeAndSmallItemsShareFullRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, rows = 32, 3_200
		var r fake.Recorder
		m := fake.Double(1, r.Knob(), fake.Cost(10*time.Millisecond, time.Millisecond))
		b := newBatcher(1, most, 0, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		for range 200 { // batches of small items wait at any time
			wg.Go(func() {
				for ctx.Err() == nil {
					w := wish(m, 1)
					if d, err := b.Do(t.Context(), t.Context(), w); err != nil || d.err != nil {
						t.Errorf("%v and %v", err, d.err)
					}
				}
			})
		}
		time.Sleep(time.Second)
		before := len(r.Batches())
		w := wish(m, make([]float32, rows)...)
		patient, done := context.WithTimeout(t.Context(), time.Hour) // some 17 s are enough
		defer done()
		d, err := b.Do(patient, t.Context(), w)
		doubled(t, w, d, err)
		runs := r.Batches()[before:]
		for _, run := range runs[1 : len(runs)-2] { // but the ends
			if run.Rows != most {
				t.Errorf("a run of %d rows, want full ones", run.Rows)
			}
		}
		if share := float64(rows) / float64(len(runs)*most); share < 0.95/(leads+1) {
			t.Errorf("the large item had %.2f of all rows, want a quarter", share)
		}
		cancel()
		wg.Wait()
		b.runners.Wait()
	})
}

// named is a model that doubles, under a name of its own.
func named(name string, knobs ...fake.Knob) *fake.Model {
	return fake.New(name, "1", []*model.Signature{fake.Double(1).Signatures()["serving_default"]}, fake.Each(twice), knobs...)
}

func TestABusyModelDoesNotStarveAnother(t *testing.T) {
	for _, c := range []struct {
		busy, other time.Duration // of a run
	}{{time.Second, 10 * time.Millisecond}, {10 * time.Millisecond, time.Second}, {time.Second, time.Second}} {
		for _, bound := range []int{1, 2} {
			t.Run(fmt.Sprintf("%v beside %v with %d runners", c.other, c.busy, bound), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					busy, other := named("busy", fake.Delay(c.busy)), named("other", fake.Delay(c.other))
					b := newBatcher(bound, 4, 0, time.Hour)
					ctx, cancel := context.WithCancel(t.Context())
					var wg sync.WaitGroup
					enterAll(ctx, &wg, b, ones(busy, 1000))
					for range 5 {
						d, err := b.Do(t.Context(), t.Context(), wish(other, 1))
						doubled(t, wish(other, 1), d, err)
						if d.wait > c.busy {
							t.Errorf("an item of the other model waited %v, want no more than a run of %v", d.wait, c.busy)
						}
						time.Sleep(c.busy + c.other)
					}
					cancel()
					wg.Wait()
					b.runners.Wait()
				})
			})
		}
	}
}

// Two models that always have work get the same time, whatever a run takes.
func TestModelsShareTheRunnersByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow, fast fake.Recorder
		a, z := named("slow", slow.Knob(), fake.Delay(time.Second)), named("fast", fast.Knob(), fake.Delay(50*time.Millisecond))
		b := newBatcher(1, 4, 0, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		enterAll(ctx, &wg, b, append(ones(z, 4000), ones(a, 400)...))
		time.Sleep(40 * time.Second)
		cancel()
		wg.Wait()
		b.runners.Wait()
		s, f := time.Duration(len(slow.Batches()))*time.Second, time.Duration(len(fast.Batches()))*50*time.Millisecond
		if s < 18*time.Second || f < 18*time.Second {
			t.Errorf("the slow model ran for %v, the fast one for %v, want about the same", s, f)
		}
	})
}

// What a solo run was for can be given up: the run goes on, and still nothing
// runs beside it.
func TestASoloRunIsAloneUntilItHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		m := fake.Double(1, r.Knob(), fake.Delay(30*time.Second))
		b := newBatcher(3, 1, 0, time.Hour)
		held, lose := context.WithCancelCause(t.Context())
		w := wish(m, 1)
		w.lane = solo
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := b.Do(t.Context(), held, w); err == nil {
				t.Error("the item was held to the end")
			}
		})
		time.Sleep(time.Second)
		lose(errExpired)
		time.Sleep(time.Second)
		began := time.Now()
		together(t, b, ones(m, 2)...)
		if took := time.Since(began); took != 58*time.Second {
			t.Errorf("the others took %v, want the rest of the run and one of their own", took)
		}
		wg.Go(func() { together(t, b, ones(m, 1)...) }) // and a solo one waits for what runs
		time.Sleep(time.Second)
		together(t, b, w)
		wg.Wait()
		b.runners.Wait()
		for _, run := range r.Batches()[:1] {
			for _, other := range r.Batches()[1:] {
				if other.Start.Before(run.End) {
					t.Error("a run began beside the solo one")
				}
			}
		}
		if last := r.Batches()[4]; last.Start.Before(r.Batches()[3].End) {
			t.Error("the solo run began beside another")
		}
	})
}

func TestAnItemInManyRunsIsWithdrawnInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		m := fake.Double(1, r.Knob(), fake.Delay(time.Second))
		b := newBatcher(2, 4, 0, time.Hour)
		pending, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(2500*time.Millisecond, func() { cancel(errDraining) })
		began := time.Now()
		_, err := b.Do(pending, t.Context(), wish(m, make([]float32, 100)...))
		if took := time.Since(began); err == nil || context.Cause(pending) != err || took != 3*time.Second {
			t.Errorf("got %v after %v, want the cause when its runs have ended", err, took)
		}
		b.runners.Wait()
		if n := len(r.Batches()); n != 6 {
			t.Errorf("%d runs, want the 6 that had begun", n)
		}
		if len(b.buckets) != 0 || b.idle != 2 {
			t.Errorf("%d buckets are left, %d runners idle", len(b.buckets), b.idle)
		}
	})
}

// The limit of an item is for each of its runs, however many there are and
// however long they wait for each other.
func TestTheLimitIsForEachRunOfALargeItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := fake.HangWhen(first(50), make(chan struct{})) // for ever
		m := fake.Double(1, slow, fake.Delay(time.Second))
		b := newBatcher(1, 5, 0, time.Hour)
		w := wish(m, make([]float32, 100)...)
		w.limit = 1500 * time.Millisecond
		d, err := b.Do(t.Context(), t.Context(), w)
		doubled(t, w, d, err)
		b.runners.Wait()
	})
}
