// Package journal keeps the state of the local SQS stand-in in one bbolt file.
package journal

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/penstock/penstock/cmd/local/standin/broker"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// ErrLocked says that another process has the file open.
var ErrLocked = errors.New("another process has it open")

// lockWait is how long Open waits for the file's lock: long enough for a
// process that is ending, short enough for a person.
const lockWait = 2 * time.Second

// File is a Journal in a file. Commits are synced to disk, so what was
// acknowledged survives the machine's crash too.
type File struct{ db *bbolt.DB }

var _ broker.Journal = (*File)(nil)

// Open opens or makes the file. While it is open no other process can open
// it: they get ErrLocked.
func Open(path string) (*File, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockWait,
		// The free list is rebuilt at start instead of being written with
		// every commit: there is one commit for every few calls.
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("open %s: %w", path, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for t := range broker.Tables {
			if _, err := tx.CreateBucketIfNotExists(bucket(broker.Table(t))); err != nil {
				return fmt.Errorf("table %d: %w", t, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare %s: %w", filepath.Base(path), err), db.Close())
	}
	return &File{db}, nil
}

func bucket(t broker.Table) []byte { return strconv.AppendInt(nil, int64(t), 10) }

// Commit implements broker.Journal.
func (f *File) Commit(mutations []broker.Mutation) error {
	return f.db.Update(func(tx *bbolt.Tx) error {
		var buckets [broker.Tables]*bbolt.Bucket
		for t := range buckets {
			buckets[t] = tx.Bucket(bucket(broker.Table(t)))
		}
		for _, m := range mutations {
			if err := apply(buckets[m.Table], m); err != nil {
				return err
			}
		}
		return nil
	})
}

func apply(b *bbolt.Bucket, m broker.Mutation) error {
	if m.Value == nil {
		return b.Delete(m.Key)
	}
	return b.Put(m.Key, m.Value)
}

// Get implements broker.Journal.
func (f *File) Get(t broker.Table, key []byte) ([]byte, error) {
	var value []byte
	err := f.db.View(func(tx *bbolt.Tx) error {
		value = bytes.Clone(tx.Bucket(bucket(t)).Get(key))
		return nil
	})
	return value, err
}

// Each implements broker.Journal.
func (f *File) Each(t broker.Table, fn func(key, value []byte) error) error {
	return f.db.View(func(tx *bbolt.Tx) error { return tx.Bucket(bucket(t)).ForEach(fn) })
}

// Close releases the file and its lock. Closing it again does nothing.
func (f *File) Close() error { return f.db.Close() }
