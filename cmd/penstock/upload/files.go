package upload

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// fileTime is when a local file was changed; zero for others.
type fileTime = time.Time

var errEmpty = errors.New("it is empty; there is nothing to run a model on")

// files gives the files that a name, a pattern or a folder means.
func (p *Plan) files(arg string) iter.Seq[Item] {
	at := p.local(arg)
	info, err := os.Stat(at)
	if errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(arg, "*?[") {
		return p.matching(arg)
	}
	i := Item{Name: arg, Named: true}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		i.Fault = errors.New("there is no such file")
	case err != nil:
		i.Fault = reason(err)
	case info.IsDir():
		return p.folder(arg, at)
	default:
		i = readable(i, at, info)
		i.Path = filepath.Base(at)
	}
	return one(i)
}

func (p *Plan) local(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(p.Dir, name)
}

// matching gives what a pattern matches that the shell has left alone.
func (p *Plan) matching(pattern string) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		found, err := filepath.Glob(p.local(pattern))
		if err != nil {
			yield(Item{Name: pattern, Named: true, Fault: err})
			return
		}
		if len(found) == 0 {
			yield(Item{Name: pattern, Named: true, Fault: errors.New("no file matches it")})
			return
		}
		for _, at := range found {
			name := at
			if rel, err := filepath.Rel(p.Dir, at); err == nil && !filepath.IsAbs(pattern) {
				name = rel
			}
			for i := range p.files(name) {
				if !yield(i) {
					return
				}
			}
		}
	}
}

// folder gives the files in a folder and in those below it, as paths that begin
// with the folder's own name. Hidden ones are left out; of links those to files
// are followed.
func (p *Plan) folder(arg, at string) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		base := filepath.Base(at)
		if clean := filepath.Clean(arg); clean == "." || strings.HasPrefix(filepath.Base(clean), "..") {
			base = "" // "." has no name of its own
		}
		count := 0
		err := filepath.WalkDir(at, func(name string, d fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(at, name)
			i := Item{Name: filepath.ToSlash(filepath.Join(base, rel))}
			i.Path = i.Name
			switch {
			case err != nil && rel == ".":
				return err
			case err != nil:
				i.Fault = reason(err)
			case rel != "." && strings.HasPrefix(d.Name(), "."), name == p.Skip && rel != ".":
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			case d.IsDir(), !p.Chooser.Wants(filepath.ToSlash(rel)):
				return nil
			default:
				info, err := os.Stat(name) // of what a link leads to
				if err == nil && info.IsDir() {
					return nil
				}
				if i.Fault = reason(err); err == nil {
					i = readable(i, name, info)
				}
			}
			count++
			if !yield(i) {
				return fs.SkipAll
			}
			return nil
		})
		switch {
		case err != nil:
			yield(Item{Name: arg, Named: true, Fault: reason(err)})
		case count == 0:
			yield(Item{Name: arg, Named: true, Fault: errors.New("there is no file in this folder that is wanted (hidden ones are not)")})
		}
	}
}

// readable makes an item of the file at a path, or says why it can't be one.
func readable(i Item, at string, info fs.FileInfo) Item {
	i.Size = info.Size()
	i.file = info.ModTime()
	i.open = func() (io.ReadCloser, error) { return os.Open(at) }
	switch {
	case !info.Mode().IsRegular():
		i.Fault = errors.New("it is not a regular file; pipe it: ... | penstock submit - -key NAME")
		return i
	case i.Size == 0:
		i.Fault = errEmpty
		return i
	}
	f, err := os.Open(at)
	if err != nil {
		i.Fault = reason(err)
		return i
	}
	i.Fault = f.Close()
	return i
}

// reason takes the path off an error that will get one in front.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// changed says that a file is not what it was when it was found.
func (i Item) changed(read int64) error {
	if i.Size >= 0 && !i.file.IsZero() && read < i.Size {
		return fmt.Errorf("it was cut short while it was read, from %d bytes to %d; submit it again when nobody writes to it", i.Size, read)
	}
	return nil
}
