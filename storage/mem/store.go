// Package mem is an object store in memory with the parts of S3 that Penstock
// uses: ETags, conditional writes with exactly one winner, versions, ranges
// and lists in key order. It is for tests and for trying things out.
//
// It starts no goroutine and waits for nothing, so it can be used in a
// testing/synctest bubble, whose clock its Modified times then follow.
package mem

import (
	"context"
	"crypto/md5" // what S3's ETags are made of; no secret depends on it
	"encoding/hex"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/storage"
)

// Store is an object store in memory. Make one with New. All its methods may
// be called concurrently.
type Store struct {
	mu      sync.Mutex // held for a moment only, never over a wait
	buckets map[string]*bucket
}

// bucket holds the versions of each key, the oldest first. Without versioning
// there is one version a key.
type bucket struct {
	versioned bool
	written   int
	objects   map[string][]*version
	keys      []string // of objects, sorted
}

// version is one state of a key. It never changes once it is written.
type version struct {
	info    storage.Info
	body    []byte
	deleted bool // a delete marker
}

var _ storage.Store = (*Store)(nil)

// New makes a store with empty buckets of these names.
func New(buckets ...string) *Store {
	s := &Store{buckets: map[string]*bucket{}}
	for _, name := range buckets {
		s.CreateBucket(name)
	}
	return s
}

// CreateBucket makes a bucket, unless it is there already.
func (s *Store) CreateBucket(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[name] == nil {
		s.buckets[name] = &bucket{objects: map[string][]*version{}}
	}
}

// EnableVersioning makes a bucket if it is not there, and from now on keeps
// what is overwritten or deleted in it under its version id.
func (s *Store) EnableVersioning(name string) {
	s.CreateBucket(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[name].versioned = true
}

// Head implements storage.Reader.
func (s *Store) Head(ctx context.Context, ref storage.Ref) (storage.Info, error) {
	v, err := s.read(ctx, ref)
	if err != nil {
		return storage.Info{}, fmt.Errorf("head %s: %w", ref, err)
	}
	return v.describe(), nil
}

// Get implements storage.Reader.
func (s *Store) Get(ctx context.Context, ref storage.Ref, opts storage.GetOptions) (*storage.Object, error) {
	v, err := s.read(ctx, ref)
	if err == nil {
		err = v.allows(opts)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", ref, err)
	}
	part := v.body[opts.Offset:]
	if opts.Length > 0 {
		part = part[:min(opts.Length, int64(len(part)))]
	}
	return &storage.Object{Info: v.describe(), Body: newBody(ctx, part)}, nil
}

// List implements storage.Reader. It yields the state of one instant.
func (s *Store) List(ctx context.Context, prefix storage.Ref, startAfter string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		found, err := s.list(prefix, startAfter)
		if err != nil {
			yield(storage.Info{}, fmt.Errorf("list %s: %w", prefix, err))
			return
		}
		for _, info := range found {
			if err := ctx.Err(); err != nil {
				yield(storage.Info{}, fmt.Errorf("list %s: %w", prefix, err))
				return
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

// Put implements storage.Writer.
func (s *Store) Put(ctx context.Context, ref storage.Ref, body []byte, opts storage.PutOptions) (storage.Info, error) {
	err := validate(ref, opts)
	if err == nil {
		sum := md5.Sum(body)
		var info storage.Info
		if info, err = s.write(ctx, ref, slices.Clone(body), hex.EncodeToString(sum[:]), opts); err == nil {
			return info, nil
		}
	}
	return storage.Info{}, fmt.Errorf("put %s: %w", ref, err)
}

// validate checks what every kind of write needs.
func validate(ref storage.Ref, opts storage.PutOptions) error {
	if ref.Version != "" {
		return fmt.Errorf("%w: a version can't be written to", fs.ErrInvalid)
	}
	return opts.Validate()
}

// write makes an object of a body, which is the store's from now on.
func (s *Store) write(ctx context.Context, ref storage.Ref, body []byte, etag string, opts storage.PutOptions) (storage.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(ctx, ref)
	if err != nil {
		return storage.Info{}, err
	}
	old := b.current(ref.Key)
	if opts.IfNoneMatch && old != nil {
		return storage.Info{}, fmt.Errorf("%w: an object is there already, with ETag %q", storage.ErrPrecondition, old.info.ETag)
	}
	if err := matches(old, opts.IfMatch); err != nil {
		return storage.Info{}, err
	}
	v := &version{body: body, info: storage.Info{
		Ref:             ref,
		Size:            int64(len(body)),
		ETag:            etag,
		ContentType:     opts.ContentType,
		ContentEncoding: opts.ContentEncoding,
		Modified:        time.Now(),
		Metadata:        lowerCase(opts.Metadata),
	}}
	b.add(v)
	return v.describe(), nil
}

// Delete implements storage.Writer. Where versions are kept it leaves a delete
// marker, unless ref names a version: that is removed for good.
func (s *Store) Delete(ctx context.Context, ref storage.Ref, opts storage.DeleteOptions) error {
	if err := s.delete(ctx, ref, opts); err != nil {
		return fmt.Errorf("delete %s: %w", ref, err)
	}
	return nil
}

func (s *Store) delete(ctx context.Context, ref storage.Ref, opts storage.DeleteOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(ctx, ref)
	if err != nil {
		return err
	}
	if err := matches(b.find(ref), opts.IfMatch); err != nil {
		return err
	}
	switch {
	case ref.Version != "":
		b.set(ref.Key, slices.DeleteFunc(b.objects[ref.Key], func(v *version) bool { return v.info.Ref.Version == ref.Version }))
	case b.versioned:
		b.add(&version{deleted: true, info: storage.Info{Ref: ref}})
	default:
		b.set(ref.Key, nil)
	}
	return nil
}

// read finds the version that ref names.
func (s *Store) read(ctx context.Context, ref storage.Ref) (*version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(ctx, ref)
	if err != nil {
		return nil, err
	}
	v := b.find(ref)
	if v == nil {
		return nil, fs.ErrNotExist
	}
	return v, nil
}

func (s *Store) list(prefix storage.Ref, startAfter string) ([]storage.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[prefix.Bucket]
	if b == nil {
		return nil, fmt.Errorf("no such bucket: %w", fs.ErrNotExist)
	}
	var found []storage.Info
	first, _ := slices.BinarySearch(b.keys, max(prefix.Key, startAfter))
	for _, key := range b.keys[first:] {
		if !strings.HasPrefix(key, prefix.Key) {
			break
		}
		v := b.current(key)
		if v == nil || key == startAfter {
			continue
		}
		found = append(found, storage.Info{
			Ref:      storage.Ref{Bucket: prefix.Bucket, Key: key},
			Size:     v.info.Size,
			ETag:     v.info.ETag,
			Modified: v.info.Modified,
		})
	}
	return found, nil
}

// bucket checks what every call on an object needs. The caller holds the lock.
func (s *Store) bucket(ctx context.Context, ref storage.Ref) (*bucket, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := ref.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", fs.ErrInvalid, err)
	}
	if ref.Key == "" {
		return nil, fmt.Errorf("%w: the key is empty", fs.ErrInvalid)
	}
	b := s.buckets[ref.Bucket]
	if b == nil {
		return nil, fmt.Errorf("no such bucket: %w", fs.ErrNotExist)
	}
	return b, nil
}
