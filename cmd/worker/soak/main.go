//go:build cgo

// Command soak shows that a worker's memory does not grow: it takes many
// requests of mixed shapes and of strings through a whole worker, with
// TensorFlow in it and a queue and a store in memory around it, and compares
// the process's resident memory at the start, at its peak and at the end.
//
// TensorFlow's memory is invisible to Go's garbage collector, so nothing but
// such a run tells whether it is given back.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	memstore "github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/worker"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/tf"
)

func main() {
	_ = tf.Quiet()
	os.Exit(run())
}

func run() int {
	items := flag.Int("items", 200_000, "requests in all")
	window := flag.Int("window", 2_000, "requests between two looks at the memory")
	models := flag.String("models", "worker/model/testdata", "`folder` of the test models")
	seed := flag.Uint64("seed", 1, "of the random shapes")
	flag.Parse()
	if err := soak(context.Background(), *models, *items, *window, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		return 1
	}
	return 0
}

// allowed is how much larger the memory may be at the end than after the
// first tenth, when every pool has found its size.
const allowed = 48 << 20

// soak runs the items and errs when an answer is wrong or the memory grew.
func soak(ctx context.Context, models string, items, window int, seed uint64) error {
	b, err := newBench(ctx, models, seed)
	if err != nil {
		return err
	}
	defer b.close()
	began := time.Now()
	var start, peak, end int64
	for done := 0; done < items; done += window {
		if err := b.window(ctx, min(window, items-done)); err != nil {
			return err
		}
		end = resident()
		peak = max(peak, end)
		if start == 0 && done+window >= items/10 {
			start, peak = end, end
			fmt.Printf("%8d items  %5.1f s  %5d MiB  (the start)\n", done+window, time.Since(began).Seconds(), start>>20)
		} else if done/window%10 == 9 {
			fmt.Printf("%8d items  %5.1f s  %5d MiB\n", done+window, time.Since(began).Seconds(), end>>20)
		}
	}
	fmt.Printf("resident memory: start %d MiB, peak %d MiB, end %d MiB, over %d items in %.0f s\n",
		start>>20, peak>>20, end>>20, items, time.Since(began).Seconds())
	if end > start+allowed {
		return fmt.Errorf("memory grew by %d MiB (%d are allowed)", (end-start)>>20, allowed>>20)
	}
	return nil
}

// bench is a worker with all around it in memory.
type bench struct {
	queue     *mem.Queue
	store     *memstore.Store
	locations request.Locations
	random    *rand.Rand
	stop      context.CancelFunc
	ended     chan error
	models    []*tf.Model
	n         int
}

const bucket = "soak"

func newBench(ctx context.Context, models string, seed uint64) (*bench, error) {
	locations, err := request.ParseLocations("s3://"+bucket+"/in/", "s3://"+bucket+"/out/", "s3://"+bucket+"/failed/", "")
	if err != nil {
		return nil, err
	}
	b := &bench{
		queue: mem.New(mem.Options{}), store: memstore.New(bucket), locations: locations,
		random: rand.New(rand.NewPCG(seed, 0)), ended: make(chan error, 1),
	}
	var loaded []model.Model
	for _, name := range []string{"dynamic", "string_echo"} {
		m, err := tf.Load(filepath.Join(models, name), tf.Options{Name: name})
		if err != nil {
			return nil, err
		}
		b.models = append(b.models, m)
		loaded = append(loaded, m)
	}
	w, err := worker.New(worker.Config{
		Queue: b.queue, Requests: b.queue, Store: b.store, Locations: locations, Models: model.Fixed(loaded...),
		VisibilityTimeout: 6 * time.Second, // so that its last poll ends within one
	})
	if err != nil {
		return nil, err
	}
	ctx, b.stop = context.WithCancel(ctx)
	go func() { b.ended <- w.Run(ctx) }()
	return b, nil
}

// close ends the worker; its models may be closed then.
func (b *bench) close() {
	b.stop()
	if err := <-b.ended; err == nil {
		for _, m := range b.models {
			_ = m.Close() // the process ends
		}
	}
}

// window takes n requests through the worker, checks their results, and
// removes all that they left.
func (b *bench) window(ctx context.Context, n int) error {
	type sent struct {
		input, output storage.Ref
		want          float64
	}
	var all []sent
	var messages []queue.Outgoing
	for range n {
		b.n++
		ref := storage.Ref{Bucket: bucket, Key: fmt.Sprintf("in/%d.json", b.n)}
		body, name, want := b.input()
		if _, err := b.store.Put(ctx, ref, body, storage.PutOptions{}); err != nil {
			return err
		}
		r := request.Request{Input: ref, Model: name}
		message, err := request.Encode(r)
		if err != nil {
			return err
		}
		messages = append(messages, queue.Outgoing{Body: message})
		all = append(all, sent{ref, b.locations.OutputOf(r), want})
	}
	if err := errors.Join(b.queue.Send(ctx, messages...)...); err != nil {
		return err
	}
	for _, s := range all {
		got, err := b.await(ctx, s.output)
		if err != nil {
			return err
		}
		if got != s.want {
			return fmt.Errorf("%s is %v, want %v", s.output, got, s.want)
		}
		for _, ref := range []storage.Ref{s.input, s.output} {
			if err := b.store.Delete(ctx, ref, storage.DeleteOptions{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// input makes a request's body, for a model, with a number that tells whether
// the answer is right: the sum of a row, or the length of a string.
func (b *bench) input() (body []byte, name string, want float64) {
	if b.random.IntN(4) == 0 {
		n := b.random.IntN(16 << 10)
		return fmt.Appendf(nil, `{"instances":[%q]}`, strings.Repeat("x", n)), "string_echo", float64(n)
	}
	row := make([]int, 1+b.random.IntN(1<<b.random.IntN(12)))
	for i := range row {
		row[i] = b.random.IntN(10)
		want += float64(row[i])
	}
	text, err := json.Marshal(row)
	if err != nil {
		panic(err) // ints
	}
	return fmt.Appendf(nil, `{"instances":[%s]}`, text), "dynamic", want
}

// await reads the number out of a result once it is there.
func (b *bench) await(ctx context.Context, ref storage.Ref) (float64, error) {
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(time.Millisecond) {
		o, err := b.store.Get(ctx, ref, storage.GetOptions{})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		defer o.Body.Close()
		var result struct {
			Predictions []json.RawMessage `json:"predictions"`
		}
		if err := json.NewDecoder(o.Body).Decode(&result); err != nil || len(result.Predictions) != 1 {
			return 0, fmt.Errorf("%s is no result: %v", ref, err)
		}
		var number float64
		if json.Unmarshal(result.Predictions[0], &number) == nil {
			return number, nil
		}
		var named struct {
			Length float64 `json:"length"`
		}
		err = json.Unmarshal(result.Predictions[0], &named)
		return named.Length, err
	}
	return 0, fmt.Errorf("no result at %s within a minute", ref)
}

// resident is the process's resident memory in bytes, after Go has given back
// what it does not use: what remains is in use, or TensorFlow's.
func resident() int64 {
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err) // Linux only, as TensorFlow's library is here
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		panic(err)
	}
	return pages * int64(os.Getpagesize())
}
