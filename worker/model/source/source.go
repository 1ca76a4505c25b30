// Package source finds a SavedModel where an operator says it is (a local
// directory, a folder in S3 or a tar archive in either) and puts it into a
// local directory that TensorFlow can load.
package source

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model"
)

// GraphFile is the file that makes a directory a SavedModel.
const GraphFile = "saved_model.pb"

// Named is one model of the -model setting.
type Named struct {
	Name string // as requests name it
	URI  string // a local path or an s3:// URI
}

// Parse reads the -model setting: one or several URIs with commas between
// them, each with "name=" before it or named after its last folder.
func Parse(setting string) ([]Named, error) {
	var list []Named
	for part := range strings.SplitSeq(setting, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, uri, ok := strings.Cut(part, "=")
		if !ok || strings.ContainsAny(name, "/:") { // an '=' within a path
			name, uri = nameOf(part), part
		}
		if name == "" || uri == "" {
			return nil, fmt.Errorf("model: %q is neither URI nor name=URI", part)
		}
		list = append(list, Named{name, uri})
	}
	if len(list) == 0 {
		return nil, errors.New("model: none is given; set a SavedModel's directory, s3://bucket/prefix/ or a .tar.gz")
	}
	return list, nil
}

// nameOf is the last element of a path that is not a version number.
func nameOf(uri string) string {
	parts := strings.FieldsFunc(uri, func(c rune) bool { return c == '/' })
	for len(parts) > 1 && isVersion(parts[len(parts)-1]) {
		parts = parts[:len(parts)-1]
	}
	if len(parts) == 0 {
		return ""
	}
	name := parts[len(parts)-1]
	if name == "." || name == ".." {
		if abs, err := filepath.Abs(uri); err == nil {
			return nameOf(abs)
		}
	}
	for _, suffix := range archives {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

var archives = []string{".tar.gz", ".tgz"}

func isArchive(uri string) bool {
	return strings.HasSuffix(uri, archives[0]) || strings.HasSuffix(uri, archives[1])
}

// isVersion says whether a folder's name is a version: a whole number, as in
// TensorFlow Serving.
func isVersion(name string) bool {
	_, err := strconv.ParseUint(name, 10, 63)
	return err == nil
}

// Local is a SavedModel in a local directory.
type Local struct {
	Dir     string // holds saved_model.pb
	Version string // without leading zeros; empty when the model is not versioned
	Config  *model.Config
}

// Open makes the model at uri available locally. Of several versions the
// highest is taken. What comes from S3 or an archive is put below cache, into
// a directory that only appears when it is whole, and found there again by its
// content's checksum. store may be nil when uri is local.
func Open(ctx context.Context, store storage.Reader, uri, cache string) (Local, error) {
	dir, err := fetch(ctx, store, uri, cache)
	if err != nil {
		return Local{}, fmt.Errorf("model %s: %w", uri, err)
	}
	l, err := locate(dir)
	if err != nil {
		return Local{}, fmt.Errorf("model %s: %w", uri, err)
	}
	if l.Version == "" { // the folder that was named may itself be a version
		if base := path.Base(strings.TrimRight(filepath.ToSlash(uri), "/")); isVersion(base) {
			l.Version = version(base)
		}
	}
	return l, nil
}

func fetch(ctx context.Context, store storage.Reader, uri, cache string) (dir string, err error) {
	if !strings.HasPrefix(uri, "s3://") {
		info, err := os.Stat(uri)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", errors.New("there is no such file or directory")
		case err != nil:
			return "", err
		case info.IsDir():
			return uri, nil
		case !isArchive(uri):
			return "", fmt.Errorf("it is a file, but neither %s; name a SavedModel's directory", strings.Join(archives, " nor "))
		}
		f, err := os.Open(uri)
		if err != nil {
			return "", err
		}
		defer f.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return "", err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
		return install(cache, hex.EncodeToString(sum.Sum(nil)), func(root *os.Root) error { return unpack(root, f) })
	}
	ref, err := storage.ParseRef(uri)
	if err != nil {
		return "", err
	}
	if store == nil {
		return "", errors.New("it is in S3, and no S3 client is there")
	}
	if isArchive(uri) {
		return fetchArchive(ctx, store, ref, cache)
	}
	return fetchFolder(ctx, store, ref, cache)
}

// install fills a new directory below cache and gives it its name once it is
// whole. One that is there already is taken as it is.
func install(cache, name string, fill func(*os.Root) error) (string, error) {
	dir := filepath.Join(cache, name[:32])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	part, err := os.MkdirTemp(cache, "part-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(part)
	root, err := os.OpenRoot(part)
	if err != nil {
		return "", err
	}
	err = fill(root)
	if err = errors.Join(err, root.Close()); err != nil {
		return "", err
	}
	if err := os.Chmod(part, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(part, dir); err != nil {
		if _, there := os.Stat(dir); there == nil {
			return dir, nil // another process was faster
		}
		return "", err
	}
	return dir, nil
}

// locate finds the SavedModel in dir: dir itself, or the highest version below
// it, at most some levels down as archives have it.
func locate(dir string) (Local, error) {
	var best Local
	var bestVersion uint64
	found := 0
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel, _ := filepath.Rel(dir, p); strings.Count(rel, string(filepath.Separator)) > 4 || d.Name() == "variables" || d.Name() == "assets" {
				return filepath.SkipDir
			}
			return nil
		}
		if d.Name() != GraphFile {
			return nil
		}
		found++
		l := Local{Dir: filepath.Dir(p)}
		n, err := strconv.ParseUint(filepath.Base(l.Dir), 10, 63)
		if err == nil && l.Dir != dir {
			l.Version = version(filepath.Base(l.Dir))
		}
		if best.Dir == "" || l.Version != "" && cmp.Compare(n, bestVersion) > 0 {
			best, bestVersion = l, n
		}
		return nil
	})
	if err != nil {
		return Local{}, err
	}
	if found == 0 {
		return Local{}, fmt.Errorf("no %s is there; name a SavedModel's directory, or one with version folders (1/, 2/, …) below it. A .keras or .h5 file is none: load it in Python and call model.export(DIR)", GraphFile)
	}
	best.Config, err = readConfig(best.Dir, dir)
	return best, err
}

// version is a version without leading zeros.
func version(s string) string {
	if s = strings.TrimLeft(s, "0"); s == "" {
		return "0"
	}
	return s
}

// readConfig reads the model file nearest to the SavedModel: beside it, or
// beside the version folders.
func readConfig(dir, top string) (*model.Config, error) {
	places := []string{dir}
	if dir != top || isVersion(filepath.Base(dir)) {
		places = append(places, filepath.Dir(dir))
	}
	for _, place := range places {
		file := filepath.Join(place, model.ConfigFile)
		b, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c, err := model.ParseConfig(b)
		if err != nil {
			return nil, fmt.Errorf("in %s: %w", place, err)
		}
		return c, nil
	}
	return &model.Config{}, nil
}
