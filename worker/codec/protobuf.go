package codec

import "encoding/binary"

// Wire types of the protobuf encoding.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// protoField is one field of a protobuf message. It is all of protobuf that a
// tf.Example needs.
type protoField struct {
	number uint64
	wire   uint64
	value  uint64 // of a number
	bytes  []byte // of a string, bytes, a message or a packed list; shares the message's memory
}

// next reads the next field of a message and moves it on. It gives false when
// there is none.
func (p *protoField) next(message *[]byte) bool {
	b := *message
	tag, n := binary.Uvarint(b)
	if n <= 0 || tag>>3 == 0 {
		return false
	}
	b = b[n:]
	p.number, p.wire = tag>>3, tag&7
	switch p.wire {
	case wireVarint:
		if p.value, n = binary.Uvarint(b); n <= 0 {
			return false
		}
	case wireFixed32:
		if n = 4; len(b) < n {
			return false
		}
		p.value = uint64(binary.LittleEndian.Uint32(b))
	case wireFixed64:
		if n = 8; len(b) < n {
			return false
		}
		p.value = binary.LittleEndian.Uint64(b)
	case wireBytes:
		size, head := binary.Uvarint(b)
		if head <= 0 || size > uint64(len(b)-head) {
			return false
		}
		n = head + int(size)
		p.bytes = b[head:n:n]
	default: // groups, which have long been given up
		return false
	}
	*message = b[n:]
	return true
}
