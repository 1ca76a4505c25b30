package status_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/status"
	"github.com/penstock/penstock/queue"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	smem "github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/storage/storagetest"
)

var errCut = errors.New("connection reset")

// bundle is a front door on a store and a queue in memory.
type bundle struct {
	*status.Finder
	t         *testing.T
	locations request.Locations
	store     *smem.Store
	shim      *storagetest.Hooked
	queue     *qmem.Queue
	intake    *intake.Intake
	calls     atomic.Int64 // to the store
}

// in runs a test in a bubble: seconds pass in no time.
func in(t *testing.T, test func(t *testing.T, b *bundle)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		locations, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
		if err != nil {
			t.Fatal(err)
		}
		b := &bundle{t: t, locations: locations, store: smem.New("uploads", "results"), queue: qmem.New(qmem.Options{})}
		b.shim = &storagetest.Hooked{Store: b.store}
		b.shim.OnCall(func(_ context.Context, _ string, _ storage.Ref, call func() error) error {
			b.calls.Add(1)
			return call()
		})
		b.Finder = &status.Finder{Store: b.shim, Locations: locations, Queue: b.queue}
		b.intake = &intake.Intake{Store: b.store, Queue: b.queue, Locations: locations}
		test(t, b)
	})
}

func (b *bundle) accept(id string) request.Request {
	b.t.Helper()
	a, err := b.intake.Accept(b.t.Context(), intake.Submission{
		Request: request.Request{ID: id, OutputPath: "path/" + id, TTL: time.Hour}, Body: []byte("[1]"),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return a.Request
}

func (b *bundle) upload(key string, metadata map[string]string) storage.Info {
	b.t.Helper()
	ref := storage.Ref{Bucket: "uploads", Key: key}
	if _, err := b.store.Put(b.t.Context(), ref, []byte("[1]"), storage.PutOptions{Metadata: metadata}); err != nil {
		b.t.Fatal(err)
	}
	info, err := b.store.Head(b.t.Context(), ref)
	if err != nil {
		b.t.Fatal(err)
	}
	return info
}

// provenance is what a worker says of a request in its terminal object.
func provenance(r request.Request, found storage.Info) request.Provenance {
	identity := r.Identify(found)
	return request.Provenance{
		Identity: identity, InferenceID: r.InferenceID(identity), Input: r.Input, Model: "digits", ModelVersion: "3", Attempts: 2,
		Queued: time.Second, Fetch: 2 * time.Millisecond, Wait: 3 * time.Millisecond, Predict: 4 * time.Millisecond, Store: 5 * time.Millisecond,
		Records: 7, BadRecords: 1,
	}
}

func (b *bundle) succeed(r request.Request, found storage.Info) {
	b.t.Helper()
	ref := b.locations.OutputOf(r)
	opts := storage.PutOptions{ContentType: "text/csv", Metadata: provenance(r, found).Metadata(ref)}
	if _, err := b.store.Put(b.t.Context(), ref, []byte("1,2"), opts); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) fail(r request.Request, found storage.Info, code string) {
	b.t.Helper()
	body := request.Failure{Error: request.Problem{Code: code, Message: "m", Stage: request.StageAccept}}.JSON()
	if code == "" {
		body = []byte("no failure")
	}
	ref := b.locations.FailureOf(r)
	opts := storage.PutOptions{ContentType: "application/json", Metadata: provenance(r, found).Metadata(ref)}
	if _, err := b.store.Put(b.t.Context(), ref, body, opts); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) snapshot(s request.Snapshot) {
	b.t.Helper()
	if _, err := b.store.Put(b.t.Context(), b.locations.SnapshotOf(s.Worker), s.JSON(), storage.PutOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) byID(id string) status.Status {
	b.t.Helper()
	s, err := b.ByID(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bundle) byInput(ref storage.Ref) status.Status {
	b.t.Helper()
	s, err := b.ByInput(b.t.Context(), ref)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func TestARequestIsQueuedThenRunningThenEnded(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		r := b.accept("x")
		want := status.Status{
			ID: "x", State: status.Queued, Input: r.Input, Accepted: r.Enqueued,
			Output: b.locations.OutputOf(r), Failure: b.locations.FailureOf(r),
		}
		if s := b.byID("x"); s != want {
			t.Errorf("accepted:\n got %+v\nwant %+v", s, want)
		}
		time.Sleep(time.Minute)
		b.snapshot(request.Snapshot{Worker: "w", InFlight: []string{"y", "x"}})
		want.State = status.Running
		if s := b.byID("x"); s != want {
			t.Errorf("in a snapshot:\n got %+v\nwant %+v", s, want)
		}
		time.Sleep(request.SnapshotLife)
		want.State = status.Queued
		if s := b.byID("x"); s != want {
			t.Errorf("in an old snapshot:\n got %+v\nwant %+v", s, want)
		}
		now := time.Now()
		b.succeed(r, storage.Info{})
		want.State, want.Ended, want.Model, want.ModelVersion, want.Attempts = status.Succeeded, now, "digits", "3", 2
		want.Spent = status.Spent{Queued: time.Second, Fetch: 2 * time.Millisecond, Wait: 3 * time.Millisecond, Predict: 4 * time.Millisecond, Store: 5 * time.Millisecond}
		want.Records, want.BadRecords, want.ResultType, want.ResultSize = 7, 1, "text/csv", 3
		if s := b.byID("x"); s != want {
			t.Errorf("with an output:\n got %+v\nwant %+v", s, want)
		}
	})
}

func TestEachEndHasItsState(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		for code, want := range map[string]status.State{
			request.CodeExpired: status.Expired, request.CodeCancelled: status.Cancelled,
			request.CodePoison: status.Failed, "": status.Failed,
		} {
			r := b.accept("id" + code)
			b.fail(r, storage.Info{}, code)
			s := b.byID(r.ID)
			if s.State != want || !s.State.Ended() || s.Problem == nil || s.Ended.IsZero() {
				t.Errorf("%q: %+v", code, s)
			}
			if code != "" && s.Problem.Code != code || s.Problem.Message == "" {
				t.Errorf("%q: the problem is %+v", code, s.Problem)
			}
			b.succeed(r, storage.Info{}) // both are there for a moment
			if s := b.byID(r.ID); s.State != status.Succeeded || s.Problem != nil {
				t.Errorf("%q, with an output beside: %+v", code, s)
			}
		}
	})
}

func TestAFailureThatGivesWayWhileItIsReadIsNoVerdict(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		r := b.accept("x")
		b.fail(r, storage.Info{}, request.CodeExpired)
		b.shim.OnCall(func(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
			if verb == "get" && ref == b.locations.FailureOf(r) {
				_ = b.store.Delete(ctx, ref, storage.DeleteOptions{})
			}
			return call()
		})
		if s := b.byID("x"); s.State != status.Queued || !s.Ended.IsZero() || s.Model != "" {
			t.Errorf("got %+v", s)
		}
	})
}

