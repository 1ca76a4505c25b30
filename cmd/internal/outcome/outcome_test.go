package outcome_test

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/internal/outcome"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/mem"
)

// bundle is an installation with a store in memory and one upload.
type bundle struct {
	outcome.Finder
	store *mem.Store
	input storage.Info
}

var inputRef = storage.Ref{Bucket: "bucket", Key: "in/a.png"}

func setup(t *testing.T) *bundle {
	t.Helper()
	locations, err := request.ParseLocations("s3://bucket/in/", "s3://bucket/out/", "s3://bucket/failed/", "")
	if err != nil {
		t.Fatal(err)
	}
	store := mem.New("bucket")
	b := &bundle{Finder: outcome.Finder{Store: store, Locations: locations}, store: store}
	b.input = b.upload(t, "first")
	return b
}

func (b *bundle) upload(t *testing.T, body string) storage.Info {
	t.Helper()
	info, err := b.store.Put(t.Context(), inputRef, []byte(body), storage.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// commit writes a terminal object for the input as a worker does.
func (b *bundle) commit(t *testing.T, input storage.Info, failed bool) storage.Ref {
	t.Helper()
	r := request.Request{Input: inputRef}
	ref := b.Locations.OutputOf(r)
	if failed {
		ref = b.Locations.FailureOf(r)
	}
	p := request.Provenance{Identity: r.Identify(input), Input: input.Ref, InputETag: input.ETag}
	if _, err := b.store.Put(t.Context(), ref, []byte("{}"), storage.PutOptions{Metadata: p.Metadata(ref)}); err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestFindTakesTheOutputOverTheFailure(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, ok, err := b.Find(t.Context(), b.input); ok || err != nil {
		t.Fatalf("found something (%v) before there was anything, error %v", ok, err)
	}
	failure := b.commit(t, b.input, true)
	if o, ok, err := b.Find(t.Context(), b.input); !ok || !o.Failed || o.Ref.Key != failure.Key || err != nil {
		t.Fatalf("found %+v, %v, error %v; want the failure", o, ok, err)
	}
	output := b.commit(t, b.input, false)
	if o, ok, err := b.Find(t.Context(), b.input); !ok || o.Failed || o.Ref.Key != output.Key || err != nil {
		t.Fatalf("found %+v, %v, error %v; want the output", o, ok, err)
	}
}

// nameless is a store that can't have that key.
type nameless struct {
	storage.Reader
	key string
}

func (n nameless) Head(ctx context.Context, ref storage.Ref) (storage.Info, error) {
	if ref.Key == n.key {
		return storage.Info{}, fs.ErrInvalid
	}
	return n.Reader.Head(ctx, ref)
}

func TestWhereAFailureCanNotBeNamedTheOutputIsAwaitedAllTheSame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Store = nameless{b.Store, b.Locations.FailureOf(request.Request{Input: b.input.Ref}).Key}
	if _, ok, err := b.Find(t.Context(), b.input); ok || err != nil {
		t.Fatalf("found something (%v) before there was anything, error %v", ok, err)
	}
	output := b.commit(t, b.input, false)
	if o, ok, err := b.Find(t.Context(), b.input); !ok || o.Ref.Key != output.Key || err != nil {
		t.Fatalf("found %+v, %v, error %v; want the output", o, ok, err)
	}
}

// between runs a function after the first look at a key.
type between struct {
	storage.Reader
	key string
	run func()
}

func (b *between) Head(ctx context.Context, ref storage.Ref) (storage.Info, error) {
	info, err := b.Reader.Head(ctx, ref)
	if ref.Key == b.key && b.run != nil {
		b.run()
		b.run = nil
	}
	return info, err
}

func TestFindLooksForTheOutputAgainWhenThereIsAFailure(t *testing.T) {
	t.Parallel()
	b := setup(t)
	output, failure := b.Locations.OutputOf(request.Request{Input: inputRef}), b.commit(t, b.input, true)
	b.Store = &between{b.store, failure.Key, func() { b.commit(t, b.input, false) }}
	if o, ok, err := b.Find(t.Context(), b.input); !ok || o.Failed || o.Ref.Key != output.Key || err != nil {
		t.Fatalf("found %+v, %v, error %v; want the output", o, ok, err)
	}
}

func TestFindIgnoresTheResultOfAnOlderVersion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.commit(t, b.input, false)
	b.commit(t, b.input, true)
	second := b.upload(t, "second")
	if o, ok, err := b.Find(t.Context(), second); ok || err != nil {
		t.Fatalf("found %+v, error %v; want nothing", o, err)
	}
	b.commit(t, second, true)
	if o, ok, err := b.Find(t.Context(), second); !ok || !o.Failed || err != nil {
		t.Fatalf("found %+v, %v, error %v; want the second's failure", o, ok, err)
	}
}

func TestFindIgnoresWhatIsNoTerminalObject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, err := b.store.Put(t.Context(), b.Locations.OutputOf(request.Request{Input: inputRef}), []byte("x"), storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if o, ok, err := b.Find(t.Context(), b.input); ok || err != nil {
		t.Fatalf("found %+v, error %v; want nothing", o, err)
	}
}

func TestFindWithoutAnETagTakesAnyVersionsOutcome(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.commit(t, b.input, false)
	b.upload(t, "second")
	if o, ok, err := b.Find(t.Context(), storage.Info{Ref: inputRef}); !ok || err != nil {
		t.Fatalf("found %+v, %v, error %v; want the first's output", o, ok, err)
	}
}

func TestWaitReturnsTheOutcomeWhenItComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		time.AfterFunc(90*time.Second, func() { b.commit(t, b.input, false) })
		o, err := b.Wait(t.Context(), b.input)
		if err != nil || o.Failed || o.Provenance.InputETag != b.input.ETag {
			t.Fatalf("outcome is %+v, error %v", o, err)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		late := errors.New("too late")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, late)
		defer cancel()
		start := time.Now()
		if _, err := b.Wait(ctx, b.input); !errors.Is(err, late) {
			t.Errorf("error is %v, want the context's cause", err)
		}
		if d := time.Since(start); d != time.Minute {
			t.Errorf("it took %v", d)
		}
	})
}

