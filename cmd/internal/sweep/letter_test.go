package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/cmd/internal/sweep"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// event is S3's notification of an upload.
func event(r request.Request) string {
	return fmt.Sprintf(`{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":%q},"object":{"key":%q,"eTag":%q}}}]}`,
		r.Input.Bucket, r.Input.Key, r.ETag)
}

func TestAMessageThatTheQueueGaveUpGetsItsFailureAndItsReason(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		r := b.accept("order-7", time.Hour)
		b.wearOut()
		upload := b.upload("x.json", nil)
		b.bury(event(upload))
		if c := b.run(); c.Abandoned != 2 || c.Explained != 2 || c.Dropped != 0 {
			t.Errorf("got %+v", c)
		}
		for _, r := range []request.Request{r, upload} {
			f, _, ok := b.failure(r)
			if !ok || f.Error.Code != request.CodeReceivedTooOften || !strings.Contains(f.Error.Hint, "maxReceiveCount") || f.Input != r.Input.String() {
				t.Errorf("%s has %+v, %t", r.Input, f, ok)
			}
		}
		letters := b.letters()
		if len(letters) != 2 {
			t.Fatalf("there are %d letters", len(letters))
		}
		slices.SortFunc(letters, func(a, b *queue.Message) int { return len(a.Attributes) - len(b.Attributes) })
		api, trace := letters[0], letters[1]
		if api.Attributes[request.LetterID] != "order-7" || api.Attributes[request.LetterCode] != request.CodeReceivedTooOften || api.Attributes[request.LetterReason] == "" {
			t.Errorf("the letter has %v", api.Attributes)
		}
		again, err := request.Decode(api.Body)
		want := r
		want.Enqueued = time.Time{} // who redrives it wants it run, whenever that is
		if err != nil || len(again) != 1 || again[0] != want {
			t.Errorf("the letter asks for %+v, %v", again, err)
		}
		if trace.Attributes["trace"] != "t" {
			t.Errorf("the message's own attributes are lost: %v", trace.Attributes)
		}
		if c := b.runs(time.Hour); c.Explained != 0 || c.Abandoned != 0 || len(b.letters()) != 2 {
			t.Errorf("for an hour more: %+v, %d letters", c, len(b.letters()))
		}
	})
}

func TestLettersWithAReasonStayAsTheyAre(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		for n := range 35 {
			out := queue.Outgoing{Body: fmt.Sprint(n), Attributes: map[string]string{request.LetterReason: "r", "n": fmt.Sprint(n)}}
			if err := b.dead.Send(t.Context(), out)[0]; err != nil {
				t.Fatal(err)
			}
		}
		if c := b.run(); c != (sweep.Counts{}) {
			t.Errorf("got %+v", c)
		}
		if got := b.letters(); len(got) != 35 { // to be seen at once
			t.Errorf("%d letters can be received", len(got))
		}
	})
}

func TestWhatTheQueueGaveUpAfterItEndedIsDropped(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		done := b.accept("done", 0)
		succeed(t, b.store, done)
		b.wearOut()
		if c := b.run(); c.Dropped != 1 || c.Abandoned != 0 || len(b.letters()) != 0 {
			t.Errorf("done: %+v, %d letters", c, len(b.letters()))
		}
		expired := b.accept("expired", time.Minute)
		time.Sleep(10 * time.Minute)
		b.run()
		b.wearOut()
		if c := b.run(); c.Explained != 1 || c.Abandoned != 0 {
			t.Errorf("expired: %+v", c)
		}
		if f, _, _ := b.failure(expired); f.Error.Code != request.CodeExpired {
			t.Errorf("its failure is %+v", f)
		}
		if got := b.letters(); len(got) != 1 || got[0].Attributes[request.LetterCode] != request.CodeExpired {
			t.Errorf("the letters are %v", got)
		}
	})
}

func TestAPackThatTheQueueGaveUpKeepsWhatHasNotSucceeded(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		var all []request.Request
		for n := range 3 {
			r := b.upload(fmt.Sprint(n), nil)
			r.ID = fmt.Sprint("id", n)
			all = append(all, r)
		}
		succeed(t, b.store, all[1])
		body, err := request.Encode(all...)
		if err != nil {
			t.Fatal(err)
		}
		b.bury(body)
		if c := b.run(); c.Abandoned != 2 || c.Explained != 1 {
			t.Errorf("got %+v", c)
		}
		again, err := request.Decode(b.letters()[0].Body)
		if err != nil || len(again) != 2 || again[0].ID != "id0" || again[1].ID != "id2" {
			t.Errorf("the letter asks for %+v, %v", again, err)
		}
	})
}

