package standin_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/penstock/penstock/cmd/local/standin"
	"github.com/penstock/penstock/cmd/local/standin/broker"
)

// endpoint is another implementation of SQS to run the tests of this file
// against, such as http://127.0.0.1:9324 of an ElasticMQ.
var endpoint = os.Getenv("SQS_ENDPOINT")

// wire is an SDK client on a queue of its own.
type wire struct {
	*testing.T
	*sqs.Client
	handler *standin.Handler // nil when endpoint is set
	url     *string
	name    string
}

// onWire gives a test a queue whose name ends in the suffix.
func onWire(t *testing.T, suffix string, attributes map[string]string) *wire {
	t.Helper()
	w := &wire{T: t, name: fmt.Sprintf("q%d%s", time.Now().UnixNano(), suffix)}
	at := endpoint
	if at == "" {
		at, w.handler = serve(t, standin.Config{})
	}
	w.Client = client(at)
	w.url = w.create(w.name, attributes)
	return w
}

// serve starts a stand-in in memory.
func serve(t testing.TB, config standin.Config) (string, *standin.Handler) {
	t.Helper()
	b, err := broker.New(broker.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := standin.New(b, config)
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		b.EndPolls()
		server.Close()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return server.URL, h
}

func client(endpoint string) *sqs.Client {
	return sqs.New(sqs.Options{
		BaseEndpoint: &endpoint,
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider("key", "secret", ""),
		Retryer:      aws.NopRetryer{},
	})
}

func (w *wire) create(name string, attributes map[string]string) *string {
	w.Helper()
	if strings.HasSuffix(name, ".fifo") {
		if attributes == nil {
			attributes = make(map[string]string)
		}
		attributes["FifoQueue"] = "true"
	}
	out, err := w.CreateQueue(w.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if endpoint != "" {
			_, _ = w.DeleteQueue(w.Context(), &sqs.DeleteQueueInput{QueueUrl: out.QueueUrl})
		}
	})
	return out.QueueUrl
}

func (w *wire) send(body string) *sqs.SendMessageOutput {
	w.Helper()
	out, err := w.SendMessage(w.Context(), &sqs.SendMessageInput{QueueUrl: w.url, MessageBody: &body})
	if err != nil {
		w.Fatal(err)
	}
	return out
}

func (w *wire) receive(max, wait int32) []types.Message {
	w.Helper()
	out, err := w.ReceiveMessage(w.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: w.url, MaxNumberOfMessages: max, WaitTimeSeconds: wait, VisibilityTimeout: 30,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
		MessageAttributeNames:       []string{"All"},
	})
	if err != nil {
		w.Fatal(err)
	}
	return out.Messages
}

func (w *wire) attributes(url *string) map[string]string {
	w.Helper()
	out, err := w.GetQueueAttributes(w.Context(), &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll}})
	if err != nil {
		w.Fatal(err)
	}
	return out.Attributes
}

// refuses checks for an error of the SDK's own type. Other implementations
// have their own ideas of which: they have to refuse, though.
func refuses[E error](w *wire, err error) {
	w.Helper()
	if endpoint != "" {
		if _, ok := errors.AsType[smithy.APIError](err); !ok {
			w.Errorf("error is %v, want one of the API", err)
		}
		return
	}
	if _, ok := errors.AsType[E](err); !ok {
		var want E
		w.Errorf("error is %v, want a %T", err, want)
	}
}

// refusesWith checks for an error that the SDK has no type for.
func (w *wire) refusesWith(err error, code string) {
	w.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if endpoint != "" && ok {
		return
	}
	if !ok || e.ErrorCode() != code || e.ErrorFault() != smithy.FaultClient {
		w.Errorf("error is %v, want %s of the client", err, code)
	}
}

