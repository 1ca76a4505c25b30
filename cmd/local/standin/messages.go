package standin

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/cmd/local/standin/broker"
)

// attributeValue is a message attribute on the wire.
type attributeValue struct {
	DataType    string
	StringValue string `json:",omitempty"`
	BinaryValue []byte `json:",omitempty"`
}

// outgoing is what SendMessage and an entry of SendMessageBatch share.
type outgoing struct {
	MessageBody             string
	DelaySeconds            *int
	MessageAttributes       map[string]attributeValue
	MessageSystemAttributes map[string]attributeValue
	MessageGroupId          string
	MessageDeduplicationId  string
}

const traceHeader = "AWSTraceHeader"

func (o *outgoing) message(sender string) (broker.Outgoing, error) {
	for name := range o.MessageSystemAttributes {
		if name != traceHeader {
			return broker.Outgoing{}, broker.Errorf(broker.InvalidParameterValue, "Message system attribute name '%s' is invalid: only %s can be sent.", name, traceHeader)
		}
	}
	m := broker.Outgoing{
		Body:    o.MessageBody,
		Trace:   o.MessageSystemAttributes[traceHeader].StringValue,
		Sender:  sender,
		Delay:   seconds(o.DelaySeconds),
		Group:   o.MessageGroupId,
		DedupID: o.MessageDeduplicationId,
	}
	if len(o.MessageAttributes) > 0 {
		m.Attributes = make(map[string]broker.Attribute, len(o.MessageAttributes))
		for name, v := range o.MessageAttributes {
			m.Attributes[name] = broker.Attribute{Type: v.DataType, String: v.StringValue, Binary: v.BinaryValue}
		}
	}
	return m, nil
}

// seconds keeps nil, which means the queue's own setting.
func seconds(n *int) *time.Duration {
	if n == nil {
		return nil
	}
	// Far out of every range, but not so far that it overflows.
	return new(time.Duration(min(max(*n, -1), 1<<30)) * time.Second)
}

// sent is the reply to one message sent.
type sent struct {
	ID                           string `json:"Id,omitempty"` // of a batch's entry
	MessageId                    string
	MD5OfMessageBody             string
	MD5OfMessageAttributes       string `json:",omitempty"`
	MD5OfMessageSystemAttributes string `json:",omitempty"`
	SequenceNumber               string `json:",omitempty"`
}

func sentReply(id string, s broker.Sent) sent {
	return sent{
		ID: id, MessageId: s.ID,
		MD5OfMessageBody: s.BodyMD5, MD5OfMessageAttributes: s.AttributesMD5, MD5OfMessageSystemAttributes: s.TraceMD5,
		SequenceNumber: sequence(s.Sequence),
	}
}

// sequence is a SequenceNumber as SQS writes it; 0 is none.
func sequence(n uint64) string {
	if n == 0 {
		return ""
	}
	s := strconv.FormatUint(n, 10)
	return strings.Repeat("0", 20-len(s)) + s
}

func (c *call) send(name string, in *struct {
	onQueue
	outgoing
},
) (any, error) {
	m, err := in.message(c.sender)
	if err != nil {
		return nil, err
	}
	s, err := c.broker.Send(name, m)
	if err != nil {
		return nil, err
	}
	return sentReply("", s), nil
}

func (c *call) receive(name string, in *struct {
	onQueue
	MaxNumberOfMessages         *int
	VisibilityTimeout           *int
	WaitTimeSeconds             *int
	AttributeNames              []string
	MessageSystemAttributeNames []string
	MessageAttributeNames       []string
},
) (any, error) {
	o := broker.ReceiveOptions{Max: 1, Visibility: seconds(in.VisibilityTimeout), Wait: seconds(in.WaitTimeSeconds)}
	if in.MaxNumberOfMessages != nil {
		if o.Max = *in.MaxNumberOfMessages; o.Max == 0 {
			o.Max = -1 // zero is the default there, and out of range here
		}
	}
	deliveries, err := c.broker.Receive(c.ctx, name, o)
	if err != nil {
		return nil, err
	}
	if err := c.afterReceive(name, deliveries); err != nil {
		return nil, err
	}
	system := append(in.AttributeNames, in.MessageSystemAttributeNames...)
	messages := make([]message, 0, len(deliveries))
	for _, d := range deliveries {
		messages = append(messages, received(d, system, in.MessageAttributeNames))
	}
	return struct {
		Messages []message `json:",omitempty"`
	}{messages}, nil
}

