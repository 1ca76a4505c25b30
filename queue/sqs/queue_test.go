package sqs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/sqs"
)

// call is one request that the server got.
type call struct {
	Action  string // for example "SendMessageBatch"
	Entries []map[string]any
	Input   map[string]any
}

// server answers SQS calls with what reply gives: a body, or a fault. It takes
// them one by one: a call that is made again can come before the connection that
// was cut under the first is done with.
type server struct {
	mu    sync.Mutex
	calls []call
	reply func(c call) any
}

// fault is an error reply. Without a status the connection is cut instead.
type fault struct {
	status int
	code   string
}

// open gives a queue on a server of its own.
func open(t *testing.T, reply func(c call) any) (*sqs.Queue, *server) {
	t.Helper()
	return openNamed(t, "q", reply)
}

func openNamed(t *testing.T, name string, reply func(c call) any) (*sqs.Queue, *server) {
	t.Helper()
	s := &server{reply: reply}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	client := awssqs.New(awssqs.Options{
		Region:       "us-east-1",
		BaseEndpoint: &web.URL,
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		Retryer:      retry.AddWithMaxBackoffDelay(retry.NewStandard(), time.Millisecond),
	})
	return sqs.New(client, web.URL+"/000000000000/"+name), s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	c := call{Action: action}
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, json.Unmarshal(body, &c.Input), json.Unmarshal(body, &c)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	switch reply := s.reply(c).(type) {
	case fault:
		if reply.status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(reply.status)
		fmt.Fprintf(w, `{"__type":"com.amazonaws.sqs#%s","message":"because"}`, reply.code)
	default:
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		json.NewEncoder(w).Encode(reply)
	}
}

// allDone is the reply of a batch call in which every entry succeeded.
func allDone(c call) any { return batchReply(c, nil) }

// batchReply fails the entries whose receipt or body failed has a code for.
func batchReply(c call, failed map[string]string) any {
	done, bad := []any{}, []any{}
	for _, e := range c.Entries {
		name, _ := e["ReceiptHandle"].(string)
		if body, ok := e["MessageBody"].(string); ok {
			name = body
		}
		if code := failed[name]; code != "" {
			bad = append(bad, map[string]any{"Id": e["Id"], "Code": code, "Message": "because", "SenderFault": true})
			continue
		}
		done = append(done, map[string]any{"Id": e["Id"], "MessageId": "m"})
	}
	return map[string]any{"Successful": done, "Failed": bad}
}

func received(receipts ...string) []*queue.Message {
	messages := make([]*queue.Message, len(receipts))
	for i, r := range receipts {
		messages[i] = &queue.Message{ID: r, Receipt: r}
	}
	return messages
}

func TestReceiveMapsEveryAttribute(t *testing.T) {
	q, s := open(t, func(call) any {
		return map[string]any{"Messages": []any{map[string]any{
			"MessageId":     "id-1",
			"ReceiptHandle": "r-1",
			"Body":          "body",
			"Attributes": map[string]string{
				"ApproximateReceiveCount":          "7",
				"SentTimestamp":                    "1767225600123",
				"ApproximateFirstReceiveTimestamp": "1767225601456",
				"MessageGroupId":                   "g",
				"DeadLetterQueueSourceArn":         "arn:aws:sqs:us-east-1:000000000000:live",
			},
			"MessageAttributes": map[string]any{
				"text":   map[string]string{"DataType": "String", "StringValue": "t"},
				"number": map[string]string{"DataType": "Number.float", "StringValue": "1.5"},
				"bytes":  map[string]string{"DataType": "Binary", "BinaryValue": "AAEC"},
			},
		}}}
	})
	messages, err := q.Receive(t.Context(), 3, 1500*time.Millisecond, 2100*time.Millisecond)
	if err != nil || len(messages) != 1 {
		t.Fatalf("Receive gave %d messages and %v", len(messages), err)
	}
	m := messages[0]
	if m.ID != "id-1" || m.Receipt != "r-1" || m.Body != "body" || m.ReceiveCount != 7 || m.Group != "g" ||
		m.Source != "arn:aws:sqs:us-east-1:000000000000:live" {
		t.Errorf("the message is %+v", m)
	}
	if !m.Sent.Equal(time.UnixMilli(1767225600123)) || !m.FirstReceived.Equal(time.UnixMilli(1767225601456)) {
		t.Errorf("sent %v and first received %v", m.Sent, m.FirstReceived)
	}
	if want := map[string]string{"text": "t", "number": "1.5"}; !maps.Equal(m.Attributes, want) {
		t.Errorf("attributes are %q, want %q", m.Attributes, want)
	}
	in := s.calls[0].Input
	if in["MaxNumberOfMessages"] != 3.0 || in["VisibilityTimeout"] != 2.0 || in["WaitTimeSeconds"] != 3.0 {
		t.Errorf("the request was %v, want 3 messages, 2 s and 3 s", in)
	}
	if fmt.Sprint(in["MessageAttributeNames"], in["MessageSystemAttributeNames"]) != "[All] [All]" {
		t.Errorf("the request was %v, want all attributes", in)
	}
}

