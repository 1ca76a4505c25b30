package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"sync"

	"github.com/penstock/penstock/storage"
)

var uploadChecks = []check{
	{"an upload becomes an object of its parts in their order", uploadOrder},
	{"an upload can't be seen before it is complete", uploadUnseen},
	{"an aborted upload leaves nothing", uploadAborted},
	{"a complete upload is gone", uploadGone},
	{"of many uploads and puts of a new object exactly one wins", uploadNewRace},
	{"of many uploads that replace an object exactly one wins", uploadReplaceRace},
	{"an upload's conditions are those of its completion", uploadConditions},
	{"an upload of impossible parts is refused", uploadImpossible},
	{"an upload takes other objects", uploadCopies},
	{"an upload takes ranges of other objects", uploadCopiesRanges},
	{"an upload takes only the object it names", uploadCopiesOnly},
	{"a cancelled upload has the context's error", uploadCancelled},
}

// letters are a part of one letter.
func letters(letter string, n int) []byte { return bytes.Repeat([]byte(letter), n) }

// begin starts an upload that is aborted when the check has ended.
func begin(ctx context.Context, h harness, ref storage.Ref, opts storage.PutOptions) (u storage.Upload, end func(), err error) {
	if u, err = h.Upload(ctx, ref, opts); err != nil {
		return nil, nil, err
	}
	return u, func() { _ = u.Abort(context.WithoutCancel(ctx)) }, nil
}

// putUpload writes an object in one part.
func putUpload(ctx context.Context, h harness, ref storage.Ref, body string, opts storage.PutOptions) (storage.Info, error) {
	u, end, err := begin(ctx, h, ref, opts)
	if err != nil {
		return storage.Info{}, err
	}
	defer end()
	if err := u.PutPart(ctx, 1, []byte(body)); err != nil {
		return storage.Info{}, err
	}
	return u.Complete(ctx)
}

// uploadOrder writes the parts at once, with gaps in their numbers and one of
// them twice.
func uploadOrder(ctx context.Context, h harness) error {
	ref := h.ref("dir/large")
	opts := storage.PutOptions{ContentType: "text/plain", ContentEncoding: "br", Metadata: map[string]string{"name": "Größe"}}
	u, end, err := begin(ctx, h, ref, opts)
	if err != nil {
		return err
	}
	defer end()
	opts.Metadata["name"] = "changed"
	if err := u.PutPart(ctx, 30, letters("x", storage.MinPartBytes+1)); err != nil {
		return err
	}
	parts := map[int][]byte{2: letters("a", storage.MinPartBytes), 30: letters("b", storage.MinPartBytes), storage.MaxParts: []byte("end")}
	var wg sync.WaitGroup
	errs := make(chan error, len(parts))
	for number, part := range parts {
		wg.Go(func() {
			errs <- u.PutPart(ctx, number, part)
			clear(part)
		})
	}
	wg.Wait()
	for range parts {
		if err := <-errs; err != nil {
			return err
		}
	}
	wrote, err := u.Complete(ctx)
	if err != nil {
		return err
	}
	info, body, err := read(ctx, h, ref, storage.GetOptions{})
	if err != nil {
		return err
	}
	want := strings.Repeat("a", storage.MinPartBytes) + strings.Repeat("b", storage.MinPartBytes) + "end"
	if string(body) != want {
		return fmt.Errorf("the object has %d bytes beginning %.3q and ending %.6q, want %d that begin with a and end with bbbend", len(body), body, body[max(0, len(body)-6):], len(want))
	}
	if wrote.ETag == "" || wrote.ETag != info.ETag || wrote.Ref.Key != ref.Key || wrote.Size != int64(len(want)) || info.Size != wrote.Size {
		return fmt.Errorf("complete says %+v, and get %+v", wrote, info)
	}
	if info.ContentType != "text/plain" || info.ContentEncoding != "br" || !maps.Equal(info.Metadata, map[string]string{"name": "Größe"}) {
		return fmt.Errorf("get says %+v", info)
	}
	return nil
}

func uploadUnseen(ctx context.Context, h harness) error {
	if _, err := put(ctx, h, "old", "old"); err != nil {
		return err
	}
	for _, key := range []string{"new", "old"} {
		u, end, err := begin(ctx, h, h.ref(key), storage.PutOptions{})
		if err != nil {
			return err
		}
		defer end()
		if err := u.PutPart(ctx, 1, []byte("part")); err != nil {
			return err
		}
	}
	_, newErr := h.Head(ctx, h.ref("new"))
	return errors.Join(
		wantIs("head", newErr, fs.ErrNotExist),
		wantBody(ctx, h, h.ref("old"), "old"),
		wantKeys(ctx, h, "", "", []string{"old"}),
	)
}

