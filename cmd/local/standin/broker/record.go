package broker

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"
)

// errRecord says that a journal's value can't be decoded.
var errRecord = errors.New("damaged record")

// appendString adds a length and the bytes.
func appendString[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendTime keeps nanoseconds; the zero time stays zero.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(b, 0)
	}
	return binary.AppendVarint(b, t.UnixNano())
}

// fields reads what the append functions wrote. After the first fault
// everything reads as zero and err says so.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.rest)
	if n <= 0 {
		f.rest, f.err = nil, errRecord
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

func (f *fields) time() time.Time {
	v, n := binary.Varint(f.rest)
	if n <= 0 {
		f.rest, f.err = nil, errRecord
		return time.Time{}
	}
	f.rest = f.rest[n:]
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(0, v)
}

func (f *fields) string() string { return string(f.bytes()) }

func (f *fields) bytes() []byte {
	n := f.uvarint()
	if n > uint64(len(f.rest)) {
		f.rest, f.err = nil, errRecord
		return nil
	}
	v := f.rest[:n]
	f.rest = f.rest[n:]
	return v
}

// encode writes everything of a message that never changes.
func (p *Payload) encode() []byte {
	b := make([]byte, 0, len(p.Body)+256)
	b = appendString(b, p.Body)
	b = appendString(b, p.BodyMD5)
	b = appendString(b, p.AttributesMD5)
	b = appendString(b, p.Trace)
	b = appendString(b, p.Sender)
	b = binary.AppendUvarint(b, uint64(len(p.Attributes)))
	for _, name := range slices.Sorted(maps.Keys(p.Attributes)) {
		a := p.Attributes[name]
		b = appendString(b, name)
		b = appendString(b, a.Type)
		b = appendString(b, a.String)
		b = appendString(b, a.Binary)
	}
	return b
}

func decodePayload(value []byte) (*Payload, error) {
	f := fields{rest: value}
	p := &Payload{
		Body:          f.string(),
		BodyMD5:       f.string(),
		AttributesMD5: f.string(),
		Trace:         f.string(),
		Sender:        f.string(),
	}
	for range f.uvarint() {
		name := f.string()
		a := Attribute{Type: f.string(), String: f.string(), Binary: slices.Clone(f.bytes())}
		if f.err != nil {
			break
		}
		if p.Attributes == nil {
			p.Attributes = make(map[string]Attribute)
		}
		p.Attributes[name] = a
	}
	return p, f.err
}

// encode writes the part of a message that changes, and what is needed of it
// before its payload is read.
func (m *message) encode() []byte {
	b := make([]byte, 0, 128)
	b = binary.AppendUvarint(b, m.queue.id)
	b = appendString(b, m.id)
	b = appendString(b, m.groupID)
	b = appendString(b, m.dedupID)
	b = appendString(b, m.source)
	b = appendTime(b, m.sent)
	b = appendTime(b, m.hiddenUntil)
	b = appendTime(b, m.received)
	b = appendTime(b, m.firstReceived)
	b = binary.AppendUvarint(b, uint64(m.receives))
	b = binary.AppendUvarint(b, m.nonce)
	b = binary.AppendUvarint(b, uint64(m.size))
	return b
}

// decodeMessage returns the message and the id of its queue.
func decodeMessage(seq uint64, value []byte) (*message, uint64, error) {
	f := fields{rest: value}
	queue := f.uvarint()
	m := &message{
		seq:           seq,
		id:            f.string(),
		groupID:       f.string(),
		dedupID:       f.string(),
		source:        f.string(),
		sent:          f.time(),
		hiddenUntil:   f.time(),
		received:      f.time(),
		firstReceived: f.time(),
		receives:      int(f.uvarint()),
		nonce:         f.uvarint(),
		size:          int(f.uvarint()),
		index:         absent,
	}
	return m, queue, f.err
}

// seqKey orders a table by sequence.
func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func dedupKey(queue uint64, key string) []byte {
	return append(binary.BigEndian.AppendUint64(nil, queue), key...)
}
