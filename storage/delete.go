package storage

import (
	"context"
	"errors"
)

// DeleteSeen deletes the object that was seen under ref with this ETag. Another in
// its place stays: ErrPrecondition; and one that is gone may be fs.ErrNotExist.
//
// On a server that deletes nothing on a condition it looks just before it deletes,
// which is the best that can be done there: what is replaced between the two calls
// is lost, as it is on a server that passes over the condition.
func DeleteSeen(ctx context.Context, s Store, ref Ref, etag string) error {
	err := s.Delete(ctx, ref, DeleteOptions{IfMatch: etag})
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	now, err := s.Head(ctx, ref)
	switch {
	case err != nil:
		return err
	case now.ETag != etag:
		return ErrPrecondition
	}
	return s.Delete(ctx, ref, DeleteOptions{})
}
