package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

// inBackground makes works go in the background.
func inBackground(works ...work) []work {
	for i := range works {
		works[i].lane = background
	}
	return works
}

// A request is delayed by the run of a job that is under way when it comes, and
// by no other, whatever the job is made of.
func TestARowBesideABatchJobWaitsForTheRunUnderWayAtMost(t *testing.T) {
	const most, full = 32, 42 * time.Millisecond
	for _, c := range append(crowds(), crowd{"packs of 1,000 small objects", func(m model.Model) []work { return ones(m, 1000) }}) {
		t.Run(c.story, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := fake.Double(1, fake.Cost(10*time.Millisecond, time.Millisecond))
				b := newBatcher(1, most, 0, time.Hour)
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				enterAll(ctx, &wg, b, inBackground(c.enter(m)...))
				var total, longest, slowest time.Duration
				const probes = 50
				for i := range probes {
					time.Sleep(time.Duration(i) * 7 * time.Millisecond) // not in step with the runs
					w := wish(m, 1)
					d, err := b.Do(t.Context(), t.Context(), w)
					doubled(t, w, d, err)
					total, longest, slowest = total+d.wait, max(longest, d.wait), max(slowest, d.predict)
				}
				t.Logf("a row beside %s in the background waits %v on average and %v at most; its run takes %v at most", c.story, total/probes, longest, slowest)
				if longest > full {
					t.Errorf("a row waited %v, longer than a run", longest)
				}
				if i := 11 * time.Millisecond; slowest > i*5/4 {
					t.Errorf("its own run took %v, filled up too far: alone it takes %v", slowest, i)
				}
				cancel()
				wg.Wait()
				b.runners.Wait()
			})
		})
	}
}

// Without end of requests a job still has one run in 32.
func TestABatchJobGoesOnOnAWorkerThatIsNeverIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fake.Double(1, fake.Cost(10*time.Millisecond, time.Millisecond))
		b := newBatcher(1, 8, 0, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		for range 50 { // batches of small items wait at any time
			wg.Go(func() {
				for ctx.Err() == nil {
					w := wish(m, 1)
					d, err := b.Do(t.Context(), t.Context(), w)
					doubled(t, w, d, err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		works := inBackground(ones(m, 80)...)
		var jobs sync.WaitGroup
		for _, w := range works {
			jobs.Go(func() {
				d, err := b.Do(t.Context(), t.Context(), w)
				doubled(t, w, d, err)
			})
		}
		jobs.Wait()
		runs := int(time.Since(began) / (18 * time.Millisecond))
		if want := 10 * (yields + 1); runs < want-yields || runs > want+yields {
			t.Errorf("80 rows in runs of 8 were done after %d runs, want one in %d", runs, yields+1)
		}
		cancel()
		wg.Wait()
		b.runners.Wait()
	})
}

// What a run would be filled up with anyway is the background's.
func TestFreeRoomIsFilledFromTheBackground(t *testing.T) {
	for story, c := range map[string]struct {
		config model.Config
		live   int
		want   int // rows from the background
	}{
		"up to an allowed size":                          {config: model.Config{AllowedBatchSizes: []int{8, 32}}, live: 5, want: 3},
		"and a quarter longer at most":                   {live: 20, want: 7},
		"one that is full":                               {live: 32, want: 0},
		"a large size that costs little more than small": {config: model.Config{AllowedBatchSizes: []int{30, 32}}, live: 25, want: 7},
	} {
		t.Run(story, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r fake.Recorder
				m := fake.Double(1, r.Knob(), fake.Cost(10*time.Millisecond, time.Millisecond)).WithConfig(&c.config)
				b := newBatcher(1, 32, 0, time.Hour)
				together(t, b, ones(m, 200)...) // the cost is learned
				for _, n := range []int{1, 6, 12, 25, 30} {
					together(t, b, wish(m, make([]float32, n)...))
				}
				ran := len(r.Batches())
				var wg sync.WaitGroup
				enterAll(t.Context(), &wg, b, []work{wish(m, 1)})
				for _, w := range slices.Concat(inBackground(ones(m, 40)...), ones(m, c.live)) {
					wg.Go(func() {
						d, err := b.Do(t.Context(), t.Context(), w)
						doubled(t, w, d, err)
					})
				}
				wg.Wait()
				b.runners.Wait()
				if got := r.Batches()[ran+1].Parts - c.live; got != c.want {
					t.Errorf("%d rows were filled up with %d from the background, want %d", c.live, got, c.want)
				}
			})
		})
	}
}

// The time that a job takes of one model's is not held against its requests.
func TestAModelsBatchJobDoesNotCostItsRequestsTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := fake.Double(1, fake.Cost(10*time.Millisecond, time.Millisecond))
		other := fake.New("other", "1", []*model.Signature{fake.Double(1).Signatures()["serving_default"]}, fake.Each(twice), fake.Cost(10*time.Millisecond, time.Millisecond))
		b := newBatcher(1, 1, 0, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		enterAll(ctx, &wg, b, inBackground(ones(busy, 5000)...))
		time.Sleep(10 * time.Second)
		enterAll(ctx, &wg, b, ones(other, 100))
		began := time.Now()
		w := wish(busy, 1)
		d, err := b.Do(t.Context(), t.Context(), w)
		doubled(t, w, d, err)
		if waited := time.Since(began); waited > 3*11*time.Millisecond {
			t.Errorf("it waited %v beside requests of another model, as if it had had its share", waited)
		}
		cancel()
		wg.Wait()
		b.runners.Wait()
	})
}

func TestABadRowFromTheBackgroundFailsNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := func(part []model.Tensor) bool { return slices.Contains(values(part[0]), 13) }
		m := fake.Double(1, fake.FailWhen(bad, errPermanent), fake.Cost(10*time.Millisecond, time.Microsecond)).
			WithConfig(&model.Config{AllowedBatchSizes: []int{8}})
		b := newBatcher(1, 8, 0, time.Hour)
		var wg sync.WaitGroup
		enterAll(t.Context(), &wg, b, []work{wish(m, 0)})
		for _, v := range []float32{13, 1, 2} {
			w := inBackground(wish(m, v))[0]
			wg.Go(func() {
				d, err := b.Do(t.Context(), t.Context(), w)
				if v != 13 {
					doubled(t, w, d, err)
				} else if !errors.Is(d.err, errPermanent) || !d.alone {
					t.Errorf("the culprit has %v and %v, alone %t", err, d.err, d.alone)
				}
			})
		}
		synctest.Wait()
		together(t, b, wish(m, 3), wish(m, 4))
		wg.Wait()
		b.runners.Wait()
	})
}

func TestWhatWaitsInTheBackgroundIsNoReasonToSendARequestAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fake.Double(1, fake.Cost(time.Second, 100*time.Millisecond))
		b := newBatcher(1, 10, 0, time.Hour)
		together(t, b, wish(m, 0), wish(m, make([]float32, 10)...), wish(m, make([]float32, 5)...), wish(m, 0))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		enterAll(ctx, &wg, b, inBackground(ones(m, 101)...))
		if got := b.seconds(); got > 2.1 {
			t.Errorf("%.2f s of work are queued, want those of the run under way", got)
		}
		if got := b.backgroundSeconds(); got < 19 || got > 21 {
			t.Errorf("%.2f s of work are queued in the background, want 20", got)
		}
		cancel()
		wg.Wait()
		b.runners.Wait()
	})
}
