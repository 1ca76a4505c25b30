package tf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedChecksum is the checksum of TFRecord files.
func maskedChecksum(b []byte) uint32 {
	sum := crc32.Checksum(b, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

// tfrecords reads a TFRecord file: each record stands behind its length and
// the length's checksum, and before its own. A damaged one is an error, and the
// last that is given. Each record is valid until the next.
func tfrecords(r io.Reader, limit uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var record bytes.Buffer
		for {
			err := readRecord(r, limit, &record)
			if errors.Is(err, io.EOF) || !yield(record.Bytes(), err) || err != nil {
				return
			}
		}
	}
}

// readRecord reads one record; io.EOF is the end between two of them.
func readRecord(r io.Reader, limit uint64, record *bytes.Buffer) error {
	var head [12]byte
	record.Reset()
	switch _, err := io.ReadFull(r, head[:]); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errCutOff
	case err != nil:
		return err
	}
	length := binary.LittleEndian.Uint64(head[:])
	if maskedChecksum(head[:8]) != binary.LittleEndian.Uint32(head[8:]) {
		return errors.New("the checksum of its length is wrong: the file is damaged, compressed, or no TFRecord file")
	}
	if length > limit {
		return fmt.Errorf("it has %d bytes; at most %d are taken", length, limit)
	}
	// Grown as the bytes come: the length may be a lie.
	if _, err := io.CopyN(record, r, int64(length)); err != nil {
		return errCutOff
	}
	var sum [4]byte
	if _, err := io.ReadFull(r, sum[:]); err != nil {
		return errCutOff
	}
	if maskedChecksum(record.Bytes()) != binary.LittleEndian.Uint32(sum[:]) {
		return errors.New("its checksum is wrong: the file is damaged")
	}
	return nil
}

// errCutOff is not io.EOF, which would be the end.
var errCutOff = errors.New("the file is cut off in the middle of it")
