package mem

import (
	"bytes"
	"context"
	"crypto/md5" // as in store.go
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"github.com/penstock/penstock/storage"
)

// upload is an object whose parts come one by one.
type upload struct {
	store *Store
	ref   storage.Ref
	opts  storage.PutOptions

	mu    sync.Mutex
	parts map[int][]byte // nil once it is complete or aborted
}

var _ storage.Upload = (*upload)(nil)

// Upload implements storage.Writer.
func (s *Store) Upload(ctx context.Context, ref storage.Ref, opts storage.PutOptions) (storage.Upload, error) {
	err := validate(ref, opts)
	if err == nil {
		s.mu.Lock()
		_, err = s.bucket(ctx, ref)
		s.mu.Unlock()
	}
	if err != nil {
		return nil, fmt.Errorf("upload %s: %w", ref, err)
	}
	opts.Metadata = maps.Clone(opts.Metadata)
	return &upload{store: s, ref: ref, opts: opts, parts: map[int][]byte{}}, nil
}

// PutPart implements storage.Upload.
func (u *upload) PutPart(ctx context.Context, number int, part []byte) error {
	if err := u.put(ctx, number, slices.Clone(part)); err != nil {
		return fmt.Errorf("put part %d of %s: %w", number, u.ref, err)
	}
	return nil
}

// CopyPart implements storage.Upload.
func (u *upload) CopyPart(ctx context.Context, number int, from storage.Info, offset, length int64) error {
	length, err := storage.PartRange(from, offset, length)
	if err == nil {
		var v *version
		if v, err = u.store.read(ctx, from.Ref); err == nil {
			err = matches(v, from.ETag)
		}
		if err == nil { // a version never changes: there is no need to copy
			err = u.put(ctx, number, v.body[offset:offset+length])
		}
	}
	if err != nil {
		return fmt.Errorf("copy %s to part %d of %s: %w", from.Ref, number, u.ref, err)
	}
	return nil
}

func (u *upload) put(ctx context.Context, number int, part []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := storage.ValidatePartNumber(number); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.parts == nil {
		return fmt.Errorf("the upload is gone: %w", fs.ErrNotExist)
	}
	u.parts[number] = part
	return nil
}

// Complete implements storage.Upload.
func (u *upload) Complete(ctx context.Context) (storage.Info, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	body, etag, err := u.join()
	var info storage.Info
	if err == nil {
		info, err = u.store.write(ctx, u.ref, body, etag, u.opts)
	}
	if err != nil {
		return storage.Info{}, fmt.Errorf("complete the upload of %s: %w", u.ref, err)
	}
	u.parts = nil
	return info, nil
}

// join gives the whole object, and an ETag as S3 makes it of those of the
// parts. The caller holds the lock.
func (u *upload) join() (body []byte, etag string, err error) {
	switch {
	case u.parts == nil:
		return nil, "", fmt.Errorf("the upload is gone: %w", fs.ErrNotExist)
	case len(u.parts) == 0:
		return nil, "", fmt.Errorf("%w: it has no parts", fs.ErrInvalid)
	}
	numbers := slices.Sorted(maps.Keys(u.parts))
	var sums []byte
	var ordered [][]byte
	for i, number := range numbers {
		part := u.parts[number]
		if len(part) < storage.MinPartBytes && i < len(numbers)-1 {
			return nil, "", fmt.Errorf("%w: part %d has %d bytes; each but the last needs %d", fs.ErrInvalid, number, len(part), storage.MinPartBytes)
		}
		sum := md5.Sum(part)
		sums = append(sums, sum[:]...)
		ordered = append(ordered, part)
	}
	return bytes.Join(ordered, nil), fmt.Sprintf("%x-%d", md5.Sum(sums), len(numbers)), nil
}

// Abort implements storage.Upload.
func (u *upload) Abort(context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts = nil
	return nil
}
