// Package queue is the contract between Penstock and a message queue with
// leases, in the words of Amazon SQS: a received message is invisible to
// others for its visibility timeout and comes back when it was not deleted
// until then.
//
// Adapters live below it and are named for their technology (queue/sqs,
// queue/mem). Every adapter passes the suite in queue/queuetest.
package queue

import (
	"context"
	"errors"
	"time"
)

// MaxBatch is the largest number of messages in one call. SQS's own limit.
const MaxBatch = 10

// MaxLease is how long a message can stay received in all, however often its
// visibility is extended. SQS's own limit.
const MaxLease = 12 * time.Hour

// ErrLeaseLost says that a receipt is no longer good: the message's
// visibility ran out, it was deleted, or it was received by another. Whoever
// sees it must drop the work. Test with errors.Is.
//
// The contrary can't be relied on: a queue may accept a stale receipt without
// a word (SQS standard queues do), so a holder also watches its own clock.
var ErrLeaseLost = errors.New("lease lost")

// Message is one delivery of a message. It is not changed after Receive.
type Message struct {
	ID         string            // the queue's id of the message, the same in every delivery
	Receipt    string            // names this delivery in ChangeVisibility and Delete
	Body       string            // as sent
	Attributes map[string]string // user attributes of type String or Number; never nil

	ReceiveCount  int       // deliveries so far, this one included; at least 1
	Sent          time.Time // when the queue accepted it, by the queue's clock
	FirstReceived time.Time // by the queue's clock; zero when the queue does not say
	Group         string    // MessageGroupId, or empty
	Source        string    // the ARN of the queue it was redriven from (DeadLetterQueueSourceArn), or empty
}

// Receiver takes messages from one queue. All methods may be called
// concurrently.
type Receiver interface {
	// Receive waits up to wait for at least one message and returns at most
	// max of them (1 to MaxBatch), each invisible to others for visibility.
	// No message in that time is an empty slice and no error. Queues count in
	// whole seconds: times are rounded up, visibility to at least one second
	// and at most MaxLease; a wait may be cut to 20 seconds.
	//
	// Cancelling ctx may strand messages that the queue was about to hand
	// over until their visibility ends. So a Receive under way is best left
	// to end by itself; that is why wait is short.
	Receive(ctx context.Context, max int, visibility, wait time.Duration) ([]*Message, error)

	// ChangeVisibility makes each message invisible for d from now: the
	// extension of a lease, or, with 0, its release. At most MaxBatch
	// messages. The result has one entry a message: nil, ErrLeaseLost, or a
	// transient error that concerns that message alone.
	ChangeVisibility(ctx context.Context, d time.Duration, messages ...*Message) []error

	// Delete acknowledges messages: they never come back. Results are as in
	// ChangeVisibility. Deleting what is already deleted is no error.
	Delete(ctx context.Context, messages ...*Message) []error
}

// Outgoing is a message to send.
type Outgoing struct {
	Body       string
	Attributes map[string]string // at most 10, sent as type String; values must not be empty
	Delay      time.Duration     // before it can be received; at most 15 minutes. FIFO queues ignore it: they know no delay of one message
	Group      string            // MessageGroupId; required for FIFO queues
	DedupID    string            // MessageDeduplicationId; standard queues ignore it
}

// Sender puts messages into one queue. Send may be called concurrently.
type Sender interface {
	// Send sends any number of messages in as few calls as the queue's limits
	// on count and size allow. The result has one entry a message: nil means
	// the queue has it, ErrInvalid that it can never be sent as it is. Any
	// other error may be a lost reply: the message can be there all the same,
	// so receivers must bear duplicates.
	Send(ctx context.Context, messages ...Outgoing) []error
}

// Attributes are what a worker checks of a queue before it starts.
type Attributes struct {
	ARN               string
	VisibilityTimeout time.Duration
	RetentionPeriod   time.Duration
	MaximumMessage    int    // bytes
	DeadLetterARN     string // RedrivePolicy.deadLetterTargetArn, or empty
	MaxReceiveCount   int    // RedrivePolicy.maxReceiveCount, or 0
	Visible           int    // ApproximateNumberOfMessages
	InFlight          int    // ApproximateNumberOfMessagesNotVisible
	Delayed           int    // ApproximateNumberOfMessagesDelayed
}

// Inspector describes one queue. Attributes may be called concurrently. A
// queue that is not there is [io/fs.ErrNotExist].
type Inspector interface {
	Attributes(ctx context.Context) (Attributes, error)
}