func TestWaitEndsWhenAnotherUploadTakesTheInputsPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.upload(t, "second")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := b.Wait(ctx, b.input); !errors.Is(err, outcome.ErrSuperseded) {
			t.Errorf("error is %v, want ErrSuperseded", err)
		}
	})
}

func TestWaitGoesOnWhenTheInputIsDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		if err := b.store.Delete(t.Context(), inputRef, storage.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(90*time.Second, func() { b.commit(t, b.input, true) })
		if o, err := b.Wait(t.Context(), b.input); err != nil || !o.Failed {
			t.Fatalf("outcome is %+v, error %v; want the failure", o, err)
		}
	})
}

// faulty fails every call until a time.
type faulty struct {
	storage.Reader
	err   error
	until time.Time
}

func (f faulty) Head(ctx context.Context, ref storage.Ref) (storage.Info, error) {
	if time.Now().Before(f.until) {
		return storage.Info{}, f.err
	}
	return f.Reader.Head(ctx, ref)
}

func TestWaitBearsAStoreThatIsAwayForAMoment(t *testing.T) {
	t.Parallel()
	away := errors.New("connection refused")
	for _, test := range []struct {
		name  string
		err   error
		away  time.Duration
		fails bool
	}{
		{"ten seconds", away, 10 * time.Second, false},
		{"a minute", away, time.Minute, true},
		{"denied", storage.ErrForbidden, 10 * time.Second, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.commit(t, b.input, false)
				b.Store = faulty{b.store, test.err, time.Now().Add(test.away)}
				_, err := b.Wait(t.Context(), b.input)
				if test.fails && !errors.Is(err, test.err) || !test.fails && err != nil {
					t.Errorf("error is %v", err)
				}
			})
		})
	}
}
