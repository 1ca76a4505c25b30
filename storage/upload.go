package storage

import (
	"context"
	"fmt"
	"io/fs"
)

// S3's limits on an object that is written in parts.
const (
	MinPartBytes = 5 << 20 // of each part but the last
	MaxPartBytes = 5 << 30
	MaxParts     = 10_000 // also the highest number of a part
)

// Upload is an object that is being written in parts: one that is too large
// for memory, or that is put together from others. Nothing of it can be read
// before Complete. What is neither completed nor aborted keeps its parts, which
// cost money, until a rule of the bucket (AbortIncompleteMultipartUpload) ends
// it; so defer an Abort where the upload begins.
//
// PutPart and CopyPart may be called concurrently, Complete and Abort when they
// have returned. A call on an upload that is gone (complete, or aborted by
// whomever) is fs.ErrNotExist, but for Abort.
type Upload interface {
	// PutPart writes the part of this number, 1 to MaxParts, over one that it
	// has. The object will be its parts in the order of their numbers, which
	// may have gaps. It retains part only until it returns.
	PutPart(ctx context.Context, number int, part []byte) error

	// CopyPart makes a part of length bytes of another object, beginning at
	// offset; a length of 0 means to its end. The bytes need not pass through
	// this process. from is what Head or List said of the object: if its ETag
	// has changed since, it is ErrPrecondition. A range that does not lie in
	// the object is fs.ErrInvalid.
	CopyPart(ctx context.Context, number int, from Info, offset, length int64) error

	// Complete makes the parts an object, at once, and returns its Info (Ref,
	// Size and ETag are filled). The conditions of the upload's PutOptions
	// count at this moment and at no earlier one. Without a part, or with a
	// part below MinPartBytes that is not the last, it is fs.ErrInvalid.
	//
	// After ErrConflict every part has to be written again, to a new Upload.
	// ErrPrecondition and fs.ErrNotExist may be the effect of this very call,
	// when its reply was lost and it was retried below: look (Head).
	Complete(ctx context.Context) (Info, error)

	// Abort drops the upload and frees its parts. Doing so again, or after
	// Complete has succeeded, does nothing and is no error.
	Abort(ctx context.Context) error
}

// ValidatePartNumber reports a number that no part can have, as fs.ErrInvalid.
func ValidatePartNumber(number int) error {
	if number < 1 || number > MaxParts {
		return fmt.Errorf("%w: the part number %d is not within 1 and %d", fs.ErrInvalid, number, MaxParts)
	}
	return nil
}

// PartRange gives the length of the range of an object that CopyPart was asked
// for, or fs.ErrInvalid when it is empty or does not lie in the object. Of an
// empty object the empty range is the whole.
func PartRange(from Info, offset, length int64) (int64, error) {
	if length == 0 {
		length = from.Size - offset
	}
	if offset < 0 || length < min(1, from.Size) || offset > from.Size-length {
		return 0, fmt.Errorf("%w: %d bytes from %d don't lie in %s, which has %d", fs.ErrInvalid, length, offset, from.Ref, from.Size)
	}
	return length, nil
}
