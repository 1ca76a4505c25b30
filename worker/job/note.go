package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/penstock/penstock/storage"
)

// Notes are what the books are written in: small objects, JSON or empty.

const jsonType = "application/json"

// conflicts is how often a conditional write that met another is tried again.
const (
	conflicts    = 10
	conflictWait = 50 * time.Millisecond
)

// broken is the error of books that hold what no Penstock of this version wrote.
// It is an answer: to read them again is no use.
type broken struct{ error }

// Is says that it is an fs.ErrInvalid.
func (broken) Is(target error) bool { return target == fs.ErrInvalid }

// putNew writes an object where none is. created is false when one was there:
// another's, or our own whose reply was lost.
func putNew(ctx context.Context, s storage.Store, ref storage.Ref, body []byte, opts storage.PutOptions) (created bool, err error) {
	opts.IfNoneMatch = true
	for n := 0; ; n++ {
		_, err = s.Put(ctx, ref, body, opts)
		switch {
		case errors.Is(err, storage.ErrPrecondition):
			return false, nil
		case errors.Is(err, storage.ErrConflict) && n < conflicts:
			if err := pause(ctx, conflictWait); err != nil {
				return false, err
			}
		default:
			return err == nil, err
		}
	}
}

// putNote writes v where nothing is.
func putNote(ctx context.Context, s storage.Store, ref storage.Ref, v any) (created bool, err error) {
	body, err := json.Marshal(v)
	if err != nil {
		return false, err
	}
	return putNew(ctx, s, ref, append(body, '\n'), storage.PutOptions{ContentType: jsonType})
}

// mark writes an empty object whose name says it all.
func mark(ctx context.Context, s storage.Store, ref storage.Ref) error {
	_, err := s.Put(ctx, ref, nil, storage.PutOptions{})
	return err
}

// readNote reads v. A note that is not there is fs.ErrNotExist.
func readNote(ctx context.Context, s storage.Reader, ref storage.Ref, v any) error {
	_, err := readNoteAs(ctx, s, ref, v)
	return err
}

// readNoteAs is readNote, and gives the ETag of what it has read.
func readNoteAs(ctx context.Context, s storage.Reader, ref storage.Ref, v any) (etag string, err error) {
	body, etag, err := readAs(ctx, s, ref, storage.GetOptions{})
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return "", broken{fmt.Errorf("read %s: %w", ref, err)}
	}
	return etag, nil
}

// deleteNote deletes the very note that was read; another in its place stays.
func deleteNote(ctx context.Context, s storage.Store, ref storage.Ref, etag string) error {
	err := storage.DeleteSeen(ctx, s, ref, etag)
	if errors.Is(err, storage.ErrPrecondition) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func read(ctx context.Context, s storage.Reader, ref storage.Ref, opts storage.GetOptions) ([]byte, error) {
	body, _, err := readAs(ctx, s, ref, opts)
	return body, err
}

func readAs(ctx context.Context, s storage.Reader, ref storage.Ref, opts storage.GetOptions) (body []byte, etag string, err error) {
	o, err := s.Get(ctx, ref, opts)
	if err != nil {
		return nil, "", err
	}
	defer o.Body.Close()
	if body, err = io.ReadAll(o.Body); err != nil {
		return nil, "", fmt.Errorf("read %s: %w", ref, err)
	}
	return body, o.ETag, nil
}

// exists says whether there is an object.
func exists(ctx context.Context, s storage.Reader, ref storage.Ref) (bool, error) {
	_, err := s.Head(ctx, ref)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
