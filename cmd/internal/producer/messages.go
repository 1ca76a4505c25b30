package producer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue/request"
)

// message is one of a batch that Lambda received from a queue.
type message struct {
	ID        string `json:"messageId"`
	Body      string `json:"body"`
	Source    string `json:"eventSource"`
	SourceARN string `json:"eventSourceARN"`

	Attributes map[string]json.RawMessage `json:"messageAttributes"`
}

// BatchResult is the answer to a batch of messages, in the form of Lambda's
// ReportBatchItemFailures: the messages that are to stay in their queue. An
// empty list lets Lambda delete all.
type BatchResult struct {
	Failures []BatchFailure `json:"batchItemFailures"`
	Enqueued int            `json:"enqueued"`
	Dropped  int            `json:"dropped"`
}

// BatchFailure names a message.
type BatchFailure struct {
	ID string `json:"itemIdentifier"`
}

// messages puts the requests of a queue's messages into our queue. Each message
// has its own fate: it is deleted when all that it asks for is in the queue, and
// comes again when not, up to its own queue's dead-letter queue.
//
// Of a FIFO queue nothing is done behind the first message that fails, so that
// order is kept.
//
// When every message fails, the batch does: an error is the one answer that
// keeps them also where ReportBatchItemFailures is not set.
func (h *Handler) messages(ctx context.Context, event json.RawMessage) (any, error) {
	var batch struct{ Records []message }
	if err := json.Unmarshal(event, &batch); err != nil {
		return nil, &EventError{fmt.Errorf("the event's Records are not those of SQS: %w", err)}
	}
	if err := h.checkSource(batch.Records); err != nil {
		return nil, &EventError{err}
	}
	faults := make([]error, len(batch.Records))
	answer := BatchResult{Failures: []BatchFailure{}}
	if isFIFO(batch.Records[0].SourceARN) {
		h.inOrder(ctx, batch.Records, faults, &answer)
	} else {
		h.allAtOnce(ctx, batch.Records, faults, &answer)
	}
	for i, err := range faults {
		if err != nil {
			answer.Failures = append(answer.Failures, BatchFailure{batch.Records[i].ID})
		}
	}
	if len(answer.Failures) == len(batch.Records) {
		return nil, fault(faults, nil)
	}
	return answer, nil
}

// inOrder stops at the first message that fails.
func (h *Handler) inOrder(ctx context.Context, batch []message, faults []error, answer *BatchResult) {
	for i := range batch {
		h.allAtOnce(ctx, batch[i:i+1], faults[i:i+1], answer)
		if faults[i] == nil {
			continue
		}
		for j := i + 1; j < len(batch); j++ {
			faults[j] = fmt.Errorf("message %s: it comes behind one that failed, and waits for it", batch[j].ID)
		}
		return
	}
}

// allAtOnce sends the requests of all messages together, and finds for each
// message what is wrong with it.
func (h *Handler) allAtOnce(ctx context.Context, batch []message, faults []error, answer *BatchResult) {
	var all []request.Request
	var of []int // the message that each is of
	unreadable := make([]error, len(batch))
	for i, m := range batch {
		requests, err := request.Decode(m.Body)
		if err != nil {
			h.Log.Error("message not understood", zap.String("messageId", m.ID), zap.Error(err), zap.String("body", m.Body[:min(len(m.Body), 2048)]))
			unreadable[i] = &EventError{err}
		}
		all, of = append(all, requests...), append(of, slices.Repeat([]int{i}, len(requests))...)
	}
	failed := make([][]error, len(batch))
	for n, f := range h.take(ctx, all, origin{}) {
		switch {
		case f.err != nil:
			failed[of[n]] = append(failed[of[n]], f.err)
		case f.dropped:
			answer.Dropped++
		default:
			answer.Enqueued++
		}
	}
	for i, m := range batch {
		if err := errors.Join(append(failed[i], unreadable[i])...); err != nil {
			faults[i] = fmt.Errorf("message %s: %w", m.ID, err)
		}
	}
}

// checkSource refuses a batch from the very queue that requests are put into:
// each would come back as another, for ever. It refuses one from Penstock's
// dead-letter queue, too: workers take its requests for done, which have their
// failure objects, and no person would see the letters any more.
func (h *Handler) checkSource(batch []message) error {
	for _, m := range batch {
		if m.Source != "aws:sqs" || m.ID == "" {
			return errors.New("a record is none of an SQS queue, though others of the event are")
		}
		if sameQueue(m.SourceARN, h.QueueURL) {
			return fmt.Errorf("the function's event source is the queue that it sends to, %s: what it sends would come back to it for ever; remove the event source mapping, the workers read that queue", m.SourceARN)
		}
		if _, dead := m.Attributes[request.LetterReason]; dead {
			return fmt.Errorf("the function's event source %s has dead letters of Penstock's own, which are for a person to see: remove the event source mapping, and run them again with penstock dead-letter redrive", m.SourceARN)
		}
	}
	return nil
}

// sameQueue says whether an ARN (arn:aws:sqs:REGION:ACCOUNT:NAME) and a URL
// (https://HOST/ACCOUNT/NAME) are of one queue.
func sameQueue(arn, queueURL string) bool {
	part := strings.Split(arn, ":")
	u, err := url.Parse(queueURL)
	if err != nil || len(part) != 6 {
		return false
	}
	if !strings.HasSuffix(u.Path, "/"+part[4]+"/"+part[5]) {
		return false
	}
	// Two regions may have queues of one name; other servers have no region in
	// their URLs.
	host := strings.Split(u.Hostname(), ".")
	return len(host) < 4 || host[0] != "sqs" || host[1] == part[3]
}
