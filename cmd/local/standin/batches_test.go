package standin_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func entries(n int, body string) []types.SendMessageBatchRequestEntry {
	var list []types.SendMessageBatchRequestEntry
	for i := range n {
		list = append(list, types.SendMessageBatchRequestEntry{Id: new(strconv.Itoa(i)), MessageBody: &body})
	}
	return list
}

func (w *wire) sendBatch(list []types.SendMessageBatchRequestEntry) (*sqs.SendMessageBatchOutput, error) {
	return w.SendMessageBatch(w.Context(), &sqs.SendMessageBatchInput{QueueUrl: w.url, Entries: list})
}

func TestBatchesAreCheckedAsAWhole(t *testing.T) {
	w := onWire(t, "", nil)
	_, err := w.sendBatch(entries(11, "m"))
	refuses[*types.TooManyEntriesInBatchRequest](w, err)
	twice := entries(2, "m")
	twice[1].Id = twice[0].Id
	_, err = w.sendBatch(twice)
	refuses[*types.BatchEntryIdsNotDistinct](w, err)
	_, err = w.sendBatch(entries(2, strings.Repeat("x", 600_000)))
	refuses[*types.BatchRequestTooLong](w, err)
	if endpoint != "" {
		return // ElasticMQ doesn't check what follows
	}
	_, err = w.sendBatch([]types.SendMessageBatchRequestEntry{})
	refuses[*types.EmptyBatchRequest](w, err)
	_, err = w.sendBatch([]types.SendMessageBatchRequestEntry{{Id: new("a b"), MessageBody: new("m")}})
	refuses[*types.InvalidBatchEntryId](w, err)
	_, err = w.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: w.url, Entries: []types.DeleteMessageBatchRequestEntry{}})
	refuses[*types.EmptyBatchRequest](w, err)
}

func TestBadEntryHurtsOnlyItself(t *testing.T) {
	w := onWire(t, "", nil)
	list := entries(3, "m")
	list[1].MessageBody = new("\x00")
	sent, err := w.sendBatch(list)
	if err != nil {
		t.Fatal(err)
	}
	if len(sent.Successful) != 2 || len(sent.Failed) != 1 || *sent.Failed[0].Id != "1" || !sent.Failed[0].SenderFault {
		t.Fatalf("successful %v, failed %v; want 0 and 2, and 1", sent.Successful, sent.Failed)
	}
	if code := *sent.Failed[0].Code; endpoint == "" && code != "InvalidMessageContents" {
		t.Errorf("1 failed with %s, want InvalidMessageContents", code)
	}
	got := w.receive(10, 1)
	if len(got) != 2 {
		t.Fatalf("received %d messages, want 2", len(got))
	}
	changes, err := w.ChangeMessageVisibilityBatch(t.Context(), &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: w.url, Entries: []types.ChangeMessageVisibilityBatchRequestEntry{
		{Id: new("good"), ReceiptHandle: got[0].ReceiptHandle, VisibilityTimeout: 60},
		{Id: new("bad"), ReceiptHandle: new("nonsense"), VisibilityTimeout: 60},
	}})
	if err != nil || len(changes.Successful) != 1 || len(changes.Failed) != 1 || *changes.Failed[0].Code != "ReceiptHandleIsInvalid" {
		t.Errorf("changes: %v, %v", changes, err)
	}
	deleted, err := w.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: w.url, Entries: []types.DeleteMessageBatchRequestEntry{
		{Id: new("first"), ReceiptHandle: got[0].ReceiptHandle},
		{Id: new("bad"), ReceiptHandle: new("nonsense")},
		{Id: new("second"), ReceiptHandle: got[1].ReceiptHandle},
	}})
	if err != nil || len(deleted.Successful) != 2 || len(deleted.Failed) != 1 || *deleted.Failed[0].Id != "bad" {
		t.Errorf("deletes: %v, %v", deleted, err)
	}
	if a := w.attributes(w.url); a["ApproximateNumberOfMessages"] != "0" || a["ApproximateNumberOfMessagesNotVisible"] != "0" {
		t.Errorf("messages are left: %v", a)
	}
}
