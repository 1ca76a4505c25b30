package worker

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model/fake"
)

// cancel puts the marker of a request's cancellation.
func (p *plant) cancel(id string) {
	p.t.Helper()
	if _, err := p.store.Put(p.t.Context(), locations.CancelOf(id), nil, storage.PutOptions{}); err != nil {
		p.t.Fatal(err)
	}
}

// wantCancelled checks that a request ended as cancelled, and its marker with it.
func (p *plant) wantCancelled(id string) {
	p.t.Helper()
	body, _, ok := p.body(locations.FailureOf(request.Request{ID: id, Input: storage.Ref{Bucket: "uploads", Key: "in/x"}}))
	if !ok {
		p.t.Fatalf("%s has no failure; there are %q and %q", id, p.list("out/"), p.list("failed/"))
	}
	var f request.Failure
	if err := json.Unmarshal([]byte(body), &f); err != nil || f.Error.Code != request.CodeCancelled {
		p.t.Errorf("%s ended as %s", id, body)
	}
	if got := p.list(".penstock/cancel/"); len(got) != 0 {
		p.t.Errorf("markers are left: %q", got)
	}
}

func TestACancelledRequestIsNotStarted(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		info := p.upload("x", row(1))
		p.cancel("job 1")
		p.api(request.Request{ID: "job 1", Input: info.Ref})
		p.start()
		p.settled()
		p.wantCancelled("job 1")
		if n := len(p.recorder.Batches()); n != 0 {
			t.Errorf("the model ran %d times", n)
		}
	})
}

func TestARequestThatWaitsForABatchIsNotStartedTenSecondsAfterItsCancel(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(runs(fake.Delay(time.Minute)))
		p.submit("first", row(1)) // keeps the model busy
		time.Sleep(time.Second)
		info := p.upload("x", row(2))
		p.api(request.Request{ID: "late", Input: info.Ref})
		time.Sleep(20 * time.Second)
		p.cancel("late")
		time.Sleep(2*cancelPeriod + time.Second)
		p.wantCancelled("late")
		p.settled()
		p.wantOutput("first", 1)
		if n := len(p.recorder.Batches()); n != 1 {
			t.Errorf("the model ran %d times, want once", n)
		}
	})
}

// Requests come, and markers are listed for them, at any times: a list that is
// just fresh enough when the worker looks must not be used for as long again.
func TestAMarkerIsHeededInTenSecondsWheneverTheListWasMade(t *testing.T) {
	const took = 200 * time.Millisecond
	for _, came := range []time.Duration{0, time.Millisecond, 2 * time.Second, cancelPeriod - took, cancelPeriod - time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			var cancelled time.Time
			c := newCancels(func(context.Context) (map[string]bool, error) {
				if cancelled.IsZero() { // just behind what this call sees
					cancelled = time.Now()
					time.Sleep(took)
					return nil, nil
				}
				time.Sleep(took)
				return map[string]bool{"marker": true}, nil
			})
			go c.run(t.Context(), zap.NewNop())
			time.Sleep(20*time.Second + came)
			it := new(item)
			it.pending, it.withdraw = context.WithCancelCause(t.Context())
			done, err := c.watch(it, "marker")
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			<-it.pending.Done()
			if late := time.Since(cancelled); late > 2*cancelPeriod {
				t.Errorf("who came %v after a look was withdrawn %v after its cancel", came, late)
			}
		})
	}
}

func TestTheMarkerOfARequestThatExpiresIsRemoved(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		info := p.upload("x", row(1))
		p.cancel("late")
		p.api(request.Request{ID: "late", Input: info.Ref, TTL: time.Minute, Enqueued: time.Now()})
		time.Sleep(time.Hour)
		p.start()
		p.settled()
		if got := p.list(".penstock/cancel/"); len(got) != 0 || len(p.list("failed/")) != 1 {
			t.Errorf("markers are left: %q", got)
		}
	})
}

func TestAFinishedOutputBeatsItsCancel(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start()
		info := p.upload("x", row(1))
		p.api(request.Request{ID: "done", Input: info.Ref})
		p.settled()
		p.cancel("done")
		time.Sleep(2 * cancelPeriod) // so that the marker is known
		p.api(request.Request{ID: "done", Input: info.Ref})
		p.settled()
		if _, _, ok := p.body(locations.OutputOf(request.Request{ID: "done", Input: info.Ref})); !ok || len(p.list("failed/")) != 0 {
			t.Errorf("there are %q and %q, want the output alone", p.list("out/"), p.list("failed/"))
		}
	})
}

func TestMarkersAreListedForRequestsThatCanBeCancelledOnlyAndOncePerPeriod(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		var lists atomic.Int64
		p.start(hooked(func(_ context.Context, verb string, r ref, call func() error) error {
			if verb == "list" && r == locations.Cancels() {
				lists.Add(1)
			}
			return call()
		}))
		p.submitMany(100)
		p.settled()
		time.Sleep(time.Hour)
		if n := lists.Load(); n != 0 {
			t.Errorf("markers were listed %d times for uploads", n)
		}
		info := p.upload("x", row(1))
		for range 50 {
			p.api(request.Request{ID: "id", Input: info.Ref})
		}
		p.settled()
		if n := lists.Load(); n < 1 || n > 3 {
			t.Errorf("markers were listed %d times for 50 requests at once", n)
		}
	})
}
