//go:build servers

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/queue/sqs"
)

// source is an SQS event source as Lambda has one, with
// ReportBatchItemFailures: it receives a batch, invokes the function with it,
// deletes what is not reported as failed, and leaves the rest to its visibility
// timeout and its queue's redrive. An error of the function, and an answer that
// Lambda does not take, keep the whole batch.
type source struct {
	queue      *sqs.Queue
	arn        string
	function   *function
	visibility time.Duration
	batch      int // Lambda's BatchSize
}

// round delivers one batch, and says how many messages that was.
func (s *source) round(ctx context.Context) (int, error) {
	messages, err := s.queue.Receive(ctx, s.batch, s.visibility, time.Second)
	if err != nil || len(messages) == 0 {
		return 0, err
	}
	var records []map[string]any
	for _, m := range messages {
		attributes := map[string]string{
			"ApproximateReceiveCount": fmt.Sprint(m.ReceiveCount), "SentTimestamp": fmt.Sprint(m.Sent.UnixMilli()),
			"SenderId": "AIDAEXAMPLE", "ApproximateFirstReceiveTimestamp": fmt.Sprint(m.FirstReceived.UnixMilli()),
		}
		if m.Group != "" {
			attributes["MessageGroupId"] = m.Group
		}
		records = append(records, map[string]any{
			"messageId": m.ID, "receiptHandle": m.Receipt, "body": m.Body, "attributes": attributes, "messageAttributes": map[string]any{},
			"eventSource": "aws:sqs", "eventSourceARN": s.arn, "awsRegion": "us-east-1",
		})
	}
	event, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		return 0, err
	}
	body, err := s.function.invoke(ctx, event)
	if _, failed := errors.AsType[*functionError](err); failed {
		return len(messages), nil // all stay
	}
	if err != nil {
		return 0, err
	}
	return len(messages), errors.Join(s.queue.Delete(ctx, done(messages, body)...)...)
}

// done is what Lambda deletes after this answer.
func done(messages []*queue.Message, body []byte) []*queue.Message {
	var answer struct {
		Failures []struct {
			ID *string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil
	}
	failed := map[string]bool{}
	for _, f := range answer.Failures {
		known := f.ID != nil && slices.ContainsFunc(messages, func(m *queue.Message) bool { return m.ID == *f.ID })
		if !known { // Lambda then takes the whole batch for failed
			return nil
		}
		failed[*f.ID] = true
	}
	return slices.DeleteFunc(slices.Clone(messages), func(m *queue.Message) bool { return failed[m.ID] })
}

// run delivers until the queue is empty.
func (s *source) run(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		n, err := s.round(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.queue.Attributes(t.Context())
		switch {
		case err != nil:
			t.Fatal(err)
		case n == 0 && a.Visible+a.InFlight == 0:
			return
		case time.Now().After(deadline):
			t.Fatalf("%d messages are still in the source queue", a.Visible+a.InFlight)
		}
	}
}

// newSource attaches the function to a queue, whose dead letters are those that
// were received too often.
func newSource(t *testing.T, l *local, name string, f *function) *source {
	t.Helper()
	q := l.queue(name)
	a, err := q.Attributes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &source{queue: q, arn: a.ARN, function: f, visibility: time.Second, batch: queue.MaxBatch}
}

// notice is S3's event of one upload.
func notice(key string) string {
	return fmt.Sprintf(`{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"uploads"},"object":{"key":%q,"size":1,"eTag":"e","sequencer":%q}}}]}`, key, key)
}

func send(t *testing.T, q *sqs.Queue, group string, bodies ...string) {
	t.Helper()
	var messages []queue.Outgoing
	for i, body := range bodies {
		m := queue.Outgoing{Body: body}
		if group != "" {
			m.Group, m.DedupID = group, fmt.Sprintf("%s-%d", group, i)
		}
		messages = append(messages, m)
	}
	if err := errors.Join(q.Send(t.Context(), messages...)...); err != nil {
		t.Fatal(err)
	}
}

// redrive bounds the deliveries of a queue's messages.
func redrive(t *testing.T, l *local, name string, receives int) {
	t.Helper()
	q := l.queue(name)
	a, err := q.Attributes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	policy := fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, a.DeadLetterARN, receives)
	if err := l.set(t.Context(), name, map[string]string{"RedrivePolicy": policy}); err != nil {
		t.Fatal(err)
	}
}

func inputs(requests []request.Request) map[string]int {
	all := map[string]int{}
	for _, r := range requests {
		all[r.Input.Key]++
	}
	return all
}

func TestASourceQueueLosesNothingAndItsBadMessagesEndAmongItsDeadLetters(t *testing.T) {
	l := startLocal(t)
	s := newSource(t, l, "source", startFunction(t, l, nil))
	redrive(t, l, "source", 3)
	want := map[string]int{}
	var bodies []string
	for i := range 60 {
		key := fmt.Sprintf("in/%02d", i)
		want[key] = 1
		if bodies = append(bodies, notice(key)); i%20 == 7 {
			bodies = append(bodies, fmt.Sprintf("no event, %d", i))
		}
	}
	send(t, s.queue, "", bodies...)
	s.run(t)
	got := inputs(l.requests(t))
	for key := range want {
		if got[key] != 1 {
			t.Errorf("%s was enqueued %d times, want once: its message was in no failed batch", key, got[key])
		}
	}
	if n := len(l.drain(t, "source-dead-letter")); n != 3 {
		t.Errorf("%d messages are dead letters, want the three bad ones", n)
	}
}