func TestQueueLifeCycle(t *testing.T) {
	w := onWire(t, "", map[string]string{"VisibilityTimeout": "45"})
	same := w.create(w.name, map[string]string{"VisibilityTimeout": "45"})
	if *same != *w.url {
		t.Errorf("creating it again answers %s, want %s", *same, *w.url)
	}
	_, err := w.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &w.name, Attributes: map[string]string{"VisibilityTimeout": "46"}})
	refuses[*types.QueueNameExists](w, err)
	found, err := w.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: &w.name})
	if err != nil || *found.QueueUrl != *w.url {
		t.Errorf("its URL is %v (%v), want %s", found, err, *w.url)
	}
	if _, err := w.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: w.url, Attributes: map[string]string{"VisibilityTimeout": "50"}}); err != nil {
		t.Error(err)
	}
	a := w.attributes(w.url)
	if a["VisibilityTimeout"] != "50" || !strings.HasSuffix(a["QueueArn"], ":"+w.name) || a["ApproximateNumberOfMessages"] != "0" {
		t.Errorf("attributes are %v", a)
	}
	if _, err := w.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: w.url}); err != nil {
		t.Error(err)
	}
	_, err = w.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: &w.name})
	refuses[*types.QueueDoesNotExist](w, err)
	if e, ok := errors.AsType[smithy.APIError](err); ok && endpoint == "" && e.ErrorCode() != "AWS.SimpleQueueService.NonExistentQueue" {
		t.Errorf("its code is %s, want the Query protocol's", e.ErrorCode())
	}
	_, err = w.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: w.url, MessageBody: new("m")})
	refuses[*types.QueueDoesNotExist](w, err)
}

func TestListQueuesByPrefix(t *testing.T) {
	w := onWire(t, "-a", nil)
	second := w.create(w.name+"b", nil)
	out, err := w.ListQueues(t.Context(), &sqs.ListQueuesInput{QueueNamePrefix: &w.name})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(slices.Values(out.QueueUrls)), []string{*w.url, *second}; !slices.Equal(got, want) {
		t.Errorf("queues are %v, want %v", got, want)
	}
}

func TestQueueAttributesAreChecked(t *testing.T) {
	w := onWire(t, "", nil)
	set := func(name, value string) error {
		_, err := w.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: w.url, Attributes: map[string]string{name: value}})
		return err
	}
	refuses[*types.InvalidAttributeName](w, set("NoSuchAttribute", "1"))
	if endpoint != "" {
		return // ElasticMQ takes what follows
	}
	for name, value := range map[string]string{
		"VisibilityTimeout":             "43201",
		"MessageRetentionPeriod":        "59",
		"DelaySeconds":                  "901",
		"ReceiveMessageWaitTimeSeconds": "x",
		"MaximumMessageSize":            "1048577",
		"RedriveAllowPolicy":            "{}",
		"SqsManagedSseEnabled":          "yes",
	} {
		refuses[*types.InvalidAttributeValue](w, set(name, value))
	}
	_, err := w.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: new("no spaces")})
	w.refusesWith(err, "InvalidParameterValue")
}

func TestMessageRoundTrip(t *testing.T) {
	w := onWire(t, "", nil)
	before := time.Now().Add(-time.Second)
	sent, err := w.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: w.url, MessageBody: new("a \"body\" <é> ✓ 🚰\n"), MessageGroupId: new("tenant-1"),
		MessageAttributes: map[string]types.MessageAttributeValue{
			"text":   {DataType: new("String"), StringValue: new("été")},
			"number": {DataType: new("Number"), StringValue: new("-1.5e3")},
			"bytes":  {DataType: new("Binary.png"), BinaryValue: []byte{0, 1, 255}},
		},
		MessageSystemAttributes: map[string]types.MessageSystemAttributeValue{
			"AWSTraceHeader": {DataType: new("String"), StringValue: new("Root=1-5759e988-bd862e3fe1be46a994272793")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := w.receive(10, 1)
	if len(got) != 1 {
		t.Fatalf("received %d messages", len(got))
	}
	m := got[0]
	if *m.MessageId != *sent.MessageId || *m.MD5OfMessageAttributes != *sent.MD5OfMessageAttributes || *m.MD5OfBody != *sent.MD5OfMessageBody {
		t.Errorf("received %v, want what was sent: %v", m, sent)
	}
	if b := m.MessageAttributes["bytes"]; !slices.Equal(b.BinaryValue, []byte{0, 1, 255}) || *b.DataType != "Binary.png" || *m.MessageAttributes["text"].StringValue != "été" {
		t.Errorf("message attributes are %v", m.MessageAttributes)
	}
	a := m.Attributes
	millis, err := strconv.ParseInt(a["SentTimestamp"], 10, 64)
	if at := time.UnixMilli(millis); err != nil || at.Before(before) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("sent at %q", a["SentTimestamp"])
	}
	if a["ApproximateReceiveCount"] != "1" || a["MessageGroupId"] != "tenant-1" || a["AWSTraceHeader"] == "" || a["ApproximateFirstReceiveTimestamp"] == "" || a["SenderId"] == "" {
		t.Errorf("system attributes are %v", a)
	}
	if _, err := w.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: w.url, ReceiptHandle: m.ReceiptHandle}); err != nil {
		t.Error(err)
	}
	if got := w.receive(10, 0); len(got) != 0 {
		t.Errorf("after its delete it was received again")
	}
}

