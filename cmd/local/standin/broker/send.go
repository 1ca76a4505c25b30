package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"
)

// Outgoing is a message to send.
type Outgoing struct {
	Body       string
	Attributes map[string]Attribute
	Trace      string         // AWSTraceHeader, or empty
	Sender     string         // who sends
	Delay      *time.Duration // nil: the queue's; not for FIFO queues
	Group      string         // MessageGroupId; required for FIFO queues
	DedupID    string         // MessageDeduplicationId; FIFO queues only
}

// Sent is what a sender is told.
type Sent struct {
	ID            string
	Sequence      uint64 // SequenceNumber of a FIFO queue, else 0
	BodyMD5       string
	AttributesMD5 string // empty without attributes
	TraceMD5      string // MD5OfMessageSystemAttributes; empty without Trace
}

// prepared is a message that was checked and encoded before the lock is taken.
type prepared struct {
	*Outgoing
	payload *Payload
	value   []byte
	size    int
	err     error
}

// SendResult is what became of one message of a batch.
type SendResult struct {
	Sent
	Err error
}

// Send puts one message into a queue.
func (b *Broker) Send(queue string, message Outgoing) (Sent, error) {
	results, err := b.sendAll(queue, []prepared{prepare(&message, b.journal != nil)})
	if err != nil {
		return Sent{}, err
	}
	return results[0].Sent, results[0].Err
}

// SendBatch puts messages into a queue, in order, with one result each. The
// error is of the call as a whole.
func (b *Broker) SendBatch(queue string, messages []Outgoing) ([]SendResult, error) {
	list := make([]prepared, len(messages))
	total := 0
	for i := range messages {
		list[i] = prepare(&messages[i], b.journal != nil)
		total += list[i].size
	}
	if total > MaxMessageBytes {
		return nil, Errorf(BatchRequestTooLong, "Batch requests cannot be longer than %d bytes. You have sent %d bytes.", MaxMessageBytes, total)
	}
	return b.sendAll(queue, list)
}

func (b *Broker) sendAll(queue string, list []prepared) ([]SendResult, error) {
	q, err := b.lock(queue)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	results := make([]SendResult, len(list))
	for i := range list {
		results[i] = q.send(&list[i], now)
	}
	return results, b.unlock()
}

func prepare(o *Outgoing, encode bool) prepared {
	p := prepared{Outgoing: o, size: len(o.Body)}
	for name, a := range o.Attributes {
		p.size += len(name) + len(a.Type) + len(a.String) + len(a.Binary)
	}
	if p.err = o.check(); p.err != nil {
		return p
	}
	p.payload = &Payload{
		Body:          o.Body,
		Attributes:    o.Attributes,
		Trace:         o.Trace,
		Sender:        o.Sender,
		BodyMD5:       bodyMD5(o.Body),
		AttributesMD5: AttributesMD5(o.Attributes),
	}
	if encode {
		p.value = p.payload.encode()
	}
	return p
}

// send adds one message; b.mu is held.
func (q *queue) send(p *prepared, now time.Time) SendResult {
	if p.err != nil {
		return SendResult{Err: p.err}
	}
	if err := q.checkSend(p); err != nil {
		return SendResult{Err: err}
	}
	result := SendResult{Sent: Sent{BodyMD5: p.payload.BodyMD5, AttributesMD5: p.payload.AttributesMD5}}
	if p.Trace != "" {
		result.TraceMD5 = AttributesMD5(map[string]Attribute{"AWSTraceHeader": {Type: "String", String: p.Trace}})
	}
	var key string
	if q.fifo() {
		key = q.dedupKey(p.Outgoing)
		if d, ok := q.dedups[key]; ok {
			result.ID, result.Sequence = d.id, d.seq
			return result
		}
	}
	m := q.newMessage(p, now)
	result.ID = m.id
	if q.fifo() {
		result.Sequence = m.seq
		q.remember(key, dedup{id: m.id, seq: m.seq, expires: now.Add(dedupWindow)})
	}
	q.broker.keep(m, p.payload, p.value)
	q.add(m, delayed, now)
	q.save(m)
	return result
}

func (q *queue) newMessage(p *prepared, now time.Time) *message {
	delay := q.settings.delay
	if p.Delay != nil {
		delay = *p.Delay
	}
	return &message{
		seq:         q.broker.nextSeq(),
		id:          NewID(),
		groupID:     p.Group,
		dedupID:     p.DedupID,
		size:        p.size,
		sent:        now,
		hiddenUntil: now.Add(delay),
		index:       absent,
	}
}

// keep stores a message's payload, in memory as long as there is room.
func (b *Broker) keep(m *message, p *Payload, value []byte) {
	if b.journal == nil {
		m.payload = p
		return
	}
	if b.cached+m.size <= b.config.CacheBytes {
		m.payload = p
		b.cached += m.size
	}
	b.write(Mutation{Table: Payloads, Key: seqKey(m.seq), Value: value})
}

