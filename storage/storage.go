// Package storage is the contract between Penstock and an object store that
// speaks S3: what an object is, how it is read, and the conditional writes
// that let many workers agree on one result without talking to each other.
//
// Adapters live below it and are named for their technology (storage/s3,
// storage/mem). Every adapter passes the suite in storage/storagetest.
package storage

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Errors of the contract. Test with errors.Is. A missing object or bucket is
// [io/fs.ErrNotExist], and a call that can never be right (a key that is too
// long, too much metadata) is [io/fs.ErrInvalid]. Whatever is none of these is
// a transient fault of the surroundings: the same call may succeed later.
var (
	// ErrPrecondition says that a conditional call found another state than it
	// asked for (S3: 412 Precondition Failed). Nothing was written.
	ErrPrecondition = errors.New("precondition failed")
	// ErrConflict says that a conditional write met another one under way
	// (S3: 409 ConditionalRequestConflict). Nothing was written by this call;
	// the same call may be tried again.
	ErrConflict = errors.New("conflicting conditional write")
	// ErrForbidden says that these credentials may not do this (S3: 403
	// AccessDenied). Expired or unknown credentials are not ErrForbidden: they
	// are transient.
	ErrForbidden = errors.New("access denied")
)

// LockedError is an ErrForbidden that no permission cures: the object is there,
// and in a state in which its bytes are not given to anybody who asks as this
// program does.
type LockedError struct {
	Why    string // "it is archived"
	Remedy string // what its owner can do
}

func (e *LockedError) Error() string { return e.Why }

// Unwrap gives ErrForbidden.
func (e *LockedError) Unwrap() error { return ErrForbidden }

// Info is what a store says of an object.
type Info struct {
	Ref             Ref
	Size            int64             // bytes of the whole object, also when a part of it is read
	ETag            string            // opaque, without quotes; never empty from Head, Get or Put
	ContentType     string            // empty when the store was given none
	ContentEncoding string            // for example "gzip"
	Modified        time.Time         // the store's clock
	Metadata        map[string]string // user metadata, keys in lower case without "x-amz-meta-"
}

// Object is an open object. The caller closes Body.
type Object struct {
	Info
	Body io.ReadCloser
}

// GetOptions narrow a read. The zero value reads the whole current object.
type GetOptions struct {
	IfMatch string // read only while the object's ETag is this one; else ErrPrecondition
	Offset  int64  // first byte; at or past the end of the object (but for 0) it is ErrPrecondition
	Length  int64  // bytes, or fewer if the object ends before; 0 means to the end
}

// PutOptions describe a write. The zero value overwrites unconditionally.
type PutOptions struct {
	ContentType     string
	ContentEncoding string            // for example "gzip"; stored, not applied
	Metadata        map[string]string // at most 2 KB in all; values are printable ASCII (adapters escape others as RFC 2047 words)

	IfNoneMatch bool   // write only where no object is ("PUT new"); else ErrPrecondition
	IfMatch     string // write only over the object with this ETag; else ErrPrecondition. A missing object is ErrPrecondition or fs.ErrNotExist
}

// DeleteOptions narrow a deletion. The zero value deletes whatever is there.
type DeleteOptions struct {
	IfMatch string // delete only while the ETag is this one; else ErrPrecondition
}

// Reader reads objects. All methods may be called concurrently.
type Reader interface {
	// Head describes an object without its bytes.
	// A missing object is fs.ErrNotExist.
	Head(ctx context.Context, ref Ref) (Info, error)

	// Get opens an object. The info belongs to the bytes: both are of one
	// version, even when the object is overwritten meanwhile. ctx bounds the
	// whole read, including Body: once it is done, Body's Read fails.
	Get(ctx context.Context, ref Ref, opts GetOptions) (*Object, error)

	// List yields the objects whose keys begin with prefix.Key, in ascending
	// byte order of key, beginning after the key startAfter when it is not
	// empty. Only Ref, Size, ETag and Modified are filled. It stops at the
	// first error, which is yielded with a zero Info.
	List(ctx context.Context, prefix Ref, startAfter string) iter.Seq2[Info, error]
}

// Writer writes objects. All methods may be called concurrently.
//
// A call whose reply was lost may have taken effect: an error that is none of
// the contract's says nothing about the store's state. And where such a call
// was retried below, a conditional one may have met its own effect: it is
// ErrPrecondition though it was this call that wrote. Callers look (Head).
type Writer interface {
	// Put writes a whole object at once; no reader ever sees a part of it. It
	// retains body only until it returns, and returns the new object's Info
	// (Ref, Size and ETag are filled).
	Put(ctx context.Context, ref Ref, body []byte, opts PutOptions) (Info, error)

	// Upload begins an object that is written in parts, where Put would need
	// too much memory. opts are those of the whole object. No other call sees
	// the upload, and any number of them may be for one ref.
	Upload(ctx context.Context, ref Ref, opts PutOptions) (Upload, error)

	// Delete removes an object. A missing object is not an error, unless
	// IfMatch is set: then it may be ErrPrecondition or fs.ErrNotExist, and on a
	// server that deletes nothing on a condition errors.ErrUnsupported; see
	// DeleteSeen.
	Delete(ctx context.Context, ref Ref, opts DeleteOptions) error
}

// Store reads and writes.
type Store interface {
	Reader
	Writer
}
