package codec

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/penstock/penstock/worker/model"
)

// A TFRecord file is a sequence of records, each between checksums:
//
//	uint64 length | uint32 checksum of length | length bytes | uint32 checksum of them
const (
	tfrecordLength = 8
	tfrecordHead   = tfrecordLength + 4
	tfrecordTail   = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedChecksum is TensorFlow's: masked, since the checksum of data that
// contains its own checksum is a weak one.
func maskedChecksum(b []byte) uint32 {
	sum := crc32.Checksum(b, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

// sniffTFRecord says whether body begins with a length and its checksum.
func sniffTFRecord(body []byte) bool {
	return len(body) >= tfrecordHead && lengthIsSound(body)
}

func lengthIsSound(data []byte) bool {
	return maskedChecksum(data[:tfrecordLength]) == binary.LittleEndian.Uint32(data[tfrecordLength:])
}

// splitTFRecord cuts off one record.
func splitTFRecord(data []byte, atEOF bool) (advance int, record []byte, err error) {
	size := uint64(tfrecordHead + tfrecordTail)
	if len(data) >= tfrecordHead {
		if !lengthIsSound(data) {
			return 0, nil, &Error{
				Code:    CodeMalformed,
				Message: "the checksum of its length is wrong: the file is damaged, or no TFRecord file",
				Hint:    "write it with tf.io.TFRecordWriter, uncompressed or with GZIP",
			}
		}
		n := binary.LittleEndian.Uint64(data)
		size += min(n, 1<<62)
	}
	switch {
	case uint64(len(data)) >= size:
		end := size - tfrecordTail
		record = data[tfrecordHead:end:end]
		if maskedChecksum(record) != binary.LittleEndian.Uint32(data[end:]) {
			return 0, nil, &Error{Code: CodeMalformed, Message: "its checksum is wrong", Hint: "write the file anew: it is damaged"}
		}
		return int(size), record, nil
	case atEOF && len(data) > 0:
		return 0, nil, &Error{
			Code:    CodeMalformed,
			Message: fmt.Sprintf("it should have %d bytes with its checksums, but the file ends after %d", size, len(data)),
			Hint:    "check that the upload was complete",
		}
	}
	return 0, nil, nil
}

// decodeTFRecord reads a file of tf.Examples, or of records that the model
// parses itself.
func decodeTFRecord(_ context.Context, body []byte, src Source, m model.Model) (*Input, error) {
	sig, err := chooseSignature(m, src.Signature, "")
	if err != nil {
		return nil, err
	}
	e := &examples{rows: newRows(sig), sig: sig}
	if err := e.records().read(body); err != nil {
		return nil, err
	}
	return e.rows.input(sig, false)
}
