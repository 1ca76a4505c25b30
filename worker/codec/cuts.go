package codec

import (
	"bytes"
	"io"
)

// Cuts finds where the records of a file end, without making anything of them:
// for who divides a file whose records can't be told from the middle of it. It
// holds no more than a record, and finds the same ends as Records does.
type Cuts struct {
	frames *frames
	blank  bool
}

// CutCSV finds the ends of CSV records, which may hold line ends in quotes.
func CutCSV(r io.Reader) *Cuts {
	return newCuts(r, unitLine, &csvCutter{limit: DefaultMaxRecordBytes})
}

// CutTFRecord finds those of an uncompressed TFRecord file.
func CutTFRecord(r io.Reader) *Cuts { return newCuts(r, unitRecord, tfrecordCutter{}) }

func newCuts(r io.Reader, unit string, cut cutter) *Cuts {
	file := streamed(r)
	file.peek(len(utf8BOM))
	file.kind(unit, cut, DefaultMaxRecordBytes, nil)
	return &Cuts{frames: file}
}

// Next gives the offset in bytes behind the next record, or blank line. The error is io.EOF at
// the end, an *Error where the records can't be told apart any more, or the
// reader's.
func (c *Cuts) Next() (int64, error) {
	record, err := c.frames.next()
	c.blank = record.blank()
	return c.frames.at.offset, err
}

// Blank says whether what Next found was a blank line.
func (c *Cuts) Blank() bool { return c.blank }

// IsCSV says whether a file of lines, of which src is known and which begins
// with head, is CSV and not JSON lines.
func IsCSV(head []byte, src Source) bool {
	if f, _, err := declared(src); f != nil && err == nil {
		return f.name == formatCSV
	}
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte(utf8BOM)), " \t\r\n")
	return len(head) > 0 && head[0] != '{' && head[0] != '['
}

// IsGzip says whether a file that begins with head is compressed.
func IsGzip(head []byte) bool { return bytes.HasPrefix(head, []byte(gzipMagic)) }
