package source

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// sumsFile holds the checksums of an entry's files, as sha256sum writes them
// and checks them.
const sumsFile = "sha256sums"

// tree is a directory that is being filled from outside. os.Root sees to it
// that no name leads out of it.
type tree struct {
	root *os.Root
	sums []string
	left int64 // bytes that may still be written
}

// fillIn fills dir, and writes the checksums last.
func fillIn(dir string, fill func(*tree) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	t := &tree{root: root, left: maxBytes}
	if err = fill(t); err == nil {
		err = root.WriteFile(sumsFile, []byte(strings.Join(t.sums, "")), 0o644)
	}
	if err = errors.Join(err, root.Close()); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755) // others may share the cache
}

// write copies r into a new file, with its directories.
func (t *tree) write(name string, r io.Reader) (int64, error) {
	if len(t.sums) == maxFiles {
		return 0, fmt.Errorf("the model has more than %d files", maxFiles)
	}
	name = filepath.FromSlash(name)
	if strings.ContainsAny(name, "\n\\\x00") {
		return 0, fmt.Errorf("%q is no name for a model's file", name)
	}
	if err := t.root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return 0, err
	}
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return 0, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(r, t.left+1))
	if t.left -= n; err == nil && t.left < 0 {
		err = fmt.Errorf("the model has more than %d bytes", int64(maxBytes))
	}
	t.sums = append(t.sums, fmt.Sprintf("%x  %s\n", sum.Sum(nil), filepath.ToSlash(name)))
	return n, errors.Join(err, f.Close())
}

// verify compares the files of an entry with their checksums.
func verify(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	list, err := root.Open(sumsFile)
	if err != nil {
		return fmt.Errorf("no checksums: %s", err) // not "there is no entry"
	}
	defer list.Close()
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		want, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok {
			return fmt.Errorf("%s is damaged", sumsFile)
		}
		got, err := checksum(root, filepath.FromSlash(name))
		if err != nil {
			return fmt.Errorf("check %s: %s", name, err)
		}
		if got != want {
			return fmt.Errorf("%s is damaged: its checksum is %s, not %s", name, got, want)
		}
	}
	return lines.Err()
}

func checksum(root *os.Root, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
