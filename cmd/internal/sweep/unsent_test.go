package sweep_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/sweep"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// deaf is a queue that can't be reached.
type deaf struct{}

func (deaf) Send(_ context.Context, m ...queue.Outgoing) []error {
	errs := make([]error, len(m))
	for i := range errs {
		errs[i] = errors.New("no route to SQS")
	}
	return errs
}

// unsent records a request whose message is not sent.
func (b *bundle) unsent(id string) request.Request {
	b.t.Helper()
	b.Queue, b.Again = b.queue, b.intake.Again
	cut := *b.intake
	cut.Queue = deaf{}
	a, err := cut.Accept(b.t.Context(), intake.Submission{Request: request.Request{ID: id}, Body: []byte("[1]")})
	if err == nil {
		b.t.Fatal("it is sent")
	}
	return a.Request
}

// taken takes all messages out of the queue.
func (b *bundle) taken() (bodies []string) {
	b.t.Helper()
	got, err := b.queue.Receive(b.t.Context(), queue.MaxBatch, time.Minute, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, m := range got {
		bodies = append(bodies, m.Body)
	}
	b.queue.Delete(b.t.Context(), got...)
	return bodies
}

func TestARequestThatWasRecordedAndNeverSentIsSentByASweep(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		r := b.unsent("x")
		time.Sleep(3 * time.Minute)
		if c := b.runs(10 * time.Minute); c.Pending != 1 || b.queue.Len() != 0 {
			t.Errorf("it may be under way: %+v, and %d messages", c, b.queue.Len())
		}
		b.runs(30 * time.Minute)
		if got := b.taken(); len(got) != 1 || !strings.Contains(got[0], `"id":"x"`) {
			t.Errorf("sent is %q, want it once: then it waits in the queue", got)
		}
		b.runs(12 * time.Hour) // as if it were lost again
		if got := b.taken(); len(got) != 1 {
			t.Errorf("sent is %q", got)
		}
		succeed(t, b.store, r)
		if c := b.runs(48 * time.Hour); c.Pending != 0 || b.queue.Len() != 0 {
			t.Errorf("it has ended: %+v, and %d messages", c, b.queue.Len())
		}
	})
}

func TestWhatMayBeInTheQueueOrWithAWorkerIsNotSentAgain(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		b.unsent("x")
		if err := b.queue.Send(t.Context(), queue.Outgoing{Body: "another message, or its own"})[0]; err != nil {
			t.Fatal(err)
		}
		heads := 0
		b.runs(20 * time.Minute)
		b.shim.OnCall(func(_ context.Context, verb string, _ storage.Ref, call func() error) error {
			if verb == "head" {
				heads++
			}
			return call()
		})
		if b.runs(24 * time.Hour); b.queue.Len() != 1 || heads != 0 {
			t.Errorf("a message waits: there are %d, and %d HEADs were spent on what can't be known", b.queue.Len(), heads)
		}
		b.shim.OnCall(nil)
		b.taken()
		for range 12 {
			b.snapshot(request.Snapshot{Worker: "w", InFlight: []string{"x"}})
			b.run()
			time.Sleep(time.Minute)
		}
		if n := b.queue.Len(); n != 0 {
			t.Errorf("a worker has it, and %d messages more are there", n)
		}
		time.Sleep(request.SnapshotLife)
		if c := b.run(); c != (sweep.Counts{Looked: 1, Pending: 1, Resent: 1}) || b.queue.Len() != 1 {
			t.Errorf("its worker is gone: %+v, and %d messages", c, b.queue.Len())
		}
	})
}
