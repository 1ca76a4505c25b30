package manifest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/penstock/penstock/storage"
)

// chunkBytes is how much of a manifest is in memory at a time. A connection
// is not kept open over the time in which entries are worked on.
const chunkBytes = 1 << 20

// chunks reads one version of an object by ranged GETs.
type chunks struct {
	ctx   context.Context
	store storage.Reader
	info  storage.Info
	next  int64 // of the object, behind have
	have  []byte
	fault error // why no more could be read
}

// Read implements io.Reader.
func (c *chunks) Read(p []byte) (int, error) {
	if len(c.have) == 0 {
		if c.next >= c.info.Size {
			return 0, io.EOF
		}
		if c.fault = c.fill(); c.fault != nil {
			return 0, c.fault
		}
	}
	n := copy(p, c.have)
	c.have = c.have[n:]
	return n, nil
}

func (c *chunks) fill() error {
	length := min(chunkBytes, c.info.Size-c.next)
	o, err := c.store.Get(c.ctx, c.info.Ref, storage.GetOptions{IfMatch: c.info.ETag, Offset: c.next, Length: length})
	if errors.Is(err, storage.ErrPrecondition) {
		return &Error{ErrChanged}
	}
	if err != nil {
		return err
	}
	defer o.Body.Close()
	have := make([]byte, length)
	if _, err := io.ReadFull(o.Body, have); err != nil {
		return fmt.Errorf("read %s: %w", c.info.Ref, noEOF(err))
	}
	c.have, c.next = have, c.next+length
	return nil
}

// noEOF keeps a body that ended too early from being taken for the manifest's
// end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// unzipped reads in, which may be compressed with gzip.
func unzipped(in io.Reader) (out *bufio.Reader, zipped bool, err error) {
	b := bufio.NewReaderSize(in, maxEntryBytes)
	magic, err := b.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	if !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return b, false, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		return nil, true, damaged(err)
	}
	return bufio.NewReaderSize(unzipping{z}, maxEntryBytes), true, nil
}

// unzipping tells damage from the end.
type unzipping struct{ in io.Reader }

// Read implements io.Reader.
func (u unzipping) Read(p []byte) (int, error) {
	n, err := u.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damaged(err)
	}
	return n, err
}

func damaged(err error) error {
	return faulty("the manifest begins like gzip and can't be read as that: %w", noEOF(err))
}
