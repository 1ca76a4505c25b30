package storagetest

import (
	"bytes"
	"context"
	"io"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/mem"
)

// Each of these stores breaks one promise.
type (
	checksThenPuts   struct{ storage.Store }
	overwrites       struct{ storage.Store }
	deletesAnyway    struct{ storage.Store }
	dropsMetadata    struct{ storage.Store }
	ignoresRanges    struct{ storage.Store }
	listsAPage       struct{ storage.Store }
	readsDespiteCtx  struct{ storage.Store }
	keepsNoOldObject struct{ storage.Store }
)

func (s checksThenPuts) Put(ctx context.Context, ref storage.Ref, body []byte, opts storage.PutOptions) (storage.Info, error) {
	info, err := s.Head(ctx, ref)
	if opts.IfNoneMatch && err == nil || opts.IfMatch != "" && info.ETag != opts.IfMatch {
		return storage.Info{}, storage.ErrPrecondition
	}
	opts.IfNoneMatch, opts.IfMatch = false, ""
	time.Sleep(time.Second) // the others look meanwhile
	return s.Store.Put(ctx, ref, body, opts)
}

func (s overwrites) Put(ctx context.Context, ref storage.Ref, body []byte, opts storage.PutOptions) (storage.Info, error) {
	opts.IfNoneMatch, opts.IfMatch = false, ""
	return s.Store.Put(ctx, ref, body, opts)
}

func (s deletesAnyway) Delete(ctx context.Context, ref storage.Ref, _ storage.DeleteOptions) error {
	return s.Store.Delete(ctx, ref, storage.DeleteOptions{})
}

func (s dropsMetadata) Put(ctx context.Context, ref storage.Ref, body []byte, opts storage.PutOptions) (storage.Info, error) {
	opts.Metadata = nil
	return s.Store.Put(ctx, ref, body, opts)
}

func (s ignoresRanges) Get(ctx context.Context, ref storage.Ref, opts storage.GetOptions) (*storage.Object, error) {
	return s.Store.Get(ctx, ref, storage.GetOptions{IfMatch: opts.IfMatch})
}

func (s listsAPage) List(ctx context.Context, prefix storage.Ref, startAfter string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		n := 0
		for info, err := range s.Store.List(ctx, prefix, startAfter) {
			if n++; n > 1000 || !yield(info, err) {
				return
			}
		}
	}
}

func (s readsDespiteCtx) Get(ctx context.Context, ref storage.Ref, opts storage.GetOptions) (*storage.Object, error) {
	return s.Store.Get(context.WithoutCancel(ctx), ref, opts)
}

// lazy opens the object at the first Read.
type lazy struct {
	open func() (io.ReadCloser, error)
	body io.Reader
}

func (l *lazy) Read(p []byte) (int, error) {
	if l.body == nil {
		body, err := l.open()
		if err != nil {
			return 0, err
		}
		defer body.Close()
		all, err := io.ReadAll(body)
		if err != nil {
			return 0, err
		}
		l.body = bytes.NewReader(all)
	}
	return l.body.Read(p)
}

func (l *lazy) Close() error { return nil }

func (s keepsNoOldObject) Get(ctx context.Context, ref storage.Ref, opts storage.GetOptions) (*storage.Object, error) {
	info, err := s.Head(ctx, ref)
	if err != nil {
		return nil, err
	}
	return &storage.Object{Info: info, Body: &lazy{open: func() (io.ReadCloser, error) {
		object, err := s.Store.Get(ctx, ref, opts)
		if err != nil {
			return nil, err
		}
		return object.Body, nil
	}}}, nil
}

func TestSuiteCatchesBrokenStores(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(storage.Store) storage.Store
		caught string
	}{
		"put new looks first":     {func(s storage.Store) storage.Store { return checksThenPuts{s} }, "of many that put a new object exactly one wins"},
		"replace looks first":     {func(s storage.Store) storage.Store { return checksThenPuts{s} }, "of many that replace an object exactly one wins"},
		"conditions are ignored":  {func(s storage.Store) storage.Store { return overwrites{s} }, "a new object is not put over another"},
		"stale deletes succeed":   {func(s storage.Store) storage.Store { return deletesAnyway{s} }, "an object is deleted only while it is the one named"},
		"metadata is lost":        {func(s storage.Store) storage.Store { return dropsMetadata{s} }, "an object comes back as it was put"},
		"ranges are ignored":      {func(s storage.Store) storage.Store { return ignoresRanges{s} }, "a range gives its bytes and the size of the whole"},
		"lists end at a thousand": {func(s storage.Store) storage.Store { return listsAPage{s} }, "a list of more than a thousand is complete"},
		"bodies outlive the call": {func(s storage.Store) storage.Store { return readsDespiteCtx{s} }, "a body can't be read once the context is done"},
		"objects change in hand":  {func(s storage.Store) storage.Store { return keepsNoOldObject{s} }, "an open object survives its overwrite"},
	} {
		t.Run(name, func(t *testing.T) {
			all := checks(Options{})
			i := slices.IndexFunc(all, func(c check) bool { return c.name == test.caught })
			if i < 0 {
				t.Fatalf("there is no check %q", test.caught)
			}
			synctest.Test(t, func(t *testing.T) {
				if err := all[i].run(t.Context(), harness{test.damage(mem.New("bucket")), "bucket"}); err == nil {
					t.Errorf("the check %q found nothing", test.caught)
				}
			})
		})
	}
}
