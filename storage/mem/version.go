package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/penstock/penstock/storage"
)

// current is the object that is at the key now, or nil.
func (b *bucket) current(key string) *version {
	return b.find(storage.Ref{Key: key})
}

// find is the version that ref names, or nil.
func (b *bucket) find(ref storage.Ref) *version {
	versions := b.objects[ref.Key]
	if len(versions) == 0 {
		return nil
	}
	found := versions[len(versions)-1]
	if ref.Version != "" {
		found = nil
		for _, v := range versions {
			if v.info.Ref.Version == ref.Version {
				found = v
			}
		}
	}
	if found == nil || found.deleted {
		return nil
	}
	return found
}

// add makes v the current version of its key.
func (b *bucket) add(v *version) {
	key := v.info.Ref.Key
	if !b.versioned {
		b.set(key, []*version{v})
		return
	}
	b.written++
	v.info.Ref.Version = "v" + strconv.Itoa(b.written)
	b.set(key, append(b.objects[key], v))
}

// set makes these the versions of the key. Its keys are kept sorted: to sort
// them at each listing would take tests of large jobs minutes.
func (b *bucket) set(key string, versions []*version) {
	i, known := slices.BinarySearch(b.keys, key)
	switch {
	case len(versions) == 0:
		delete(b.objects, key)
		if known {
			b.keys = slices.Delete(b.keys, i, i+1)
		}
		return
	case !known:
		b.keys = slices.Insert(b.keys, i, key)
	}
	b.objects[key] = versions
}

// describe gives the version's Info, which the caller may change.
func (v *version) describe() storage.Info {
	info := v.info
	info.Metadata = maps.Clone(info.Metadata)
	return info
}

// allows says whether the version can be read in this way.
func (v *version) allows(opts storage.GetOptions) error {
	if err := matches(v, opts.IfMatch); err != nil {
		return err
	}
	size := int64(len(v.body))
	switch {
	case opts.Offset < 0 || opts.Length < 0:
		return fmt.Errorf("%w: the range of %d bytes from %d has a negative number", fs.ErrInvalid, opts.Length, opts.Offset)
	case opts.Offset > 0 && opts.Offset >= size:
		return fmt.Errorf("%w: the range begins at byte %d of an object of %d", storage.ErrPrecondition, opts.Offset, size)
	}
	return nil
}

// matches checks an If-Match condition; an empty etag is none.
func matches(v *version, etag string) error {
	switch {
	case etag == "":
		return nil
	case v == nil:
		return fmt.Errorf("no object to match ETag %q: %w", etag, fs.ErrNotExist)
	case v.info.ETag != etag:
		return fmt.Errorf("%w: the object has ETag %q, not %q", storage.ErrPrecondition, v.info.ETag, etag)
	}
	return nil
}

// lowerCase copies metadata as S3 keeps it, never to nil.
func lowerCase(metadata map[string]string) map[string]string {
	lower := make(map[string]string, len(metadata))
	for name, value := range metadata {
		lower[strings.ToLower(name)] = value
	}
	return lower
}

// body reads from an object until it is closed or ctx is done.
type body struct {
	ctx    context.Context
	r      *bytes.Reader
	closed atomic.Bool
}

func newBody(ctx context.Context, part []byte) io.ReadCloser {
	return &body{ctx: ctx, r: bytes.NewReader(part)}
}

func (b *body) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, fs.ErrClosed
	}
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.r.Read(p)
}

func (b *body) Close() error {
	b.closed.Store(true)
	return nil
}
