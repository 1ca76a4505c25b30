// Package sqs is Penstock's queue on Amazon SQS, or on a server that speaks
// its JSON protocol.
//
// # What SQS and its SDK make of a call
//
// Times are in whole seconds. They are rounded up here, and held to SQS's
// limits: visibility to 12 hours, a wait to 20 seconds.
//
// The SDK does not send a zero, so a wait or a delay of 0 means the queue's
// own setting (ReceiveMessageWaitTimeSeconds, DelaySeconds; both are 0 unless
// someone changed them). A visibility of 0 in Receive would mean the queue's
// default as well: it becomes one second.
//
// Cancelling a Receive under way strands what SQS was about to hand over: the
// messages count as received and stay invisible until their visibility ends
// (https://github.com/aws/aws-sdk-go-v2/issues/2068). The same happens when
// a reply is lost on its way. So let a poll end by itself, and give the HTTP
// client a time-out that is longer than the poll.
package sqs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/penstock/penstock/queue"
)

const longestWait = 20 * time.Second

// Queue is one SQS queue. Make one with New. All its methods may be called
// concurrently.
type Queue struct {
	client *awssqs.Client
	url    string
}

var (
	_ queue.Receiver  = (*Queue)(nil)
	_ queue.Sender    = (*Queue)(nil)
	_ queue.Inspector = (*Queue)(nil)
)

// New gives the queue with this URL. It makes no call. Requests go to the
// client's endpoint: the URL's host is not looked at. The queue's own client is
// like the given one, with WholeReplies.
func New(client *awssqs.Client, url string) *Queue {
	return &Queue{client: awssqs.New(client.Options(), WholeReplies), url: url}
}

// URL is the queue's URL.
func (q *Queue) URL() string { return q.url }

// Receive implements queue.Receiver.
func (q *Queue) Receive(ctx context.Context, limit int, visibility, wait time.Duration) ([]*queue.Message, error) {
	if limit < 1 || limit > queue.MaxBatch {
		return nil, fmt.Errorf("receive from %s: at most %d messages asked for; it must be 1 to %d", q.url, limit, queue.MaxBatch)
	}
	out, err := q.client.ReceiveMessage(ctx, &awssqs.ReceiveMessageInput{
		QueueUrl:                    &q.url,
		MaxNumberOfMessages:         int32(limit),
		VisibilityTimeout:           max(seconds(visibility, queue.MaxLease), 1),
		WaitTimeSeconds:             seconds(wait, longestWait),
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if err != nil {
		return nil, fmt.Errorf("receive from %s: %w", q.url, err)
	}
	messages := make([]*queue.Message, len(out.Messages))
	for i := range out.Messages {
		messages[i] = message(&out.Messages[i])
	}
	return messages, nil
}

// Attributes implements queue.Inspector. A queue that is not there is
// fs.ErrNotExist. SQS's counts are approximate and may
// be a minute late.
func (q *Queue) Attributes(ctx context.Context) (queue.Attributes, error) {
	out, err := q.client.GetQueueAttributes(ctx, &awssqs.GetQueueAttributesInput{
		QueueUrl:       &q.url,
		AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll},
	})
	if _, ok := errors.AsType[*types.QueueDoesNotExist](err); ok {
		return queue.Attributes{}, fmt.Errorf("attributes of %s: %w: %w", q.url, fs.ErrNotExist, err)
	}
	if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		// Every program asks this first: what else but SQS answers there, such as a
		// server of the older query protocol alone, is told here.
		return queue.Attributes{}, fmt.Errorf("attributes of %s: the server does not answer in SQS's JSON protocol: %w", q.url, err)
	}
	if err != nil {
		return queue.Attributes{}, fmt.Errorf("attributes of %s: %w", q.url, err)
	}
	a, err := attributes(out.Attributes)
	if err != nil {
		return queue.Attributes{}, fmt.Errorf("attributes of %s: %w", q.url, err)
	}
	return a, nil
}

// DeadLetterURL asks for the URL of the queue's redrive target, which its
// attributes name by ARN only. It is empty when there is no redrive.
func (q *Queue) DeadLetterURL(ctx context.Context) (string, error) {
	a, err := q.Attributes(ctx)
	if err != nil || a.DeadLetterARN == "" {
		return "", err
	}
	return URL(ctx, q.client, a.DeadLetterARN)
}

