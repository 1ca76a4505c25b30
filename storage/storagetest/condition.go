package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/penstock/penstock/storage"
)

var conditionChecks = []check{
	{"of many that put a new object exactly one wins", putNewRace},
	{"of many that replace an object exactly one wins", replaceRace},
	{"a new object is not put over another", putNew},
	{"an object is replaced only while it is the one named", replace},
	{"an object is deleted only while it is the one named", conditionalDelete},
	{"of a replacement and a deletion exactly one wins", replaceOrDelete},
	{"a new object can be put where one was deleted", putNewAfterDelete},
	{"a write with both conditions is refused", bothConditions},
}

// races are the checks that a server which looks before it writes fails only
// when two calls meet.
var races = map[string]bool{
	"of many that put a new object exactly one wins":            true,
	"of many that replace an object exactly one wins":           true,
	"of a replacement and a deletion exactly one wins":          true,
	"of many uploads and puts of a new object exactly one wins": true,
	"of many uploads that replace an object exactly one wins":   true,
	"a reader never sees a part of a write":                     true,
}

// writer prepares a write of an object, and gives what makes it visible.
type writer func(ctx context.Context, h harness, ref storage.Ref, body string, opts storage.PutOptions) (commit func() error, err error)

func putter(ctx context.Context, h harness, ref storage.Ref, body string, opts storage.PutOptions) (func() error, error) {
	return func() error {
		_, err := h.Put(ctx, ref, []byte(body), opts)
		return err
	}, nil
}

func uploader(ctx context.Context, h harness, ref storage.Ref, body string, opts storage.PutOptions) (func() error, error) {
	u, err := h.Upload(ctx, ref, opts)
	if err != nil {
		return nil, err
	}
	return func() error {
		_, err := u.Complete(ctx)
		if err != nil {
			err = errors.Join(err, u.Abort(ctx))
		}
		return err
	}, u.PutPart(ctx, 1, []byte(body))
}

