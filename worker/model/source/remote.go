package source

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/penstock/penstock/storage"
)

// Limits of a model that comes from outside.
const (
	maxFiles = 10_000
	maxBytes = 32 << 30
)

// fetchFolder downloads the SavedModel below ref: the folder itself, or the
// highest version below it that is a whole SavedModel.
func fetchFolder(ctx context.Context, store storage.Reader, ref storage.Ref, cache string) (string, error) {
	if ref.Key != "" && !strings.HasSuffix(ref.Key, "/") {
		ref.Key += "/"
	}
	var all []storage.Info
	best, bestVersion := "", int64(-1)
	for info, err := range store.List(ctx, ref, "") {
		if err != nil {
			return "", err
		}
		if len(all) == maxFiles {
			return "", fmt.Errorf("there are more than %d objects below it; name the model's own folder", maxFiles)
		}
		all = append(all, info)
		rel := strings.TrimPrefix(info.Ref.Key, ref.Key)
		folder, file := path.Split(rel)
		if file != GraphFile {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(folder, "/"), 10, 64)
		if folder == "" {
			n, err = 0, nil
		}
		if err == nil && n > bestVersion {
			best, bestVersion = folder, n
		}
	}
	if bestVersion < 0 {
		return "", fmt.Errorf("no %s is below it, neither in it nor in a version folder (1/, 2/, …); %d objects are", GraphFile, len(all))
	}
	var files []storage.Info
	sum := sha256.New()
	for _, info := range all {
		rel := strings.TrimPrefix(info.Ref.Key, ref.Key)
		if strings.HasSuffix(rel, "/") || !strings.HasPrefix(rel, best) && strings.Contains(rel, "/") {
			continue // a folder marker, or another version
		}
		fmt.Fprintf(sum, "%q %q %d\n", rel, info.ETag, info.Size)
		files = append(files, info)
	}
	return install(cache, hex.EncodeToString(sum.Sum(nil)), func(root *os.Root) error {
		for _, info := range files {
			if err := download(ctx, store, info, root, strings.TrimPrefix(info.Ref.Key, ref.Key)); err != nil {
				return fmt.Errorf("download %s: %w", info.Ref, err)
			}
		}
		return nil
	})
}

// download writes one object to name in root. The object must still be the one
// that was listed.
func download(ctx context.Context, store storage.Reader, info storage.Info, root *os.Root, name string) error {
	o, err := store.Get(ctx, info.Ref, storage.GetOptions{IfMatch: info.ETag})
	if errors.Is(err, storage.ErrPrecondition) {
		return errors.New("it was changed meanwhile: upload a new version to a new folder, and saved_model.pb last")
	}
	if err != nil {
		return err
	}
	defer o.Body.Close()
	n, err := write(root, name, o.Body, maxBytes)
	if err == nil && n != info.Size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func fetchArchive(ctx context.Context, store storage.Reader, ref storage.Ref, cache string) (string, error) {
	o, err := store.Get(ctx, ref, storage.GetOptions{})
	if err != nil {
		return "", err
	}
	defer o.Body.Close()
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d", ref, o.ETag, o.Size))
	return install(cache, hex.EncodeToString(sum[:]), func(root *os.Root) error { return unpack(root, o.Body) })
}

// unpack writes the files of a gzipped tar archive below root. Links and
// devices are refused: a SavedModel has none.
func unpack(root *os.Root, r io.Reader) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("it is not gzip: %w", err)
	}
	archive := tar.NewReader(z)
	left := int64(maxBytes)
	for files := 0; ; files++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		if files == maxFiles {
			return fmt.Errorf("unpack: the archive has more than %d files", maxFiles)
		}
		switch h.Typeflag {
		case tar.TypeDir:
			continue
		case tar.TypeReg:
		default:
			return fmt.Errorf("unpack: %q is a link or a device; pack the files themselves (tar -h)", h.Name)
		}
		n, err := write(root, filepath.FromSlash(path.Clean(h.Name)), archive, left)
		if err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
		left -= n
	}
}

// write copies r into a new file of root, with its directories. os.Root sees
// to it that the name does not lead out.
func write(root *os.Root, name string, r io.Reader, limit int64) (int64, error) {
	if dir := filepath.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return 0, err
		}
	}
	f, err := root.Create(name)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("the model has more than %d bytes", int64(maxBytes))
	}
	return n, errors.Join(err, f.Close())
}
