package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/penstock/penstock/storage"
)

// copied are an object whose ranges S3 copies, and one that is too small for
// that.
func copied(ctx context.Context, h harness) (large, small storage.Info, body string, err error) {
	body = strings.Repeat("0123456789abcdef", storage.MinPartBytes/16) + "tail"
	large, largeErr := put(ctx, h, "a b+c/100%?é", body)
	small, smallErr := put(ctx, h, "small", "0123456789")
	return large, small, body, errors.Join(largeErr, smallErr)
}

func uploadCopies(ctx context.Context, h harness) error {
	large, small, body, err := copied(ctx, h)
	if err != nil {
		return err
	}
	return errors.Join(
		copyBetween(ctx, h, large, 0, 0, body),
		copyBetween(ctx, h, large, 0, large.Size, body),
		copyBetween(ctx, h, small, 0, 0, "0123456789"),
	)
}

func uploadCopiesRanges(ctx context.Context, h harness) error {
	large, small, body, err := copied(ctx, h)
	if err != nil {
		return err
	}
	return errors.Join(
		copyBetween(ctx, h, large, 1, storage.MinPartBytes, body[1:1+storage.MinPartBytes]),
		copyBetween(ctx, h, large, storage.MinPartBytes, 0, "tail"),
		copyBetween(ctx, h, small, 3, 4, "3456"),
		copyBetween(ctx, h, small, 9, 0, "9"),
	)
}

// copyBetween copies a range behind a part that was put.
func copyBetween(ctx context.Context, h harness, from storage.Info, offset, length int64, want string) error {
	ref := h.ref("copy")
	u, end, err := begin(ctx, h, ref, storage.PutOptions{})
	if err != nil {
		return err
	}
	defer end()
	head := letters("h", storage.MinPartBytes)
	if err := errors.Join(u.CopyPart(ctx, 2, from, offset, length), u.PutPart(ctx, 1, head)); err != nil {
		return err
	}
	info, err := u.Complete(ctx)
	if err != nil {
		return fmt.Errorf("%d bytes from %d of %s: %w", length, offset, from.Ref, err)
	}
	if n := int64(len(head) + len(want)); info.Size != n {
		return fmt.Errorf("complete says %+v, want %d bytes", info, n)
	}
	return wantBody(ctx, h, ref, string(head)+want)
}

func uploadCopiesOnly(ctx context.Context, h harness) error {
	old, err := put(ctx, h, "key", strings.Repeat("old", storage.MinPartBytes))
	if err != nil {
		return err
	}
	current, err := put(ctx, h, "key", strings.Repeat("new", storage.MinPartBytes))
	if err != nil {
		return err
	}
	old.Ref, current.Ref = h.ref("key"), h.ref("key") // whatever version it has
	missing := storage.Info{Ref: h.ref("missing"), Size: 10, ETag: current.ETag}
	u, end, err := begin(ctx, h, h.ref("copy"), storage.PutOptions{})
	if err != nil {
		return err
	}
	defer end()
	return errors.Join(
		wantIs("whole", u.CopyPart(ctx, 1, old, 0, 0), storage.ErrPrecondition),
		wantIs("a range", u.CopyPart(ctx, 1, old, 10, 10), storage.ErrPrecondition),
		wantIs("missing", u.CopyPart(ctx, 1, missing, 0, 0), fs.ErrNotExist),
		wantIs("past the end", u.CopyPart(ctx, 1, current, current.Size-1, 2), fs.ErrInvalid),
		wantIs("at the end", u.CopyPart(ctx, 1, current, current.Size, 0), fs.ErrInvalid),
		wantIs("before the beginning", u.CopyPart(ctx, 1, current, -1, 1), fs.ErrInvalid),
		wantIs("part 0", u.CopyPart(ctx, 0, current, 0, 0), fs.ErrInvalid),
		u.CopyPart(ctx, 1, current, 0, 0),
	)
}

func uploadCancelled(ctx context.Context, h harness) error {
	from, err := put(ctx, h, "from", "x")
	if err != nil {
		return err
	}
	u, end, err := begin(ctx, h, h.ref("key"), storage.PutOptions{})
	if err != nil {
		return err
	}
	defer end()
	if err := u.PutPart(ctx, 1, []byte("part")); err != nil {
		return err
	}
	dead, cancel := context.WithCancel(ctx)
	cancel()
	_, beginErr := h.Upload(dead, h.ref("key"), storage.PutOptions{})
	_, completeErr := u.Complete(dead)
	_, headErr := h.Head(ctx, h.ref("key"))
	return errors.Join(
		wantIs("upload", beginErr, context.Canceled),
		wantIs("put part", u.PutPart(dead, 2, []byte("y")), context.Canceled),
		wantIs("copy part", u.CopyPart(dead, 2, from, 0, 0), context.Canceled),
		wantIs("complete", completeErr, context.Canceled),
		wantIs("head", headErr, fs.ErrNotExist),
	)
}
