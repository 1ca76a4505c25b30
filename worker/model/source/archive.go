package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/penstock/penstock/storage"
)

// packed is a model in a gzipped tar archive, as SageMaker has it: SavedModels
// in version folders, some levels down, with other files around them.
type packed struct {
	archive
	cache  *Cache
	policy Policy // which one of the versions in it
}

// archive is where the bytes are.
type archive interface {
	// stat describes the archive as one version: its ID, Bytes and Atomic.
	stat(ctx context.Context) (Version, error)
	// open opens the archive, if it is still the one that v describes.
	open(ctx context.Context, v Version) (io.ReadCloser, error)
}

func (p *packed) list(ctx context.Context) ([]Version, error) {
	v, err := p.stat(ctx)
	if err != nil {
		return nil, err
	}
	return []Version{v}, nil
}

func (p *packed) fetch(ctx context.Context, v Version) (Local, error) {
	e, err := p.cache.take(ctx, v.ID, v.Bytes, func(t *tree) error {
		r, err := p.open(ctx, v)
		if err != nil {
			return err
		}
		defer r.Close()
		return unpack(t, r)
	})
	if err != nil {
		return Local{}, err
	}
	dir, version, err := p.choose(ctx, e)
	if err != nil {
		e.release()
		return Local{}, err
	}
	l, err := e.local(dir)
	l.Version = version
	return l, err
}

// choose finds the version to serve in an unpacked archive.
func (p *packed) choose(ctx context.Context, e *entry) (dir, version string, err error) {
	files, err := walk(ctx, filepath.Join(e.dir, modelDir))
	if err != nil {
		return "", "", err
	}
	list, err := scan(files)
	if err != nil {
		return "", "", fmt.Errorf("in the archive: %w", err)
	}
	sortVersions(list)
	var names []string
	for i := len(list) - 1; i >= 0; i-- {
		v := list[i]
		if names = append(names, v.Name); !p.policy.Serves(v.Name) {
			continue
		}
		if v.Missing != "" {
			return "", "", fmt.Errorf("in the archive: %s%s is missing: pack the whole SavedModel again", v.dir, v.Missing)
		}
		return path.Join(modelDir, v.dir), v.Name, nil
	}
	return "", "", fmt.Errorf("the archive has no version %s; it has %s", p.policy, strings.Join(names, ", "))
}

// remoteArchive is an archive in S3.
type remoteArchive struct {
	store storage.Reader
	ref   storage.Ref
}

func (a remoteArchive) stat(ctx context.Context) (Version, error) {
	info, err := a.store.Head(ctx, a.ref)
	if err != nil {
		return Version{}, answered(err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d", a.ref, info.ETag, info.Size))
	return Version{
		ID: hex.EncodeToString(sum[:])[:idLength], Bytes: info.Size, Atomic: true,
		files: []file{{size: info.Size, stamp: info.ETag}},
	}, nil
}

func (a remoteArchive) open(ctx context.Context, v Version) (io.ReadCloser, error) {
	r := &resuming{ctx: ctx, store: a.store, info: storage.Info{Ref: a.ref, Size: v.Bytes, ETag: v.files[0].stamp}}
	return struct {
		io.Reader
		io.Closer
	}{r, closer(r.close)}, nil
}

type closer func()

func (c closer) Close() error { c(); return nil }

// localArchive is an archive in a file.
type localArchive struct {
	path string

	mu   sync.Mutex
	seen string // the stamp of the file whose checksum is sum
	sum  string
}

// stat reads the file only when it looks like another one than before.
func (a *localArchive) stat(ctx context.Context) (Version, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := os.Open(a.path)
	if err != nil {
		return Version{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Version{}, err
	}
	if now := stamp(info); now != a.seen {
		sum := sha256.New()
		if _, err := io.Copy(sum, interruptible{ctx, f}); err != nil {
			return Version{}, err
		}
		a.seen, a.sum = now, hex.EncodeToString(sum.Sum(nil))[:idLength]
	}
	return Version{ID: a.sum, Bytes: info.Size(), files: []file{{stamp: a.seen}}}, nil
}

func (a *localArchive) open(ctx context.Context, v Version) (io.ReadCloser, error) {
	f, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && stamp(info) != v.files[0].stamp {
		err = errors.New("it is being changed: copy a new one beside it, then rename it")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{interruptible{ctx, f}, f}, nil
}

// interruptible ends a read once ctx is done.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(b []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.r.Read(b)
}
