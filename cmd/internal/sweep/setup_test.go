package sweep_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/sweep"
	"github.com/penstock/penstock/queue"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	smem "github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/storage/storagetest"
	"github.com/penstock/penstock/worker/terminal"
)

var errCut = errors.New("connection reset")

var locations = func() request.Locations {
	l, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		panic(err)
	}
	return l
}()

// bundle is an installation in memory, with a front door and a sweep.
type bundle struct {
	t      *testing.T
	store  *smem.Store
	shim   *storagetest.Hooked // of the sweep
	queue  *qmem.Queue
	dead   *qmem.Queue
	intake *intake.Intake
	*sweep.Sweeper
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, store: smem.New("uploads", "results"), dead: qmem.New(qmem.Options{Name: "dead"})}
	b.queue = qmem.New(qmem.Options{DeadLetter: b.dead, MaxReceiveCount: 1})
	b.shim = &storagetest.Hooked{Store: b.store}
	b.intake = &intake.Intake{Store: b.store, Queue: b.queue, Locations: locations}
	b.Sweeper = &sweep.Sweeper{Store: b.shim, Locations: locations, DeadLetters: b.dead}
	return b
}

// in runs a test in a bubble: hours pass in no time.
func in(t *testing.T, test func(t *testing.T, b *bundle)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, setup(t)) })
}

func (b *bundle) run() sweep.Counts {
	b.t.Helper()
	counts, err := b.Run(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return counts
}

// runs makes a sweep every so often for d, and gives what they did in all.
func (b *bundle) runs(d time.Duration) (all sweep.Counts) {
	b.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(sweep.Every) {
		c := b.run()
		all.Looked += c.Looked
		all.Expired += c.Expired
		all.Abandoned += c.Abandoned
		all.Explained += c.Explained
		all.Dropped += c.Dropped
		all.Pending = c.Pending
	}
	return all
}

func (b *bundle) accept(id string, ttl time.Duration) request.Request {
	b.t.Helper()
	a, err := b.intake.Accept(b.t.Context(), intake.Submission{
		Request: request.Request{ID: id, TTL: ttl, ContentType: "application/json", OutputPath: "of/" + id + ".json", Model: "digits"}, Body: []byte("[1]"),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return a.Request
}

func (b *bundle) upload(key string, metadata map[string]string) request.Request {
	b.t.Helper()
	ref := storage.Ref{Bucket: "uploads", Key: "in/" + key}
	info, err := b.store.Put(b.t.Context(), ref, []byte("[1]"), storage.PutOptions{Metadata: metadata})
	if err != nil {
		b.t.Fatal(err)
	}
	return request.Request{Input: ref, ETag: info.ETag}
}

// succeed writes the output of a request as a worker does.
func succeed(t *testing.T, store storage.Store, r request.Request) {
	t.Helper()
	found, err := store.Head(context.Background(), r.Input)
	if err != nil {
		t.Error(err)
		return
	}
	w := terminal.Writer{
		Store: store, Locations: locations, Limit: time.Minute,
		Try: func(ctx context.Context, _ time.Duration, _ string, _ storage.Ref, op func(context.Context) error) error {
			return op(ctx)
		},
	}
	c := terminal.Claim{Request: r, Identity: r.Identify(found), Input: found, Fence: func(time.Duration) error { return nil }}
	p := request.Provenance{Identity: c.Identity, InferenceID: r.InferenceID(c.Identity), Input: found.Ref}
	_, err = w.PutOutput(context.Background(), c, terminal.Document{Body: []byte("{}"), Metadata: p.Metadata(locations.OutputOf(r))})
	if err != nil {
		t.Error(err)
	}
}

// failure reads the failure object of a request; ok is false without one.
func (b *bundle) failure(r request.Request) (f request.Failure, info storage.Info, ok bool) {
	b.t.Helper()
	o, err := b.store.Get(b.t.Context(), locations.FailureOf(r), storage.GetOptions{})
	if errors.Is(err, fs.ErrNotExist) {
		return f, info, false
	}
	if err != nil {
		b.t.Fatal(err)
	}
	defer o.Body.Close()
	body, err := io.ReadAll(o.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := json.Unmarshal(body, &f); err != nil {
		b.t.Fatal(err)
	}
	return f, o.Info, true
}

// ends are the keys of all terminal objects.
func ends(t *testing.T, store storage.Reader) (keys []string) {
	t.Helper()
	for _, place := range []storage.Ref{locations.Output, locations.Failure} {
		for info, err := range store.List(context.Background(), place, "") {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, info.Ref.Key)
		}
	}
	return keys
}

func (b *bundle) snapshot(s request.Snapshot) {
	b.t.Helper()
	if _, err := b.store.Put(b.t.Context(), locations.SnapshotOf(s.Worker), s.JSON(), storage.PutOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// letters are all messages of the dead-letter queue.
func (b *bundle) letters() (all []*queue.Message) {
	b.t.Helper()
	for {
		got, err := b.dead.Receive(b.t.Context(), queue.MaxBatch, time.Hour, 0)
		if err != nil {
			b.t.Fatal(err)
		}
		if len(got) == 0 {
			b.dead.ChangeVisibility(b.t.Context(), 0, all...)
			return all
		}
		all = append(all, got...)
	}
}

// bury makes the queue itself dead-letter a message.
func (b *bundle) bury(body string) {
	b.t.Helper()
	if err := b.queue.Send(b.t.Context(), queue.Outgoing{Body: body, Attributes: map[string]string{"trace": "t"}})[0]; err != nil {
		b.t.Fatal(err)
	}
	b.wearOut()
}

// wearOut receives all messages until the queue gives them up.
func (b *bundle) wearOut() {
	b.t.Helper()
	for b.queue.Len() > 0 {
		got, err := b.queue.Receive(b.t.Context(), queue.MaxBatch, time.Second, 0)
		if err != nil {
			b.t.Fatal(err)
		}
		if len(got) == 0 {
			time.Sleep(time.Second)
		}
	}
}

func submissionOf(r request.Request) intake.Submission { return intake.Submission{Request: r} }
