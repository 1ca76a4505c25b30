package codec

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"

	"github.com/penstock/penstock/worker/model"
)

// Records reads an input that is a sequence of records piece by piece, in
// memory that depends on the longest record and not on the input. It is not
// safe for concurrent use.
type Records struct {
	reader *recordReader
	err    error // what the next Next gives
	number int64 // of records that were given

	spare *rows  // for looking at a record by itself
	held  *chunk // begun with a record that didn't fit the chunk before
	last  chunkSize
}

// Record is the place of one record of an input, and what is wrong with it.
type Record struct {
	Number int64  // from 1, among the input's records; blank lines and a CSV header are none
	Offset int64  // of its first byte (of a TFRecord's length) in the decompressed input
	Err    *Error // nil for a good one
}

// Chunk is a run of consecutive records.
type Chunk struct {
	// Input holds the good ones' rows, in order: one row a record. It is nil
	// when there is none. Its tensors are the chunk's own.
	Input   *Input
	Records []Record // all of them, good and bad, in order
}

// Streams says whether an input of which src is known, and which begins with
// head, is a sequence of records that OpenRecords reads: JSON lines, CSV or
// TFRecord, each also compressed with gzip. A few hundred bytes of head are
// enough. JSON lines that begin as a predict request are no such sequence.
func Streams(head []byte, src Source, m model.Model) bool {
	src, packed, err := src.within(head, m)
	if err != nil {
		return false
	}
	if packed {
		head = gunzipHead(head)
	}
	f, err := formatOf(head, src)
	return err == nil && f.streams(head, src, m)
}

// streams says whether a file of that format which begins with head is read
// record by record.
func (f *format) streams(head []byte, src Source, m model.Model) bool {
	return f.records != nil && !(f.wholly != nil && f.wholly(head, src, m))
}

// OpenRecords begins to read r, of which src is known, for a signature of m. It
// reads no further than it needs to tell what r is. src.MaxBytes has no effect:
// compressed bytes may become 200 times as many, and 64 MiB more. The error is
// an *Error, as for an input that isn't a sequence of records, or r's own.
func OpenRecords(r io.Reader, src Source, m model.Model) (*Records, error) {
	packed := &meter{src: r}
	raw := bufio.NewReaderSize(packed, packedBuffer)
	magic, err := raw.Peek(len(gzipMagic))
	if err != nil && err != io.EOF {
		return nil, err
	}
	src, isGzip, err := src.within(magic, m)
	if err != nil {
		return nil, err
	}
	file := streamed(raw)
	if isGzip {
		file.src = &inflater{raw: raw, packed: packed}
	}
	kind, err := kindOf(file.peek(largestHead), src, m)
	switch {
	case err != nil && file.err != nil && file.err != io.EOF:
		return nil, file.err // that is why it can't be told
	case err != nil:
		return nil, err
	}
	return newRecords(kind, file, src), nil
}

// newRecords reads a file of that kind, which has been peeked into.
func newRecords(kind *recordKind, file *frames, src Source) *Records {
	return &Records{reader: newRecordReader(kind, file, src), spare: newRows(kind.sig)}
}

// kindOf is what the records are of a file that begins with head.
func kindOf(head []byte, src Source, m model.Model) (*recordKind, error) {
	f, err := formatOf(head, src)
	switch {
	case err != nil:
		return nil, err
	case !f.streams(head, src, m):
		return nil, &Error{
			Code:    CodeUnsupportedType,
			Message: fmt.Sprintf("the input is %s, which can't be read record by record", f.name),
			Hint:    "write many instances as JSON lines, CSV or TFRecord",
		}
	}
	return f.records(head, src, m)
}

// largestHead is how many bytes are looked at to tell what an input is.
const largestHead = 4 << 10

// Signature is the one that the input is for.
func (r *Records) Signature() *model.Signature { return r.reader.sig }

// Close frees what Next holds, and ends it: it gives fs.ErrClosed from then on.
// The reader that OpenRecords was given is left open.
func (r *Records) Close() error {
	r.err, r.reader.frames, r.spare, r.held = fs.ErrClosed, nil, nil, nil
	return nil
}

// Next reads at most `most` further records, and at least one. There are fewer
// when the next one has another shape, where the signature leaves dimensions
// open, when they take about 8 MiB, and before the end; of a signature without
// a batch dimension there is one. The error is io.EOF when there are none left.
// An *Error says that no later record can be read, for example because a gzip
// stream is broken, or that there never was one. The reader's errors are given
// as they are. After an error Next gives it again.
func (r *Records) Next(most int64) (*Chunk, error) {
	if r.err != nil && r.held == nil {
		return nil, r.err
	}
	if !r.reader.batched {
		most = 1 // which is an input of its own
	}
	c := r.begin(most)
	for r.err == nil && r.held == nil && int64(len(c.records)) < max(most, 1) && c.size() < largestChunk {
		record, err := r.reader.frames.next()
		if err != nil {
			r.err = r.ending(err)
			break
		}
		r.add(c, record)
	}
	if len(c.records) == 0 {
		return nil, r.err
	}
	return r.finish(c), nil
}

// ending is the error at the end of an input, which must not be empty.
func (r *Records) ending(err error) error {
	if err == io.EOF && r.number == 0 {
		return &Error{Code: CodeEmpty, Message: r.reader.nothing}
	}
	return err
}

// add reads a record into c or, if its shape is another, holds it for the next
// chunk.
func (r *Records) add(c *chunk, record frame) {
	isRow, f := c.add(r.reader, record)
	if f != nil && !f.fatal && record.fault == nil && c.rows.n > 0 {
		// It may be good by itself. If not, that is the fault which is reported:
		// it doesn't depend on where chunks begin.
		alone := &chunk{rows: r.spare}
		r.spare.form = c.rows.form
		if isRow, f = alone.add(r.reader, record); f == nil {
			r.number++
			alone.records = append(alone.records, Record{Number: r.number, Offset: record.at.offset})
			r.held, r.spare = alone, newRows(r.reader.sig)
			return
		}
	}
	switch {
	case f != nil && f.fatal:
		r.err = f.in(record.at)
	case isRow:
		r.number++
		one := Record{Number: r.number, Offset: record.at.offset}
		if f != nil {
			one.Err = f.in(record.at)
			c.bad++
		}
		c.records = append(c.records, one)
	}
}

// gunzipHead is how the content begins that is compressed to head and more.
func gunzipHead(head []byte) []byte {
	z := inflater{raw: bufio.NewReader(bytes.NewReader(head)), packed: new(meter)}
	plain := make([]byte, largestHead)
	n, _ := io.ReadFull(&z, plain) // of a cut stream, as much as there is
	return plain[:n]
}
