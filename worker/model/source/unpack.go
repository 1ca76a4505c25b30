package source

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
)

// unpack writes the files of a gzipped tar archive. Links and devices are
// refused: a SavedModel has none.
func unpack(t *tree, r io.Reader) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("it is not gzip: %w", err)
	}
	archive := tar.NewReader(z)
	for entries := 0; ; entries++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		if entries == 2*maxFiles {
			return fmt.Errorf("unpack: the archive has more than %d entries", 2*maxFiles)
		}
		switch h.Typeflag {
		case tar.TypeDir, tar.TypeXGlobalHeader:
			continue
		case tar.TypeReg:
		default:
			return fmt.Errorf("unpack: %q is a link or a device; pack the files themselves (tar -h)", h.Name)
		}
		if !filepath.IsLocal(filepath.FromSlash(h.Name)) {
			return fmt.Errorf("unpack: %q leads out of the archive", h.Name)
		}
		if _, err := t.write(modelDir+"/"+path.Clean(h.Name), archive); err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
	// Behind the archive's end stands the checksum of all: without it, the
	// archive was cut off.
	n, err := io.Copy(io.Discard, io.LimitReader(z, t.left+1))
	if err == nil && n > t.left {
		err = fmt.Errorf("it has more than %d bytes", int64(maxBytes))
	}
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	return nil
}
