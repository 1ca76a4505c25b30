// Package terminal writes the terminal object of a request: its output or its
// failure, exactly one of them, though many may write at the same time, die in
// the middle, or come too late.
//
// Output and failure are two keys and S3's conditions cover one key, so the
// rule between them is: output beats failure, and each writer looks at the
// other's key after its own write. Between versions of an input that was
// uploaded again the input bucket decides: the object that is there counts.
package terminal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Verdict is how a commit of a terminal object ended.
type Verdict int

const (
	Committed  Verdict = iota // the object is there, and it is this writer's
	Duplicate                 // one of the same identity was there before
	Superseded                // the input has another version now; nothing of this one stays
	Overruled                 // a failure: there is an output, which beats it
	Taken                     // an output: another request's result is at its key
)

// ErrLeaseEnds says that a write was not begun because the fence did not let
// it: the lease would not have outlasted it.
var ErrLeaseEnds = errors.New("the lease ends before a write would")

// ErrUploadLost says that a result's upload is gone, or can't be completed as
// it was begun: the result has to be made once more.
var ErrUploadLost = errors.New("the upload of the result was lost")

// metaWrite names, in an object's metadata, the write that it is of. A reply can be
// lost after a write took effect, and whoever repeats the call then, be it the SDK
// or a proxy, is told that something is there already. Without this nobody could
// say whose it is: another writer's has the same identity.
const metaWrite = "penstock-write"

// Verbs of calls, as Writer.Try is told.
const (
	Look   = "look at"
	Write  = "write"
	Delete = "delete"
)

// Writer writes terminal objects: for each request one, its output or its
// failure, whoever else writes at the same time. Its methods may be called
// concurrently.
type Writer struct {
	Store     storage.Store
	Locations request.Locations
	// Try runs op, which is verb on ref, until it gives an answer (Answered),
	// each time for no longer than limit.
	Try func(ctx context.Context, limit time.Duration, verb string, ref storage.Ref, op func(context.Context) error) error
	// Limit bounds one call.
	Limit time.Duration
}

// Claim is one request's claim to its terminal object.
type Claim struct {
	Request  request.Request
	Identity request.Identity
	Input    storage.Info // as read; only the Ref when it could not be
	// Fence is asked before each write that may take up to limit: it errs when
	// the caller's right to write would not outlast it.
	Fence func(limit time.Duration) error
	// Redriven says that a person sent the request again: its old failure may
	// be replaced.
	Redriven bool
}

// Document is what is to be written.
type Document struct {
	Body        []byte
	ContentType string
	Metadata    map[string]string
	// Upload has the body instead, and has had the rest since it was begun
	// (Writer.BeginOutput).
	Upload storage.Upload
}

// Answered says whether err is a store's answer, or a decision of this
// package, and not a fault on the way: the same call would give it again.
func Answered(err error) bool {
	return err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) ||
		errors.Is(err, storage.ErrForbidden) || errors.Is(err, storage.ErrPrecondition) ||
		errors.Is(err, ErrLeaseEnds) || errors.Is(err, ErrUploadLost)
}

// Unwritable turns the answers that mean "results can't be written here" (no
// such bucket, access denied) into a fault of the surroundings: the request is
// not to blame for them.
func Unwritable(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, storage.ErrForbidden) {
		return fmt.Errorf("results can't be written: %v", err) // not wrapped, so that it is no answer
	}
	return err
}

// PutOutput commits a result. It always looks for a failure too: a first
// delivery can be that of a second message for the same request.
func (w *Writer) PutOutput(ctx context.Context, c Claim, d Document) (Verdict, error) {
	ref := w.Locations.OutputOf(c.Request)
	write := w.write
	if d.Upload != nil {
		write = w.complete
	}
	info, v, err := write(ctx, c, ref, d)
	if err != nil || v == Superseded || v == Taken {
		return v, err
	}
	return w.overrule(ctx, c, info, v)
}

// overrule removes the failure that the output at info leaves no room for.
func (w *Writer) overrule(ctx context.Context, c Claim, info storage.Info, v Verdict) (Verdict, error) {
	rival, other, err := w.look(ctx, c, w.Locations.FailureOf(c.Request))
	if err != nil {
		return v, err
	}
	switch rival {
	case same, older:
		return v, w.remove(ctx, c, other)
	case newer: // a later version has failed: it was not ours to write
		return Superseded, w.remove(ctx, c, info)
	}
	return v, nil
}

