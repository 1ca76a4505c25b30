package producer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/producer"
	"github.com/penstock/penstock/cmd/internal/producer/proxy"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	storagemem "github.com/penstock/penstock/storage/mem"
)

// bundle is a handler with what a test looks at.
type bundle struct {
	producer.Handler
	queue  *mem.Queue
	store  *storagemem.Store
	intake *desk
	logs   *observer.ObservedLogs
}

func setup(t testing.TB) *bundle {
	t.Helper()
	locations, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.InfoLevel)
	b := &bundle{queue: mem.New(mem.Options{}), store: storagemem.New("uploads", "results", "lists"), intake: &desk{locations: locations}, logs: logs}
	b.Handler = producer.Handler{
		Locations: locations, Queue: b.queue, QueueURL: "https://sqs.eu-west-1.amazonaws.com/123456789012/requests",
		Store: b.store, Intake: b.intake, Door: &proxy.Door{Known: echo, Log: zap.New(core)}, Sweep: sweepNothing, Log: zap.New(core),
	}
	return b
}

// put writes an object.
func (b *bundle) put(t testing.TB, uri, body, contentType string) {
	t.Helper()
	ref, err := storage.ParseRef(uri)
	if err == nil {
		_, err = b.store.Put(t.Context(), ref, []byte(body), storage.PutOptions{ContentType: contentType})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// desk is an intake that notes what it was given.
type desk struct {
	locations   request.Locations
	mu          sync.Mutex
	submissions []intake.Submission
	err         error
}

func (d *desk) Accept(_ context.Context, s intake.Submission) (intake.Accepted, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return intake.Accepted{}, d.err
	}
	d.submissions = append(d.submissions, s)
	r := s.Request
	if r.ID == "" {
		r.ID = "made-up"
	}
	if s.Body != nil {
		r.Input = d.locations.RecordOf(r.ID)
	}
	return intake.Accepted{Request: r, Output: d.locations.OutputOf(r), Failure: d.locations.FailureOf(r)}, nil
}

// enqueued takes all requests out of the queue.
func (b *bundle) enqueued(t testing.TB) []request.Request {
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
				if want := (producer.Result{Enqueued: len(test.want)}); !reflect.DeepEqual(result, want) {
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
	if want := (producer.Result{Enqueued: 1, Dropped: 3}); !reflect.DeepEqual(result, want) {
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
		{"another service's", `{"Records":[{"eventSource":"aws:kinesis","kinesis":{}}]}`, `"aws:kinesis"`},
		{"a later version of S3's", notification(strings.Replace(record("uploads", "in/a"), `"2.1"`, `"3.0"`, 1)), "3.0"},
		{"of no known kind", `{"hello":"world"}`, "neither an event"},
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
	if want := (producer.Result{Enqueued: 1}); !reflect.DeepEqual(result, want) {
		t.Errorf("result is %+v, want %+v", result, want)
	}
	if b.logs.FilterMessage("request not enqueued").Len() != 1 {
		t.Error("no log line says so")
	}
}

// tooLate lets no message through, and so does a queue out of reach.
type tooLate struct{}

func (tooLate) Send(ctx context.Context, messages ...queue.Outgoing) []error {
	errs := make([]error, len(messages))
	for i := range errs {
		errs[i] = errRefused
	}
	return errs
}

// ofQueue is a batch of messages with these bodies.
func ofQueue(name string, bodies ...string) json.RawMessage {
	var records []string
	for i, body := range bodies {
		quoted, _ := json.Marshal(body)
		records = append(records, fmt.Sprintf(`{"messageId":"m%d","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:eu-west-1:123456789012:%s","body":%s}`, i, name, quoted))
	}
	return json.RawMessage(`{"Records":[` + strings.Join(records, ",") + `]}`)
}

func failures(t *testing.T, answer any) []string {
	t.Helper()
	batch, ok := answer.(producer.BatchResult)
	if !ok {
		t.Fatalf("the answer is %#v, want a BatchResult", answer)
	}
	ids := []string{}
	for _, f := range batch.Failures {
		ids = append(ids, f.ID)
	}
	return ids
}

func TestAMessageWhoseRequestIsNotEnqueuedStaysAndItsNeighboursGo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Queue = refusing{b.queue, "in/b"}
	answer, err := b.Handle(t.Context(), ofQueue("uploads",
		notification(record("uploads", "in/a")), notification(record("uploads", "in/b"), record("uploads", "in/c")), notification(record("uploads", "in/d"))))
	if err != nil {
		t.Fatal(err)
	}
	if got := failures(t, answer); !reflect.DeepEqual(got, []string{"m1"}) {
		t.Errorf("the messages that stay are %v, want m1", got)
	}
	if n := len(b.enqueued(t)); n != 3 {
		t.Errorf("%d requests in the queue, want those of a, c and d", n)
	}
}

func TestABatchOfWhichNothingIsEnqueuedIsAnError(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Queue = tooLate{}
	answer, err := b.Handle(t.Context(), ofQueue("uploads", notification(record("uploads", "in/a")), notification(record("uploads", "in/b"))))
	if _, ok := errors.AsType[*producer.QueueError](err); !ok || answer != nil {
		t.Errorf("the answer is %v, error %v; want a QueueError, which keeps the messages whatever the mapping reports", answer, err)
	}
}

func TestAnswersAndErrorsStayShortHoweverMuchIsAskedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var uris []string
	for i := range 5000 {
		uris = append(uris, fmt.Sprintf("s3://uploads/in/%d", i))
	}
	event, err := json.Marshal(uris)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := b.Handle(t.Context(), event)
	if got, _ := answer.(producer.Result); err != nil || got.Enqueued != 5000 || len(got.Requests) > 1000 {
		t.Errorf("%d are enqueued, and the answer tells of %d, error %v", got.Enqueued, len(got.Requests), err)
	}
	b.Queue = tooLate{}
	if _, err := b.Handle(t.Context(), event); err == nil || len(err.Error()) > 2000 || !strings.Contains(err.Error(), "and 4990 more") {
		t.Errorf("the error is %.3000v", err)
	}
}

func TestAFIFOSourceIsStoppedAtItsFirstFailureInOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Queue = refusing{b.queue, "in/b"}
	answer, err := b.Handle(t.Context(), ofQueue("uploads.fifo",
		notification(record("uploads", "in/a")), notification(record("uploads", "in/b")), notification(record("uploads", "in/c"))))
	if err != nil {
		t.Fatal(err)
	}
	if got := failures(t, answer); !reflect.DeepEqual(got, []string{"m1", "m2"}) {
		t.Errorf("the messages that stay are %v, want m1 and m2", got)
	}
	if got := b.enqueued(t); len(got) != 1 || got[0].Input.Key != "in/a" {
		t.Errorf("in the queue is %+v, want in/a alone: what lies behind a failure waits for it", got)
	}
}

