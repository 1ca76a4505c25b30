package storagetest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/storage"
)

var readChecks = []check{
	{"an object comes back as it was put", comesBack},
	{"gzip bytes are not unpacked", keepsGzip},
	{"an empty object is an object", emptyObject},
	{"a large object comes back whole", largeObject},
	{"an overwrite changes body, metadata and ETag", overwrite},
	{"a deleted object is gone, and deleting again is no error", deleted},
	{"a missing object is fs.ErrNotExist", missingObject},
	{"a missing bucket is fs.ErrNotExist", missingBucket},
	{"a range gives its bytes and the size of the whole", ranges},
	{"a range past the end is ErrPrecondition", rangePastEnd},
	{"a conditional read gives only the object it names", conditionalRead},
	{"an open object survives its overwrite", openObject},
	{"a reader never sees a part of a write", wholeWrites},
	{"put does not keep the body", bodyNotKept},
	{"a cancelled call has the context's error", cancelled},
	{"a body can't be read once the context is done", cancelledBody},
}

func comesBack(ctx context.Context, h harness) error {
	ref := h.ref("dir/object.json")
	opts := storage.PutOptions{
		ContentType:     "application/json; charset=utf-8",
		ContentEncoding: "br",
		Metadata: map[string]string{
			"Penstock-ID": "a-1",
			"umlaut":      "Größe \u6587\U0001F600",
			"long":        strings.Repeat("ä", 200),
			"blanks":      "  outer and  inner ",
			"escape":      "=?utf-8?q?not_one?=",
			"uri":         "s3://b/k?x=1&y=\"2\", z",
		},
	}
	before := time.Now()
	wrote, err := h.Put(ctx, ref, []byte("{}"), opts)
	if err != nil {
		return err
	}
	head, err := h.Head(ctx, ref)
	if err != nil {
		return err
	}
	got, body, err := read(ctx, h, ref, storage.GetOptions{})
	if err != nil {
		return err
	}
	if string(body) != "{}" {
		return fmt.Errorf("the body is %q", body)
	}
	opts.Metadata["penstock-id"] = opts.Metadata["Penstock-ID"]
	delete(opts.Metadata, "Penstock-ID")
	var errs []error
	if wrote.ETag == "" || strings.Contains(wrote.ETag, `"`) || wrote.Size != 2 || wrote.Ref.Key != ref.Key {
		errs = append(errs, fmt.Errorf("put says %+v", wrote))
	}
	for step, info := range map[string]storage.Info{"head": head, "get": got} {
		if info.Ref.Bucket != ref.Bucket || info.Ref.Key != ref.Key || info.Size != 2 || info.ETag != wrote.ETag ||
			info.ContentType != opts.ContentType || info.ContentEncoding != opts.ContentEncoding {
			errs = append(errs, fmt.Errorf("%s says %+v", step, info))
		}
		if !maps.Equal(info.Metadata, opts.Metadata) {
			errs = append(errs, fmt.Errorf("%s: metadata is %q, want %q", step, info.Metadata, opts.Metadata))
		}
		if info.Modified.Sub(before).Abs() > time.Minute {
			errs = append(errs, fmt.Errorf("%s: modified at %v, want about %v", step, info.Modified, before))
		}
	}
	return errors.Join(errs...)
}

func keepsGzip(ctx context.Context, h harness) error {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := io.WriteString(w, strings.Repeat("text ", 1000))
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	ref := h.ref("text.gz")
	if _, err := h.Put(ctx, ref, packed.Bytes(), storage.PutOptions{ContentEncoding: "gzip"}); err != nil {
		return err
	}
	if err := wantBody(ctx, h, ref, packed.String()); err != nil {
		return err
	}
	info, err := h.Head(ctx, ref)
	if err == nil && (info.ContentEncoding != "gzip" || info.Size != int64(packed.Len())) {
		err = fmt.Errorf("head says %+v, want gzip and %d bytes", info, packed.Len())
	}
	return err
}

func emptyObject(ctx context.Context, h harness) error {
	ref := h.ref("empty")
	if _, err := put(ctx, h, ref.Key, ""); err != nil {
		return err
	}
	info, err := h.Head(ctx, ref)
	if err != nil {
		return err
	}
	if info.Size != 0 || info.ETag == "" {
		return fmt.Errorf("head says %+v", info)
	}
	if err := wantBody(ctx, h, ref, ""); err != nil {
		return err
	}
	_, body, err := read(ctx, h, ref, storage.GetOptions{Length: 10})
	if err == nil && len(body) != 0 {
		err = fmt.Errorf("a range of it has %d bytes", len(body))
	}
	return err
}

func largeObject(ctx context.Context, h harness) error {
	body := strings.Repeat("0123456789abcdef", 6<<20/16)
	if _, err := put(ctx, h, "large", body); err != nil {
		return err
	}
	return wantBody(ctx, h, h.ref("large"), body)
}

func overwrite(ctx context.Context, h harness) error {
	ref := h.ref("key")
	old, err := h.Put(ctx, ref, []byte("old"), storage.PutOptions{ContentType: "text/plain", Metadata: map[string]string{"a": "1", "b": "2"}})
	if err != nil {
		return err
	}
	if _, err := h.Put(ctx, ref, []byte("newer"), storage.PutOptions{Metadata: map[string]string{"b": "3"}}); err != nil {
		return err
	}
	info, err := h.Head(ctx, ref)
	if err != nil {
		return err
	}
	if info.ETag == old.ETag || info.Size != 5 || !maps.Equal(info.Metadata, map[string]string{"b": "3"}) {
		return fmt.Errorf("head says %+v", info)
	}
	return wantBody(ctx, h, ref, "newer")
}

func deleted(ctx context.Context, h harness) error {
	ref := h.ref("key")
	if _, err := put(ctx, h, ref.Key, "x"); err != nil {
		return err
	}
	for range 2 {
		if err := h.Delete(ctx, ref, storage.DeleteOptions{}); err != nil {
			return err
		}
	}
	_, err := h.Head(ctx, ref)
	return wantIs("head", err, fs.ErrNotExist)
}

func missingObject(ctx context.Context, h harness) error {
	_, headErr := h.Head(ctx, h.ref("missing"))
	_, getErr := h.Get(ctx, h.ref("missing"), storage.GetOptions{})
	_, rangeErr := h.Get(ctx, h.ref("missing"), storage.GetOptions{Offset: 5})
	return errors.Join(
		wantIs("head", headErr, fs.ErrNotExist),
		wantIs("get", getErr, fs.ErrNotExist),
		wantIs("get of a range", rangeErr, fs.ErrNotExist),
		h.Delete(ctx, h.ref("missing"), storage.DeleteOptions{}),
		h.Delete(ctx, h.ref("no/such/folder/missing"), storage.DeleteOptions{}),
	)
}

func missingBucket(ctx context.Context, h harness) error {
	ref := storage.Ref{Bucket: h.bucket + "-missing", Key: "key"}
	_, headErr := h.Head(ctx, ref)
	_, getErr := h.Get(ctx, ref, storage.GetOptions{})
	_, putErr := h.Put(ctx, ref, []byte("x"), storage.PutOptions{})
	var listErr error
	for _, err := range h.List(ctx, ref, "") {
		listErr = err
	}
	return errors.Join(
		wantIs("head", headErr, fs.ErrNotExist),
		wantIs("get", getErr, fs.ErrNotExist),
		wantIs("put", putErr, fs.ErrNotExist),
		wantIs("delete", h.Delete(ctx, ref, storage.DeleteOptions{}), fs.ErrNotExist),
		wantIs("list", listErr, fs.ErrNotExist),
	)
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