func TestASourceQueueOutlivesAnOutageOfTheQueue(t *testing.T) {
	l := startLocal(t)
	s := newSource(t, l, "source", startFunction(t, l, nil))
	var bodies []string
	for i := range 30 {
		bodies = append(bodies, notice(fmt.Sprintf("in/%02d", i)))
	}
	send(t, s.queue, "", bodies...)
	// Each call is retried twice below, so this is two lost batches; and one
	// reply that is lost though the messages are there.
	l.inject(t, `[{"action":"SendMessageBatch","queue":"requests","kind":"fail","code":"InternalError","status":500,"count":6},{"action":"SendMessageBatch","queue":"requests","kind":"drop-reply","count":1}]`)
	s.run(t)
	got := inputs(l.requests(t))
	for i := range 30 {
		if key := fmt.Sprintf("in/%02d", i); got[key] == 0 {
			t.Errorf("%s is lost", key)
		}
	}
}

// TestAFIFOSourceKeepsItsOrderAcrossABadMessage also says what it costs: those
// of a bad message's batch wait with it, and so are received as often. With
// batches of one only the bad message is a dead letter.
func TestAFIFOSourceKeepsItsOrderAcrossABadMessage(t *testing.T) {
	for _, batch := range []int{1, queue.MaxBatch} {
		t.Run(fmt.Sprintf("in batches of %d", batch), func(t *testing.T) {
			l := startLocal(t)
			f := startFunction(t, l, map[string]string{"PENSTOCK_QUEUE_URL": l.Queues["requests.fifo"], "PENSTOCK_GROUP_BY": "bucket"})
			s := newSource(t, l, "source.fifo", f)
			s.batch = batch
			redrive(t, l, "source.fifo", 2)
			var bodies []string
			for i := range 15 {
				if i == 4 {
					bodies = append(bodies, "no event")
				}
				bodies = append(bodies, notice(fmt.Sprintf("in/%02d", i)))
			}
			send(t, s.queue, "acme", bodies...)
			s.run(t)
			var got []string
			for _, m := range l.drain(t, "requests.fifo") {
				requests, err := request.Decode(m.Body)
				if err != nil {
					t.Fatal(err)
				}
				if got = append(got, requests[0].Input.Key); m.Group != "bucket-uploads" {
					t.Errorf("the group of %s is %q", requests[0].Input, m.Group)
				}
			}
			dead := l.drain(t, "source-dead-letter.fifo")
			if !slices.IsSorted(got) || len(got)+len(dead) != len(bodies) || len(slices.Compact(slices.Clone(got))) != len(got) {
				t.Errorf("%d requests, in the order %s, and %d dead letters came of %d messages", len(got), strings.Join(got, " "), len(dead), len(bodies))
			}
			if !slices.ContainsFunc(dead, func(m *queue.Message) bool { return m.Body == "no event" }) || batch == 1 && len(dead) != 1 {
				t.Errorf("%d messages are dead letters, and the bad one must be", len(dead))
			}
		})
	}
}

// TestCopiesOfAnEventAreOneMessageInAFIFOQueue: S3 tells of an upload at least
// once, and Lambda invokes at least once.
func TestCopiesOfAnEventAreOneMessageInAFIFOQueue(t *testing.T) {
	l := startLocal(t)
	f := startFunction(t, l, map[string]string{"PENSTOCK_QUEUE_URL": l.Queues["requests.fifo"]})
	again := strings.Replace(notice("in/a"), `"sequencer":"in/a"`, `"sequencer":"later"`, 1)
	for _, event := range []string{notice("in/a"), notice("in/a"), again} {
		if _, err := f.invoke(t.Context(), []byte(event)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.drain(t, "requests.fifo")); n != 2 {
		t.Errorf("%d messages in the queue, want one for each of the two uploads", n)
	}
}

func TestAStandardQueueHasFairGroups(t *testing.T) {
	l := startLocal(t)
	f := startFunction(t, l, map[string]string{"PENSTOCK_GROUP_BY": "folder"})
	if _, err := f.invoke(t.Context(), []byte(notice("in/acme/a"))); err != nil {
		t.Fatal(err)
	}
	if m := l.drain(t, "requests"); len(m) != 1 || m[0].Group != "folder-acme" {
		t.Errorf("in the queue is %+v, want a message of the group folder-acme", m)
	}
}

// TestTheQueueOfRequestsIsRefusedAsASource under the emulator, too: nothing
// goes round, and the messages stay for the workers.
func TestTheQueueOfRequestsIsRefusedAsASource(t *testing.T) {
	l := startLocal(t)
	s := newSource(t, l, "requests", startFunction(t, l, nil))
	send(t, s.queue, "", `{"input":"s3://uploads/in/a"}`)
	if _, err := s.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	a, err := s.queue.Attributes(t.Context())
	if err != nil || a.Visible+a.InFlight != 1 {
		t.Errorf("%d messages in the queue (%v), want the one", a.Visible+a.InFlight, err)
	}
}
