package producer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/penstock/penstock/cmd/internal/producer"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
)

// bundle is a handler with what a test looks at.
type bundle struct {
	producer.Handler
	queue *mem.Queue
	logs  *observer.ObservedLogs
}

func setup(t *testing.T) *bundle {
	t.Helper()
	locations, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.InfoLevel)
	q := mem.New(mem.Options{})
	return &bundle{producer.Handler{Locations: locations, Queue: q, Log: zap.New(core)}, q, logs}
}

// enqueued takes all requests out of the queue.
func (b *bundle) enqueued(t *testing.T) []request.Request {
	t.Helper()
	var all []request.Request
	for {
		messages, err := b.queue.Receive(t.Context(), queue.MaxBatch, time.Minute, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(messages) == 0 {
			return all
		}
		for _, m := range messages {
			requests, err := request.Decode(m.Body)
			if err != nil || len(requests) != 1 {
				t.Fatalf("message %s holds %d requests, error %v", m.Body, len(requests), err)
			}
			all = append(all, requests[0])
		}
	}
}

// record is one record of an S3 event, with the key as S3 encodes it.
func record(bucket, key string) string {
	return fmt.Sprintf(`{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":%q},"object":{"key":%q,"size":12,"eTag":"abc"}}}`, bucket, key)
}

func notification(records ...string) string {
	return `{"Records":[` + strings.Join(records, ",") + `]}`
}

func TestHandleEnqueuesOneRequestAnObject(t *testing.T) {
	t.Parallel()
	direct := notification(record("uploads", "in/a+b.png"), record("uploads", "in/c%2Bd.png"))
	bridge := `{"detail-type":"Object Created","source":"aws.s3","detail":{"bucket":{"name":"uploads"},"object":{"key":"in/a b.png","size":12,"etag":"abc"}}}`
	quoted, _ := json.Marshal(direct)
	for _, test := range []struct {
		name, event string
		want        []string
	}{
		{"from S3", direct, []string{"in/a b.png", "in/c+d.png"}},
		{"from EventBridge", bridge, []string{"in/a b.png"}},
		{"wrapped by SNS", `{"Type":"Notification","TopicArn":"arn:aws:sns:us-east-1:1:t","Message":` + string(quoted) + `}`, []string{"in/a b.png", "in/c+d.png"}},
		{"from a topic that the function is subscribed to", `{"Records":[{"EventSource":"aws:sns","Sns":{"Message":` + string(quoted) + `}}]}`, []string{"in/a b.png", "in/c+d.png"}},
		{"in our own form", `{"input":"s3://uploads/in/a b.png","etag":"abc","size":12}`, []string{"in/a b.png"}},
		{"S3's test event", `{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"uploads"}`, nil},
		{"a deletion", notification(strings.Replace(record("uploads", "in/a"), "ObjectCreated:Put", "ObjectRemoved:Delete", 1)), nil},
		{"Penstock's own state", notification(record("uploads", "in/.penstock/requests/1")), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				result, err := b.Handle(t.Context(), json.RawMessage(test.event))
				if err != nil {
					t.Fatal(err)
				}
				if want := (producer.Result{Enqueued: len(test.want)}); result != want {
					t.Errorf("result is %+v, want %+v", result, want)
				}
				got := b.enqueued(t)
				if len(got) != len(test.want) {
					t.Fatalf("%d requests in the queue, want %d", len(got), len(test.want))
				}
				for i, r := range got {
					if r.Input.Bucket != "uploads" || r.Input.Key != test.want[i] || r.ETag != "abc" || r.Size != 12 || !r.Enqueued.Equal(time.Now()) {
						t.Errorf("request %d is %+v", i, r)
					}
				}
				if b.logs.Len() != max(len(test.want), 1) {
					t.Errorf("%d log lines, want one an outcome", b.logs.Len())
				}
			})
		})
	}
}

func TestHandleSendsMoreThanABatch(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var records []string
	for i := range 25 {
		records = append(records, record("uploads", fmt.Sprintf("in/%d", i)))
	}
	if _, err := b.Handle(t.Context(), json.RawMessage(notification(records...))); err != nil {
		t.Fatal(err)
	}
	if n := len(b.enqueued(t)); n != 25 {
		t.Errorf("%d requests in the queue, want 25", n)
	}
}

