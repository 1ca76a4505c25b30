package worker

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/worker/model/fake"
)

// A request whose time is over at the moment at which its first run begins has
// not begun, or it is finished: not half of both.
func TestWhatExpiresAsItBeginsHasNotBegunOrIsFinished(t *testing.T) {
	for range 300 { // which of the two is seen first is the scheduler's
		synctest.Test(t, func(t *testing.T) {
			var r fake.Recorder
			m := fake.Double(1, r.Knob(), fake.Delay(time.Second))
			b := newBatcher(1, 4, 0, time.Hour)
			var first sync.WaitGroup
			first.Go(func() { _, _ = b.Do(t.Context(), t.Context(), wish(m, 1)) })
			synctest.Wait()
			pending, cancel := context.WithTimeoutCause(t.Context(), time.Second, errExpired)
			defer cancel()
			w := wish(m, 1, 2, 3, 4, 5, 6, 7, 8, 9)
			d, err := b.Do(pending, t.Context(), w)
			switch runs := len(r.Batches()) - 1; {
			case !errors.Is(err, errExpired):
				doubled(t, w, d, err)
			case runs > 0:
				t.Errorf("it has expired after %d runs of it had begun", runs)
			}
			first.Wait()
		})
	}
}

// What comes at the worker's end, as a query can, does not come into its way.
func TestNothingComesInWhileTheEndOfAllRunsIsAwaited(t *testing.T) {
	m := fake.Double(1)
	for range 100 {
		b := newBatcher(1, 4, 0, time.Hour)
		var late sync.WaitGroup
		for range 4 {
			late.Go(func() {
				for {
					d, err := b.Do(t.Context(), t.Context(), wish(m, 1))
					if errors.Is(err, errDraining) {
						return
					}
					doubled(t, wish(m, 1), d, err)
				}
			})
		}
		if err := b.wait(t.Context()); err != nil {
			t.Error(err)
		}
		if n := b.idle; n != 1 {
			t.Errorf("%d runners are idle, want the one", n)
		}
		late.Wait()
	}
}