func TestAnUnreadableMessageThatTheQueueGaveUpSaysSo(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		for _, body := range []string{"no JSON", `{"requests":[{"input":"s3://uploads/in/x"},{"input":"nowhere"}]}`} {
			b.bury(body)
			b.run()
			got := b.letters()
			if len(got) != 1 || got[0].Body != body || got[0].Attributes[request.LetterCode] != request.CodeUnreadable {
				t.Errorf("the letters are %+v", got)
			}
			b.dead.Delete(t.Context(), got...)
		}
		r := request.Request{Input: storage.Ref{Bucket: "uploads", Key: "in/x"}}
		if _, _, ok := b.failure(r); !ok {
			t.Error("the request that could be read has no terminal object")
		}
	})
}

func TestAPartOfABatchJobThatTheQueueGaveUpIsExplainedAsItIs(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		body := `{"version":1,"job":{"id":"nightly","part":3,"items":1},"requests":[{"input":"s3://uploads/in/x"}]}`
		if requests, err := request.Decode(body); err != nil || requests[0].Job == nil {
			t.Fatalf("%+v, %v", requests, err)
		}
		b.bury(body)
		if c := b.run(); c.Explained != 1 || c.Abandoned != 0 {
			t.Errorf("got %+v", c)
		}
		got := b.letters()
		if len(got) != 1 || got[0].Body != body || got[0].Attributes[request.LetterID] != "nightly" || len(ends(t, b.store)) != 0 {
			t.Errorf("the letters are %+v, objects %q", got, ends(t, b.store))
		}
	})
}

// faulty is a dead-letter queue whose calls of one kind fail.
type faulty struct {
	sweep.DeadLetterQueue
	verb    string
	applied bool // the call takes effect, its reply is lost
}

func (q *faulty) Send(ctx context.Context, m ...queue.Outgoing) []error {
	if q.verb != "send" {
		return q.DeadLetterQueue.Send(ctx, m...)
	}
	if q.applied {
		q.DeadLetterQueue.Send(ctx, m...)
	}
	return []error{errCut}
}

func (q *faulty) Delete(ctx context.Context, m ...*queue.Message) []error {
	if q.verb != "delete" {
		return q.DeadLetterQueue.Delete(ctx, m...)
	}
	if q.applied {
		q.DeadLetterQueue.Delete(ctx, m...)
	}
	return []error{errCut}
}

func (q *faulty) Receive(ctx context.Context, n int, visibility, wait time.Duration) ([]*queue.Message, error) {
	if q.verb == "receive" {
		return nil, errCut
	}
	return q.DeadLetterQueue.Receive(ctx, n, visibility, wait)
}

func (q *faulty) Attributes(ctx context.Context) (queue.Attributes, error) {
	if q.verb == "attributes" {
		return queue.Attributes{}, errCut
	}
	return q.DeadLetterQueue.Attributes(ctx)
}

func TestNoLetterIsLostByAFault(t *testing.T) {
	for _, verb := range []string{"attributes", "receive", "send", "delete"} {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, applied %t", verb, applied), func(t *testing.T) {
				in(t, func(t *testing.T, b *bundle) {
					expired, r := b.accept("expired", time.Minute), b.accept("order-7", 0)
					b.wearOut()
					time.Sleep(10 * time.Minute)
					b.DeadLetters = &faulty{b.dead, verb, applied}
					if _, err := b.Run(t.Context()); !errors.Is(err, errCut) {
						t.Errorf("got %v", err)
					}
					if _, _, ok := b.failure(expired); !ok {
						t.Error("nothing expires while the dead-letter queue is out of order")
					}
					time.Sleep(10 * time.Minute)
					b.DeadLetters = b.dead
					b.runs(20 * time.Minute)
					if _, _, ok := b.failure(r); !ok {
						t.Error("it has no failure object")
					}
					ids := make(map[string]bool)
					for _, m := range b.letters() {
						if m.Attributes[request.LetterReason] == "" {
							t.Errorf("a letter has no reason: %+v", m)
						}
						ids[m.Attributes[request.LetterID]] = true
					}
					if !ids["expired"] || !ids["order-7"] {
						t.Errorf("the letters are those of %v", ids)
					}
				})
			})
		}
	}
}
