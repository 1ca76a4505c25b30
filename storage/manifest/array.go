package manifest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/penstock/penstock/storage"
)

// array reads SageMaker's ManifestFile: a JSON array of a prefix and of keys
// that are put behind it as they are.
type array struct {
	in   *bounded
	json *json.Decoder
	base int64 // what to add to the decoder's offset for the manifest's
	at   Position
}

func newArray(b *bufio.Reader, at Position) (*array, error) {
	begin := "[null" // what was read before, as far as the decoder must know of it
	base := at.Offset - int64(len(begin))
	if at.Offset == 0 {
		begin, base = "", 0
		if head, _ := b.Peek(len(byteOrderMark)); bytes.Equal(head, byteOrderMark) {
			n, _ := b.Discard(len(head))
			base = int64(n)
		}
	}
	limited := &bounded{in: io.MultiReader(strings.NewReader(begin), b), most: maxEntryBytes}
	a := &array{in: limited, json: json.NewDecoder(limited), base: base, at: at}
	switch first, err := a.json.Token(); {
	case err != nil:
		return a, asFault(err)
	case first != json.Delim('['):
		return a, faulty("the manifest is no JSON array: it begins with %.40v", first)
	case begin == "":
		return a, nil
	}
	_, err := a.json.Token()
	return a, err
}

func (a *array) next() (Entry, Position, error) {
	for {
		a.in.allow(a.json.InputOffset() + maxEntryBytes)
		if !a.json.More() {
			return Entry{}, a.at, a.end()
		}
		var element json.RawMessage
		if err := a.json.Decode(&element); err != nil {
			return Entry{}, a.at, asFault(err)
		}
		a.at.Line++
		ref, isPrefix, err := a.read(element)
		if isPrefix {
			continue
		}
		a.at.Offset = a.base + a.json.InputOffset()
		return Entry{ref, err}, a.at, nil
	}
}

// read reads one element. A prefix holds for those behind it.
func (a *array) read(element []byte) (ref storage.Ref, isPrefix bool, err error) {
	var key string
	if element[0] == '"' && json.Unmarshal(element, &key) == nil {
		uri := a.at.Prefix + key
		if a.at.Prefix == "" && !strings.HasPrefix(key, "s3://") {
			return ref, false, fmt.Errorf(`the key %.80q has no {"prefix": "s3://bucket/"} before it`, key)
		}
		ref, err = object(storage.ParseRef(uri))
		return ref, false, err
	}
	var head struct {
		Prefix *string `json:"prefix"`
	}
	if err := json.Unmarshal(element, &head); err != nil || head.Prefix == nil {
		return ref, false, fmt.Errorf(`%.80s is neither a key nor {"prefix": "s3://bucket/"}`, element)
	}
	if !strings.HasPrefix(*head.Prefix, "s3://") {
		return ref, false, fmt.Errorf("the prefix %.80q does not begin with s3://", *head.Prefix)
	}
	a.at.Prefix = *head.Prefix
	return ref, true, nil
}

// end tells the array's end from a manifest that was cut.
func (a *array) end() error {
	if _, err := a.json.Token(); err != nil {
		return asFault(err)
	}
	return io.EOF
}

// asFault says what is wrong with the JSON.
func asFault(err error) error {
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, known := errors.AsType[*Error](err)
	switch {
	case known:
		return err
	case syntax:
		return faulty("the manifest is no JSON array: %w", err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return faulty("the manifest ends before its JSON array does")
	}
	return err
}

// bounded keeps the decoder from taking an element of any size into memory:
// it reads no further than it is allowed.
type bounded struct {
	in   io.Reader
	read int64
	most int64
}

// allow lets reading go on to the given offset, and by what the decoder reads
// ahead.
func (b *bounded) allow(to int64) { b.most = to }

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.read > b.most {
		return 0, faulty("the manifest has an element of more than %d bytes", maxEntryBytes)
	}
	n, err := b.in.Read(p)
	b.read += int64(n)
	return n, err
}
