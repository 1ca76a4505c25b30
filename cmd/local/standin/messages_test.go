package standin_test

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

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
	if took := time.Since(start); took >= 20*time.Second { // as long as one that was not woken
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
