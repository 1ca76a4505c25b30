package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// maxUpload bounds a file, since it is held in memory while it is uploaded.
const maxUpload = 256 << 20

// upload is one file on its way.
type upload struct {
	name string // what it is called in messages: the last part of its key
	ref  storage.Ref
	open func() (io.ReadCloser, error)
}

// fromStdin is the name of a file that stands for standard input.
const fromStdin = "-"

// plan makes an upload of each file: to key, or to prefix and the file's base
// name, below the first input location. It reports what is wrong with all of
// them at once.
func (p *program) plan(files []string, key, prefix string, l request.Locations) ([]upload, error) {
	if key != "" && len(files) > 1 {
		return nil, usage("submit: -key names one object, but there are %d files; use -prefix", len(files))
	}
	var errs []error
	var uploads []upload
	taken := map[string]string{} // file by key
	for _, name := range files {
		u, err := p.planOne(name, key, prefix, l)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if other, ok := taken[u.ref.Key]; ok {
			errs = append(errs, fmt.Errorf("%s: %s would be uploaded to the same key, %s; submit one of them with -key or -prefix", name, other, u.ref.Key))
			continue
		}
		taken[u.ref.Key] = name
		uploads = append(uploads, u)
	}
	if len(errs) > 0 {
		return nil, &exit{exitUsage, errors.Join(errs...)}
	}
	return uploads, nil
}

func (p *program) planOne(name, key, prefix string, l request.Locations) (upload, error) {
	u := upload{name: name, ref: l.Inputs[0]}
	if name == fromStdin {
		if key == "" {
			return u, errors.New("-: standard input has no name; give one by -key")
		}
		u.open = func() (io.ReadCloser, error) { return io.NopCloser(p.stdin), nil }
	} else {
		if key == "" {
			key = prefix + filepath.Base(name)
		}
		file := inDir(p.dir, name)
		if err := checkFile(name, file); err != nil {
			return u, err
		}
		u.open = func() (io.ReadCloser, error) { return os.Open(file) }
	}
	u.ref.Key += strings.TrimPrefix(key, "/")
	if err := u.ref.Validate(); err != nil {
		return u, fmt.Errorf("%s: %w", name, err)
	}
	switch {
	case strings.HasSuffix(u.ref.Key, "/"):
		return u, fmt.Errorf("%s: the key %q ends in a slash; it must name an object", name, u.ref.Key)
	case strings.Contains("/"+u.ref.Key, "/.penstock/"):
		return u, fmt.Errorf("%s: objects below .penstock/ are Penstock's own, never inputs; choose another -key or -prefix", name)
	case l.Reserved(request.Request{Input: u.ref}):
		return u, fmt.Errorf("%s: keys below requests/ are kept for requests with an id; choose another -key or -prefix", name)
	}
	u.name = path.Base(u.ref.Key)
	return u, nil
}

// checkFile reports what can't be an input. path is where the file of that
// name lies.
func checkFile(name, path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: there is no such file", name)
	case err != nil:
		return fmt.Errorf("%s: %w", name, reason(err))
	case info.IsDir():
		return fmt.Errorf("%s: it is a directory; name the files in it (%s)", name, filepath.Join(name, "*"))
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: it is not a regular file; pipe it: ... | penstock submit - -key NAME", name)
	case info.Size() == 0:
		return fmt.Errorf("%s: it is empty; there is nothing to run a model on", name)
	case info.Size() > maxUpload:
		return tooLarge(name)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", name, reason(err))
	}
	return f.Close()
}

func tooLarge(name string) error {
	return fmt.Errorf("%s: it is larger than %d MiB; upload it by `aws s3 cp` and use penstock wait", name, maxUpload>>20)
}

// reason takes the path off an error that will get one in front.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// read gives the file's bytes.
func (u upload) read() ([]byte, error) {
	f, err := u.open()
	if err != nil {
		return nil, fmt.Errorf("read: %w", reason(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxUpload+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read: %w", reason(err))
	case len(b) == 0:
		return nil, &exit{exitUsage, errors.New("it is empty; there is nothing to run a model on")}
	case len(b) > maxUpload:
		return nil, &exit{exitUsage, tooLarge(u.name)}
	}
	return b, nil
}

// contentTypes are those that workers know, by extension.
var contentTypes = map[string]string{
	".json": "application/json",
	".npy":  "application/x-npy",
	".png":  "image/png",
	".jpg":  "image/jpeg",
	".jpeg": "image/jpeg",
}

// contentType is what a key's extension says. For any other, the worker looks
// at the bytes: a name such as "data.txt" is no reason to refuse JSON.
func contentType(key string) string {
	if t, ok := contentTypes[strings.ToLower(path.Ext(key))]; ok {
		return t
	}
	return "application/octet-stream"
}
