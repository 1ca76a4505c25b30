package codec

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// DefaultMaxRecordBytes is how long a record of JSON lines, CSV or TFRecord may
// be: 16 MiB, without its line end or its frame.
const DefaultMaxRecordBytes = 16 << 20

// maxPieces is how many fields of CSV, or strings, a record may have. Each takes
// memory of its own: 16 MiB of commas would become a gigabyte.
const maxPieces = 1 << 20

func tooManyPieces(what string) *fault {
	return &fault{
		code: CodeTooLarge,
		text: fmt.Sprintf(" has more than the %d %s that a record may have", maxPieces, what),
		hint: "split the record; numbers may be more in JSON lines, TFRecord and .npy",
	}
}

// maxRecordBytes is the limit for one record.
func (s Source) maxRecordBytes() int {
	if s.MaxRecordBytes > 0 {
		return int(min(s.MaxRecordBytes, 1<<40))
	}
	return DefaultMaxRecordBytes
}

// place is where a record begins in its file.
type place struct {
	unit   string
	number int64 // of the record, from 1; for a line the number of the first one
	offset int64 // in bytes
	byByte bool  // number is not what it is in the whole file
}

func (p place) String() string {
	if p.byByte {
		return fmt.Sprintf("%s at byte %d", p.unit, p.offset)
	}
	if p.unit == unitLine {
		return fmt.Sprintf("line %d", p.number)
	}
	return fmt.Sprintf("%s %d (at byte %d)", p.unit, p.number, p.offset)
}

// Units of records.
const (
	unitLine   = "line"
	unitRecord = "record"
)

// in is the finished Error of a record's fault.
func (f *fault) in(p place) *Error {
	where := p.String()
	if path := strings.TrimPrefix(f.path, "."); path != "" {
		where += ": " + path
	}
	return &Error{Code: f.code, Message: where + f.text, Hint: f.hint}
}

// cutter knows where the records of a kind of file end. It reads one file, from
// its beginning.
type cutter interface {
	// size is how many bytes the record at the start of window takes, with its
	// line end or frame. It is larger than window when that much is known to be
	// missing, and 0 when window doesn't show the end. The first seen bytes are
	// those of the call before, which found no end. A fault means that no later
	// record can be found.
	size(window []byte, seen int) (int, *fault)
	// record is what is between the frame, or before the line end. With a fault
	// it is what would be.
	record(framed []byte) ([]byte, *fault)
	// rest is what is at the end of the file without an end of its own.
	rest(framed []byte) ([]byte, *fault)
}

// frame is one record as it was cut from its file.
type frame struct {
	at     place
	record []byte // valid until the next is read
	fault  *fault // why record is not to be used
}

// blank says that it is a line with nothing in it, which is no record.
func (f frame) blank() bool {
	return f.at.unit == unitLine && f.fault == nil && len(f.record) == 0 // of no frame at all, unit is empty
}

// frames cuts a file into records, whether it is all in memory or a stream: of
// that it holds no more than a record and what came with it.
type frames struct {
	cut   cutter
	limit int // of a record's bytes
	at    place

	src        io.Reader // nil when buf is the whole file
	err        error     // of src: io.EOF when there is no more
	buf        []byte
	start, end int // of what is in buf and not yet cut
}

// Sizes of the buffer of a stream, and how often its reader may give nothing.
const (
	firstBuffer  = 64 << 10
	maxLineEnd   = len("\r\n")
	mostNothings = 100
)

// wholeFile cuts body.
func wholeFile(body []byte) *frames {
	return &frames{buf: body, end: len(body), err: io.EOF}
}

// streamed cuts what src gives.
func streamed(src io.Reader) *frames {
	return &frames{src: src, buf: make([]byte, firstBuffer)}
}