func TestReceiveReturnsOnlyTheAttributesAskedFor(t *testing.T) {
	w := onWire(t, "", nil)
	_, err := w.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: w.url, MessageBody: new("m"),
		MessageAttributes: map[string]types.MessageAttributeValue{
			"app.one": {DataType: new("String"), StringValue: new("1")},
			"app.two": {DataType: new("String"), StringValue: new("2")},
			"other":   {DataType: new("String"), StringValue: new("3")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ ask, want []string }{
		{nil, nil},
		{[]string{"other", "none"}, []string{"other"}},
		{[]string{"app.*", "app.one", "app.two"}, []string{"app.one", "app.two"}},
		{[]string{".*"}, []string{"app.one", "app.two", "other"}},
	} {
		out, err := w.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: w.url, MessageAttributeNames: test.ask, WaitTimeSeconds: 1})
		if err != nil || len(out.Messages) != 1 {
			t.Fatalf("received %v, %v", out, err)
		}
		m := out.Messages[0]
		if got := slices.Sorted(maps.Keys(m.MessageAttributes)); !slices.Equal(got, test.want) {
			t.Errorf("asked for %v and got %v, want %v", test.ask, got, test.want)
		}
		if len(m.Attributes) != 0 {
			t.Errorf("system attributes nobody asked for: %v", m.Attributes)
		}
		if _, err := w.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: w.url, ReceiptHandle: m.ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLongPollIsAnsweredByTheNextSend(t *testing.T) {
	w := onWire(t, "", nil)
	var sender sync.WaitGroup
	defer sender.Wait()
	sender.Go(func() {
		time.Sleep(200 * time.Millisecond) // most likely the poll waits by then; the test holds either way
		if _, err := w.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: w.url, MessageBody: new("m")}); err != nil {
			t.Error(err)
		}
	})
	start := time.Now()
	if got := w.receive(1, 20); len(got) != 1 {
		t.Fatalf("received %d messages", len(got))
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the poll took %v", took)
	}
}

func TestReceiptErrors(t *testing.T) {
	w := onWire(t, "", nil)
	_, err := w.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: w.url, ReceiptHandle: new("nonsense")})
	refuses[*types.ReceiptHandleIsInvalid](w, err)
	w.send("m")
	m := w.receive(1, 1)[0]
	change := func(seconds int32) error {
		_, err := w.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: w.url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: seconds})
		return err
	}
	if endpoint == "" { // ElasticMQ takes it
		w.refusesWith(change(43201), "InvalidParameterValue")
	}
	if err := change(0); err != nil {
		t.Error(err)
	}
	if endpoint == "" { // ElasticMQ changes the visibility of visible messages too
		refuses[*types.MessageNotInflight](w, change(30))
	}
	m = w.receive(1, 1)[0]
	if got := m.Attributes["ApproximateReceiveCount"]; got != "2" {
		t.Errorf("receive count is %s after a release, want 2", got)
	}
	for i := range 2 {
		_, err := w.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: w.url, ReceiptHandle: m.ReceiptHandle})
		if err != nil && (i == 0 || endpoint == "") { // ElasticMQ knows the receipt no more
			t.Error(err)
		}
	}
	w.refusesWith(change(30), "InvalidParameterValue")
}