func TestWhatNobodyAcceptedIsNotThere(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		for _, id := range []string{"x", "", strings.Repeat("x", 300), "\xff"} {
			for name, call := range map[string]func(context.Context, string) (status.Status, error){"ByID": b.ByID, "Cancel": b.Cancel, "Wait": b.Wait} {
				if _, err := call(t.Context(), id); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s(%.10q) is %v", name, id, err)
				}
			}
		}
		for info, err := range b.store.List(t.Context(), storage.Ref{Bucket: "results"}, "") {
			t.Errorf("%v was written, %v", info.Ref, err)
		}
	})
}

func TestARequestThatCameByTheQueueHasAStatusOnceItHasEnded(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		r := request.Request{ID: "x", Input: storage.Ref{Bucket: "uploads", Key: "in/a"}}
		b.succeed(r, storage.Info{})
		if s := b.byID("x"); s.State != status.Succeeded || s.Input != r.Input || s.Output != b.locations.OutputOf(r) {
			t.Errorf("got %+v", s)
		}
		if s, err := b.Wait(t.Context(), "x"); err != nil || s.State != status.Succeeded {
			t.Errorf("got %+v, %v", s, err)
		}
	})
}

func TestARequestThatCameByTheQueueRunsWhereAWorkerSaysSo(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		r := request.Request{ID: "x", Input: storage.Ref{Bucket: "uploads", Key: "in/a"}}
		b.snapshot(request.Snapshot{Worker: "w", InFlight: []string{"x"}})
		if s := b.byID("x"); s.State != status.Running || s.Output != b.locations.OutputOf(r) {
			t.Errorf("got %+v", s)
		}
		time.AfterFunc(time.Minute, func() { b.succeed(r, storage.Info{}) })
		if s, err := b.Wait(t.Context(), "x"); err != nil || s.State != status.Succeeded {
			t.Errorf("got %+v, %v", s, err)
		}
	})
}