func TestReceiveHoldsTimesToTheLimits(t *testing.T) {
	for _, test := range []struct {
		visibility, wait time.Duration
		want             string
	}{
		{0, 0, "1 <nil>"},
		{-time.Second, -time.Second, "1 <nil>"},
		{time.Minute, time.Second, "60 1"},
		{13 * time.Hour, time.Hour, "43200 20"},
	} {
		q, s := open(t, func(call) any { return map[string]any{} })
		messages, err := q.Receive(t.Context(), 1, test.visibility, test.wait)
		if err != nil || len(messages) != 0 {
			t.Fatalf("Receive gave %d messages and %v", len(messages), err)
		}
		in := s.calls[0].Input
		if got := fmt.Sprint(in["VisibilityTimeout"], in["WaitTimeSeconds"]); got != test.want {
			t.Errorf("visibility %v and wait %v were sent as %q, want %q", test.visibility, test.wait, got, test.want)
		}
	}
}

func TestSendFillsBatchesByCountAndSize(t *testing.T) {
	large := strings.Repeat("x", 400<<10)
	for _, test := range []struct {
		name   string
		bodies []string
		want   string
	}{
		{"by count", slices.Repeat([]string{"a"}, 23), "[10 10 3]"},
		{"by size", []string{large, large, large, "a", "b"}, "[2 3]"},
		{"the largest each alone", []string{strings.Repeat("y", 1<<20), strings.Repeat("y", 1<<20)}, "[1 1]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			q, s := open(t, allDone)
			var messages []queue.Outgoing
			for _, body := range test.bodies {
				messages = append(messages, queue.Outgoing{Body: body})
			}
			if err := errors.Join(q.Send(t.Context(), messages...)...); err != nil {
				t.Fatal(err)
			}
			var sizes []int
			for _, c := range s.calls {
				sizes = append(sizes, len(c.Entries))
			}
			if got := fmt.Sprint(sizes); got != test.want {
				t.Errorf("the batches have %s messages, want %s", got, test.want)
			}
		})
	}
}

func TestSendPutsIntoTheEntryWhatTheKindOfQueueTakes(t *testing.T) {
	for name, want := range map[string]string{
		"q":      `{"DelaySeconds":2,"Id":"0","MessageAttributes":{"k":{"DataType":"String","StringValue":"v"}},"MessageBody":"b","MessageGroupId":"g"}`,
		"q.fifo": `{"Id":"0","MessageAttributes":{"k":{"DataType":"String","StringValue":"v"}},"MessageBody":"b","MessageDeduplicationId":"d","MessageGroupId":"g"}`,
	} {
		q, s := openNamed(t, name, allDone)
		err := errors.Join(q.Send(t.Context(), queue.Outgoing{
			Body: "b", Attributes: map[string]string{"k": "v"}, Delay: 1100 * time.Millisecond, Group: "g", DedupID: "d",
		}, queue.Outgoing{Body: "plain"})...)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := json.Marshal(s.calls[0].Entries); string(got) != "["+want+`,{"Id":"1","MessageBody":"plain"}]` {
			t.Errorf("%s: the entries are %s, want %s and a plain one", name, got, want)
		}
	}
}

func TestSendGivesEachMessageItsOwnResult(t *testing.T) {
	q, s := open(t, func(c call) any {
		return batchReply(c, map[string]string{"long": "InvalidParameterValue", "unlucky": "InternalError"})
	})
	errs := q.Send(t.Context(), queue.Outgoing{Body: "good"}, queue.Outgoing{Body: "\x00"}, queue.Outgoing{Body: "long"},
		queue.Outgoing{Body: "unlucky"}, queue.Outgoing{Body: "good"})
	if errs[0] != nil || errs[4] != nil {
		t.Errorf("the good ones' results are %v and %v", errs[0], errs[4])
	}
	if !errors.Is(errs[1], queue.ErrInvalid) || !errors.Is(errs[2], queue.ErrInvalid) {
		t.Errorf("the bad ones' results are %v and %v, want ErrInvalid", errs[1], errs[2])
	}
	if errs[3] == nil || errors.Is(errs[3], queue.ErrInvalid) {
		t.Errorf("the unlucky one's result is %v, want a transient error", errs[3])
	}
	if n := len(s.calls[0].Entries); n != 4 {
		t.Errorf("%d messages were sent, want 4: not the one that can't be", n)
	}
}