// PutFailure commits a failure object.
func (w *Writer) PutFailure(ctx context.Context, c Claim, d Document) (Verdict, error) {
	if v, err := w.yield(ctx, c); err != nil || v != Committed {
		return v, err
	}
	ref := w.Locations.FailureOf(c.Request)
	info, v, err := w.write(ctx, c, ref, d)
	if err == nil && v == Taken {
		// Two requests under one ID, or two inputs under one key: each is to
		// find its own.
		ref.Key += "~" + string(c.Identity[:16])
		info, v, err = w.write(ctx, c, ref, d)
	}
	if err != nil || v == Superseded {
		return v, err
	}
	return w.stand(ctx, c, info, v)
}

// stand removes the failure at info again if there is an output by now.
func (w *Writer) stand(ctx context.Context, c Claim, info storage.Info, v Verdict) (Verdict, error) {
	switch after, err := w.yield(ctx, c); {
	case err != nil:
		return v, err
	case after != Committed:
		return after, w.remove(ctx, c, info)
	}
	return v, nil
}

// yield looks for an output that a failure has to give way to. It returns
// committed when there is none, and removes an older version's.
func (w *Writer) yield(ctx context.Context, c Claim) (Verdict, error) {
	rival, output, err := w.look(ctx, c, w.Locations.OutputOf(c.Request))
	if err != nil {
		return Committed, err
	}
	switch rival {
	case same:
		return Overruled, nil
	case newer:
		return Superseded, nil
	case older:
		return Committed, w.remove(ctx, c, output)
	}
	return Committed, nil
}

// write puts d at ref where nothing is, or over what an older version of the
// same input left there.
func (w *Writer) write(ctx context.Context, c Claim, ref storage.Ref, d Document) (storage.Info, Verdict, error) {
	mark, metadata := marked(d.Metadata)
	opts := storage.PutOptions{ContentType: d.ContentType, Metadata: metadata, IfNoneMatch: true}
	for {
		var info storage.Info
		err := w.Try(ctx, w.Limit, Write, ref, func(ctx context.Context) (err error) {
			if err := c.Fence(w.Limit); err != nil {
				return fmt.Errorf("%w: %w", ErrLeaseEnds, err)
			}
			info, err = w.Store.Put(ctx, ref, d.Body, opts)
			if opts.IfMatch != "" && errors.Is(err, fs.ErrNotExist) {
				err = storage.ErrPrecondition // what was to be replaced is gone
			}
			return Unwritable(err)
		})
		if !errors.Is(err, storage.ErrPrecondition) {
			return info, Committed, err
		}
		// Something is there. It may be what this call wrote.
		rival, there, err := w.look(ctx, c, ref)
		if err != nil {
			return info, Committed, err
		}
		switch {
		case there.Metadata[metaWrite] == mark:
			return there, Committed, nil
		case rival == nobody:
			opts.IfNoneMatch, opts.IfMatch = true, ""
		case rival == older, rival == same && c.Redriven:
			opts.IfNoneMatch, opts.IfMatch = false, there.ETag
		default:
			return there, rival.verdict(), nil
		}
	}
}

// marked gives the metadata of a new write, and its mark.
func marked(metadata map[string]string) (mark string, with map[string]string) {
	mark, with = rand.Text()[:8], make(map[string]string, len(metadata)+1)
	maps.Copy(with, metadata)
	with[metaWrite] = mark
	return mark, with
}

// remove deletes the very object that was seen; another in its place stays.
func (w *Writer) remove(ctx context.Context, c Claim, seen storage.Info) error {
	seen.Ref.Version = "" // a plain delete, also where versions are kept
	err := w.Try(ctx, w.Limit, Delete, seen.Ref, func(ctx context.Context) error {
		if err := c.Fence(w.Limit); err != nil {
			return fmt.Errorf("%w: %w", ErrLeaseEnds, err)
		}
		return storage.DeleteSeen(ctx, w.Store, seen.Ref, seen.ETag)
	})
	if errors.Is(err, storage.ErrPrecondition) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Finished says whether the request already has its terminal object, and which
// it is; committed means that it has none. Its writer can have died before it
// looked at the other key, so that is done here.
func (w *Writer) Finished(ctx context.Context, c Claim) (Verdict, storage.Info, error) {
	output, failure := w.Locations.OutputOf(c.Request), w.Locations.FailureOf(c.Request)
	for _, ref := range []storage.Ref{output, failure} {
		rival, there, err := w.look(ctx, c, ref)
		switch {
		case err != nil:
			return Committed, there, err
		case rival == same && ref == output:
			v, err := w.overrule(ctx, c, there, Duplicate)
			return v, there, err
		case rival == same && !c.Redriven:
			v, err := w.stand(ctx, c, there, Duplicate)
			return v, there, err
		case rival == newer:
			return Superseded, there, nil
		}
	}
	return Committed, storage.Info{}, nil
}