// message is one delivery on the wire.
type message struct {
	MessageId              string
	ReceiptHandle          string
	Body                   string
	MD5OfBody              string
	Attributes             map[string]string         `json:",omitempty"`
	MessageAttributes      map[string]attributeValue `json:",omitempty"`
	MD5OfMessageAttributes string                    `json:",omitempty"`
}

func received(d broker.Delivery, system, user []string) message {
	m := message{MessageId: d.ID, ReceiptHandle: d.Receipt, Body: d.Body, MD5OfBody: d.BodyMD5}
	if len(system) > 0 {
		m.Attributes = systemAttributes(d)
		if !slices.Contains(system, "All") {
			maps.DeleteFunc(m.Attributes, func(k, _ string) bool { return !slices.Contains(system, k) })
		}
	}
	chosen := make(map[string]broker.Attribute)
	for name, a := range d.Attributes {
		if !wanted(name, user) {
			continue
		}
		if m.MessageAttributes == nil {
			m.MessageAttributes = make(map[string]attributeValue)
		}
		m.MessageAttributes[name] = attributeValue{DataType: a.Type, StringValue: a.String, BinaryValue: a.Binary}
		chosen[name] = a
	}
	// SDKs compare the digest with what they got, not with what was sent.
	m.MD5OfMessageAttributes = broker.AttributesMD5(chosen)
	return m
}

// wanted matches a name with what MessageAttributeNames may hold: names, All,
// .* and prefixes that end in .*
func wanted(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		prefix, wild := strings.CutSuffix(p, ".*")
		return p == name || p == "All" || wild && strings.HasPrefix(name, prefix)
	})
}

func systemAttributes(d broker.Delivery) map[string]string {
	a := map[string]string{
		"SenderId":                         d.Sender,
		"SentTimestamp":                    milliseconds(d.Sent),
		"ApproximateReceiveCount":          strconv.Itoa(d.Receives),
		"ApproximateFirstReceiveTimestamp": milliseconds(d.FirstReceived),
		"MessageGroupId":                   d.Group,
		"MessageDeduplicationId":           d.DedupID,
		"SequenceNumber":                   sequence(d.Sequence),
		traceHeader:                        d.Trace,
		"DeadLetterQueueSourceArn":         d.Source,
	}
	maps.DeleteFunc(a, func(_, v string) bool { return v == "" })
	return a
}

func milliseconds(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func (c *call) deleteMessage(in *struct{ QueueUrl, ReceiptHandle string }) (any, error) {
	name, err := c.receipts(in.QueueUrl, in.ReceiptHandle)
	if err != nil {
		return nil, err
	}
	results, err := c.broker.Delete(name, []string{in.ReceiptHandle})
	if err != nil {
		return nil, err
	}
	return nil, results[0]
}

func (c *call) changeVisibility(in *struct {
	QueueUrl          string
	ReceiptHandle     string
	VisibilityTimeout *int
},
) (any, error) {
	name, err := c.receipts(in.QueueUrl, in.ReceiptHandle)
	if err != nil {
		return nil, err
	}
	if in.VisibilityTimeout == nil {
		return nil, missing("VisibilityTimeout")
	}
	results, err := c.broker.ChangeVisibility(name, []broker.VisibilityChange{{Receipt: in.ReceiptHandle, Timeout: *seconds(in.VisibilityTimeout)}})
	if err != nil {
		return nil, err
	}
	return nil, results[0]
}

// receipts resolves the queue of calls that name receipts, and lets a fault
// expire those first.
func (c *call) receipts(queueURL string, receipts ...string) (string, error) {
	name, err := c.queue(queueURL)
	if err != nil {
		return "", err
	}
	if slices.Contains(receipts, "") && len(receipts) == 1 {
		return "", missing("ReceiptHandle")
	}
	if c.fault.Kind == Expire {
		return name, c.broker.Expire(name, receipts)
	}
	return name, nil
}
