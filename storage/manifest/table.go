package manifest

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/penstock/penstock/storage"
)

// table reads the formats of one entry a line. Empty lines are none.
type table struct {
	in       *bufio.Reader // it holds a line of maxEntryBytes
	at       Position
	entry    func(line string) (storage.Ref, error)
	comments bool // lines that begin with "#" are none either
}

func (t *table) next() (Entry, Position, error) {
	for {
		first := t.at.Offset == 0
		line, tooLong, err := t.line()
		if err != nil {
			return Entry{}, t.at, err
		}
		t.at.Line++
		if first {
			line = bytes.TrimPrefix(line, byteOrderMark)
		}
		var e Entry
		switch text := strings.TrimRight(string(line), "\r\n"); {
		case t.comments && strings.HasPrefix(text, "#"):
			continue
		case tooLong:
			e.Err = fmt.Errorf("it is longer than %d bytes", maxEntryBytes)
		case strings.TrimSpace(text) == "":
			continue
		default:
			e.Ref, e.Err = t.entry(text)
		}
		return e, t.at, nil
	}
}

// line reads one line, or the beginning of one that is too long and skips its
// rest.
func (t *table) line() (line []byte, tooLong bool, err error) {
	line, err = t.in.ReadSlice('\n')
	t.at.Offset += int64(len(line))
	if tooLong = errors.Is(err, bufio.ErrBufferFull); tooLong {
		line = bytes.Clone(line[:len(byteOrderMark)+1]) // reading on overwrites it
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		var rest []byte
		rest, err = t.in.ReadSlice('\n')
		t.at.Offset += int64(len(rest))
	}
	if errors.Is(err, io.EOF) && (len(line) > 0 || tooLong) {
		err = nil // the last line has no end
	}
	return line, tooLong, err
}

func uriEntry(line string) (storage.Ref, error) {
	return object(storage.ParseRef(strings.TrimSpace(line)))
}

func csvEntry(line string) (storage.Ref, error) {
	r := csv.NewReader(strings.NewReader(line))
	r.TrimLeadingSpace = true
	row, err := r.Read()
	if err != nil {
		if e, ok := errors.AsType[*csv.ParseError](err); ok {
			err = e.Err // without its place, which is that in the line
		}
		return storage.Ref{}, fmt.Errorf("it is no CSV: %w", err)
	}
	if len(row) < 2 || len(row) > 3 {
		return storage.Ref{}, fmt.Errorf("it has %d columns; it must have the bucket, the key and, for a version, its id", len(row))
	}
	key, err := url.QueryUnescape(row[1])
	if err != nil {
		return storage.Ref{}, fmt.Errorf("the key %.80q is not URL-encoded: %w", row[1], err)
	}
	ref := storage.Ref{Bucket: row[0], Key: key}
	if len(row) == 3 && row[2] != "null" { // as S3 calls the version of what has none
		ref.Version = row[2]
	}
	return object(ref, ref.Validate())
}

// object refuses what names a bucket and no object in it.
func object(ref storage.Ref, err error) (storage.Ref, error) {
	if err == nil && ref.Key == "" {
		err = fmt.Errorf("%s names a bucket, not an object", ref)
	}
	return ref, err
}
