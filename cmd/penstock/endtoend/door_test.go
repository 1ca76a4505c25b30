//go:build linux

package endtoend

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/cmd/internal/settings"
)

// perSecond is the rate of BenchmarkAcknowledge, whatever the answers do.
const perSecond = 100

// How long the front door takes to accept a request, with a body of a few
// hundred bytes, at 100 requests a second, while the worker works on them. The
// time counts from when a request was due.
func BenchmarkAcknowledge(b *testing.B) {
	d := openDoor(b)
	var (
		mu   sync.Mutex
		took []time.Duration
		wg   sync.WaitGroup
	)
	due := time.Now()
	for b.Loop() {
		due = due.Add(time.Second / perSecond)
		time.Sleep(time.Until(due)) // other processes are at work
		from := due
		wg.Go(func() {
			d.post("/endpoints/digits/async-invocations", http.StatusAccepted)
			t := time.Since(from)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, t)
		})
	}
	wg.Wait()
	report(b, took)
}

// How long a result takes on a system that does nothing else, for a caller who
// waits for it: one at a time.
func BenchmarkPreferWait(b *testing.B) {
	d := openDoor(b)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		d.post("/predict", http.StatusOK, "Prefer", "wait=30")
		took = append(took, time.Since(began))
	}
	report(b, took)
}

// door is the front door of a local mode.
type door struct {
	testing.TB
	client *http.Client
	url    string
	digit  []byte
}

func openDoor(b *testing.B) *door {
	m := newMachine(b)
	c := newClient(m)
	m.start()
	b.Cleanup(func() { m.stopped() })
	f, err := settings.Find(m.dir)
	if err != nil {
		b.Fatal(err)
	}
	d := &door{b, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: perSecond}}, f.Values["PENSTOCK_URL"], c.digit}
	for range 50 { // past the first connections
		d.post("/predict", http.StatusOK, "Prefer", "wait=30")
	}
	return d
}

// post sends a digit. headers are names and values.
func (d *door) post(path string, want int, headers ...string) {
	r, err := http.NewRequestWithContext(d.Context(), http.MethodPost, d.url+path, bytes.NewReader(d.digit))
	if err != nil {
		d.Error(err)
		return
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := d.client.Do(r)
	if err != nil {
		d.Error(err)
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != want || err != nil {
		d.Errorf("status %d, want %d; error %v:\n%s", res.StatusCode, want, err, body)
	}
}

// report tells the median and the 99th percentile.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(share float64) float64 { return took[int(share*float64(len(took)-1))].Seconds() * 1000 }
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
}
