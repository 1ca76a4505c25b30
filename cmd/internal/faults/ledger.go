//go:build linux

package main

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/storage"
)

// ledger remembers when S3 executed which write, as the stage before it saw:
// also writes whose replies were lost, and those that were replaced or removed
// before anybody listed the bucket.
type ledger struct {
	mu     sync.Mutex
	writes map[storage.Ref][]write
}

type write struct {
	at      time.Time
	removal bool
	upload  string // that was completed, if it was one
}

func newLedger() *ledger { return &ledger{writes: make(map[storage.Ref][]write)} }

// observe is told of a call that S3 answered. Of an upload in parts only the
// last call writes an object.
func (l *ledger) observe(r *http.Request, status int) {
	upload := r.URL.Query().Get("uploadId")
	writes := r.Method == http.MethodPut && upload == "" || completes(r)
	removes := r.Method == http.MethodDelete && upload == ""
	if status/100 != 2 || !writes && !removes {
		return
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	ref := storage.Ref{Bucket: bucket, Key: key}
	l.mu.Lock()
	defer l.mu.Unlock()
	if list := l.writes[ref]; upload != "" && len(list) > 0 && list[len(list)-1].upload == upload {
		return // to complete an upload once more changes nothing, and is answered as the first time
	}
	l.writes[ref] = append(l.writes[ref], write{time.Now(), removes, upload})
}

// stands says when the object that is there now was written. ok is false when
// there is none.
func (l *ledger) stands(ref storage.Ref) (at time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.writes[ref]
	if len(list) == 0 || list[len(list)-1].removal {
		return time.Time{}, false
	}
	return list[len(list)-1].at, true
}

// replaced says how often an object was written over another that was there.
func (l *ledger) replaced(ref storage.Ref) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, there := 0, false
	for _, w := range l.writes[ref] {
		if there && !w.removal {
			n++
		}
		there = !w.removal
	}
	return n
}
