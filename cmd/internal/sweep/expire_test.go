package sweep_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/internal/sweep"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func TestARequestExpiresThoughNoWorkerRuns(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		short := b.accept("short", time.Minute)
		long := b.accept("long", time.Hour)
		object := b.upload("x.json", nil)
		object.ID, object.TTL, object.Enqueued = "object", time.Minute, time.Now()
		never := b.accept("never", 0)
		if _, err := b.intake.Accept(t.Context(), submissionOf(object)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if c := b.run(); c != (sweep.Counts{Looked: 4, Expired: 2, Pending: 3}) {
			t.Errorf("after 5 minutes: %+v", c)
		}
		for _, r := range []request.Request{short, object} {
			f, info, ok := b.failure(r)
			if !ok || f.Error.Code != request.CodeExpired || !f.Error.Retryable || f.InferenceID != r.ID || f.Input != r.Input.String() ||
				!strings.Contains(f.Error.Message, "1m0s") || f.Time.IsZero() || info.ContentType != "application/json" || !r.SameInput(info.Metadata) {
				t.Errorf("%s has %+v, %+v", r.ID, f, info)
			}
			head, err := b.store.Head(t.Context(), r.Input)
			if err != nil {
				t.Fatal(err)
			}
			if p, _ := request.ParseProvenance(info.Metadata); p.Identity != r.Identify(head) {
				t.Errorf("the failure of %s has an identity that no worker would give it", r.ID)
			}
		}
		// What has expired is looked at once more, for what another sweep leaves.
		if c := b.runs(50 * time.Minute); c.Expired != 0 || c.Looked != 2 || c.Pending != 1 {
			t.Errorf("for 50 minutes more: %+v", c)
		}
		time.Sleep(15 * time.Minute)
		if c := b.runs(time.Hour); c.Expired != 1 || c.Looked != 2 || c.Pending != 0 {
			t.Errorf("after the hour: %+v", c)
		}
		if _, _, ok := b.failure(long); !ok {
			t.Error("the long one has not expired")
		}
		if _, _, ok := b.failure(never); ok {
			t.Error("what has no time to live has expired")
		}
	})
}

func TestRequestsThatAreKnownToBeLateExpireWithoutASweep(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		late, begun, ended, early := b.accept("late", time.Minute), b.accept("begun", time.Minute), b.accept("ended", time.Minute), b.accept("early", time.Hour)
		b.accept("other", time.Minute)
		succeed(t, b.store, ended)
		time.Sleep(time.Minute + sweep.Margin)
		b.snapshot(request.Snapshot{Worker: "w", InFlight: []string{"begun"}})
		b.shim.OnCall(func(_ context.Context, verb string, ref storage.Ref, call func() error) error {
			if ref == locations.Records() || ref == locations.SweepOf() {
				t.Errorf("%s %s: the cost is that of a sweep", verb, ref)
			}
			return call()
		})
		c, err := b.Expire(t.Context(), "late", "begun", "ended", "early", "late", "unknown")
		if err != nil || c.Expired != 1 || c.Looked != 5 {
			t.Errorf("got %+v, %v", c, err)
		}
		if f, _, ok := b.failure(late); !ok || f.Error.Code != request.CodeExpired {
			t.Errorf("the late one has %+v", f)
		}
		for _, r := range []request.Request{begun, ended, early} {
			if _, _, ok := b.failure(r); ok {
				t.Errorf("%s has expired", r.ID)
			}
		}
		b.shim.OnCall(nil)
		time.Sleep(request.SnapshotLife)
		if c := b.runs(30 * time.Minute); c.Expired != 2 || c.Pending != 1 { // begun, whose worker is gone, and other
			t.Errorf("the sweeps: %+v", c)
		}
	})
}

func TestWhatHasEndedDoesNotExpire(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		early, late := b.accept("early", 10*time.Minute), b.accept("late", 10*time.Minute)
		succeed(t, b.store, early)
		time.Sleep(5 * time.Minute)
		if c := b.run(); c.Looked != 2 || c.Pending != 1 {
			t.Errorf("one has ended: %+v", c)
		}
		time.Sleep(4 * time.Minute)
		succeed(t, b.store, late)
		if c := b.runs(time.Hour); c.Expired != 0 || c.Pending != 0 {
			t.Errorf("both have: %+v", c)
		}
		if got := ends(t, b.store); len(got) != 2 || slices.ContainsFunc(got, func(key string) bool { return strings.HasPrefix(key, "failed/") }) {
			t.Errorf("there are %q", got)
		}
	})
}

func TestARequestUnderAnIDOfLastWeekExpiresLikeAnyOther(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		old := b.accept("x", time.Hour)
		succeed(t, b.store, old)
		time.Sleep(8 * 24 * time.Hour)
		if err := b.store.Delete(t.Context(), old.Input, storage.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		b.accept("x", time.Hour)
		if c := b.runs(2 * time.Hour); c.Expired != 1 {
			t.Errorf("got %+v", c)
		}
	})
}