func TestTheQueueItSendsToIsNoEventSource(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		url, arn string
		same     bool
	}{
		{"https://sqs.eu-west-1.amazonaws.com/123456789012/requests", "arn:aws:sqs:eu-west-1:123456789012:requests", true},
		{"https://sqs.eu-west-1.amazonaws.com/123456789012/requests", "arn:aws:sqs:us-east-1:123456789012:requests", false},
		{"https://sqs.eu-west-1.amazonaws.com/123456789012/requests", "arn:aws:sqs:eu-west-1:210987654321:requests", false},
		{"https://sqs.eu-west-1.amazonaws.com/123456789012/requests", "arn:aws:sqs:eu-west-1:123456789012:uploads", false},
		{"http://127.0.0.1:9324/000000000000/requests", "arn:aws:sqs:us-east-1:000000000000:requests", true},
	} {
		b := setup(t)
		b.QueueURL = test.url
		event := strings.Replace(string(ofQueue("x", notification(record("uploads", "in/a")))), "arn:aws:sqs:eu-west-1:123456789012:x", test.arn, 1)
		_, err := b.Handle(t.Context(), json.RawMessage(event))
		if _, refused := errors.AsType[*producer.EventError](err); refused != test.same {
			t.Errorf("a batch of %s for %s gives the error %v; are they the same: %t", test.arn, test.url, err, test.same)
		}
		if n := len(b.enqueued(t)); test.same && n != 0 {
			t.Errorf("%d requests were sent in a circle", n)
		}
	}
}