func TestBatchThatIsRefusedAsAWholeIsSentSingly(t *testing.T) {
	q, s := open(t, func(c call) any {
		for _, e := range c.Entries {
			if e["MessageBody"] == "bad" || e["ReceiptHandle"] == "bad" {
				return fault{http.StatusBadRequest, map[string]string{
					"SendMessageBatch":   "InvalidMessageContents",
					"DeleteMessageBatch": "ReceiptHandleIsInvalid",
				}[c.Action]}
			}
		}
		return allDone(c)
	})
	errs := q.Send(t.Context(), queue.Outgoing{Body: "good"}, queue.Outgoing{Body: "bad"}, queue.Outgoing{Body: "good"})
	if errs[0] != nil || !errors.Is(errs[1], queue.ErrInvalid) || errs[2] != nil {
		t.Errorf("send gave %v, want ErrInvalid for the second only", errs)
	}
	errs = q.Delete(t.Context(), received("good", "bad", "good")...)
	if errs[0] != nil || !errors.Is(errs[1], queue.ErrLeaseLost) || errs[2] != nil {
		t.Errorf("delete gave %v, want ErrLeaseLost for the second only", errs)
	}
	if n := len(s.calls); n != 8 {
		t.Errorf("%d calls were made, want 1 and 3 for each", n)
	}
}

func TestLostLeasesAreToldFromOtherErrors(t *testing.T) {
	codes := map[string]bool{
		"ReceiptHandleIsInvalid":                    true,
		"AWS.SimpleQueueService.MessageNotInflight": true,
		"MessageNotInflight":                        true,
		"InvalidParameterValue":                     true,
		"InvalidParameterValueException":            true,
		"InternalError":                             false,
		"ServiceUnavailable":                        false,
		"RequestThrottled":                          false,
		"AWS.SimpleQueueService.NonExistentQueue":   false,
		"AccessDeniedException":                     false,
	}
	for code, lost := range codes {
		q, _ := open(t, func(c call) any { return batchReply(c, map[string]string{"bad": code}) })
		for step, errs := range map[string][]error{
			"change visibility": q.ChangeVisibility(t.Context(), time.Minute, received("good", "bad")...),
			"delete":            q.Delete(t.Context(), received("good", "bad")...),
		} {
			if errs[0] != nil || errs[1] == nil || errors.Is(errs[1], queue.ErrLeaseLost) != lost {
				t.Errorf("%s with %s gave %v; is the second to be ErrLeaseLost: %t", step, code, errs, lost)
			}
		}
	}
}

func TestReleaseSendsAVisibilityOfZero(t *testing.T) {
	q, s := open(t, allDone)
	if err := errors.Join(q.ChangeVisibility(t.Context(), 0, received("r")...)...); err != nil {
		t.Fatal(err)
	}
	if got := s.calls[0].Entries[0]["VisibilityTimeout"]; got != 0.0 {
		t.Errorf("the visibility sent is %v, want 0", got)
	}
}

func TestLostRepliesAreTriedAgain(t *testing.T) {
	n := 0
	q, s := open(t, func(c call) any {
		if n++; n < 3 {
			return fault{}
		}
		return allDone(c)
	})
	if err := errors.Join(q.Delete(t.Context(), received("r")...)...); err != nil {
		t.Fatal(err)
	}
	if len(s.calls) != 3 {
		t.Errorf("%d calls were made, want 3", len(s.calls))
	}
}

func TestAnOutageIsTheTransientErrorOfEveryEntry(t *testing.T) {
	q, s := open(t, func(call) any { return fault{http.StatusServiceUnavailable, "ServiceUnavailable"} })
	errs := q.Delete(t.Context(), received("a", "b")...)
	for _, err := range errs {
		if err == nil || errors.Is(err, queue.ErrLeaseLost) {
			t.Errorf("delete gave %v, want a transient error", err)
		}
	}
	if len(errs) != 2 || len(s.calls) != 3 {
		t.Errorf("%d results after %d calls, want 2 after 3", len(errs), len(s.calls))
	}
	if _, err := q.Receive(t.Context(), 1, time.Minute, 0); err == nil {
		t.Error("receive gave no error")
	}
	if _, err := q.Attributes(t.Context()); err == nil {
		t.Error("attributes gave no error")
	}
}

