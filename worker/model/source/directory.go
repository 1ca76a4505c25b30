package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock/penstock/worker/model"
)

// directory is a model in a local directory, which is used where it lies.
type directory string

func (d directory) list(ctx context.Context) ([]Version, error) {
	files, err := walk(ctx, string(d))
	if err != nil {
		return nil, err
	}
	list, err := scan(files)
	if err != nil || len(list) != 1 || list[0].dir != "" || versionOf(string(d)) == "" {
		return list, err
	}
	// The directory that was named is a version: its model file may lie beside it.
	beside := filepath.Join(string(d), "..", model.ConfigFile)
	if info, err := os.Stat(beside); err == nil {
		list[0].ID += "-" + stamp(info)
	}
	return list, nil
}

func (d directory) fetch(_ context.Context, v Version) (Local, error) {
	l := Local{Dir: filepath.Join(string(d), filepath.FromSlash(v.dir))}
	var err error
	l.Config, l.ModelFile, err = readConfig(l.Dir, v.Name != "")
	return l, err
}

// walk lists the files below dir, as far down as a SavedModel may have any. It
// follows links, which are how some switch versions; what begins with a dot is
// not part of a model.
func walk(ctx context.Context, dir string) ([]file, error) {
	var files []file
	var visit func(below string, depth int) error
	visit = func(below string, depth int) error {
		entries, err := os.ReadDir(filepath.Join(dir, below))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				continue
			}
			name := filepath.Join(below, e.Name())
			info, err := os.Stat(filepath.Join(dir, name))
			switch {
			case errors.Is(err, fs.ErrNotExist):
				continue // removed meanwhile, or a link to nowhere
			case err != nil:
				return err
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case len(files) == maxFiles:
				return fmt.Errorf("there are more than %d files below it; name the model's own directory", maxFiles)
			case !info.IsDir():
				files = append(files, file{filepath.ToSlash(name), info.Size(), stamp(info)})
			case depth < maxDepth+3: // assets may have folders of their own
				if err := visit(name, depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return files, visit("", 0)
}

// stamp tells one content of a file from another, but for one of the same size
// that is written within the clock's resolution.
func stamp(info fs.FileInfo) string {
	return fmt.Sprintf("%s %d", info.ModTime().UTC().Format(time.RFC3339Nano), info.Size())
}

// readConfig reads the model file nearest to the SavedModel: beside it, or
// beside the version folders.
func readConfig(dir string, versioned bool) (c *model.Config, path string, err error) {
	places := []string{dir}
	if versioned {
		places = append(places, filepath.Join(dir, ".."))
	}
	for _, place := range places {
		c, err := model.ReadConfig(place)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, "", &ModelFileError{Dir: dir, Place: place, Err: err}
		}
		return c, filepath.Join(place, model.ConfigFile), nil
	}
	return &model.Config{}, "", nil
}