// URL asks SQS for the URL of the queue with this ARN
// (arn:aws:sqs:REGION:ACCOUNT:NAME), which must be in the client's region;
// servers that imitate SQS name any. The caller needs the permission
// sqs:GetQueueUrl.
func URL(ctx context.Context, client *awssqs.Client, arn string) (string, error) {
	part := strings.Split(arn, ":")
	if len(part) != 6 || part[0] != "arn" || part[2] != "sqs" || part[4] == "" || part[5] == "" {
		return "", fmt.Errorf("%q is not the ARN of a queue: it must be arn:aws:sqs:REGION:ACCOUNT:NAME", arn)
	}
	if o := client.Options(); part[3] != o.Region && o.BaseEndpoint == nil {
		return "", fmt.Errorf("the queue %s is not in the region %s, which this client is for", arn, o.Region)
	}
	out, err := client.GetQueueUrl(ctx, &awssqs.GetQueueUrlInput{
		QueueName:              &part[5],
		QueueOwnerAWSAccountId: &part[4],
	})
	if err != nil {
		return "", fmt.Errorf("URL of %s: %w", arn, err)
	}
	if out.QueueUrl == nil {
		return "", fmt.Errorf("URL of %s: the reply has none", arn)
	}
	return *out.QueueUrl, nil
}

// message turns SQS's form of a message into ours. Attributes that SQS does
// not send, as its imitations sometimes don't, stay at their least value.
func message(in *types.Message) *queue.Message {
	m := &queue.Message{
		ID:            text(in.MessageId),
		Receipt:       text(in.ReceiptHandle),
		Body:          text(in.Body),
		Attributes:    make(map[string]string, len(in.MessageAttributes)),
		ReceiveCount:  1,
		Sent:          milliseconds(in.Attributes["SentTimestamp"]),
		FirstReceived: milliseconds(in.Attributes["ApproximateFirstReceiveTimestamp"]),
		Group:         in.Attributes["MessageGroupId"],
		Source:        in.Attributes["DeadLetterQueueSourceArn"],
	}
	if n, err := strconv.Atoi(in.Attributes["ApproximateReceiveCount"]); err == nil {
		m.ReceiveCount = max(n, 1)
	}
	for name, value := range in.MessageAttributes {
		// A type may carry a label of its sender's: "Number.float".
		kind, _, _ := strings.Cut(text(value.DataType), ".")
		if value.StringValue != nil && (kind == "String" || kind == "Number") {
			m.Attributes[name] = *value.StringValue
		}
	}
	return m
}

// attributes reads a queue's attributes, which are all text.
func attributes(in map[string]string) (queue.Attributes, error) {
	var err error
	number := func(name string) int {
		if in[name] == "" || err != nil {
			return 0
		}
		n, e := strconv.Atoi(in[name])
		if e != nil {
			err = fmt.Errorf("%s: %w", name, e)
		}
		return n
	}
	a := queue.Attributes{
		ARN:               in["QueueArn"],
		VisibilityTimeout: time.Duration(number("VisibilityTimeout")) * time.Second,
		RetentionPeriod:   time.Duration(number("MessageRetentionPeriod")) * time.Second,
		MaximumMessage:    number("MaximumMessageSize"),
		Visible:           number("ApproximateNumberOfMessages"),
		InFlight:          number("ApproximateNumberOfMessagesNotVisible"),
		Delayed:           number("ApproximateNumberOfMessagesDelayed"),
	}
	if err != nil {
		return queue.Attributes{}, err
	}
	if policy := in["RedrivePolicy"]; policy != "" {
		a.DeadLetterARN, a.MaxReceiveCount, err = redrive(policy)
	}
	return a, err
}

// redrive reads a RedrivePolicy. SQS keeps maxReceiveCount in the form it was
// set in, which is a number or a string with one.
func redrive(policy string) (arn string, maxReceiveCount int, err error) {
	var p struct {
		Target string `json:"deadLetterTargetArn"`
		Count  any    `json:"maxReceiveCount"`
	}
	if err := json.Unmarshal([]byte(policy), &p); err != nil {
		return "", 0, fmt.Errorf("RedrivePolicy %q: %w", policy, err)
	}
	n, err := strconv.Atoi(fmt.Sprint(p.Count))
	if err != nil {
		return "", 0, fmt.Errorf("RedrivePolicy %q: maxReceiveCount: %w", policy, err)
	}
	return p.Target, n, nil
}

// seconds rounds d up to whole seconds within 0 and limit.
func seconds(d, limit time.Duration) int32 {
	d = min(max(d, 0), limit)
	return int32((d + time.Second - 1) / time.Second)
}

// milliseconds reads a timestamp as SQS writes it; zero if there is none.
func milliseconds(s string) time.Time {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