func TestAnEntryThatTheReplyLeavesOutIsNoSuccess(t *testing.T) {
	q, _ := open(t, func(call) any { return map[string]any{"Successful": []any{map[string]any{"Id": "1"}}} })
	errs := q.Delete(t.Context(), received("a", "b")...)
	if errs[0] == nil || errs[1] != nil {
		t.Errorf("delete gave %v, want an error for the first only", errs)
	}
}

func TestAttributesAreRead(t *testing.T) {
	for _, count := range []string{`5`, `"5"`} {
		q, _ := open(t, func(call) any {
			return map[string]any{"Attributes": map[string]string{
				"QueueArn":                              "arn:aws:sqs:us-east-1:000000000000:q",
				"VisibilityTimeout":                     "45",
				"MessageRetentionPeriod":                "1209600",
				"MaximumMessageSize":                    "262144",
				"RedrivePolicy":                         `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":` + count + `}`,
				"ApproximateNumberOfMessages":           "1",
				"ApproximateNumberOfMessagesNotVisible": "2",
				"ApproximateNumberOfMessagesDelayed":    "3",
			}}
		})
		got, err := q.Attributes(t.Context())
		want := queue.Attributes{
			ARN: "arn:aws:sqs:us-east-1:000000000000:q", VisibilityTimeout: 45 * time.Second, RetentionPeriod: 14 * 24 * time.Hour,
			MaximumMessage: 262144, DeadLetterARN: "arn:aws:sqs:us-east-1:000000000000:dead", MaxReceiveCount: 5,
			Visible: 1, InFlight: 2, Delayed: 3,
		}
		if err != nil || got != want {
			t.Errorf("attributes are %+v (%v), want %+v", got, err, want)
		}
	}
}

func TestBadAttributesAreAnError(t *testing.T) {
	for name, value := range map[string]string{
		"VisibilityTimeout": "soon",
		"RedrivePolicy":     "{",
	} {
		q, _ := open(t, func(call) any { return map[string]any{"Attributes": map[string]string{name: value}} })
		if _, err := q.Attributes(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error for %s %q is %v, want one that names it", name, value, err)
		}
	}
}

func TestDeadLetterURLIsAskedFor(t *testing.T) {
	q, s := open(t, func(c call) any {
		if c.Action == "GetQueueUrl" {
			return map[string]any{"QueueUrl": "http://elsewhere/000000000000/dead"}
		}
		return map[string]any{"Attributes": map[string]string{
			"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:123456789012:dead","maxReceiveCount":5}`,
		}}
	})
	url, err := q.DeadLetterURL(t.Context())
	if err != nil || url != "http://elsewhere/000000000000/dead" {
		t.Errorf("the URL is %q (%v)", url, err)
	}
	if in := s.calls[1].Input; in["QueueName"] != "dead" || in["QueueOwnerAWSAccountId"] != "123456789012" {
		t.Errorf("asked for %v, want the queue dead of 123456789012", in)
	}
}

// ElasticMQ's queues lie in a region "elasticmq", unless it is told otherwise.
func TestDeadLetterURLIsAskedForWhateverRegionAnotherServerNames(t *testing.T) {
	q, _ := open(t, func(c call) any {
		if c.Action == "GetQueueUrl" {
			return map[string]any{"QueueUrl": "http://elsewhere/000000000000/dead"}
		}
		return map[string]any{"Attributes": map[string]string{
			"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:elasticmq:000000000000:dead","maxReceiveCount":5}`,
		}}
	})
	if url, err := q.DeadLetterURL(t.Context()); err != nil || url != "http://elsewhere/000000000000/dead" {
		t.Errorf("the URL is %q (%v)", url, err)
	}
}

func TestDeadLetterURLIsEmptyWithoutRedrive(t *testing.T) {
	q, _ := open(t, func(call) any { return map[string]any{"Attributes": map[string]string{"QueueArn": "arn"}} })
	if url, err := q.DeadLetterURL(t.Context()); url != "" || err != nil {
		t.Errorf("the URL is %q (%v), want none", url, err)
	}
}

func TestURLRefusesWhatIsNoQueueHere(t *testing.T) {
	client := awssqs.New(awssqs.Options{Region: "us-east-1", Retryer: aws.NopRetryer{}})
	for _, arn := range []string{"", "dead", "arn:aws:sns:us-east-1:123456789012:topic", "arn:aws:sqs:us-east-1::q", "arn:aws:sqs:eu-west-1:123456789012:q"} {
		if _, err := sqs.URL(t.Context(), client, arn); err == nil {
			t.Errorf("%q gave no error", arn)
		}
	}
}