func uploadAborted(ctx context.Context, h harness) error {
	u, end, err := begin(ctx, h, h.ref("dir/key"), storage.PutOptions{})
	if err != nil {
		return err
	}
	defer end()
	if err := errors.Join(u.PutPart(ctx, 1, []byte("part")), u.Abort(ctx)); err != nil {
		return err
	}
	_, completeErr := u.Complete(ctx)
	_, headErr := h.Head(ctx, h.ref("dir/key"))
	return errors.Join(
		wantIs("complete", completeErr, fs.ErrNotExist),
		wantIs("part", u.PutPart(ctx, 2, []byte("part")), fs.ErrNotExist),
		wantIs("head", headErr, fs.ErrNotExist),
		wantKeys(ctx, h, "", "", nil),
		u.Abort(ctx),
	)
}

func uploadGone(ctx context.Context, h harness) error {
	u, end, err := begin(ctx, h, h.ref("key"), storage.PutOptions{})
	if err != nil {
		return err
	}
	defer end()
	if err := u.PutPart(ctx, 1, []byte("whole")); err != nil {
		return err
	}
	if _, err := u.Complete(ctx); err != nil {
		return err
	}
	return errors.Join(
		wantIs("part", u.PutPart(ctx, 1, []byte("other")), fs.ErrNotExist),
		u.Abort(ctx),
		u.Abort(ctx),
		wantBody(ctx, h, h.ref("key"), "whole"),
	)
}

func uploadNewRace(ctx context.Context, h harness) error {
	for round, kinds := range [][]writer{{uploader}, {uploader, putter}, {putter, uploader}} {
		ref := h.ref(fmt.Sprint("new/", round))
		if err := race(ctx, h, ref, storage.PutOptions{IfNoneMatch: true}, kinds...); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return nil
}

func uploadReplaceRace(ctx context.Context, h harness) error {
	for round := range 3 {
		ref := h.ref(fmt.Sprint("old/", round))
		old, err := put(ctx, h, ref.Key, "old")
		if err != nil {
			return err
		}
		if err := race(ctx, h, ref, storage.PutOptions{IfMatch: old.ETag}, uploader); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return nil
}

func uploadConditions(ctx context.Context, h harness) error {
	ref := h.ref("key")
	u, end, err := begin(ctx, h, ref, storage.PutOptions{IfNoneMatch: true})
	if err != nil {
		return err
	}
	defer end()
	if err := u.PutPart(ctx, 1, []byte("late")); err != nil {
		return err
	}
	first, err := put(ctx, h, ref.Key, "first")
	if err != nil {
		return err
	}
	_, late := u.Complete(ctx)
	if err := errors.Join(wantIs("late", late, storage.ErrPrecondition), wantBody(ctx, h, ref, "first"), u.Abort(ctx)); err != nil {
		return err
	}
	if _, err := putUpload(ctx, h, ref, "second", storage.PutOptions{IfMatch: first.ETag}); err != nil {
		return err
	}
	_, stale := putUpload(ctx, h, ref, "third", storage.PutOptions{IfMatch: first.ETag})
	_, missing := putUpload(ctx, h, h.ref("missing"), "x", storage.PutOptions{IfMatch: first.ETag})
	return errors.Join(
		wantIs("stale", stale, storage.ErrPrecondition),
		wantIs("missing", missing, storage.ErrPrecondition, fs.ErrNotExist),
		wantBody(ctx, h, ref, "second"),
		wantKeys(ctx, h, "", "", []string{"key"}),
	)
}

func uploadImpossible(ctx context.Context, h harness) error {
	_, bothErr := h.Upload(ctx, h.ref("key"), storage.PutOptions{IfNoneMatch: true, IfMatch: "e"})
	_, keyErr := h.Upload(ctx, h.ref(""), storage.PutOptions{})
	_, bucketErr := h.Upload(ctx, storage.Ref{Bucket: h.bucket + "-missing", Key: "key"}, storage.PutOptions{})
	u, end, err := begin(ctx, h, h.ref("key"), storage.PutOptions{})
	if err != nil {
		return err
	}
	defer end()
	_, noneErr := u.Complete(ctx)
	errs := []error{
		wantIs("both conditions", bothErr, fs.ErrInvalid),
		wantIs("an empty key", keyErr, fs.ErrInvalid),
		wantIs("a missing bucket", bucketErr, fs.ErrNotExist),
		wantIs("no parts", noneErr, fs.ErrInvalid),
		wantIs("part 0", u.PutPart(ctx, 0, []byte("x")), fs.ErrInvalid),
		wantIs("part 10,001", u.PutPart(ctx, storage.MaxParts+1, []byte("x")), fs.ErrInvalid),
	}
	for number := range 2 {
		errs = append(errs, u.PutPart(ctx, number+1, []byte("small")))
	}
	_, smallErr := u.Complete(ctx)
	_, head := h.Head(ctx, h.ref("key"))
	return errors.Join(append(errs, wantIs("a small part amid others", smallErr, fs.ErrInvalid), wantIs("head", head, fs.ErrNotExist))...)
}
