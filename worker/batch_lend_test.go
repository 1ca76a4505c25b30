package worker

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/worker/model/fake"
)

// send has a work run, and does not wait for it.
func send(t *testing.T, b *batcher, wg *sync.WaitGroup, w work) {
	wg.Go(func() {
		d, err := b.Do(t.Context(), t.Context(), w)
		doubled(t, w, d, err)
	})
	synctest.Wait() // it stands in its place
}

// A model that hangs, or only takes long, keeps its own requests waiting and
// nobody else's for more than a minute.
func TestAModelInALongRunDoesNotHoldUpTheOthers(t *testing.T) {
	for _, runners := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			var slow, fast fake.Recorder
			release := make(chan struct{})
			hangs := named("hangs", slow.Knob(), fake.HangWhen(first(1), release), fake.Delay(time.Second))
			other := named("other", fast.Knob(), fake.Delay(time.Second))
			b := newBatcher(runners, 1, 0, time.Hour)
			var wg sync.WaitGroup
			for range runners {
				send(t, b, &wg, wish(hangs, 1))
			}
			send(t, b, &wg, wish(hangs, 2))
			began := time.Now()
			together(t, b, ones(other, 10)...)
			if took, most := time.Since(began), longRun+11*time.Second; took > most {
				t.Errorf("%d runners: another model's requests took %v, want %v at most", runners, took, most)
			}
			if n := fast.MostConcurrent(); n > runners {
				t.Errorf("%d runs of the other model at once, with %d runners", n, runners)
			}
			time.Sleep(10 * time.Minute)
			if n := len(slow.Batches()); n != runners {
				t.Errorf("%d runs of the model that hangs, want no more than the %d", n, runners)
			}
			close(release)
			wg.Wait()
			b.runners.Wait()

			// Nothing is lent any more.
			if b.idle != runners || b.shareholder(holding{model: "hangs"}).lent != 0 {
				t.Errorf("%d of %d runners are idle", b.idle, runners)
			}
			var all fake.Recorder
			together(t, b, append(ones(named("hangs", all.Knob(), fake.Delay(time.Second)), 5), ones(named("other", all.Knob(), fake.Delay(time.Second)), 5)...)...)
			if n := all.MostConcurrent(); n != runners {
				t.Errorf("%d runs at once when the long one is over, with %d runners", n, runners)
			}
		})
	}
}

// The place of a runner that is lent is taken by another when the long run
// ends: the model's next run waits for it, and is not forgotten.
func TestAModelGoesOnAfterALongRunWhoseRunnerIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		release := make(chan struct{})
		hangs := named("hangs", r.Knob(), fake.HangWhen(first(1), release))
		other := named("other", r.Knob(), fake.Delay(30*time.Second))
		b := newBatcher(1, 1, 0, time.Hour)
		var wg sync.WaitGroup
		send(t, b, &wg, wish(hangs, 1))
		send(t, b, &wg, wish(other, 1))
		send(t, b, &wg, wish(hangs, 2))
		time.Sleep(longRun + 10*time.Second) // in the other model's first run
		close(release)
		wg.Wait()
		b.runners.Wait()
		if n := len(r.Batches()); n != 3 || b.idle != 1 {
			t.Errorf("%d runs, %d idle runners, want 3 and 1", n, b.idle)
		}
	})
}
