package sqs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/penstock/penstock/queue"
)

// maxBatchBytes is what the messages of one SendMessageBatch may have in all.
const maxBatchBytes = queue.MaxMessageBytes

// Send implements queue.Sender. The batches are sent one after the other.
// Messages that SQS would not take (queue.ErrInvalid) are not sent.
func (q *Queue) Send(ctx context.Context, messages ...queue.Outgoing) []error {
	errs := make([]error, len(messages))
	var batch []int // of messages that wait to be sent
	size := 0
	flush := func() {
		if len(batch) > 0 {
			q.sendBatch(ctx, messages, batch, errs)
		}
		batch, size = batch[:0], 0
	}
	for i, m := range messages {
		if err := m.Validate(); err != nil {
			errs[i] = fmt.Errorf("send to %s: %w", q.url, err)
			continue
		}
		if len(batch) == queue.MaxBatch || size+m.Size() > maxBatchBytes {
			flush()
		}
		batch = append(batch, i)
		size += m.Size()
	}
	flush()
	return errs
}

// sendBatch sends the messages that batch has the indices of, and puts each
// one's result into errs at the same index.
func (q *Queue) sendBatch(ctx context.Context, messages []queue.Outgoing, batch []int, errs []error) {
	entries := make([]types.SendMessageBatchRequestEntry, len(batch))
	for n, i := range batch {
		entries[n] = q.sendEntry(n, messages[i])
	}
	results := eachEntry(entries, func(entries []types.SendMessageBatchRequestEntry) ([]string, []types.BatchResultErrorEntry, error) {
		out, err := q.client.SendMessageBatch(ctx, &awssqs.SendMessageBatchInput{QueueUrl: &q.url, Entries: entries})
		if err != nil {
			return nil, nil, err
		}
		return ids(out.Successful, func(e types.SendMessageBatchResultEntry) *string { return e.Id }), out.Failed, nil
	})
	for n, i := range batch {
		if err := results[n]; err != nil {
			errs[i] = fmt.Errorf("send to %s: %w", q.url, asInvalid(err))
		}
	}
}

// ChangeVisibility implements queue.Receiver. An extension past 12 hours from
// the receive is a lost lease: SQS won't have it.
func (q *Queue) ChangeVisibility(ctx context.Context, d time.Duration, messages ...*queue.Message) []error {
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(messages))
	for i, m := range messages {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{
			Id:                id(i),
			ReceiptHandle:     &m.Receipt,
			VisibilityTimeout: seconds(d, queue.MaxLease),
		}
	}
	results := eachEntry(entries, func(entries []types.ChangeMessageVisibilityBatchRequestEntry) ([]string, []types.BatchResultErrorEntry, error) {
		out, err := q.client.ChangeMessageVisibilityBatch(ctx, &awssqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.url, Entries: entries})
		if err != nil {
			return nil, nil, err
		}
		return ids(out.Successful, func(e types.ChangeMessageVisibilityBatchResultEntry) *string { return e.Id }), out.Failed, nil
	})
	return q.leaseErrors("change visibility", messages, results)
}

// Delete implements queue.Receiver.
func (q *Queue) Delete(ctx context.Context, messages ...*queue.Message) []error {
	entries := make([]types.DeleteMessageBatchRequestEntry, len(messages))
	for i, m := range messages {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: id(i), ReceiptHandle: &m.Receipt}
	}
	results := eachEntry(entries, func(entries []types.DeleteMessageBatchRequestEntry) ([]string, []types.BatchResultErrorEntry, error) {
		out, err := q.client.DeleteMessageBatch(ctx, &awssqs.DeleteMessageBatchInput{QueueUrl: &q.url, Entries: entries})
		if err != nil {
			return nil, nil, err
		}
		return ids(out.Successful, func(e types.DeleteMessageBatchResultEntry) *string { return e.Id }), out.Failed, nil
	})
	return q.leaseErrors("delete", messages, results)
}

func (q *Queue) leaseErrors(step string, messages []*queue.Message, results []error) []error {
	for i, err := range results {
		if err != nil {
			results[i] = fmt.Errorf("%s of message %s in %s: %w", step, messages[i].ID, q.url, asLeaseLost(err))
		}
	}
	return results
}

