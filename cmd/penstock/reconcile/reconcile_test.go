package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/penstock/reconcile"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	memstore "github.com/penstock/penstock/storage/mem"
)

// installation is one in memory, with a ledger of the calls to its store.
type installation struct {
	reconcile.Reconciler
	store *counted
	queue *mem.Queue
}

// counted counts the calls to a store, and refuses some.
type counted struct {
	*memstore.Store
	mu     sync.Mutex
	heads  []string // keys
	lists  int
	refuse func(key string) error
}

func (c *counted) Head(ctx context.Context, ref storage.Ref) (storage.Info, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heads = append(c.heads, ref.Key)
	if c.refuse != nil {
		if err := c.refuse(ref.Key); err != nil {
			return storage.Info{}, err
		}
	}
	return c.Store.Head(ctx, ref)
}

func (c *counted) List(ctx context.Context, prefix storage.Ref, startAfter string) iter.Seq2[storage.Info, error] {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists++
	return c.Store.List(ctx, prefix, startAfter)
}

// calls are those since the last call of it.
func (c *counted) calls() (heads []string, lists int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	heads, lists = c.heads, c.lists
	c.heads, c.lists = nil, 0
	slices.Sort(heads)
	return heads, lists
}

func setup(t *testing.T, inputs string) *installation {
	t.Helper()
	locations, err := request.ParseLocations(inputs, "s3://bucket/out/", "s3://bucket/failed/", "")
	if err != nil {
		t.Fatal(err)
	}
	store := &counted{Store: memstore.New("bucket", "other")}
	q := mem.New(mem.Options{})
	return &installation{
		reconcile.Reconciler{Store: store, Queue: q, Locations: locations, Now: func() time.Time { return time.Now().Add(time.Hour) }},
		store, q,
	}
}

func (in *installation) upload(t *testing.T, key, body string) storage.Info {
	t.Helper()
	return in.put(t, storage.Ref{Bucket: "bucket", Key: key}, body, nil)
}

