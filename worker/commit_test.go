package worker

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

var errPermanent = &model.Error{Code: "INVALID_ARGUMENT", Message: "no such thing", Permanent: true}

func TestALostAcknowledgementIsMadeGoodWithoutASecondRun(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		w.queue.set(func(q *queueShim) {
			q.remove = func(_ context.Context, messages []*queue.Message, _ func() []error) []error {
				return each(messages, errCut)
			}
		})
		p.submit("a", row(1))
		p.eventually("the output is there", func() bool { return len(p.list("out/")) == 1 })
		first := p.wantOutput("a", 1)
		time.Sleep(30 * time.Second) // the worker gives up to acknowledge
		w.queue.set(func(q *queueShim) { q.remove = nil })
		p.settled()
		if again := p.wantOutput("a", 1); again.Modified != first.Modified {
			t.Error("the output was written again")
		}
		if n := len(p.recorder.Batches()); n != 1 {
			t.Errorf("%d runs, want 1", n)
		}
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1, outcomeDuplicate: 1})
	})
}

func TestALostReplyToTheWriteIsFoundToBeOurs(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		w.store.onCall(times(1, puts("out/"), dropReply))
		p.submit("a", row(1))
		p.settled()
		p.wantOutput("a", 1)
		if n := len(p.recorder.Batches()); n != 1 {
			t.Errorf("%d runs, want 1", n)
		}
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1})
	})
}

func TestAConflictingWriteIsTriedAgainAndNobodysFault(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		w.store.onCall(times(3, puts("out/"), answer(storage.ErrConflict)))
		p.submit("a", row(1))
		p.settled()
		p.wantOutput("a", 1)
		if n := w.logs.FilterMessageSnippet("at fault").Len(); n != 0 {
			t.Error("the store was said to be at fault for a conflict")
		}
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1})
	})
}

func TestTwoMessagesOfOneIDLeaveOneTerminalObject(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(runs(fake.FailTimes(1, errPermanent)))
		r := request.Request{ID: "one", Input: p.upload("x", row(1)).Ref}
		p.api(r)
		p.settled()
		if got := p.list(""); !slices.Equal(got, []string{"failed/requests/one-error.out"}) {
			t.Fatalf("there is %q, want the failure", got)
		}
		p.api(r) // the front door sent it twice: a first delivery too
		p.settled()
		if got := p.list(""); !slices.Equal(got, []string{"out/requests/one.out"}) {
			t.Errorf("there is %q, want one terminal object, the output", got)
		}
	})
}

func TestTwoDeliveriesAtATimeRunOnce(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(time.Second)))
		info := p.upload("a", row(1))
		for range 5 {
			p.send(event(info))
		}
		p.settled()
		p.wantOutput("a", 1)
		if n := len(p.recorder.Batches()); n != 1 {
			t.Errorf("%d runs, want 1", n)
		}
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1, outcomeDuplicate: 4})
	})
}

// A later upload of the same key counts, whatever was there of the earlier.
func TestTheVersionThatIsThereNowHasTheTerminalObject(t *testing.T) {
	bad := "no json"
	for name, story := range map[string]struct{ first, second string }{
		"a result is replaced by a result":   {row(1), row(2)},
		"a result is replaced by a failure":  {row(1), bad},
		"a failure is replaced by a result":  {bad, row(2)},
		"a failure is replaced by a failure": {bad, bad + "!"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				w := p.start()
				old := p.submit("x", story.first)
				p.settled()
				p.submit("x", story.second)
				p.settled()
				runs := len(p.recorder.Batches())
				p.send(event(old)) // S3 is late with a copy of the first event
				p.settled()
				if n := len(p.recorder.Batches()); n != runs {
					t.Errorf("the late event has the model run %d times", n-runs)
				}
				if story.second == row(2) {
					p.wantOutput("x", 2)
				} else {
					info, err := p.store.Head(t.Context(), ref{Bucket: "uploads", Key: "in/x"})
					if err != nil {
						t.Fatal(err)
					}
					p.wantFailure("x", "MalformedInput")
					_, o, _ := p.body(ref{Bucket: "results", Key: "failed/x-error.out"})
					if prov, _ := request.ParseProvenance(o.Metadata); prov.InputETag != info.ETag {
						t.Error("the failure is not that of the current version")
					}
				}
				if got := w.outcomes()[outcomeDuplicate]; got != 1 {
					t.Errorf("the late event was a duplicate %d times, want once: %v", got, w.outcomes())
				}
			})
		})
	}
}

