package codec

import (
	"context"
	"encoding/binary"
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

// decodeTFRecord reads a file of tf.Examples, or of records that the model
// parses itself.
func decodeTFRecord(_ context.Context, body []byte, src Source, m model.Model) (*Input, error) {
	return decodeRecords(body, src, m, tfrecordRecords)
}

// tfrecordRecords reads a row a record.
func tfrecordRecords(_ []byte, src Source, m model.Model) (*recordKind, error) {
	sig, err := chooseSignature(m, src.Signature, "")
	if err != nil {
		return nil, err
	}
	_, one := oneString(sig)
	return &recordKind{
		sig: sig, unit: unitRecord, cut: tfrecordCutter{}, decoder: &examples{maybeWhole: one},
		nothing: "the input has no records",
	}, nil
}
