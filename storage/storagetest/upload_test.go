package storagetest

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/mem"
)

// begins is a store whose uploads are begun in another way.
type begins struct {
	storage.Store
	upload func(s storage.Store, ref storage.Ref, opts storage.PutOptions) (storage.Upload, error)
}

func (b begins) Upload(_ context.Context, ref storage.Ref, opts storage.PutOptions) (storage.Upload, error) {
	return b.upload(b.Store, ref, opts)
}

// Each of these uploads breaks one promise.
type (
	looksFirst struct {
		storage.Upload
		look func() error
	}
	keepsAborted struct{ storage.Upload }
	countsParts  struct {
		storage.Upload
		n *atomic.Int32
	}
	copiesAnything struct {
		storage.Upload
		s storage.Store
	}
	copiesWholes struct{ storage.Upload }
)

func (u looksFirst) Complete(ctx context.Context) (storage.Info, error) {
	if err := u.look(); err != nil {
		return storage.Info{}, err
	}
	time.Sleep(time.Second) // the others look meanwhile
	return u.Upload.Complete(ctx)
}

func (keepsAborted) Abort(context.Context) error { return nil }

func (u countsParts) PutPart(ctx context.Context, _ int, part []byte) error {
	return u.Upload.PutPart(ctx, int(u.n.Add(1)), part)
}

func (u copiesAnything) CopyPart(ctx context.Context, number int, from storage.Info, offset, length int64) error {
	info, err := u.s.Head(ctx, from.Ref)
	if err == nil {
		from.ETag = info.ETag
	}
	return u.Upload.CopyPart(ctx, number, from, offset, length)
}

func (u copiesWholes) CopyPart(ctx context.Context, number int, from storage.Info, _, _ int64) error {
	return u.Upload.CopyPart(ctx, number, from, 0, 0)
}

func TestSuiteCatchesBrokenUploads(t *testing.T) {
	// wrap begins an upload as it should be, and damages it.
	wrap := func(damage func(storage.Store, storage.Upload) storage.Upload) func(storage.Store, storage.Ref, storage.PutOptions) (storage.Upload, error) {
		return func(s storage.Store, ref storage.Ref, opts storage.PutOptions) (storage.Upload, error) {
			u, err := s.Upload(t.Context(), ref, opts)
			if err != nil {
				return nil, err
			}
			return damage(s, u), nil
		}
	}
	lookFirst := func(s storage.Store, ref storage.Ref, opts storage.PutOptions) (storage.Upload, error) {
		u, err := s.Upload(t.Context(), ref, storage.PutOptions{})
		return looksFirst{u, func() error {
			info, err := s.Head(t.Context(), ref)
			if opts.IfNoneMatch && err == nil || opts.IfMatch != "" && info.ETag != opts.IfMatch {
				return storage.ErrPrecondition
			}
			return nil
		}}, err
	}
	for name, test := range map[string]struct {
		upload func(storage.Store, storage.Ref, storage.PutOptions) (storage.Upload, error)
		caught string
	}{
		"a new object is looked for first":  {lookFirst, "of many uploads and puts of a new object exactly one wins"},
		"the old object is looked at first": {lookFirst, "of many uploads that replace an object exactly one wins"},
		"conditions count at the beginning": {func(s storage.Store, ref storage.Ref, opts storage.PutOptions) (storage.Upload, error) {
			if _, err := s.Head(t.Context(), ref); opts.IfNoneMatch && err == nil {
				return nil, storage.ErrPrecondition
			}
			return s.Upload(t.Context(), ref, storage.PutOptions{})
		}, "an upload's conditions are those of its completion"},
		"it is seen from the beginning": {func(s storage.Store, ref storage.Ref, opts storage.PutOptions) (storage.Upload, error) {
			if _, err := s.Put(t.Context(), ref, nil, opts); err != nil {
				return nil, err
			}
			return s.Upload(t.Context(), ref, opts)
		}, "an upload can't be seen before it is complete"},
		"abort does nothing": {wrap(func(_ storage.Store, u storage.Upload) storage.Upload { return keepsAborted{u} }), "an aborted upload leaves nothing"},
		"parts are in the order of calls": {wrap(func(_ storage.Store, u storage.Upload) storage.Upload {
			return countsParts{u, new(atomic.Int32)}
		}), "an upload becomes an object of its parts in their order"},
		"another object is copied": {wrap(func(s storage.Store, u storage.Upload) storage.Upload { return copiesAnything{u, s} }), "an upload takes only the object it names"},
		"ranges are ignored":       {wrap(func(_ storage.Store, u storage.Upload) storage.Upload { return copiesWholes{u} }), "an upload takes ranges of other objects"},
	} {
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(uploadChecks, func(c check) bool { return c.name == test.caught })
			if i < 0 {
				t.Fatalf("there is no check %q", test.caught)
			}
			synctest.Test(t, func(t *testing.T) {
				if err := uploadChecks[i].run(t.Context(), harness{begins{mem.New("bucket"), test.upload}, "bucket"}); err == nil {
					t.Errorf("the check %q found nothing", test.caught)
				}
			})
		})
	}
}

func TestRacesAreChecks(t *testing.T) {
	for name := range races {
		if !slices.ContainsFunc(checks(Options{}), func(c check) bool { return c.name == name }) {
			t.Errorf("there is no check %q", name)
		}
	}
}