// race has 16 writers, of these kinds in turn, commit at once. It wants
// exactly one to succeed and the others to be told of it.
func race(ctx context.Context, h harness, ref storage.Ref, opts storage.PutOptions, kinds ...writer) error {
	const n = 16
	body := func(i int) string { return strings.Repeat(fmt.Sprintf("%02d", i), 5000) }
	commits := make([]func() error, n)
	for i := range commits {
		var err error
		if commits[i], err = kinds[i%len(kinds)](ctx, h, ref, body(i), opts); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	start := make(chan struct{})
	results := make([]error, n)
	for i := range results {
		wg.Go(func() {
			<-start
			results[i] = commits[i]()
		})
	}
	close(start)
	wg.Wait()
	var winners []int
	var errs []error
	for i, err := range results {
		if err == nil {
			winners = append(winners, i)
			continue
		}
		errs = append(errs, wantIs(fmt.Sprint("writer ", i), err, storage.ErrPrecondition, storage.ErrConflict))
	}
	if len(winners) != 1 {
		return errors.Join(append(errs, fmt.Errorf("%d writers won, want 1", len(winners)))...)
	}
	return errors.Join(append(errs, wantBody(ctx, h, ref, body(winners[0])))...)
}

func putNewRace(ctx context.Context, h harness) error {
	for round := range 5 {
		if err := race(ctx, h, h.ref(fmt.Sprint("new/", round)), storage.PutOptions{IfNoneMatch: true}, putter); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return nil
}

func replaceRace(ctx context.Context, h harness) error {
	for round := range 5 {
		ref := h.ref(fmt.Sprint("old/", round))
		old, err := put(ctx, h, ref.Key, "old")
		if err != nil {
			return err
		}
		if err := race(ctx, h, ref, storage.PutOptions{IfMatch: old.ETag}, putter); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return nil
}

func putNew(ctx context.Context, h harness) error {
	ref := h.ref("dir/key")
	if _, err := h.Put(ctx, ref, []byte("first"), storage.PutOptions{IfNoneMatch: true}); err != nil {
		return err
	}
	_, err := h.Put(ctx, ref, []byte("second"), storage.PutOptions{IfNoneMatch: true})
	return errors.Join(
		wantIs("second", err, storage.ErrPrecondition),
		wantBody(ctx, h, ref, "first"),
	)
}

func replace(ctx context.Context, h harness) error {
	ref := h.ref("dir/key")
	first, err := put(ctx, h, ref.Key, "first")
	if err != nil {
		return err
	}
	second, err := h.Put(ctx, ref, []byte("second"), storage.PutOptions{IfMatch: first.ETag})
	if err != nil {
		return err
	}
	_, stale := h.Put(ctx, ref, []byte("third"), storage.PutOptions{IfMatch: first.ETag})
	_, missing := h.Put(ctx, h.ref("dir/missing"), []byte("x"), storage.PutOptions{IfMatch: second.ETag})
	_, head := h.Head(ctx, h.ref("dir/missing"))
	return errors.Join(
		wantIs("stale", stale, storage.ErrPrecondition),
		wantBody(ctx, h, ref, "second"),
		wantIs("missing", missing, storage.ErrPrecondition, fs.ErrNotExist),
		wantIs("head of the missing", head, fs.ErrNotExist),
	)
}

func conditionalDelete(ctx context.Context, h harness) error {
	ref := h.ref("dir/key")
	first, err := put(ctx, h, ref.Key, "first")
	if err != nil {
		return err
	}
	second, err := put(ctx, h, ref.Key, "second")
	if err != nil {
		return err
	}
	stale := h.Delete(ctx, ref, storage.DeleteOptions{IfMatch: first.ETag})
	if err := errors.Join(
		wantIs("stale", stale, storage.ErrPrecondition),
		wantBody(ctx, h, ref, "second"),
		h.Delete(ctx, ref, storage.DeleteOptions{IfMatch: second.ETag}),
	); err != nil {
		return err
	}
	_, head := h.Head(ctx, ref)
	again := h.Delete(ctx, ref, storage.DeleteOptions{IfMatch: second.ETag})
	if again != nil {
		again = wantIs("again", again, storage.ErrPrecondition, fs.ErrNotExist)
	}
	return errors.Join(wantIs("head", head, fs.ErrNotExist), again)
}

// replaceOrDelete takes many rounds, for a server that checks and deletes in
// two steps is lucky in most.
func replaceOrDelete(ctx context.Context, h harness) error {
	for round := range 100 {
		ref := h.ref(fmt.Sprint("key/", round))
		old, err := put(ctx, h, ref.Key, "old")
		if err != nil {
			return err
		}
		var wg sync.WaitGroup
		var putErr, deleteErr error
		wg.Go(func() { _, putErr = h.Put(ctx, ref, []byte("new"), storage.PutOptions{IfMatch: old.ETag}) })
		wg.Go(func() { deleteErr = h.Delete(ctx, ref, storage.DeleteOptions{IfMatch: old.ETag}) })
		wg.Wait()
		refused := []error{storage.ErrPrecondition, storage.ErrConflict, fs.ErrNotExist}
		switch {
		case putErr == nil && deleteErr == nil:
			return fmt.Errorf("round %d: both won", round)
		case putErr == nil:
			err = errors.Join(wantIs("delete", deleteErr, refused...), wantBody(ctx, h, ref, "new"))
		case deleteErr == nil:
			_, head := h.Head(ctx, ref)
			err = errors.Join(wantIs("put", putErr, refused...), wantIs("head", head, fs.ErrNotExist))
		default:
			err = fmt.Errorf("nobody won: put says %w, delete says %w", putErr, deleteErr)
		}
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return nil
}

func putNewAfterDelete(ctx context.Context, h harness) error {
	ref := h.ref("dir/key")
	for _, body := range []string{"first", "second"} {
		if _, err := h.Put(ctx, ref, []byte(body), storage.PutOptions{IfNoneMatch: true}); err != nil {
			return err
		}
		if err := wantBody(ctx, h, ref, body); err != nil {
			return err
		}
		if err := h.Delete(ctx, ref, storage.DeleteOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func bothConditions(ctx context.Context, h harness) error {
	_, err := h.Put(ctx, h.ref("key"), []byte("x"), storage.PutOptions{IfNoneMatch: true, IfMatch: "e"})
	return wantIs("put", err, fs.ErrInvalid)
}