func (in *installation) put(t *testing.T, ref storage.Ref, body string, metadata map[string]string) storage.Info {
	t.Helper()
	if _, err := in.store.Store.Put(t.Context(), ref, []byte(body), storage.PutOptions{Metadata: metadata}); err != nil {
		t.Fatal(err)
	}
	info, err := in.store.Store.Head(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// finish writes a terminal object for an input as a worker does.
func (in *installation) finish(t *testing.T, input storage.Info, failed bool) {
	t.Helper()
	r := request.Request{Input: storage.Ref{Bucket: input.Ref.Bucket, Key: input.Ref.Key}}
	ref := in.Locations.OutputOf(r)
	if failed {
		ref = in.Locations.FailureOf(r)
	}
	p := request.Provenance{Identity: r.Identify(input), Input: input.Ref, InputETag: input.ETag}
	in.put(t, ref, "{}", p.Metadata(ref))
}

func (in *installation) run(t *testing.T) reconcile.Counts {
	t.Helper()
	counts, err := in.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// enqueued takes all inputs out of the queue.
func (in *installation) enqueued(t *testing.T) []string {
	t.Helper()
	var keys []string
	for {
		messages, err := in.queue.Receive(t.Context(), queue.MaxBatch, time.Hour, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(messages) == 0 {
			slices.Sort(keys)
			return keys
		}
		for _, m := range messages {
			requests, err := request.Decode(m.Body)
			if err != nil || len(requests) != 1 || requests[0].Enqueued.IsZero() {
				t.Fatalf("message %s is %+v, error %v", m.Body, requests, err)
			}
			keys = append(keys, requests[0].Input.Key)
		}
		in.queue.Delete(t.Context(), messages...)
	}
}

func TestRunEnqueuesWhatHasNoTerminalObjectOfItsCurrentVersion(t *testing.T) {
	t.Parallel()
	for _, versions := range []bool{false, true} {
		t.Run(fmt.Sprintf("with versions %v", versions), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				in := setup(t, "s3://bucket/in/")
				if versions {
					in.store.EnableVersioning("bucket")
				}
				in.finish(t, in.upload(t, "in/result", "a"), false)
				in.finish(t, in.upload(t, "in/failure", "a"), true)
				both := in.upload(t, "in/both", "a")
				in.finish(t, both, true)
				in.finish(t, both, false)
				in.finish(t, in.upload(t, "in/changed", "a"), false)
				in.upload(t, "in/changed", "b")
				in.finish(t, in.upload(t, "in/again", "a"), true)
				time.Sleep(time.Second)
				in.upload(t, "in/again", "a") // the same bytes
				in.upload(t, "in/missing", "a")
				in.upload(t, "in/requests/reserved", "a")
				in.upload(t, "in/folder/", "")
				in.upload(t, "in/.penstock/requests/1", "a")
				own := storage.Ref{Bucket: "bucket", Key: "in/own"}
				in.put(t, own, "{}", request.Provenance{Identity: "1"}.Metadata(own))
				in.upload(t, "elsewhere", "a")
				got := in.run(t)
				if want := (reconcile.Counts{LookedAt: 10, Results: 2, Failures: 1, Enqueued: 4, Ignored: 3}); got != want {
					t.Errorf("counts are %+v, want %+v", got, want)
				}
				if got, want := in.enqueued(t), []string{"in/again", "in/changed", "in/missing", "in/requests/reserved"}; !slices.Equal(got, want) {
					t.Errorf("enqueued are %q, want %q", got, want)
				}
			})
		})
	}
}

func TestAReservedUploadIsDoneWhenItHasItsFailure(t *testing.T) {
	t.Parallel()
	in := setup(t, "s3://bucket/in/")
	in.finish(t, in.upload(t, "in/requests/reserved", "a"), true)
	if got, want := in.run(t), (reconcile.Counts{LookedAt: 1, Failures: 1}); got != want {
		t.Errorf("counts are %+v, want %+v", got, want)
	}
}

func TestRunCallsTheStoreAsOftenAsItSays(t *testing.T) {
	t.Parallel()
	in := setup(t, "s3://bucket/in/")
	in.finish(t, in.upload(t, "in/a", "a"), false)
	in.finish(t, in.upload(t, "in/b", "a"), true)
	in.upload(t, "in/c", "a")
	in.run(t)
	want := []string{"failed/b-error.out", "in/c", "out/a.out"}
	if heads, lists := in.store.calls(); !slices.Equal(heads, want) || lists != 3 {
		t.Errorf("there were HEADs of %q and %d LISTs, want %q and 3", heads, lists, want)
	}
}

func TestRunLooksAtNewUploadsLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := setup(t, "s3://bucket/in/")
		in.Now, in.MinAge = time.Now, time.Minute
		in.upload(t, "in/old", "a")
		time.Sleep(time.Minute)
		in.upload(t, "in/new", "a")
		if got, want := in.run(t), (reconcile.Counts{LookedAt: 2, Enqueued: 1, TooNew: 1}); got != want {
			t.Errorf("counts are %+v, want %+v", got, want)
		}
		if got := in.enqueued(t); !slices.Equal(got, []string{"in/old"}) {
			t.Errorf("enqueued are %q", got)
		}
	})
}

func TestRunLooksInEveryLocationAndBelowAPrefix(t *testing.T) {
	t.Parallel()
	in := setup(t, "s3://bucket/in/,s3://other/")
	in.Prefix = "today/"
	in.upload(t, "in/today/a", "a")
	in.upload(t, "in/yesterday/a", "a")
	in.finish(t, in.put(t, storage.Ref{Bucket: "other", Key: "today/b"}, "b", nil), false)
	in.put(t, storage.Ref{Bucket: "other", Key: "today/c"}, "c", nil)
	if got, want := in.run(t), (reconcile.Counts{LookedAt: 3, Results: 1, Enqueued: 2}); got != want {
		t.Errorf("counts are %+v, want %+v", got, want)
	}
	if got := in.enqueued(t); !slices.Equal(got, []string{"in/today/a", "today/c"}) {
		t.Errorf("enqueued are %q", got)
	}
}

