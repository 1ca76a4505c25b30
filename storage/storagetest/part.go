package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/penstock/penstock/storage"
)

// partChecks are about reads of a part, and reads while something else goes on.
var partChecks = []check{
	{"a range gives its bytes and the size of the whole", ranges},
	{"a range past the end is ErrPrecondition", rangePastEnd},
	{"a conditional read gives only the object it names", conditionalRead},
	{"an open object survives its overwrite", openObject},
	{"a reader never sees a part of a write", wholeWrites},
	{"put does not keep the body", bodyNotKept},
	{"a cancelled call has the context's error", cancelled},
	{"a body can't be read once the context is done", cancelledBody},
}

func ranges(ctx context.Context, h harness) error {
	const body = "0123456789"
	wrote, err := put(ctx, h, "key", body)
	if err != nil {
		return err
	}
	for _, r := range []struct {
		offset, length int64
		want           string
	}{
		{0, 0, body},
		{0, 1, "0"},
		{3, 4, "3456"},
		{3, 0, "3456789"},
		{9, 1, "9"},
		{5, 100, "56789"},
		{0, 10, body},
	} {
		opts := storage.GetOptions{Offset: r.offset, Length: r.length, IfMatch: wrote.ETag}
		info, got, err := read(ctx, h, h.ref("key"), opts)
		if err != nil {
			return err
		}
		if string(got) != r.want || info.Size != 10 || info.ETag != wrote.ETag {
			return fmt.Errorf("%d bytes from %d are %q of %d bytes with ETag %q, want %q of 10 with %q", r.length, r.offset, got, info.Size, info.ETag, r.want, wrote.ETag)
		}
	}
	_, err = h.Get(ctx, h.ref("key"), storage.GetOptions{Offset: -1})
	return wantIs("a negative offset", err, fs.ErrInvalid)
}

func rangePastEnd(ctx context.Context, h harness) error {
	if _, err := put(ctx, h, "key", "0123456789"); err != nil {
		return err
	}
	_, atEnd := h.Get(ctx, h.ref("key"), storage.GetOptions{Offset: 10})
	_, beyond := h.Get(ctx, h.ref("key"), storage.GetOptions{Offset: 11, Length: 5})
	return errors.Join(
		wantIs("at the end", atEnd, storage.ErrPrecondition),
		wantIs("beyond the end", beyond, storage.ErrPrecondition),
	)
}

func conditionalRead(ctx context.Context, h harness) error {
	ref := h.ref("key")
	old, err := put(ctx, h, ref.Key, "old")
	if err != nil {
		return err
	}
	if _, _, err := read(ctx, h, ref, storage.GetOptions{IfMatch: old.ETag}); err != nil {
		return err
	}
	if _, err := put(ctx, h, ref.Key, "new"); err != nil {
		return err
	}
	_, whole := h.Get(ctx, ref, storage.GetOptions{IfMatch: old.ETag})
	_, part := h.Get(ctx, ref, storage.GetOptions{IfMatch: old.ETag, Offset: 1})
	_, missing := h.Get(ctx, h.ref("missing"), storage.GetOptions{IfMatch: old.ETag})
	return errors.Join(
		wantIs("whole", whole, storage.ErrPrecondition),
		wantIs("a range", part, storage.ErrPrecondition),
		wantIs("missing", missing, fs.ErrNotExist),
	)
}

func openObject(ctx context.Context, h harness) error {
	body := strings.Repeat("old", 1<<20)
	wrote, err := put(ctx, h, "key", body)
	if err != nil {
		return err
	}
	object, err := h.Get(ctx, h.ref("key"), storage.GetOptions{})
	if err != nil {
		return err
	}
	_, putErr := put(ctx, h, "key", strings.Repeat("new", 1<<20))
	got, readErr := io.ReadAll(object.Body)
	if err := errors.Join(putErr, readErr, object.Body.Close()); err != nil {
		return err
	}
	if string(got) != body || object.ETag != wrote.ETag {
		return fmt.Errorf("read %d bytes beginning %.6q with ETag %q, want the old object with %q", len(got), got, object.ETag, wrote.ETag)
	}
	return nil
}

// wholeWrites has two writers overwrite one key with bodies of one letter and
// of different lengths, while readers look.
func wholeWrites(ctx context.Context, h harness) error {
	bodies := []string{strings.Repeat("a", 100_000), strings.Repeat("b", 200_000)}
	etags := map[string]string{}
	for _, body := range bodies {
		info, err := put(ctx, h, "key", body)
		if err != nil {
			return err
		}
		etags[info.ETag] = body
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			for range 20 {
				if errs[i] != nil {
					return
				}
				if i < len(bodies) {
					_, errs[i] = put(ctx, h, "key", bodies[i])
					continue
				}
				info, body, err := read(ctx, h, h.ref("key"), storage.GetOptions{})
				if errs[i] = err; err == nil && etags[info.ETag] != string(body) {
					errs[i] = fmt.Errorf("read %d bytes beginning %.3q with ETag %q, which is of %.3q", len(body), body, info.ETag, etags[info.ETag])
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func bodyNotKept(ctx context.Context, h harness) error {
	body := []byte("before")
	metadata := map[string]string{"a": "before"}
	if _, err := h.Put(ctx, h.ref("key"), body, storage.PutOptions{Metadata: metadata}); err != nil {
		return err
	}
	copy(body, "after!")
	metadata["a"] = "after"
	info, err := h.Head(ctx, h.ref("key"))
	if err != nil {
		return err
	}
	if info.Metadata["a"] != "before" {
		return fmt.Errorf("metadata is %q", info.Metadata)
	}
	return wantBody(ctx, h, h.ref("key"), "before")
}

func cancelled(ctx context.Context, h harness) error {
	ref := h.ref("key")
	if _, err := put(ctx, h, ref.Key, "x"); err != nil {
		return err
	}
	dead, cancel := context.WithCancel(ctx)
	cancel()
	_, headErr := h.Head(dead, ref)
	_, getErr := h.Get(dead, ref, storage.GetOptions{})
	_, putErr := h.Put(dead, ref, []byte("y"), storage.PutOptions{})
	var listErr error
	for _, err := range h.List(dead, h.ref(""), "") {
		listErr = err
	}
	return errors.Join(
		wantIs("head", headErr, context.Canceled),
		wantIs("get", getErr, context.Canceled),
		wantIs("put", putErr, context.Canceled),
		wantIs("delete", h.Delete(dead, ref, storage.DeleteOptions{}), context.Canceled),
		wantIs("list", listErr, context.Canceled),
		wantBody(ctx, h, ref, "x"),
	)
}

func cancelledBody(ctx context.Context, h harness) error {
	if _, err := put(ctx, h, "key", strings.Repeat("x", 16<<20)); err != nil {
		return err
	}
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	object, err := h.Get(reading, h.ref("key"), storage.GetOptions{})
	if err != nil {
		return err
	}
	defer object.Body.Close()
	if _, err := io.ReadFull(object.Body, make([]byte, 1000)); err != nil {
		return err
	}
	cancel()
	n, err := io.Copy(io.Discard, object.Body)
	if err == nil {
		return fmt.Errorf("%d bytes more were read, to the end", n)
	}
	return wantIs("read", err, context.Canceled)
}
