package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/penstock/penstock/storage"
)

// write puts the chunks' output together at ref.
func (a *assembly) write(ctx context.Context, ref storage.Ref, opts storage.PutOptions) (err error) {
	if len(a.heads) > 0 {
		opts.ContentType = a.heads[0].info.ContentType
	}
	j := newJoiner(ctx, a.Store, ref, a.bytes, opts)
	defer func() {
		if err != nil {
			err = errors.Join(err, j.close())
		}
	}()
	for _, h := range a.heads {
		if err := a.append(ctx, j, h); err != nil {
			return err
		}
	}
	return j.finish()
}

// append appends a chunk's output: what is large enough is copied.
func (a *assembly) append(ctx context.Context, j *joiner, h chunkHead) error {
	read := h.errorsAt
	if m := j.missing(); h.errorsAt-m >= j.least {
		read = m
	}
	for at := int64(0); at < read; {
		n := min(j.room(), read-at)
		if err := j.fill(n, func(to []byte) error { return a.piece(ctx, h, at, to) }); err != nil {
			return err
		}
		at += n
	}
	if read == h.errorsAt {
		return nil
	}
	return j.copy(h.info, read, h.errorsAt-read)
}

// piece reads a range of a chunk, from offset on.
func (a *assembly) piece(ctx context.Context, h chunkHead, offset int64, to []byte) error {
	o, err := a.Store.Get(ctx, h.info.Ref, storage.GetOptions{IfMatch: h.info.ETag, Offset: offset, Length: int64(len(to))})
	if err != nil {
		return err
	}
	defer o.Body.Close()
	if _, err := io.ReadFull(o.Body, to); err != nil {
		return fmt.Errorf("read %s: %w", h.info.Ref, err)
	}
	return nil
}

// writeErrors writes the error file, if there are any. Chunks count records from
// their range's first; here they get their numbers in the file.
func (a *assembly) writeErrors(ctx context.Context) (err error) {
	if a.total.Bad == 0 {
		return nil
	}
	j := newJoiner(ctx, a.Store, ErrorsOf(a.output), a.bytes, storage.PutOptions{ContentType: "application/jsonlines"})
	defer func() {
		if err != nil {
			err = errors.Join(err, j.close())
		}
	}()
	for i, h := range a.heads {
		if h.errorsAt == h.info.Size {
			continue
		}
		lines := make([]byte, h.info.Size-h.errorsAt)
		if err := a.piece(ctx, h, h.errorsAt, lines); err != nil {
			return err
		}
		for line := range bytes.Lines(lines) {
			var e RecordError
			if err := json.Unmarshal(line, &e); err != nil {
				return broken{fmt.Errorf("%s: a line of its errors is broken: %w", h.info.Ref, err)}
			}
			if e.Record += a.bases[i]; a.first == nil {
				a.first = &e
			}
			if err := j.write(AppendError(nil, e)); err != nil {
				return err
			}
		}
	}
	return j.finish()
}