func TestWhatAWorkerHasInFlightDoesNotExpire(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		b.accept("x", time.Minute)
		for range 6 {
			time.Sleep(time.Minute)
			b.snapshot(request.Snapshot{Worker: "w", InFlight: []string{"x"}})
			if c := b.run(); c.Expired != 0 {
				t.Errorf("it runs: %+v", c)
			}
		}
		b.snapshot(request.Snapshot{Worker: "w", InFlight: []string{"y"}, More: true})
		if c := b.run(); c.Expired != 0 {
			t.Errorf("it may run, for a worker has more than it names: %+v", c)
		}
		time.Sleep(request.SnapshotLife)
		if c := b.run(); c.Expired != 1 {
			t.Errorf("its worker is dead: %+v", c)
		}
	})
}

func TestAStartAtTheLastMomentIsSeenBeforeTheRequestExpires(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		b.accept("x", 3*time.Minute)
		time.Sleep(3*time.Minute + request.SnapshotPeriod)
		if c := b.run(); c.Expired != 0 || c.Pending != 1 {
			t.Errorf("no snapshot can show it yet: %+v", c)
		}
		time.Sleep(2 * request.SnapshotPeriod)
		b.snapshot(request.Snapshot{Worker: "w", InFlight: []string{"x"}})
		time.Sleep(time.Second)
		if c := b.run(); c.Expired != 0 {
			t.Errorf("it runs: %+v", c)
		}
	})
}

func TestUploadsExpireWhereThatIsAskedFor(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		x := b.upload("x", map[string]string{request.UploadTTL: "10m"})
		b.upload("without", nil)
		b.upload("wrong", map[string]string{request.UploadTTL: "soon"})
		b.upload("folder/.penstock/x", map[string]string{request.UploadTTL: "1m"})
		b.upload("requests/x", map[string]string{request.UploadTTL: "1m"}) // a worker refuses it
		done := b.upload("done", map[string]string{request.UploadTTL: "10m"})
		succeed(t, b.store, done)
		time.Sleep(time.Hour)
		if c := b.run(); c.Looked != 0 {
			t.Errorf("it was not asked for: %+v", c)
		}
		b.Uploads = true
		if c := b.run(); c.Expired != 1 || c.Pending != 1 {
			t.Errorf("got %+v", c)
		}
		if f, _, ok := b.failure(x); !ok || f.Error.Code != request.CodeExpired || !strings.Contains(f.Error.Hint, "upload it again") {
			t.Errorf("got %+v, %t", f, ok)
		}
		x = b.upload("x", map[string]string{request.UploadTTL: "1h"}) // the same bytes again
		if c := b.runs(50 * time.Minute); c.Expired != 0 || c.Pending != 1 {
			t.Errorf("uploaded again: %+v", c)
		}
		succeed(t, b.store, x)
		if c := b.runs(time.Hour); c.Expired != 0 || c.Pending != 0 {
			t.Errorf("done: %+v", c)
		}
	})
}

func TestARecordIsLookedAtOnce(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		var heads atomic.Int64
		b.shim.OnCall(func(_ context.Context, verb string, _ storage.Ref, call func() error) error {
			if verb == "head" {
				heads.Add(1)
			}
			return call()
		})
		for n := range 100 {
			succeed(t, b.store, b.accept(fmt.Sprint(n), time.Hour))
		}
		c := b.runs(6 * time.Hour)
		if c.Looked != 100 || heads.Load() != 200 || c.Pending != 0 {
			t.Errorf("%+v, %d HEADs for 100 requests that went well", c, heads.Load())
		}
	})
}

func TestAForeignObjectAmongTheRecordsIsLeftAlone(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		if _, err := b.store.Put(t.Context(), locations.RecordOf("x"), []byte("mine"), storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if c := b.runs(time.Hour); c.Looked != 1 || c.Pending != 0 || c.Expired != 0 {
			t.Errorf("got %+v", c)
		}
	})
}

func TestWhatCanNotBeLookedAtIsLookedAtAgain(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		b.accept("good", time.Minute)
		b.accept("bad", time.Minute)
		time.Sleep(10 * time.Minute)
		b.shim.OnCall(func(_ context.Context, _ string, ref storage.Ref, call func() error) error {
			if strings.Contains(ref.Key, "bad") {
				return errCut
			}
			return call()
		})
		c, err := b.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "1 requests could not be looked at") || c.Expired != 1 || c.Pending != 2 {
			t.Errorf("got %+v, %v", c, err)
		}
		b.shim.OnCall(nil)
		if c := b.run(); c.Expired != 1 {
			t.Errorf("got %+v", c)
		}
		if c := b.runs(10 * time.Minute); c.Expired != 0 || c.Pending != 0 {
			t.Errorf("got %+v", c)
		}
	})
}

