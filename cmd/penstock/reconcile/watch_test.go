package reconcile_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/penstock/reconcile"
	"github.com/penstock/penstock/queue"
)

// pass lets time pass, and all that is due by then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// watch makes a Watcher, and counts what it tells.
func (in *installation) watch(t *testing.T) (w *reconcile.Watcher, found, failing *atomic.Int64) {
	in.Now, in.MinAge = time.Now, 3*time.Second
	found, failing = new(atomic.Int64), new(atomic.Int64)
	w = &reconcile.Watcher{
		Reconciler: reconcile.Reconciler{Store: in.Store, Queue: in.Queue, Locations: in.Locations, Now: time.Now, MinAge: in.MinAge},
		Inspector:  in.queue,
		Found:      func(n int) { found.Add(int64(n)) },
		Failing:    func(error) { failing.Add(1) },
	}
	return w, found, failing
}

func TestAWatcherEnqueuesWhatWasMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := setup(t, "s3://bucket/in/")
		in.upload(t, "in/before", "a")
		w, found, _ := in.watch(t)
		go w.Run(t.Context())
		pass(8 * time.Second)
		if got := in.enqueued(t); !slices.Equal(got, []string{"in/before"}) || found.Load() != 1 {
			t.Errorf("soon after the start enqueued are %q, found %d", got, found.Load())
		}
		pass(2 * time.Minute)
		missed := in.upload(t, "in/missed", "a")
		pass(34 * time.Second)
		if got := in.enqueued(t); !slices.Equal(got, []string{"in/missed"}) || found.Load() != 2 {
			t.Errorf("later enqueued are %q, found %d", got, found.Load())
		}
		in.finish(t, missed, false)
	})
}

func TestAWatcherEnqueuesNothingThatMayBeInTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := setup(t, "s3://bucket/in/")
		in.upload(t, "in/a", "a")
		in.queue.Send(t.Context(), queue.Outgoing{Body: `{"input":"s3://bucket/in/a"}`})
		w, found, _ := in.watch(t)
		go w.Run(t.Context())
		pass(4 * time.Minute)
		if found.Load() != 0 {
			t.Errorf("%d were enqueued while the queue held a message", found.Load())
		}
		// A queue that is never empty must not hide a missed input forever.
		pass(2 * time.Minute)
		if found.Load() != 1 {
			t.Errorf("%d were enqueued after six minutes, want 1", found.Load())
		}
	})
}

func TestAWatcherEnqueuesNothingTwiceInAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := setup(t, "s3://bucket/in/")
		in.upload(t, "in/a", "a")
		w, found, _ := in.watch(t)
		go w.Run(t.Context())
		for range 4 {
			pass(time.Minute)
			in.enqueued(t) // and nothing comes of it
		}
		if found.Load() != 1 {
			t.Errorf("%d were enqueued in four minutes, want 1", found.Load())
		}
		pass(2 * time.Minute)
		if found.Load() != 2 {
			t.Errorf("%d were enqueued in six minutes, want 2", found.Load())
		}
	})
}

func TestAWatcherTriesAgainWhatItCouldNotEnqueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := setup(t, "s3://bucket/in/")
		in.upload(t, "in/a", "a")
		w, found, failing := in.watch(t)
		away := &refusing{Sender: in.queue, text: "in/a"}
		w.Queue = away
		go w.Run(t.Context())
		pass(5 * time.Minute)
		if found.Load() != 0 || failing.Load() != 1 {
			t.Errorf("found %d, told of trouble %d times, want once", found.Load(), failing.Load())
		}
		away.back.Store(true)
		pass(31 * time.Second)
		if found.Load() != 1 {
			t.Errorf("found %d after the queue came back, want 1", found.Load())
		}
	})
}

func TestAWatcherLooksAtAnInputThatIsDoneOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := setup(t, "s3://bucket/in/")
		input := in.upload(t, "in/a", "a")
		in.finish(t, input, true)
		w, found, _ := in.watch(t)
		go w.Run(t.Context())
		pass(10 * time.Second)
		in.store.calls()
		pass(5 * time.Minute)
		if heads, lists := in.store.calls(); len(heads) != 0 || lists == 0 {
			t.Errorf("there were HEADs of %q and %d LISTs", heads, lists)
		}
		in.finish(t, input, false) // a change
		in.upload(t, "in/a", "b")  // and a missed one
		pass(34 * time.Second)
		if found.Load() != 1 {
			t.Errorf("found %d, want the later upload", found.Load())
		}
	})
}
