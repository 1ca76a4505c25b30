//go:build linux

package endtoend

import (
	"fmt"
	"testing"
	"time"

	"github.com/penstock/penstock/storage"
)

// How long after its upload a digit's result is there, on a system that does
// nothing else: S3, the queue and the worker of local mode, each a process.
func BenchmarkUploadToResult(b *testing.B) {
	m := newMachine(b)
	c := newClient(m)
	m.start()
	defer m.stopped()
	s := m.open()
	once := func(n string) time.Duration {
		in, out := storage.Ref{Bucket: "penstock", Key: "in/" + n + ".png"}, storage.Ref{Bucket: "penstock", Key: "out/" + n + ".png.out"}
		began := time.Now()
		if _, err := s.store.Put(b.Context(), in, c.digit, storage.PutOptions{}); err != nil {
			b.Fatal(err)
		}
		for time.Since(began) < 30*time.Second {
			if _, err := s.store.Head(b.Context(), out); err == nil {
				return time.Since(began)
			}
			time.Sleep(time.Millisecond) // other processes are at work
		}
		b.Fatalf("%s has no result:\n%s", n, m.said)
		return 0
	}
	for i := range 20 { // past the first connections
		once(fmt.Sprint("warm/", i))
	}
	var took []time.Duration
	for b.Loop() {
		took = append(took, once(fmt.Sprint("timed/", len(took))))
	}
	report(b, took)
}
