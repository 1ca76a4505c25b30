// Package manifest reads lists of objects: SageMaker's ManifestFile, the CSV
// of S3 Batch Operations, and plain lists of URIs, each as it is or compressed
// with gzip. A list may be of any length: it is read in chunks of one version
// of it, and from any place on, so that another process can go on where one
// stopped.
package manifest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/penstock/penstock/storage"
)

// Format is how a manifest is written.
type Format string

// The formats. Detect chooses by the first bytes.
const (
	Detect    Format = ""
	SageMaker Format = "sagemaker" // a JSON array: {"prefix": "s3://bucket/folder/"}, then keys below it
	S3Batch   Format = "s3-batch"  // CSV: bucket, URL-encoded key and, if there is a third column, version
	List      Format = "list"      // an s3:// URI a line, as it is; lines that begin with # are skipped
)

// lines is another name of List.
const lines Format = "lines"

// Validate reports what is no format.
func (f Format) Validate() error {
	switch f {
	case Detect, SageMaker, S3Batch, List, lines:
		return nil
	}
	return fmt.Errorf("%.40q is not a format of manifests; it must be %s, %s or %s", string(f), SageMaker, S3Batch, List)
}

// Entry is one object of a manifest. Err says why an entry can't be read, and
// where it is; the ones behind it can.
type Entry struct {
	Ref storage.Ref
	Err error
}

// Position is a place between two entries. The zero value is the beginning.
type Position struct {
	ETag   string `json:"etag,omitempty"` // of the manifest: its other versions have other places
	Format Format `json:"format,omitempty"`
	Gzip   bool   `json:"gzip,omitempty"`   // it is compressed: all before the place is read again
	Offset int64  `json:"offset,omitempty"` // bytes; of gzip in what it holds
	Line   int64  `json:"line,omitempty"`   // lines before, or elements of the array
	Prefix string `json:"prefix,omitempty"` // that SageMaker's form puts before the next ones
}

// Error says what is wrong with a manifest as a whole: to read it again is no
// use.
type Error struct{ Err error }

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives what is wrong.
func (e *Error) Unwrap() error { return e.Err }

func faulty(format string, args ...any) error { return &Error{fmt.Errorf(format, args...)} }

// ErrChanged says that a manifest is no longer the version that was begun with.
// It is in an *Error.
var ErrChanged = errors.New("the manifest was overwritten meanwhile")

// maxEntryBytes bounds one entry: a key of 1,024 bytes, each of them escaped.
const maxEntryBytes = 16 << 10

// Reader reads a manifest. It is for one goroutine.
type Reader struct {
	at      Position
	chunks  *chunks
	entries interface {
		// next gives an entry and the place behind it, of which it fills
		// Offset, Line and Prefix. It ends with io.EOF.
		next() (Entry, Position, error)
	}
}

// Open opens the manifest at ref, at a place that Position gave. ctx bounds the
// reading, too.
func Open(ctx context.Context, store storage.Reader, ref storage.Ref, format Format, at Position) (*Reader, error) {
	if at.Format != "" {
		format = at.Format
	}
	if err := format.Validate(); err != nil {
		return nil, &Error{err}
	}
	info, err := store.Head(ctx, ref)
	if err != nil {
		return nil, err
	}
	info.Ref = ref
	if at.ETag != "" && at.ETag != info.ETag {
		return nil, &Error{ErrChanged}
	}
	if at.Offset < 0 || at.Offset > info.Size && !at.Gzip {
		return nil, faulty("the manifest has %d bytes, and so no place %d to go on from", info.Size, at.Offset)
	}
	r := &Reader{chunks: &chunks{ctx: ctx, store: store, info: info}}
	in, err := r.enter(&at)
	if err == nil && format == Detect {
		format, err = detect(in)
	}
	if err == nil {
		at.ETag, at.Format = info.ETag, format
		r.at = at
		err = r.parse(in)
	}
	if err != nil {
		return nil, r.fault(err)
	}
	return r, nil
}

// enter goes to a place, and learns at the beginning whether the manifest is
// compressed.
func (r *Reader) enter(at *Position) (*bufio.Reader, error) {
	if at.Offset > 0 && !at.Gzip {
		r.chunks.next = at.Offset
		return bufio.NewReaderSize(r.chunks, maxEntryBytes), nil
	}
	in, zipped, err := unzipped(r.chunks)
	if err != nil {
		return nil, err
	}
	if at.Gzip = zipped; at.Offset == 0 {
		return in, nil
	}
	if n, err := io.CopyN(io.Discard, in, at.Offset); err != nil {
		if errors.Is(err, io.EOF) {
			err = faulty("the manifest holds %d bytes, and so no place %d to go on from", n, at.Offset)
		}
		return nil, err
	}
	return in, nil
}

func (r *Reader) parse(in *bufio.Reader) (err error) {
	switch r.at.Format {
	case SageMaker:
		r.entries, err = newArray(in, r.at)
	case S3Batch:
		r.entries = &table{in: in, at: r.at, entry: csvEntry}
	default:
		r.entries = &table{in: in, at: r.at, entry: uriEntry, comments: true}
	}
	return err
}

// fault tells what the store did from what is wrong with the manifest: the
// parsers see both as an end of their input.
func (r *Reader) fault(err error) error {
	if err != nil && r.chunks.fault != nil {
		return r.chunks.fault
	}
	return err
}

// detect tells the format by the manifest's first bytes, and refuses what no
// format begins with.
func detect(in *bufio.Reader) (Format, error) {
	head, err := in.Peek(detectBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	head = bytes.TrimSpace(bytes.TrimPrefix(head, byteOrderMark))
	line, _, _ := strings.Cut(string(head), "\n")
	switch {
	case strings.HasPrefix(line, "["):
		return SageMaker, nil
	case strings.HasPrefix(line, "{"):
		return "", faulty("it is a JSON object. SageMaker's manifest is an array; the manifest.json of an S3 Inventory is no list but names some: give one of the CSV files that it lists, if its columns are the bucket, the key and perhaps the version")
	case strings.HasPrefix(line, "s3://"), strings.HasPrefix(line, "#"), line == "":
		return List, nil
	case strings.Contains(line, ","):
		return S3Batch, nil
	}
	return "", faulty("its format can't be told from its first line, %.60q; say which it is: %s, %s or %s", strings.TrimSpace(line), SageMaker, S3Batch, List)
}

// detectBytes are enough to tell a format by.
const detectBytes = 4 << 10

var byteOrderMark = []byte("\xef\xbb\xbf")

// Next gives the next entry, or io.EOF after the last. Other errors are an
// *Error or of the store. They end the reading; Position is then behind the
// last entry that was given.
func (r *Reader) Next() (Entry, error) {
	e, at, err := r.entries.next()
	if err != nil {
		return Entry{}, r.fault(err)
	}
	r.at.Offset, r.at.Line, r.at.Prefix = at.Offset, at.Line, at.Prefix
	if e.Err != nil {
		e.Err = fmt.Errorf("%s: %w", r.Where(), e.Err)
	}
	return e, nil
}

// Position is the place behind the entries that Next gave.
func (r *Reader) Position() Position { return r.at }

// Where says for a person where the entry is that Next gave: "line 7".
func (r *Reader) Where() string {
	if r.at.Format == SageMaker {
		return fmt.Sprintf("element %d", r.at.Line)
	}
	return fmt.Sprintf("line %d", r.at.Line)
}
