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
	part   bool  // of a file: it may have no records
	texts  bool  // are given with the records
	err    error // what the next Next gives
	number int64 // of records that were given

	spare *rows  // for looking at a record by itself
	held  *chunk // begun with a record that didn't fit the chunk before
	last  chunkSize

	header []byte // of a CSV file; set before Next gives its first chunk, and only where texts are kept
}

// Record is the place of one record of an input, and what is wrong with it.
type Record struct {
	Number int64  // from 1, among the input's records; blank lines and a CSV header are none
	Offset int64  // of its first byte (of a TFRecord's length) in the decompressed input, or in the file that it is an excerpt of
	Err    *Error // nil for a good one
	// Text is the record as it stands in the file, without its line end, where
	// Source.Texts asks for it. It is nil of one that is too long to be held.
	Text []byte
}

// Chunk is a run of consecutive records.
type Chunk struct {
	// Input holds the good ones' rows, in order: one row a record. It is nil
	// when there is none. Its tensors are the chunk's own.
	Input   *Input
	Records []Record // all of them, good and bad, in order
	End     int64    // where what follows them begins, counted as Offset is
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
	return f.records != nil && (src.Excerpt != nil || f.wholly == nil || !f.wholly(head, src, m))
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
	if src.Excerpt.plain() {
		magic = nil // what it begins with says nothing
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
	if err := kind.pick(newPicker(src.Filter, "input filter")); err != nil {
		return nil, err
	}
	records := newRecords(kind, file, src)
	if err := records.enter(src.Excerpt); err != nil {
		return nil, err
	}
	return records, nil
}

// newRecords reads a file of that kind, which has been peeked into.
func newRecords(kind *recordKind, file *frames, src Source) *Records {
	return &Records{reader: newRecordReader(kind, file, src), part: src.Excerpt != nil, texts: src.Texts, spare: newRows(kind.sig)}
}

// kindOf is what the records are of a file that begins with head.
func kindOf(head []byte, src Source, m model.Model) (*recordKind, error) {
	f, err := formatOf(head, src)
	if err == nil && src.Excerpt != nil {
		f = f.ofRecords()
	}
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
	kind, err := f.records(head, src, m)
	if err == nil {
		kind.format = f.name
	}
	return kind, err
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

// ending is the error at the end of an input, which must not be empty unless
// it is a part of one.
func (r *Records) ending(err error) error {
	if err == io.EOF && r.number == 0 && !r.part {
		return &Error{Code: CodeEmpty, Message: r.reader.nothing}
	}
	return err
}

// add reads a record into c or, if its shape is another, holds it for the next
// chunk.
func (r *Records) add(c *chunk, record frame) {
	if r.part {
		c.rows.form = formUnsaid
	}
	isRow, f := c.add(r.reader, record)
	if f != nil && !f.fatal && record.fault == nil && c.rows.n > 0 {
		// It may be good by itself. If not, that is the fault which is reported:
		// it doesn't depend on where chunks begin.
		alone := &chunk{rows: r.spare}
		r.spare.form = c.rows.form
		if isRow, f = alone.add(r.reader, record); f == nil {
			r.number++
			alone.records = append(alone.records, r.place(alone, record))
			r.held, r.spare = alone, newRows(r.reader.sig)
			return
		}
	}
	switch {
	case f != nil && f.fatal:
		r.err = f.in(record.at)
	case isRow:
		r.number++
		one := r.place(c, record)
		if f != nil {
			one.Err = f.in(record.at)
			c.bad++
		}
		c.records = append(c.records, one)
	case f == nil:
		r.noteHeader(record)
	}
}

// place is what is known of a record, the last one so far, beside what is wrong
// with it. Its text is c's.
func (r *Records) place(c *chunk, record frame) Record {
	one := Record{Number: r.number, Offset: record.at.offset}
	if r.texts && record.fault == nil {
		one.Text = c.texts.copy(record.record)
	}
	return one
}

// noteHeader keeps the text of a record that was found to be no row, if it is a
// CSV header.
func (r *Records) noteHeader(record frame) {
	if t, ok := r.reader.decoder.(*table); ok && r.texts && r.header == nil && t.names != nil {
		r.header = bytes.Clone(record.record)
	}
}

// gunzipHead is how the content begins that is compressed to head and more.
func gunzipHead(head []byte) []byte {
	z := inflater{raw: bufio.NewReader(bytes.NewReader(head)), packed: new(meter)}
	plain := make([]byte, largestHead)
	n, _ := io.ReadFull(&z, plain) // of a cut stream, as much as there is
	return plain[:n]
}