func TestMessagesAreChecked(t *testing.T) {
	w := onWire(t, "", nil)
	send := func(in sqs.SendMessageInput) error {
		in.QueueUrl = w.url
		_, err := w.SendMessage(t.Context(), &in)
		return err
	}
	refuses[*types.InvalidMessageContents](w, send(sqs.SendMessageInput{MessageBody: new("a\x01")}))
	refuses[*types.InvalidMessageContents](w, send(sqs.SendMessageInput{MessageBody: new("\ufffe")}))
	w.refusesWith(send(sqs.SendMessageInput{MessageBody: new("m"), DelaySeconds: 901}), "InvalidParameterValue")
	w.refusesWith(send(sqs.SendMessageInput{MessageBody: new(strings.Repeat("x", 1<<20+1))}), "InvalidParameterValue")
	if err := send(sqs.SendMessageInput{MessageBody: new(strings.Repeat("\n", 1<<20))}); err != nil {
		t.Errorf("1 MiB is refused: %v", err)
	}
	if endpoint != "" {
		return
	}
	w.refusesWith(send(sqs.SendMessageInput{MessageBody: new("")}), "MissingParameter")
	for name, value := range map[string]types.MessageAttributeValue{
		"AWS.reserved": {DataType: new("String"), StringValue: new("x")},
		"a..b":         {DataType: new("String"), StringValue: new("x")},
		"empty":        {DataType: new("String"), StringValue: new("")},
		"text":         {DataType: new("Number"), StringValue: new("x")},
		"type":         {DataType: new("Thing"), StringValue: new("x")},
	} {
		w.refusesWith(send(sqs.SendMessageInput{MessageBody: new("m"), MessageAttributes: map[string]types.MessageAttributeValue{name: value}}), "InvalidParameterValue")
	}
	w.url = w.create(w.name+"-small", map[string]string{"MaximumMessageSize": "1024"})
	w.refusesWith(send(sqs.SendMessageInput{MessageBody: new(strings.Repeat("x", 1025))}), "InvalidParameterValue")
}

func TestReceiveParametersAreChecked(t *testing.T) {
	w := onWire(t, "", nil)
	receive := func(in sqs.ReceiveMessageInput) error {
		in.QueueUrl = w.url
		_, err := w.ReceiveMessage(t.Context(), &in)
		return err
	}
	if err := receive(sqs.ReceiveMessageInput{MaxNumberOfMessages: 11}); err == nil {
		t.Error("11 messages were granted")
	}
	w.refusesWith(receive(sqs.ReceiveMessageInput{WaitTimeSeconds: 21}), "InvalidParameterValue")
	if endpoint == "" { // ElasticMQ takes it
		w.refusesWith(receive(sqs.ReceiveMessageInput{VisibilityTimeout: 43201}), "InvalidParameterValue")
	}
}

func TestPurge(t *testing.T) {
	w := onWire(t, "", nil)
	w.send("m")
	if _, err := w.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: w.url}); err != nil {
		t.Fatal(err)
	}
	if got := w.receive(1, 0); len(got) != 0 {
		t.Error("a purged message was received")
	}
	if endpoint == "" {
		_, err := w.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: w.url})
		refuses[*types.PurgeQueueInProgress](w, err)
	}
}

