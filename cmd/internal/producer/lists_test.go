package producer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/internal/producer"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/storage"
)

// closed lets nobody look at objects.
type closed struct{ storage.Reader }

func (closed) Head(context.Context, storage.Ref) (storage.Info, error) {
	return storage.Info{}, storage.ErrForbidden
}

// slow takes a while for each batch.
type slow struct {
	queue.Sender
	takes time.Duration
}

func (s slow) Send(ctx context.Context, messages ...queue.Outgoing) []error {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		errs := make([]error, len(messages))
		for i := range errs {
			errs[i] = ctx.Err()
		}
		return errs
	}
	return s.Sender.Send(ctx, messages...)
}

// many puts n objects below in/, and a manifest of them in each format.
func (b *bundle) many(t *testing.T, n int) {
	t.Helper()
	var sagemaker, csv, lines []string
	for i := range n {
		name := fmt.Sprintf("%05d", i)
		b.put(t, "s3://uploads/in/"+name, "x", "")
		sagemaker, csv, lines = append(sagemaker, `"`+name+`"`), append(csv, "uploads,in%2F"+name), append(lines, "s3://uploads/in/"+name)
	}
	b.put(t, "s3://lists/sagemaker", `[{"prefix":"s3://uploads/in/"}, `+strings.Join(sagemaker, ", ")+"]", "")
	b.put(t, "s3://lists/csv", strings.Join(csv, "\n"), "")
	b.put(t, "s3://lists/lines", strings.Join(lines, "\r\n"), "")
}

// TestAListThatDoesNotFitIntoTheTimeGoesOnWhereItStopped invokes the function
// with its own answer until the list is done.
func TestAListThatDoesNotFitIntoTheTimeGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	const objects = 4500
	for _, event := range []string{
		`{"prefix":"s3://uploads/in/","model":"digits"}`,
		`{"manifest":"s3://lists/sagemaker","model":"digits"}`,
		`{"manifest":"s3://lists/csv","model":"digits"}`,
		`{"manifest":"s3://lists/lines","model":"digits","format":"list"}`,
	} {
		t.Run(event, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.many(t, objects)
				b.Queue = slow{b.queue, time.Second} // 13 s a page
				next, rounds := json.RawMessage(event), 0
				for ; next != nil; rounds++ {
					ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
					started := time.Now()
					answer, err := b.Handle(ctx, next)
					cancel()
					result, ok := answer.(producer.Result)
					if err != nil || !ok {
						t.Fatalf("round %d: %v, error %v", rounds, answer, err)
					}
					if took := time.Since(started); took >= 40*time.Second {
						t.Fatalf("round %d took %v; Lambda would have ended it", rounds, took)
					}
					next = result.Continue
				}
				if rounds != 3 {
					t.Errorf("it took %d rounds, want 3", rounds)
				}
				seen := map[string]bool{}
				for _, r := range b.enqueued(t) {
					if seen[r.Input.Key] = true; r.Model != "digits" {
						t.Fatalf("%+v has lost its model", r)
					}
				}
				if len(seen) != objects {
					t.Errorf("%d of %d objects were enqueued", len(seen), objects)
				}
			})
		})
	}
}

func TestAListThatDoesNotGetOnSaysSoInsteadOfGoingRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.many(t, 200)
		b.Queue = slow{b.queue, 10 * time.Second}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		answer, err := b.Handle(ctx, json.RawMessage(`{"prefix":"s3://uploads/in/"}`))
		if _, ok := errors.AsType[*producer.QueueError](err); !ok || !strings.Contains(err.Error(), "longer time-out") {
			t.Errorf("it answers %+v, error %v; want one that says what to do", answer, err)
		}
	})
}

func TestAListThatFailsSaysFromWhereToGoOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.many(t, 1500)
	b.Queue = refusing{b.queue, "in/01200"}
	_, err := b.Handle(t.Context(), json.RawMessage(`{"prefix":"s3://uploads/in/"}`))
	if _, ok := errors.AsType[*producer.QueueError](err); !ok || !strings.Contains(err.Error(), `{"continue":{"after":"in/00999"}`) {
		t.Fatalf("error is %v, want a QueueError with the place behind the last page", err)
	}
}

func TestAManifestThatChangedIsNotContinued(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.put(t, "s3://lists/lines", "s3://uploads/in/1\ns3://uploads/in/2\n", "")
	_, err := b.Handle(t.Context(), json.RawMessage(`{"manifest":"s3://lists/lines","continue":{"manifest":{"etag":"other","format":"list","offset":19,"line":1}}}`))
	if _, ok := errors.AsType[*producer.EventError](err); !ok || !strings.Contains(err.Error(), "overwritten") {
		t.Errorf("error is %v, want an EventError that says so", err)
	}
	if n := len(b.enqueued(t)); n != 0 {
		t.Errorf("%d requests were enqueued of another manifest", n)
	}
}

func TestAPrefixIsFiltered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Filter = producer.Filter{Suffixes: []string{"1"}}
	b.many(t, 20)
	answer, err := b.Handle(t.Context(), json.RawMessage(`{"prefix":"s3://uploads/in/0000"}`))
	if got, _ := answer.(producer.Result); err != nil || got.Enqueued != 1 || got.Dropped != 9 {
		t.Errorf("result is %+v, error %v; want in/00001 enqueued and nine dropped", answer, err)
	}
}

// broken lists a few objects and then fails.
type broken struct{ storage.Reader }

func (s broken) List(ctx context.Context, prefix storage.Ref, after string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		n := 0
		for info, err := range s.Reader.List(ctx, prefix, after) {
			if n++; n > 3 {
				yield(storage.Info{}, errors.New("slow down"))
				return
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

func TestWhatWasListedBeforeAFaultIsEnqueued(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.many(t, 10)
	b.Store = broken{b.store}
	_, err := b.Handle(t.Context(), json.RawMessage(`{"prefix":"s3://uploads/in/"}`))
	if _, ok := errors.AsType[*producer.QueueError](err); !ok || !strings.Contains(err.Error(), "in/00002") {
		t.Errorf("error is %v, want one that goes on behind in/00002", err)
	}
	if n := len(b.enqueued(t)); n != 3 {
		t.Errorf("%d requests in the queue, want 3", n)
	}
}

func TestABucketThatIsNotThereIsNoReasonToTryAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Handle(t.Context(), json.RawMessage(`{"manifest":"s3://nowhere/list"}`))
	if _, ok := errors.AsType[*producer.EventError](err); !ok || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v, want an EventError", err)
	}
}