func TestAZombieOfTheOldVersionChangesNothing(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		slow := p.start(runs(fake.Delay(time.Minute)))
		p.submit("x", row(1))
		p.eventually("the old version runs", func() bool { return len(p.recorder.Batches()) == 1 })
		slow.queue.set(func(q *queueShim) {
			q.receive = func(context.Context, func() ([]*queue.Message, error)) ([]*queue.Message, error) { return nil, errCut }
		})
		p.start()
		time.Sleep(11 * time.Second) // past the slow one's poll
		p.submit("x", row(2))
		p.settled()
		p.wantOutput("x", 2)
		slow.wantOutcomes(map[outcome]int{outcomeSuperseded: 1})
	})
}

func TestAnotherRequestsResultIsNeverTakenForOnesOwn(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start()
		x, y := p.upload("x", row(1)), p.upload("y", row(2))
		p.api(request.Request{ID: "a", Input: x.Ref, OutputPath: "same"})
		p.settled()
		p.api(request.Request{ID: "b", Input: y.Ref, OutputPath: "same"})
		p.settled()
		if got, want := p.list(""), []string{"failed/requests/b-error.out", "out/requests/same.out"}; !slices.Equal(got, want) {
			t.Fatalf("there is %q, want %q", got, want)
		}
		_, o, _ := p.body(ref{Bucket: "results", Key: "out/requests/same.out"})
		if prov, _ := request.ParseProvenance(o.Metadata); prov.InferenceID != "a" {
			t.Errorf("the result is that of %q", prov.InferenceID)
		}
		body, _, _ := p.body(ref{Bucket: "results", Key: "failed/requests/b-error.out"})
		if !strings.Contains(body, request.CodeOutputTaken) {
			t.Errorf("the failure says %s", body)
		}
	})
}

func TestAForeignObjectAtTheOutputsKeyStays(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start()
		at := ref{Bucket: "results", Key: "out/x.out"}
		if _, err := p.store.Put(t.Context(), at, []byte("mine"), storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		p.submit("x", row(1))
		p.settled()
		if body, _, _ := p.body(at); body != "mine" {
			t.Errorf("the foreign object is now %q", body)
		}
		body, _, _ := p.body(ref{Bucket: "results", Key: "failed/x-error.out"})
		if !strings.Contains(body, request.CodeOutputTaken) {
			t.Errorf("the failure says %q", body)
		}
	})
}

func TestAnInputThatIsGoneAfterItsResultIsADuplicate(t *testing.T) {
	for name, body := range map[string]string{"result": row(1), "failure": "no json"} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				w := p.start()
				info := p.submit("x", body)
				p.settled()
				before := p.list("")
				if err := p.store.Delete(t.Context(), info.Ref, storage.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				p.send(event(info))
				info.ETag = "" // as of a sender who knows less
				p.send(event(info))
				p.settled()
				if got := p.list(""); !slices.Equal(got, before) {
					t.Errorf("there is %q, want %q as before", got, before)
				}
				if got := w.outcomes(); got[outcomeDuplicate]+got[outcomeSuperseded] != 2 {
					t.Errorf("outcomes are %v", got)
				}
			})
		})
	}
}

// A corrected upload succeeds, and the process dies before it has removed the
// failure of the one before.
func TestACrashBetweenTheOutputAndTheOldFailuresRemovalLeavesOneObject(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		p.submit("x", "no json")
		p.settled()
		p.wantFailure("x", "MalformedInput")
		w.store.onCall(func(_ context.Context, verb string, ref storage.Ref, call func() error) error {
			err := call()
			if verb == "put" && strings.HasPrefix(ref.Key, "out/") {
				w.kill()
			}
			return err
		})
		p.submit("x", row(1))
		p.eventually("the output is there", func() bool { return len(p.list("out/")) == 1 })
		p.start()
		p.settled()
		p.wantOutput("x", 1)
	})
}

// What the uploader of the version before has chosen is not this one's choice.
func TestAnInputThatIsOverwrittenWhileItIsReadHasItsOwnSettings(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		many := make([]float32, usualSize/4) // of which the first call reads a part
		var gets atomic.Int64
		p.start(hooked(func(_ context.Context, verb string, r ref, call func() error) error {
			if verb == "get" && r.Key == "in/x" && gets.Add(1) == 2 {
				p.upload("x", row(append(many, 1)...))
			}
			return call()
		}))
		r := request.Request{ID: "one", Input: p.upload("x", row(many...), request.UploadAccept, "text/csv").Ref}
		p.api(r)
		p.settled()
		if _, info, ok := p.body(locations.OutputOf(r)); !ok || info.ContentType != "application/json" {
			t.Errorf("the output is %s (there: %t); there are failures %q", info.ContentType, ok, p.list("failed/"))
		}
		if gets.Load() < 3 {
			t.Errorf("it was read by %d calls: nothing was tested", gets.Load())
		}
	})
}