func TestWithoutAQueueNothingIsSent(t *testing.T) {
	t.Parallel()
	in := setup(t, "s3://bucket/in/")
	in.Queue = nil
	var told []storage.Ref
	in.Missing = func(ref storage.Ref) { told = append(told, ref) }
	in.upload(t, "in/a", "a")
	if got := in.run(t); got.Enqueued != 1 || len(told) != 1 || told[0].Key != "in/a" {
		t.Errorf("counts are %+v, told of %v", got, told)
	}
	if got := in.enqueued(t); len(got) != 0 {
		t.Errorf("enqueued are %q", got)
	}
}

// TestManyInputs has more than a page of them, with names whose order is not
// that of their results: "a" comes before "a-1", and "a.out" after "a-1.out".
func TestManyInputs(t *testing.T) {
	t.Parallel()
	in := setup(t, "s3://bucket/in/")
	in.finish(t, in.upload(t, "in/a", "a"), false)
	const n = 5000
	var want []string
	for i := range n {
		input := in.upload(t, fmt.Sprintf("in/a-%05d", i), "a")
		if i%100 == 0 {
			want = append(want, input.Ref.Key)
		} else {
			in.finish(t, input, i%7 == 0)
		}
	}
	var progress []int
	in.Progress = func(c reconcile.Counts) { progress = append(progress, c.LookedAt) }
	counts := in.run(t)
	if counts.LookedAt != n+1 || counts.Enqueued != len(want) || counts.Results+counts.Failures != n+1-len(want) {
		t.Errorf("counts are %+v", counts)
	}
	if got := in.enqueued(t); !slices.Equal(got, want) {
		t.Errorf("enqueued are %d, want %d", len(got), len(want))
	}
	if want := []int{1000, 2000, 3000, 4000, 5000, 5001}; !slices.Equal(progress, want) {
		t.Errorf("it told of %v, want %v", progress, want)
	}
	if _, lists := in.store.calls(); lists != 1+2*6 {
		t.Errorf("there were %d LISTs, want one of inputs and two a page", lists)
	}
}

var errAway = errors.New("the network is down")

func TestTroubleWithOneInputConcernsThatOneAlone(t *testing.T) {
	t.Parallel()
	in := setup(t, "s3://bucket/in/")
	for i := range 5 {
		in.upload(t, fmt.Sprintf("in/%d", i), "a")
	}
	in.store.refuse = func(key string) error {
		if key == "in/3" {
			return errAway
		}
		return nil
	}
	var told []string
	in.Trouble = func(ref storage.Ref, err error) { told = append(told, fmt.Sprintf("%s: %v", ref, err)) }
	if got, want := in.run(t), (reconcile.Counts{LookedAt: 5, Enqueued: 4, Troubled: 1}); got != want {
		t.Errorf("counts are %+v, want %+v", got, want)
	}
	if want := []string{"s3://bucket/in/3: the network is down"}; !slices.Equal(told, want) {
		t.Errorf("told of %q, want %q", told, want)
	}
}

func TestTroubleWithTooManyInputsEndsIt(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want string
	}{{errAway, "s3://bucket/in/"}, {storage.ErrForbidden, "access denied"}} {
		in := setup(t, "s3://bucket/in/")
		for i := range 20 {
			in.upload(t, fmt.Sprintf("in/%02d", i), "a")
		}
		in.store.refuse = func(string) error { return test.err }
		if _, err := in.Run(t.Context()); !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error is %v", err)
		}
	}
}

// refusing is a queue that takes none of these inputs until it is back.
type refusing struct {
	queue.Sender
	text string
	back atomic.Bool
}

func (s *refusing) Send(ctx context.Context, messages ...queue.Outgoing) []error {
	errs := make([]error, len(messages))
	for i, m := range messages {
		if errs[i] = errAway; !strings.Contains(m.Body, s.text) || s.back.Load() {
			errs[i] = s.Sender.Send(ctx, m)[0]
		}
	}
	return errs
}

func TestWhatCanNotBeSentIsNotCountedAsEnqueued(t *testing.T) {
	t.Parallel()
	in := setup(t, "s3://bucket/in/")
	in.Queue = &refusing{Sender: in.queue, text: "in/b"}
	in.upload(t, "in/a", "a")
	in.upload(t, "in/b", "b")
	if got, want := in.run(t), (reconcile.Counts{LookedAt: 2, Enqueued: 1, Troubled: 1}); got != want {
		t.Errorf("counts are %+v, want %+v", got, want)
	}
}
