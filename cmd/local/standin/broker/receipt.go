package broker

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
)

// receipt names one delivery of one message.
type receipt struct {
	queue uint64 // id
	seq   uint64 // of the message
	nonce uint64 // of the delivery
}

// String is the receipt handle. The checksum tells a handle that was cut or
// mistyped from one of a message that is gone.
func (r receipt) String() string {
	b := make([]byte, 0, 28)
	b = binary.BigEndian.AppendUint64(b, r.queue)
	b = binary.BigEndian.AppendUint64(b, r.seq)
	b = binary.BigEndian.AppendUint64(b, r.nonce)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseReceipt returns the receipt of a handle that this queue gave out.
func (q *queue) parseReceipt(handle string) (receipt, error) {
	b, err := base64.RawURLEncoding.DecodeString(handle)
	if err == nil && len(b) == 28 && crc32.ChecksumIEEE(b[:24]) == binary.BigEndian.Uint32(b[24:]) {
		r := receipt{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}
		if r.queue == q.id {
			return r, nil
		}
	}
	return receipt{}, Errorf(ReceiptHandleIsInvalid, "The input receipt handle \"%.200s\" is not a valid receipt handle.", handle)
}

// newNonce is never zero, which stands for no delivery.
func newNonce() uint64 { return rand.Uint64() | 1 }