// eachEntry makes a batch call and sorts its reply into one result an entry.
// The ids of the entries are their indices. A call that is refused as a whole
// for what may be the fault of one entry is made again for each entry alone,
// so that one message can't fail its neighbours.
func eachEntry[E any](entries []E, call func([]E) (done []string, failed []types.BatchResultErrorEntry, err error)) []error {
	results := make([]error, len(entries))
	if len(entries) == 0 {
		return results
	}
	if len(entries) > queue.MaxBatch {
		return fill(results, fmt.Errorf("%d messages in one call; SQS takes %d", len(entries), queue.MaxBatch))
	}
	done, failed, err := call(entries)
	switch {
	case err != nil && len(entries) > 1 && (isInvalid(err) || isLeaseLost(err)):
		for i := range entries {
			results[i] = single(entries[i:i+1], strconv.Itoa(i), call)
		}
		return results
	case err != nil:
		return fill(results, err)
	}
	for i := range results {
		results[i] = entryResult(strconv.Itoa(i), done, failed)
	}
	return results
}

func single[E any](entry []E, id string, call func([]E) ([]string, []types.BatchResultErrorEntry, error)) error {
	done, failed, err := call(entry)
	if err != nil {
		return err
	}
	return entryResult(id, done, failed)
}

// entryResult finds the result of the entry with this id in a batch's reply.
func entryResult(id string, done []string, failed []types.BatchResultErrorEntry) error {
	for _, f := range failed {
		if text(f.Id) == id {
			fault := smithy.FaultServer
			if f.SenderFault {
				fault = smithy.FaultClient
			}
			return &smithy.GenericAPIError{Code: text(f.Code), Message: text(f.Message), Fault: fault}
		}
	}
	if !slices.Contains(done, id) {
		return errors.New("the reply does not say what became of it")
	}
	return nil
}

// asLeaseLost marks an error of ChangeVisibility or Delete that says that the
// receipt is no good any more.
func asLeaseLost(err error) error {
	if isLeaseLost(err) {
		return fmt.Errorf("%w: %w", queue.ErrLeaseLost, err)
	}
	return err
}

// isLeaseLost looks at the code only. SQS says InvalidParameterValue of the
// receipt of a message that is gone, and of an extension past 12 hours in all;
// of the parameters nothing else can be wrong.
func isLeaseLost(err error) bool {
	switch code(err) {
	case "ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue", "InvalidIdFormat", "MissingParameter":
		return true
	}
	return false
}

// asInvalid marks an error of Send that says that the message itself is bad,
// by limits that Validate can't know, such as the queue's own maximum size.
func asInvalid(err error) error {
	if isInvalid(err) {
		return fmt.Errorf("%w: %w", queue.ErrInvalid, err)
	}
	return err
}

func isInvalid(err error) bool {
	switch code(err) {
	case "InvalidMessageContents", "InvalidParameterValue", "MissingParameter",
		"InvalidAttributeValue", "MessageTooLong", "BatchRequestTooLong":
		return true
	}
	return false
}

// code is the error code that SQS gave, in its JSON form or in that of the
// older query protocol, which it still puts into a header; or empty. LocalStack
// gives codes as the SDKs name their errors: InvalidParameterValueException.
func code(err error) string {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return ""
	}
	return strings.TrimSuffix(strings.TrimPrefix(api.ErrorCode(), "AWS.SimpleQueueService."), "Exception")
}

func (q *Queue) sendEntry(n int, m queue.Outgoing) types.SendMessageBatchRequestEntry {
	entry := types.SendMessageBatchRequestEntry{
		Id:          id(n),
		MessageBody: &m.Body,
	}
	if len(m.Attributes) > 0 {
		entry.MessageAttributes = make(map[string]types.MessageAttributeValue, len(m.Attributes))
	}
	for name, value := range m.Attributes {
		entry.MessageAttributes[name] = types.MessageAttributeValue{DataType: new("String"), StringValue: &value}
	}
	if m.Group != "" {
		entry.MessageGroupId = &m.Group
	}
	// SQS refuses on one kind of queue what the other takes.
	switch fifo := strings.HasSuffix(q.url, ".fifo"); {
	case fifo && m.DedupID != "":
		entry.MessageDeduplicationId = &m.DedupID
	case !fifo:
		entry.DelaySeconds = seconds(m.Delay, queue.MaxDelay)
	}
	return entry
}

func id(n int) *string { return new(strconv.Itoa(n)) }

func ids[E any](entries []E, id func(E) *string) []string {
	out := make([]string, len(entries))
	for i, e := range entries {
		out[i] = text(id(e))
	}
	return out
}

func fill(errs []error, err error) []error {
	for i := range errs {
		errs[i] = err
	}
	return errs
}
