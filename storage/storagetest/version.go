package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/penstock/penstock/storage"
)

var versionChecks = []check{
	{"an overwritten version can be read by its id", overwrittenVersion},
	{"a deletion leaves the versions", deletionLeavesVersions},
	{"the deletion of a version is for good", versionDeleted},
	{"an upload takes an overwritten version", uploadCopiesVersion},
}

func overwrittenVersion(ctx context.Context, h harness) error {
	first, err := put(ctx, h, "key", "first")
	if err != nil {
		return err
	}
	second, err := put(ctx, h, "key", "second")
	if err != nil {
		return err
	}
	if first.Ref.Version == "" || first.Ref.Version == second.Ref.Version {
		return fmt.Errorf("the versions are %q and %q", first.Ref.Version, second.Ref.Version)
	}
	current, err := h.Head(ctx, h.ref("key"))
	if err != nil {
		return err
	}
	if current.Ref != second.Ref {
		return fmt.Errorf("the current version is %q, want %q", current.Ref.Version, second.Ref.Version)
	}
	old, err := h.Head(ctx, first.Ref)
	if err != nil {
		return err
	}
	if old.Ref != first.Ref || old.ETag != first.ETag {
		return fmt.Errorf("head of the old version says %+v, want %v with ETag %q", old, first.Ref, first.ETag)
	}
	return errors.Join(
		wantBody(ctx, h, first.Ref, "first"),
		wantBody(ctx, h, second.Ref, "second"),
		wantBody(ctx, h, h.ref("key"), "second"),
	)
}

func deletionLeavesVersions(ctx context.Context, h harness) error {
	wrote, err := put(ctx, h, "key", "body")
	if err != nil {
		return err
	}
	if err := h.Delete(ctx, h.ref("key"), storage.DeleteOptions{}); err != nil {
		return err
	}
	_, headErr := h.Head(ctx, h.ref("key"))
	return errors.Join(wantIs("head", headErr, fs.ErrNotExist), wantBody(ctx, h, wrote.Ref, "body"))
}

func versionDeleted(ctx context.Context, h harness) error {
	first, err := put(ctx, h, "key", "first")
	if err != nil {
		return err
	}
	second, err := put(ctx, h, "key", "second")
	if err != nil {
		return err
	}
	if err := h.Delete(ctx, second.Ref, storage.DeleteOptions{}); err != nil {
		return err
	}
	_, gone := h.Head(ctx, second.Ref)
	return errors.Join(
		wantIs("head of the deleted version", gone, fs.ErrNotExist),
		wantBody(ctx, h, h.ref("key"), "first"),
		wantBody(ctx, h, first.Ref, "first"),
	)
}

func uploadCopiesVersion(ctx context.Context, h harness) error {
	first, err := put(ctx, h, "key", "first")
	if err != nil {
		return err
	}
	if _, err := put(ctx, h, "key", "second"); err != nil {
		return err
	}
	return copyBetween(ctx, h, first, 0, 0, "first")
}