func TestASweepThatRunsOutOfTimeIsGoneOnWith(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		const requests = 5000
		for n := range requests {
			b.accept(fmt.Sprint(n), time.Minute)
		}
		time.Sleep(10 * time.Minute)
		b.shim.OnCall(func(_ context.Context, verb string, _ storage.Ref, call func() error) error {
			time.Sleep(50 * time.Millisecond)
			return call()
		})
		expired, sweeps := 0, 0
		for partly := true; partly; sweeps++ {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			began := time.Now()
			c, err := b.Run(ctx)
			if ctx.Err() != nil || err != nil {
				t.Fatalf("it ended with %v, %v after %v", err, ctx.Err(), time.Since(began))
			}
			cancel()
			expired, partly = expired+c.Expired, c.Partly
			if sweeps > 40 {
				t.Fatal("it comes to no end")
			}
		}
		if expired != requests || sweeps < 3 {
			t.Errorf("%d expired in %d sweeps", expired, sweeps)
		}
	})
}

// slowLists takes its time for each page of a list, and ends with ctx.
type slowLists struct{ storage.Store }

func (s slowLists) List(ctx context.Context, prefix storage.Ref, after string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		n := 0
		for info, err := range s.Store.List(ctx, prefix, after) {
			if n++; n%1000 == 0 {
				time.Sleep(3 * time.Second)
			}
			if ctx.Err() != nil {
				yield(storage.Info{}, ctx.Err())
				return
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

func TestRecordsThatTakeLongerToListThanASweepMayAreAllLookedAt(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		for n := range 8000 {
			b.accept(fmt.Sprint(n), 0)
		}
		time.Sleep(5 * time.Minute)
		b.run()
		b.accept("last", time.Minute)
		time.Sleep(5 * time.Minute)
		b.Store = slowLists{b.store}
		var c sweep.Counts
		for sweeps := 0; c.Expired == 0; sweeps++ {
			if sweeps == 8 {
				t.Fatalf("the last record was not reached: %+v", c)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			var err error
			if c, err = b.Run(ctx); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
	})
}

func TestWhatIsStartedWhileASweepIsUnderWayDoesNotExpire(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		b.accept("x", 5*time.Minute)
		time.Sleep(4 * time.Minute)
		b.shim.OnCall(func(_ context.Context, verb string, ref storage.Ref, call func() error) error {
			if verb == "list" && ref == locations.Records() { // the snapshots have been read
				time.Sleep(2 * time.Minute)
				b.snapshot(request.Snapshot{Worker: "w", InFlight: []string{"x"}})
			}
			return call()
		})
		if c := b.run(); c.Expired != 0 || c.Pending != 1 {
			t.Errorf("a worker began before its time was over: %+v", c)
		}
		b.shim.OnCall(nil)
		if c := b.run(); c.Expired != 0 || c.Pending != 1 {
			t.Errorf("it runs: %+v", c)
		}
	})
}

func TestADeadWorkersSnapshotIsRemovedInTheEnd(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		b.snapshot(request.Snapshot{Worker: "w", InFlight: []string{"x"}})
		b.runs(23 * time.Hour)
		if _, err := b.store.Head(t.Context(), locations.SnapshotOf("w")); err != nil {
			t.Errorf("after a day: %v", err)
		}
		b.runs(2 * time.Hour)
		if _, err := b.store.Head(t.Context(), locations.SnapshotOf("w")); err == nil {
			t.Error("it is there still")
		}
	})
}

func TestAMemoryThatCanNotBeReadIsBegunAnew(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		for _, body := range []string{"", "{", `{"version":99,"folders":{"x":{}}}`, `{"version":1}`} {
			if _, err := b.store.Put(t.Context(), locations.SweepOf(), []byte(body), storage.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			b.accept("after"+fmt.Sprintf("%x", body), time.Minute)
			time.Sleep(10 * time.Minute)
			if c := b.run(); c.Expired != 1 {
				t.Errorf("%q: %+v", body, c)
			}
		}
	})
}

func TestManySweepsAtATimeDoNoHarm(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		const requests = 300
		for n := range requests {
			r := b.accept(fmt.Sprint(n), time.Minute)
			if n%3 == 0 {
				time.AfterFunc(10*time.Minute+time.Duration(n)*time.Millisecond, func() { succeed(t, b.store, r) })
			}
		}
		time.Sleep(10 * time.Minute)
		b.shim.OnCall(func(_ context.Context, _ string, ref storage.Ref, call func() error) error {
			time.Sleep(time.Duration(len(ref.Key)%7) * time.Millisecond)
			return call()
		})
		for range 4 {
			go func() {
				if _, err := b.Run(t.Context()); err != nil {
					t.Error(err)
				}
			}()
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		b.runs(15 * time.Minute)
		if got := ends(t, b.store); len(got) != requests {
			t.Errorf("%d requests have %d terminal objects", requests, len(got))
		}
	})
}