// checkSend checks what depends on the queue, and fills in the deduplication
// id that the content stands for.
func (q *queue) checkSend(p *prepared) error {
	if p.size > q.settings.maxMessage {
		return Errorf(InvalidParameterValue, "One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", q.settings.maxMessage)
	}
	if !q.fifo() {
		if p.DedupID != "" {
			return Errorf(InvalidParameterValue, "The request include parameter that is not valid for this queue type: MessageDeduplicationId.")
		}
		return nil
	}
	if p.Group == "" {
		return Errorf(MissingParameter, "The request must contain the parameter MessageGroupId.")
	}
	if p.Delay != nil && *p.Delay > 0 {
		return invalidValue(int(p.Delay.Seconds()), attrDelay, "The request include parameter that is not valid for this queue type.")
	}
	if p.DedupID == "" {
		if !q.settings.contentDedup {
			return Errorf(InvalidParameterValue, "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
		}
		sum := sha256.Sum256([]byte(p.Body))
		p.DedupID = hex.EncodeToString(sum[:])
	}
	return nil
}

// check checks what doesn't depend on the queue.
func (o *Outgoing) check() error {
	if o.Body == "" {
		return Errorf(MissingParameter, "The request must contain the parameter MessageBody.")
	}
	if !legal(o.Body) {
		return Errorf(InvalidMessageContents, "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.")
	}
	if o.Delay != nil && (*o.Delay < 0 || *o.Delay > MaxDelay) {
		return invalidValue(int(o.Delay.Seconds()), attrDelay, "DelaySeconds must be >= 0 and <= 900.")
	}
	if err := checkToken("MessageGroupId", o.Group); err != nil {
		return err
	}
	if err := checkToken("MessageDeduplicationId", o.DedupID); err != nil {
		return err
	}
	return checkAttributes(o.Attributes)
}

// legal reports whether all characters may stand in XML 1.0, as SQS demands.
func legal(s string) bool {
	for i, r := range s {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
		case r == utf8.RuneError:
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return false
			}
		case r < 0x20, r > 0xFFFD && r < 0x10000:
			return false
		}
	}
	return true
}

// checkToken checks a group or deduplication id; empty is not given.
func checkToken(parameter, value string) error {
	ok := len(value) <= 128
	for i := 0; ok && i < len(value); i++ {
		ok = value[i] > 0x20 && value[i] < 0x7f
	}
	if !ok {
		return invalidValue(value, parameter, "It can only include alphanumeric and punctuation characters. 1 to 128 in length.")
	}
	return nil
}

func checkAttributes(attributes map[string]Attribute) error {
	if len(attributes) > maxAttributes {
		return Errorf(InvalidParameterValue, "Number of message attributes [%d] exceeds the allowed maximum [%d].", len(attributes), maxAttributes)
	}
	for name, a := range attributes {
		if err := checkAttribute(name, a); err != nil {
			return err
		}
	}
	return nil
}

func checkAttribute(name string, a Attribute) error {
	lower := strings.ToLower(name)
	switch {
	case name == "" || len(name) > 256 || strings.ContainsFunc(name, badNameRune):
		return Errorf(InvalidParameterValue, "Message attribute name '%s' must be 1 to 256 letters, digits, '_', '-' or '.'.", name)
	case name[0] == '.' || name[len(name)-1] == '.' || strings.Contains(name, ".."):
		return Errorf(InvalidParameterValue, "Message attribute name '%s' must not begin or end with '.' nor have two in a row.", name)
	case strings.HasPrefix(lower, "aws.") || strings.HasPrefix(lower, "amazon."):
		return Errorf(InvalidParameterValue, "Message attribute name '%s' is reserved: it begins with AWS. or Amazon.", name)
	}
	base, _, _ := strings.Cut(a.Type, ".")
	switch base {
	case "String", "Number":
		if a.String == "" {
			return Errorf(InvalidParameterValue, "The message attribute '%s' must contain a non-empty string value.", name)
		}
		if !legal(a.String) {
			return Errorf(InvalidMessageContents, "Message attribute '%s' has characters that are not allowed.", name)
		}
		if base == "Number" && !number.MatchString(a.String) {
			return Errorf(InvalidParameterValue, "Can't cast the value of message (user) attribute '%s' to a number.", name)
		}
	case "Binary":
		if len(a.Binary) == 0 {
			return Errorf(InvalidParameterValue, "The message attribute '%s' must contain a non-empty binary value.", name)
		}
	default:
		return Errorf(InvalidParameterValue, "The type of message attribute '%s' is invalid: it must be String, Number or Binary.", name)
	}
	return nil
}

func badNameRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.'
}