func TestTheEndOfAnEarlierRequestUnderTheSameIDIsNoEndOfThisOne(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		for _, end := range []func(r request.Request, found storage.Info){
			b.succeed, func(r request.Request, found storage.Info) { b.fail(r, found, request.CodeExpired) },
		} {
			r := b.accept("x")
			found, err := b.store.Head(t.Context(), r.Input)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			end(r, found)
			if s := b.byID("x"); !s.State.Ended() {
				t.Errorf("it has ended, but is %s", s.State)
			}
			time.Sleep(8 * 24 * time.Hour)
			// The bucket's rules remove the record, and keep the result.
			if err := b.store.Delete(t.Context(), r.Input, storage.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			again := b.accept("x")
			if s := b.byID("x"); s.State != status.Queued {
				t.Errorf("the new one is %s by the end of the old one", s.State)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if s, err := b.WaitFor(ctx, again); err == nil {
				t.Errorf("who waits for the new one is given the old one's end, %s", s.State)
			}
			cancel()
			time.Sleep(24 * time.Hour)
			if err := b.store.Delete(t.Context(), r.Input, storage.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestAnUploadsStatusIsFoundByItsInput(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		input := b.upload("in/a.json", map[string]string{request.UploadID: "mine"})
		r := request.Request{Input: input.Ref, ETag: input.ETag}
		s := b.byInput(input.Ref)
		if s.State != status.Queued || s.ID != "mine" || s.Input != input.Ref || !s.Accepted.Equal(input.Modified) || s.Output != b.locations.OutputOf(r) {
			t.Errorf("uploaded: %+v", s)
		}
		time.Sleep(time.Minute)
		b.snapshot(request.Snapshot{Worker: "w", InFlight: []string{r.InferenceID(r.Identify(input))}})
		if s := b.byInput(input.Ref); s.State != status.Running {
			t.Errorf("fetched: %+v", s)
		}
		b.snapshot(request.Snapshot{Worker: "w", InFlight: []string{r.InferenceID(r.IdentifyUnread())}})
		time.Sleep(10 * time.Second)
		if s := b.byInput(input.Ref); s.State != status.Running {
			t.Errorf("received: %+v", s)
		}
		b.succeed(r, input)
		if s := b.byInput(input.Ref); s.State != status.Succeeded || s.Attempts != 2 {
			t.Errorf("ended: %+v", s)
		}
		time.Sleep(time.Hour)
		input = b.upload("in/a.json", nil)
		if s := b.byInput(input.Ref); s.State != status.Queued {
			t.Errorf("uploaded again: %+v", s)
		}
		if err := b.store.Delete(t.Context(), input.Ref, storage.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if s := b.byInput(input.Ref); s.State != status.Succeeded {
			t.Errorf("once the input is gone: %+v", s)
		}
	})
}

func TestAnInputThatNobodyAskedForIsNotThere(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		for _, ref := range []storage.Ref{
			{Bucket: "uploads", Key: "in/a"},    // is not there
			b.upload("elsewhere/a", nil).Ref,    // not watched
			b.upload("in/.penstock/a", nil).Ref, // nor this
			{Bucket: "uploads"},
			{Bucket: "b"},
			{Bucket: "nowhere", Key: "in/a"},
			b.accept("x").Input,
		} {
			if s, err := b.ByInput(t.Context(), ref); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is %+v, %v", ref, s, err)
			}
		}
	})
}

func TestACancelIsAMarkerUnlessTheRequestHasEnded(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		r := b.accept("x/y")
		for range 2 {
			s, err := b.Cancel(t.Context(), r.ID)
			if err != nil || s.State != status.Queued || !s.CancelRequested {
				t.Errorf("got %+v, %v", s, err)
			}
		}
		if _, err := b.store.Head(t.Context(), b.locations.CancelOf(r.ID)); err != nil {
			t.Error(err)
		}
		if s := b.byID(r.ID); !s.CancelRequested {
			t.Errorf("got %+v", s)
		}
		done := b.accept("done")
		b.succeed(done, storage.Info{})
		if s, err := b.Cancel(t.Context(), "done"); err != nil || s.State != status.Succeeded || s.CancelRequested {
			t.Errorf("got %+v, %v", s, err)
		}
		if _, err := b.store.Head(t.Context(), b.locations.CancelOf("done")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a finished request has a marker: %v", err)
		}
	})
}

