package standin

import (
	"regexp"

	"github.com/penstock/penstock/cmd/local/standin/broker"
)

// batchFailure is an entry of a batch that was refused.
type batchFailure struct {
	ID          string `json:"Id"`
	Code        string
	Message     string
	SenderFault bool
}

// batchReply is the reply to all batch calls. Both lists are always there.
type batchReply[T any] struct {
	Successful []T
	Failed     []batchFailure
}

func (r *batchReply[T]) fail(id string, err error) {
	e := asError(err)
	r.Failed = append(r.Failed, batchFailure{ID: id, Code: queryCode(e.Code), Message: e.Message, SenderFault: status(e.Code) < 500})
}

// done is an entry of DeleteMessageBatch and ChangeMessageVisibilityBatch
// that succeeded.
type done struct {
	ID string `json:"Id"`
}

var entryID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

// checkBatch checks what concerns a batch as a whole.
func checkBatch[T any](entries []T, id func(*T) string) error {
	switch {
	case len(entries) == 0:
		return broker.Errorf(broker.EmptyBatchRequest, "There should be at least one entry in the request.")
	case len(entries) > broker.MaxBatch:
		return broker.Errorf(broker.TooManyEntriesInBatchRequest, "Maximum number of entries per request are %d. You have sent %d.", broker.MaxBatch, len(entries))
	}
	seen := make(map[string]bool, len(entries))
	for i := range entries {
		switch id := id(&entries[i]); {
		case !entryID.MatchString(id):
			return broker.Errorf(broker.InvalidBatchEntryID, "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.")
		case seen[id]:
			return broker.Errorf(broker.BatchEntryIdsNotDistinct, "Id %s repeated.", id)
		default:
			seen[id] = true
		}
	}
	return nil
}

type sendEntry struct {
	ID string `json:"Id"`
	outgoing
}

func (c *call) sendBatch(name string, in *struct {
	onQueue
	Entries []sendEntry
},
) (any, error) {
	if err := checkBatch(in.Entries, func(e *sendEntry) string { return e.ID }); err != nil {
		return nil, err
	}
	reply := &batchReply[sent]{Successful: []sent{}, Failed: []batchFailure{}}
	var ids []string
	var messages []broker.Outgoing
	for _, e := range in.Entries {
		m, err := e.message(c.sender)
		if err != nil {
			reply.fail(e.ID, err)
			continue
		}
		ids, messages = append(ids, e.ID), append(messages, m)
	}
	results, err := c.broker.SendBatch(name, messages)
	if err != nil {
		return nil, err
	}
	for i, r := range results {
		if r.Err != nil {
			reply.fail(ids[i], r.Err)
			continue
		}
		reply.Successful = append(reply.Successful, sentReply(ids[i], r.Sent))
	}
	return reply, nil
}

type receiptEntry struct {
	ID                string `json:"Id"`
	ReceiptHandle     string
	VisibilityTimeout *int // of ChangeMessageVisibilityBatch
}

type receiptBatch struct {
	QueueUrl string
	Entries  []receiptEntry
}

// begin checks a batch of receipts and returns its queue.
func (b *receiptBatch) begin(c *call) (name string, err error) {
	receipts := make([]string, len(b.Entries))
	for i, e := range b.Entries {
		receipts[i] = e.ReceiptHandle
	}
	if err := checkBatch(b.Entries, func(e *receiptEntry) string { return e.ID }); err != nil {
		return "", err
	}
	return c.receipts(b.QueueUrl, receipts...)
}

func (b *receiptBatch) reply(results []error) *batchReply[done] {
	reply := &batchReply[done]{Successful: []done{}, Failed: []batchFailure{}}
	for i, err := range results {
		if err != nil {
			reply.fail(b.Entries[i].ID, err)
			continue
		}
		reply.Successful = append(reply.Successful, done{b.Entries[i].ID})
	}
	return reply
}

func (c *call) deleteBatch(in *receiptBatch) (any, error) {
	name, err := in.begin(c)
	if err != nil {
		return nil, err
	}
	receipts := make([]string, len(in.Entries))
	for i, e := range in.Entries {
		receipts[i] = e.ReceiptHandle
	}
	results, err := c.broker.Delete(name, receipts)
	if err != nil {
		return nil, err
	}
	return in.reply(results), nil
}

func (c *call) changeVisibilityBatch(in *receiptBatch) (any, error) {
	name, err := in.begin(c)
	if err != nil {
		return nil, err
	}
	changes := make([]broker.VisibilityChange, len(in.Entries))
	for i, e := range in.Entries {
		if e.VisibilityTimeout == nil {
			return nil, missing("VisibilityTimeout")
		}
		changes[i] = broker.VisibilityChange{Receipt: e.ReceiptHandle, Timeout: *seconds(e.VisibilityTimeout)}
	}
	results, err := c.broker.ChangeVisibility(name, changes)
	if err != nil {
		return nil, err
	}
	return in.reply(results), nil
}
