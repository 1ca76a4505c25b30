package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Cache keeps what came from S3 or out of an archive, by content, in one
// directory. Several processes may share it at the same time.
//
// An entry is a directory that gets its name when it is whole. It holds the
// SHA-256 of every file, and they are compared whenever the entry is taken
// again: a disk may have lost what a machine wrote before its power went. Whoever
// uses an entry holds a shared lock on it, which the system gives back when the
// process is gone, however it ended; only what nobody holds is removed.
type Cache struct {
	// Dir is made when it is needed.
	Dir string
	// Limit is how many bytes the cache may have; 0 is no limit. Before
	// something new comes in, entries that nobody uses make room for it, the
	// longest unused first. What is in use stays, even if that is more.
	Limit int64
}

const (
	idLength   = 32 // of hexadecimal digits
	partPrefix = "part-"
	// partAge is how old a half-filled directory without a lock must be to be
	// taken for one of a process that is gone, not for one that was just made.
	partAge = time.Minute
)

// entry is an entry that is held.
type entry struct {
	dir  string
	lock *os.File
	once sync.Once
}

func (e *entry) release() {
	e.once.Do(func() { unlock(e.lock) })
}

// local finds the SavedModel in a directory of the entry, and its model file.
func (e *entry) local(dir string) (Local, error) {
	l := Local{Dir: filepath.Join(e.dir, dir), entry: e}
	var err error
	if l.Config, l.ModelFile, err = readConfig(l.Dir, true); err != nil {
		e.release()
		return Local{}, err
	}
	return l, nil
}

// take gives the entry of an id, which it fills with size bytes, about, if it
// isn't there or was damaged.
func (c *Cache) take(ctx context.Context, id string, size int64, fill func(*tree) error) (*entry, error) {
	e, err := c.open(id)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return e, err
	}
	c.trim(size)
	part, err := c.part()
	if err != nil {
		return nil, fmt.Errorf("the model cache: %w", err)
	}
	if err := fillIn(part.dir, fill); err != nil {
		_ = os.RemoveAll(part.dir)
		part.release()
		return nil, err
	}
	return c.install(part, id)
}

// install gives what was filled its name, unless another process was faster.
func (c *Cache) install(part *entry, id string) (e *entry, err error) {
	dir := filepath.Join(c.Dir, id)
	for range 10 { // what another has installed may be removed before it is held here
		if err = os.Rename(part.dir, dir); err == nil {
			part.dir = dir
			return part, nil
		}
		if e, openErr := c.open(id); openErr == nil {
			_ = os.RemoveAll(part.dir)
			part.release()
			return e, nil
		}
	}
	_ = os.RemoveAll(part.dir)
	part.release()
	return nil, fmt.Errorf("the model cache: %w", err)
}

// part makes a directory to be filled, and locks it.
func (c *Cache) part() (*entry, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(c.Dir, partPrefix)
	if err != nil {
		return nil, err
	}
	f, err := lockShared(dir)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return &entry{dir: dir, lock: f}, nil
}

// open holds the entry of an id and compares its files with their checksums. A
// damaged one it removes: then there is none, as where there was none before.
func (c *Cache) open(id string) (*entry, error) {
	dir := filepath.Join(c.Dir, id)
	f, err := lockShared(dir)
	if err != nil {
		return nil, fmt.Errorf("the model cache: %w", err)
	}
	e := &entry{dir: dir, lock: f}
	ours, err := f.Stat()
	now, errNow := os.Stat(dir)
	if err = errors.Join(err, errNow); err == nil && !os.SameFile(ours, now) {
		err = fs.ErrNotExist // it was removed just before
	}
	if err == nil && verify(dir) != nil {
		if err = c.discard(id, f); err == nil {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		e.release()
		return nil, fmt.Errorf("the model cache: %w", err)
	}
	_ = os.Chtimes(dir, time.Now(), time.Now()) // when it was used last
	return e, nil
}

// discard takes an entry out of the way, and then away: the one that is held as
// entry. Another process can have found the same damage, or the same need for
// room, and what it has put in the entry's place may be in use by now: that stays.
func (c *Cache) discard(id string, entry *os.File) error {
	trash, err := os.MkdirTemp(c.Dir, partPrefix)
	if err == nil {
		err = errors.Join(c.moveAway(id, entry, filepath.Join(trash, id)), os.RemoveAll(trash))
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", filepath.Join(c.Dir, id), err)
	}
	return nil
}

// moveAway moves an entry, unless another has its name by now. None gets it
// meanwhile: for that this one would have to be moved before, by one at a time.
func (c *Cache) moveAway(id string, entry *os.File, to string) error {
	mover, err := lockNext(c.Dir)
	if err != nil {
		return err
	}
	defer unlock(mover)
	ours, err := entry.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(filepath.Join(c.Dir, id))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(ours, now) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Rename(filepath.Join(c.Dir, id), to)
}
