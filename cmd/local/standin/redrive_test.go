package standin_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

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
	out, err := w.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: source, WaitTimeSeconds: 20, VisibilityTimeout: 30})
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