// kind says what the file is, or what file e is an excerpt of. A byte order
// mark in front is skipped.
func (r *frames) kind(unit string, cut cutter, limit int, e *Excerpt) {
	r.cut, r.limit = cut, limit
	r.at = place{unit: unit, number: 1, byByte: e != nil}
	if unit == unitLine && e.fromStart() && bytes.HasPrefix(r.window(), []byte(utf8BOM)) {
		r.drop(len(utf8BOM))
	}
}

// peek has at least n bytes in the window, if there are so many, and fewer than
// the buffer is large.
func (r *frames) peek(n int) []byte {
	for len(r.window()) < n && r.err == nil {
		r.fill()
	}
	return r.window()
}

// window is what is in memory from the next record on.
func (r *frames) window() []byte { return r.buf[r.start:r.end] }

// drop moves on by n bytes of the window.
func (r *frames) drop(n int) {
	if r.at.unit == unitLine {
		r.at.number += int64(bytes.Count(r.buf[r.start:r.start+n], newline))
	}
	r.at.offset += int64(n)
	r.start += n
}

var newline = []byte{'\n'}

// fill reads more behind the window, or sets err.
func (r *frames) fill() {
	if r.start > 0 {
		r.end = copy(r.buf, r.window())
		r.start = 0
	}
	if r.end == len(r.buf) {
		// With room for the longest record and its line end, and something more
		// so that it isn't read byte by byte.
		most := max(r.limit, DefaultMaxRecordBytes) + firstBuffer
		grown := make([]byte, min(2*len(r.buf), max(most, len(r.buf)+firstBuffer)))
		r.end = copy(grown, r.buf)
		r.buf = grown
	}
	for range mostNothings {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		r.err = err
		if n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}

// next cuts off a record. The error is io.EOF at the end, an *Error when the
// records can't be told apart any more, or the reader's.
func (r *frames) next() (frame, error) {
	seen := 0
	for {
		window := r.window()
		size, f := r.cut.size(window, seen)
		switch {
		case f != nil:
			return frame{}, f.in(r.at)
		case size > r.limit+tfrecordHead+tfrecordTail && size > len(window), size == 0 && len(window) > r.limit+maxLineEnd:
			return r.skip(size)
		case size > 0 && size <= len(window):
			return r.take(size, r.cut.record), nil
		case r.err == io.EOF && len(window) > 0:
			return r.take(len(window), r.cut.rest), nil
		case r.err != nil:
			return frame{}, r.err
		}
		seen = len(window)
		r.fill()
	}
}

// take cuts off size bytes of the window.
func (r *frames) take(size int, strip func([]byte) ([]byte, *fault)) frame {
	record := frame{at: r.at}
	record.record, record.fault = strip(r.window()[:size:size])
	if len(record.record) > r.limit { // whatever else is wrong with it: one that is skipped isn't looked at
		record.fault = r.tooLong()
	}
	r.drop(size)
	if r.at.unit == unitRecord {
		r.at.number++
	}
	return record
}

func (r *frames) tooLong() *fault {
	return &fault{
		code: CodeTooLarge,
		text: fmt.Sprintf(" has more than the %d bytes that a record may have", r.limit),
		hint: "split the record, or upload it as an object of its own",
	}
}

// skip moves on to the end of a record that is too long to be held, and of size
// bytes if that isn't 0.
func (r *frames) skip(size int) (frame, error) {
	long := frame{at: r.at, fault: r.tooLong()}
	for passed := 0; ; {
		n := len(r.window())
		if size > 0 && size-passed < n {
			n = size - passed
		}
		r.drop(n)
		if passed += n; passed == size {
			break
		}
		if r.err != nil && r.err != io.EOF {
			return frame{}, r.err
		}
		if r.err == io.EOF {
			if size > 0 {
				long.fault = truncated(uint64(size), passed)
			}
			break
		}
		r.fill()
		if size > 0 {
			continue
		}
		end, f := r.cut.size(r.window(), 0)
		if f != nil {
			return frame{}, f.in(long.at)
		}
		if end > 0 {
			size = passed + end
		}
	}
	if r.at.unit == unitRecord {
		r.at.number++
	}
	return long, nil
}
