// Package source finds a SavedModel where an operator says it is (a local
// directory, a folder in S3 or a tar archive in either), says which versions of
// it are there, and puts one into a local directory that TensorFlow can load.
package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model"
)

// GraphFile is the file that makes a directory a SavedModel.
const GraphFile = "saved_model.pb"

// Source is where one model lies. Its methods may be called concurrently.
type Source struct {
	named Named
	store storage.Reader
	cache *Cache
	place place
}

// place is what a Source does in a way of its own: a local directory, a folder
// in S3, an archive.
type place interface {
	// list gives all versions that are there, in any order.
	list(ctx context.Context) ([]Version, error)
	// fetch gives a directory with the version in it.
	fetch(ctx context.Context, v Version) (Local, error)
}

// Version is one version of a model as it lay at its source when it was
// listed.
type Version struct {
	// Name is the number of the version's folder, without leading zeros. It is
	// empty for a model without versions, and for an archive, which is looked
	// into when it is fetched.
	Name string
	// ID tells this content from others of the model: it changes with every
	// file of the version that is added, removed or written anew.
	ID string
	// Bytes is the size of all its files, or of the archive.
	Bytes int64
	// Atomic says that it can't be seen half written: it is one object in S3.
	// Anything else may be in the middle of being copied.
	Atomic bool
	// Missing is a file that is not there and has to be, so that the version
	// can't be whole yet; empty where none is known to be missing.
	Missing string

	dir   string // of the place, with its slash
	files []file
}

// Local is a SavedModel in a local directory.
type Local struct {
	Dir       string // holds saved_model.pb
	Version   string // without leading zeros; empty when the model is not versioned
	Config    *model.Config
	ModelFile string // that Config was read from; empty when there is none

	entry *entry // of the cache; nil where the model lies in a directory of its own
}

// Release says that the directory is not used any more: the cache may remove
// it from then on. It may be called twice.
func (l Local) Release() {
	if l.entry != nil {
		l.entry.release()
	}
}

// New makes the source of a model. store may be nil when the model is local,
// cache when it is a local directory. Nothing is looked at yet.
func New(named Named, store storage.Reader, cache *Cache) (*Source, error) {
	s := &Source{named: named, store: store, cache: cache}
	archive := isArchive(named.URI)
	if strings.HasPrefix(named.URI, "s3://") {
		ref, err := storage.ParseRef(named.URI)
		if err != nil {
			return nil, s.wrap(err)
		}
		if store == nil {
			return nil, s.wrap(errors.New("it is in S3, and no S3 client is there"))
		}
		if archive {
			s.place = &packed{remoteArchive{store, ref}, cache, named.Versions}
		} else {
			s.place = newFolder(store, ref, cache)
		}
		return s, nil
	}
	info, err := os.Stat(named.URI)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, s.wrap(errors.New("there is no such file or directory"))
	case err != nil:
		return nil, s.wrap(err)
	case info.IsDir():
		s.place = directory(named.URI)
	case archive:
		s.place = &packed{&localArchive{path: named.URI}, cache, named.Versions}
	default:
		hint := "name a SavedModel's directory"
		switch strings.ToLower(filepath.Ext(named.URI)) {
		case ".keras", ".h5", ".hdf5":
			hint = "it is Keras's: load it in Python and call model.export(DIR)"
		}
		return nil, s.wrap(fmt.Errorf("it is a file, but neither %s; %s", strings.Join(archives, " nor "), hint))
	}
	return s, nil
}

// Named is what the setting says of the model.
func (s *Source) Named() Named { return s.named }

// Versions lists the versions that are there now, in ascending order: all
// folders named by a number that hold a saved_model.pb. A model without
// versions, and an archive, are one. Those that the policy never serves are left
// out; with none left it is an error.
func (s *Source) Versions(ctx context.Context) ([]Version, error) {
	list, err := s.place.list(ctx)
	if err != nil {
		return nil, s.wrap(err)
	}
	sortVersions(list)
	if _, archive := s.place.(*packed); archive {
		return list, nil // which looks for the version itself
	}
	if len(list) == 1 && list[0].Name == "" { // the folder that was named may itself be a version
		list[0].Name = versionOf(s.named.URI)
	}
	var names []string
	served := slices.DeleteFunc(slices.Clone(list), func(v Version) bool {
		names = append(names, cmp.Or(v.Name, "a model without versions"))
		return !s.named.Versions.Serves(v.Name)
	})
	if len(served) == 0 {
		return nil, s.wrap(fmt.Errorf("there is no version %s; there is %s", s.named.Versions, strings.Join(names, ", ")))
	}
	return served, nil
}

// Fetch makes a version that was listed available locally. What comes from S3
// or an archive goes through the cache; a local directory is used where it
// lies. The caller releases the result once the model is closed.
func (s *Source) Fetch(ctx context.Context, v Version) (Local, error) {
	l, err := s.place.fetch(ctx, v)
	if err != nil {
		return Local{}, s.wrap(err)
	}
	if l.Version == "" {
		l.Version = v.Name
	}
	return l, nil
}

func (s *Source) wrap(err error) error { return fmt.Errorf("model %s: %w", s.named.URI, err) }

// Open makes the model at uri available locally. Of several versions the
// highest is taken that has all its files. What comes from S3 or an archive is
// put below the directory cache, and found there again. store may be nil when
// uri is local. The caller releases the result, or forgets it with the same
// effect some time later.
func Open(ctx context.Context, store storage.Reader, uri, cache string) (Local, error) {
	s, err := New(Named{URI: uri}, store, &Cache{Dir: cache})
	if err != nil {
		return Local{}, err
	}
	list, err := s.Versions(ctx)
	if err != nil {
		return Local{}, err
	}
	v := list[len(list)-1]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Missing == "" {
			v = list[i]
			break
		}
	}
	if v.Missing != "" {
		return Local{}, s.wrap(fmt.Errorf("%s is missing: copy the whole SavedModel again", v.Missing))
	}
	return s.Fetch(ctx, v)
}

// versionOf is the version that a folder's name is, or "".
func versionOf(uri string) string {
	base := filepath.Base(strings.TrimRight(filepath.ToSlash(uri), "/"))
	if !isVersion(base) {
		return ""
	}
	return trimVersion(base)
}