func TestTags(t *testing.T) {
	w := onWire(t, "", nil)
	if _, err := w.TagQueue(t.Context(), &sqs.TagQueueInput{QueueUrl: w.url, Tags: map[string]string{"a": "1", "b": "2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.UntagQueue(t.Context(), &sqs.UntagQueueInput{QueueUrl: w.url, TagKeys: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	out, err := w.ListQueueTags(t.Context(), &sqs.ListQueueTagsInput{QueueUrl: w.url})
	if err != nil || !maps.Equal(out.Tags, map[string]string{"b": "2"}) {
		t.Errorf("tags are %v (%v), want b=2", out, err)
	}
}

func TestDeadLettersAndMoveTask(t *testing.T) {
	w := onWire(t, "", nil)
	dead := w.create(w.name+"-dead", nil)
	arn := w.attributes(dead)["QueueArn"]
	_, err := w.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: w.url, Attributes: map[string]string{
		"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":"1"}`, arn), "VisibilityTimeout": "0",
	}})
	if err != nil {
		t.Fatal(err)
	}
	sources, err := w.ListDeadLetterSourceQueues(t.Context(), &sqs.ListDeadLetterSourceQueuesInput{QueueUrl: dead})
	if err != nil || endpoint == "" && !slices.Equal(sources.QueueUrls, []string{*w.url}) { // ElasticMQ's list has another name

		t.Errorf("sources are %v (%v), want %s", sources, err, *w.url)
	}
	w.send("m")
	source := w.url
	in := &sqs.ReceiveMessageInput{QueueUrl: source} // the SDK leaves a zero timeout out: the queue's holds
	for i, want := range []int{1, 0} {
		out, err := w.ReceiveMessage(t.Context(), in)
		if err != nil || len(out.Messages) != want {
			t.Fatalf("receive %d: %v, %v; want %d messages", i+1, out, err, want)
		}
	}
	started, err := w.StartMessageMoveTask(t.Context(), &sqs.StartMessageMoveTaskInput{SourceArn: &arn, DestinationArn: new(w.attributes(source)["QueueArn"])})
	if err != nil || started.TaskHandle == nil {
		t.Fatalf("start move task: %v, %v", started, err)
	}
	out, err := w.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: source, WaitTimeSeconds: 5, VisibilityTimeout: 30})
	if err != nil || len(out.Messages) != 1 || *out.Messages[0].Body != "m" {
		t.Fatalf("after the move: %v, %v", out, err)
	}
	for { // it moves first and is completed then
		tasks, err := w.ListMessageMoveTasks(t.Context(), &sqs.ListMessageMoveTasksInput{SourceArn: &arn})
		if err != nil || len(tasks.Results) != 1 {
			t.Fatalf("tasks: %v, %v", tasks, err)
		}
		if r := tasks.Results[0]; *r.Status == "COMPLETED" {
			if r.ApproximateNumberOfMessagesMoved != 1 {
				t.Errorf("it moved %d messages, want 1", r.ApproximateNumberOfMessagesMoved)
			}
			break
		}
	}
}

func TestFIFO(t *testing.T) {
	w := onWire(t, ".fifo", nil)
	send := func(body, group, dedup string) *sqs.SendMessageOutput {
		out, err := w.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: w.url, MessageBody: &body, MessageGroupId: &group, MessageDeduplicationId: &dedup})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first, again := send("a1", "a", "1"), send("a1", "a", "1")
	if *first.MessageId != *again.MessageId || first.SequenceNumber == nil {
		t.Errorf("the duplicate has id %s, want %s, and a sequence number", *again.MessageId, *first.MessageId)
	}
	send("a2", "a", "2")
	send("b1", "b", "3")
	m := w.receive(1, 1)
	if len(m) != 1 || *m[0].Body != "a1" || m[0].Attributes["MessageGroupId"] != "a" || m[0].Attributes["MessageDeduplicationId"] != "1" || m[0].Attributes["SequenceNumber"] == "" {
		t.Fatalf("received %v, want a1 of group a", m)
	}
	if m := w.receive(10, 0); len(m) != 1 || *m[0].Body != "b1" {
		t.Fatalf("received %v while group a is locked, want b1", m)
	}
	if _, err := w.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: w.url, ReceiptHandle: m[0].ReceiptHandle}); err != nil {
		t.Error(err)
	}
	if m := w.receive(10, 1); len(m) != 1 || *m[0].Body != "a2" {
		t.Fatalf("received %v, want a2", m)
	}
	_, err := w.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: w.url, MessageBody: new("m")})
	w.refusesWith(err, "MissingParameter")
}