func TestHandleDropsWhatLiesOutsideTheInputLocations(t *testing.T) {
	t.Parallel()
	b := setup(t)
	event := notification(record("uploads", "elsewhere/a"), record("uploads", "in/b"), record("results", "out/c.out"), record("results", ".penstock2/d"))
	result, err := b.Handle(t.Context(), json.RawMessage(event))
	if err != nil {
		t.Fatal(err)
	}
	if want := (producer.Result{Enqueued: 1, Dropped: 3}); result != want {
		t.Errorf("result is %+v, want %+v", result, want)
	}
	if got := b.enqueued(t); len(got) != 1 || got[0].Input.Key != "in/b" {
		t.Errorf("in the queue is %+v, want in/b alone", got)
	}
	if n := b.logs.FilterMessageSnippet("dropped").Len(); n != 3 {
		t.Errorf("%d log lines of what was dropped, want 3", n)
	}
}

func TestHandleKeepsTheTimeOfARequestThatHasOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, err := b.Handle(t.Context(), json.RawMessage(`{"input":"s3://uploads/in/a","enqueued":"2026-01-02T03:04:05Z","ttlSeconds":60}`)); err != nil {
		t.Fatal(err)
	}
	if got := b.enqueued(t); len(got) != 1 || got[0].Enqueued.Year() != 2026 || got[0].Enqueued.Month() != time.January {
		t.Errorf("in the queue is %+v", got)
	}
}

func TestHandleNamesWhyAnEventIsNotUnderstood(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, event, why string }{
		{"no JSON", `hello`, "must be a JSON object"},
		{"another service's", `{"Records":[{"eventSource":"aws:sqs","body":"{}"}]}`, `"aws:sqs"`},
		{"a later version of S3's", notification(strings.Replace(record("uploads", "in/a"), `"2.1"`, `"3.0"`, 1)), "3.0"},
		{"of no known kind", `{"hello":"world"}`, "neither a request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			_, err := b.Handle(t.Context(), json.RawMessage(test.event))
			if _, ok := errors.AsType[*producer.EventError](err); !ok || !strings.Contains(err.Error(), test.why) {
				t.Errorf("error is %v, want an EventError that says %q", err, test.why)
			}
			if b.logs.FilterMessageSnippet("not understood").Len() != 1 {
				t.Error("no log line says so")
			}
		})
	}
}

func TestHandleSendsWhatItUnderstandsOfAnEventBeforeItFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	event := notification(record("uploads", "in/%ZZ"), record("uploads", "in/good"))
	if _, err := b.Handle(t.Context(), json.RawMessage(event)); err == nil {
		t.Error("no error")
	}
	if got := b.enqueued(t); len(got) != 1 || got[0].Input.Key != "in/good" {
		t.Errorf("in the queue is %+v, want in/good", got)
	}
}

// refusing lets no message through whose body holds the text.
type refusing struct {
	queue.Sender
	text string
}

var errRefused = errors.New("throttled")

func (s refusing) Send(ctx context.Context, messages ...queue.Outgoing) []error {
	errs := make([]error, len(messages))
	for i, m := range messages {
		if errs[i] = errRefused; !strings.Contains(m.Body, s.text) {
			errs[i] = s.Sender.Send(ctx, m)[0]
		}
	}
	return errs
}

func TestHandleFailsWhenOneRequestIsNotEnqueuedSoThatAllAreTriedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Queue = refusing{b.queue, "in/b"}
	result, err := b.Handle(t.Context(), json.RawMessage(notification(record("uploads", "in/a"), record("uploads", "in/b"))))
	if !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "s3://uploads/in/b") {
		t.Errorf("error is %v, want the queue's, with the input's name", err)
	}
	if _, ok := errors.AsType[*producer.QueueError](err); !ok {
		t.Errorf("error is a %T, want a QueueError", err)
	}
	if want := (producer.Result{Enqueued: 1}); result != want {
		t.Errorf("result is %+v, want %+v", result, want)
	}
	if b.logs.FilterMessage("request not enqueued").Len() != 1 {
		t.Error("no log line says so")
	}
}