func TestTheDeadLetterQueueIsNoEventSource(t *testing.T) {
	t.Parallel()
	b := setup(t)
	attributes := fmt.Sprintf(`{"messageAttributes":{%q:{"stringValue":"poison","dataType":"String"}},`, request.LetterReason)
	event := strings.Replace(string(ofQueue("dead", notification(record("uploads", "in/a")), notification(record("uploads", "in/b")))), `[{`, `[`+attributes, 1)
	_, err := b.Handle(t.Context(), json.RawMessage(event))
	if _, refused := errors.AsType[*producer.EventError](err); !refused || !strings.Contains(err.Error(), "dead letters") {
		t.Errorf("the error is %v, want that dead letters are no events", err)
	}
	if n := len(b.enqueued(t)); n != 0 {
		t.Errorf("%d dead letters were sent again for nobody to see", n)
	}
}

func TestARequestWithAnIDGoesByItsRecord(t *testing.T) {
	t.Parallel()
	b := setup(t)
	event := `{"requests":[{"id":"7","input":"s3://uploads/in/a"},{"input":"s3://uploads/in/b"}]}`
	if _, err := b.Handle(t.Context(), json.RawMessage(event)); err != nil {
		t.Fatal(err)
	}
	if got := b.intake.submissions; len(got) != 1 || got[0].Request.ID != "7" {
		t.Errorf("the intake was given %+v, want the request 7 alone", got)
	}
	if got := b.enqueued(t); len(got) != 1 || got[0].Input.Key != "in/b" {
		t.Errorf("in the queue is %+v, want in/b alone: the intake sends the other", got)
	}
	upload := b.Locations.UploadOf("8")
	if _, err := b.Handle(t.Context(), json.RawMessage(`{"id":"8","input":"`+upload.String()+`"}`)); err != nil || len(b.intake.submissions) != 2 {
		t.Errorf("what was uploaded for a request gives %v", err)
	}
	for err, permanent := range map[error]bool{
		&intake.ConflictError{ID: "7"}:              true,
		&intake.InvalidError{Err: errors.New("no")}: true,
		errors.New("S3 is away"):                    false,
	} {
		b.intake.err = err
		_, got := b.Handle(t.Context(), json.RawMessage(event))
		if _, ok := errors.AsType[*producer.EventError](got); ok != permanent || got == nil {
			t.Errorf("with the intake's error %v Handle gives %v; is it an EventError: %t", err, got, permanent)
		}
	}
}

func TestAnInlineBodyThatLambdaTriesAgainKeepsItsID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Invocation = func(context.Context) string { return "8476a536" }
	for range 2 {
		if _, err := b.Handle(t.Context(), json.RawMessage(`{"body":"a text"}`)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range b.intake.submissions {
		if s.Request.ID != "8476a536" {
			t.Errorf("the request's id is %q, want that of the invocation", s.Request.ID)
		}
	}
}

func TestHandleEndsBeforeLambdaEndsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.Sweep = func(ctx context.Context) (any, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		started := time.Now()
		if _, err := b.Handle(ctx, json.RawMessage(`{"sweep":true}`)); err == nil || !strings.Contains(err.Error(), "time is up") {
			t.Errorf("error is %v, want one that says why", err)
		}
		if took := time.Since(started); took != 9*time.Second {
			t.Errorf("it took %v of 10 s, want 9 s", took)
		}
	})
}
