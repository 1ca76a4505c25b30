package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/penstock/penstock/storage"
)

// folder is a model below a prefix in S3.
type folder struct {
	store storage.Reader
	ref   storage.Ref // its key is empty or ends in a slash
	cache *Cache
}

func newFolder(store storage.Reader, ref storage.Ref, cache *Cache) *folder {
	if ref.Key != "" && !strings.HasSuffix(ref.Key, "/") {
		ref.Key += "/"
	}
	return &folder{store, ref, cache}
}

func (f *folder) list(ctx context.Context) ([]Version, error) {
	var files []file
	for info, err := range f.store.List(ctx, f.ref, "") {
		if err != nil {
			return nil, answered(err)
		}
		if len(files) == maxFiles {
			return nil, fmt.Errorf("there are more than %d objects below it; name the model's own folder", maxFiles)
		}
		files = append(files, file{strings.TrimPrefix(info.Ref.Key, f.ref.Key), info.Size, info.ETag})
	}
	return scan(files)
}

// fetch downloads what was listed, and nothing else: an object that has
// changed since is an error.
func (f *folder) fetch(ctx context.Context, v Version) (Local, error) {
	if v.Bytes > maxBytes {
		return Local{}, fmt.Errorf("version %s has %d bytes; at most %d are taken", v.Name, v.Bytes, int64(maxBytes))
	}
	e, err := f.cache.take(ctx, v.ID, v.Bytes, func(t *tree) error {
		for _, file := range v.files {
			ref := storage.Ref{Bucket: f.ref.Bucket, Key: f.ref.Key + file.name}
			if err := download(ctx, f.store, storage.Info{Ref: ref, Size: file.size, ETag: file.stamp}, t, v.target(file)); err != nil {
				return fmt.Errorf("download %s: %w", ref, err)
			}
		}
		return nil
	})
	if err != nil {
		return Local{}, err
	}
	return e.local(modelDir)
}

func download(ctx context.Context, store storage.Reader, info storage.Info, t *tree, name string) error {
	r := &resuming{ctx: ctx, store: store, info: info}
	defer r.close()
	n, err := t.write(name, r)
	if err == nil && n != info.Size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// resuming reads an object from its beginning to its end, however often the
// connection breaks between: large models take minutes. All of it is of the
// version that info names.
type resuming struct {
	ctx     context.Context
	store   storage.Reader
	info    storage.Info
	body    io.ReadCloser
	at      int64
	retries int // since bytes came last
}

// patience is how often in a row a read is begun anew that brings nothing.
const patience = 5

func (r *resuming) Read(b []byte) (int, error) {
	for {
		n, err := r.read(b)
		if n > 0 {
			r.retries = 0
		}
		if err == nil || errors.Is(err, io.EOF) && r.at == r.info.Size {
			return n, err
		}
		r.close()
		if n > 0 {
			return n, nil
		}
		if r.retries++; r.retries > patience || !transient(err) || r.ctx.Err() != nil {
			return 0, answered(err)
		}
		select {
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		case <-time.After(time.Second << (r.retries - 1)):
		}
	}
}

func (r *resuming) read(b []byte) (int, error) {
	if r.at == r.info.Size && r.at > 0 {
		return 0, io.EOF
	}
	if r.body == nil {
		o, err := r.store.Get(r.ctx, r.info.Ref, storage.GetOptions{IfMatch: r.info.ETag, Offset: r.at})
		if errors.Is(err, storage.ErrPrecondition) {
			return 0, fmt.Errorf("it was changed meanwhile: upload a new version to a new folder, and %s last (%w)", GraphFile, err)
		}
		if err != nil {
			return 0, err
		}
		r.body = o.Body
	}
	n, err := r.body.Read(b)
	r.at += int64(n)
	if errors.Is(err, io.EOF) && r.at < r.info.Size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (r *resuming) close() {
	if r.body != nil {
		_ = r.body.Close()
		r.body = nil
	}
}

// ErrUnreachable is what errors are that are no answer of the object store's:
// what is there isn't known, and asking again may help.
var ErrUnreachable = errors.New("the object store could not be reached")

// unreachable is an error that is ErrUnreachable, in its own words.
type unreachable struct{ error }

func (u unreachable) Unwrap() error        { return u.error }
func (u unreachable) Is(target error) bool { return target == ErrUnreachable }

// answered makes err ErrUnreachable unless it is an answer.
func answered(err error) error {
	if transient(err) {
		return unreachable{err}
	}
	return err
}

// transient says whether the same read may succeed later.
func transient(err error) bool {
	for _, final := range []error{storage.ErrPrecondition, storage.ErrForbidden, fs.ErrNotExist, fs.ErrInvalid} {
		if errors.Is(err, final) {
			return false
		}
	}
	return true
}