func TestWaitSeesTheEndSoonAndDoesNotAskTooOften(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		for _, after := range []time.Duration{8 * time.Millisecond, 100 * time.Millisecond, 5 * time.Second, 2 * time.Minute} {
			r := b.accept("after-" + after.String())
			began, calls := time.Now(), b.calls.Load()
			go func() {
				time.Sleep(after)
				b.succeed(r, storage.Info{})
			}()
			s, err := b.Wait(t.Context(), r.ID)
			took := time.Since(began)
			if err != nil || s.State != status.Succeeded {
				t.Fatalf("%v: got %+v, %v", after, s, err)
			}
			if late := took - after; late > max(5*time.Millisecond, min(after/2, time.Second)) {
				t.Errorf("what took %v was seen %v later", after, late)
			}
			if n := b.calls.Load() - calls; n > 45+2*int64(after/time.Second) {
				t.Errorf("a wait of %v took %d calls", after, n)
			}
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		b.accept("x")
		time.Sleep(time.Minute)
		b.snapshot(request.Snapshot{Worker: "w", InFlight: []string{"x"}})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		s, err := b.Wait(ctx, "x")
		if !errors.Is(err, context.DeadlineExceeded) || s.State != status.Running || s.ID != "x" {
			t.Errorf("got %+v, %v", s, err)
		}
	})
}

func TestWaitOutlivesFaultsOfTheStore(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		r := b.accept("x")
		var faults atomic.Bool
		b.shim.OnCall(func(_ context.Context, _ string, _ storage.Ref, call func() error) error {
			if faults.Load() {
				return errCut
			}
			return call()
		})
		go func() {
			time.Sleep(time.Second)
			faults.Store(true)
			b.succeed(r, storage.Info{})
			time.Sleep(10 * time.Second)
			faults.Store(false)
		}()
		if s, err := b.Wait(t.Context(), "x"); err != nil || s.State != status.Succeeded {
			t.Errorf("got %+v, %v", s, err)
		}
		faults.Store(true)
		began := time.Now()
		if _, err := b.WaitFor(t.Context(), r); !errors.Is(err, errCut) || time.Since(began) > 20*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
	})
}

// inspected is a queue of whose length is told.
type inspected struct {
	asked   atomic.Int64
	visible int
	err     error
}

func (q *inspected) Attributes(context.Context) (queue.Attributes, error) {
	q.asked.Add(1)
	return queue.Attributes{Visible: q.visible}, q.err
}

func TestRetryAfterIsTheBacklogTimesItsCost(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		q := &inspected{visible: 100}
		b.Queue = q
		want := func(what string, want time.Duration) {
			t.Helper()
			time.Sleep(5 * time.Second)
			if got := b.RetryAfter(t.Context()); got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		want("nothing is known", time.Second)
		b.snapshot(request.Snapshot{Worker: "a", SecondsPerRequest: 0.2, QueuedSeconds: 10})
		want("one worker", 30*time.Second)
		b.snapshot(request.Snapshot{Worker: "b", SecondsPerRequest: 0.4, QueuedSeconds: 6})
		want("two workers", 23*time.Second)
		q.visible = 1_000_000_000
		want("a mountain", 5*time.Minute)
		q.visible = 100
		time.Sleep(time.Hour)
		want("the last one that worked has told", 40*time.Second)
		q.err = errCut
		want("the queue does not answer", time.Second)
		b.Queue = nil
		want("no queue is given", time.Second)
	})
}

func TestWorkersAndQueueAreAskedOnceForManyCallers(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		q := new(inspected)
		b.Queue = q
		b.snapshot(request.Snapshot{Worker: "a", InFlight: []string{"x"}})
		for range 50 {
			go func() { b.RetryAfter(t.Context()) }()
		}
		synctest.Wait()
		if b.calls.Load() != 2 || q.asked.Load() != 1 {
			t.Errorf("50 callers took %d calls to the store and %d to the queue", b.calls.Load(), q.asked.Load())
		}
	})
}
