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
