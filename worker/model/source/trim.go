package source

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// kept is an entry as trim sees it.
type kept struct {
	id   string
	used time.Time // last
	size int64
}

// trim makes room for size more bytes, and removes what killed processes left
// half filled. What can't be removed stays for the next time: a full disk will
// say so itself.
func (c *Cache) trim(size int64) {
	list, err := os.ReadDir(c.Dir)
	if err != nil {
		return
	}
	var all []kept
	total := size
	for _, d := range list {
		info, err := d.Info()
		if err != nil || !d.IsDir() {
			continue
		}
		switch name := d.Name(); {
		case strings.HasPrefix(name, partPrefix) && time.Since(info.ModTime()) > partAge:
			c.remove(name)
		case isID(name):
			k := kept{name, info.ModTime(), sizeOf(filepath.Join(c.Dir, name))}
			all, total = append(all, k), total+k.size
		}
	}
	if c.Limit <= 0 {
		return
	}
	slices.SortFunc(all, func(a, b kept) int { return cmp.Or(a.used.Compare(b.used), strings.Compare(a.id, b.id)) })
	for _, k := range all {
		if total <= c.Limit {
			return
		}
		if c.remove(k.id) {
			total -= k.size
		}
	}
}

// remove removes a directory of the cache unless somebody holds it.
func (c *Cache) remove(name string) bool {
	dir := filepath.Join(c.Dir, name)
	f, err := lockAlone(dir)
	if err != nil {
		return false
	}
	defer unlock(f)
	if strings.HasPrefix(name, partPrefix) {
		return os.RemoveAll(dir) == nil
	}
	return c.discard(name, f) == nil
}

// isID says whether a directory of that name is one of the cache's entries:
// nothing else that lies there is touched.
func isID(name string) bool {
	return len(name) == idLength && strings.Trim(name, "0123456789abcdef") == ""
}

func sizeOf(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone meanwhile
		}
		if info, err := d.Info(); err == nil && !d.IsDir() {
			n += info.Size()
		}
		return nil
	})
	return n
}
