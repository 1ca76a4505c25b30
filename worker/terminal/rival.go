package terminal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// rival is whose object is at a key.
type rival int

const (
	nobody   rival = iota
	same           // this claim's own identity, or that of the input as it is where the claim has not read it
	older          // the same request on a version of the input that is not the current one, while ours is
	newer          // ... while ours is not, or the input is gone
	stranger       // another request's, or no terminal object at all
)

// verdict is how a write ends that found r at its key, where r is not to be
// replaced and not its own.
func (r rival) verdict() Verdict {
	switch r {
	case same:
		return Duplicate
	case newer:
		return Superseded
	}
	return Taken
}

// look says what is at ref, as seen from c. The arbiter between two versions
// of an input is the input bucket: the object that is there now counts, not
// the order in which anyone heard of them.
func (w *Writer) look(ctx context.Context, c Claim, ref storage.Ref) (rival, storage.Info, error) {
	there, err := w.head(ctx, ref, func(err error) error {
		if errors.Is(err, storage.ErrForbidden) { // not wrapped, so that it is no answer
			return fmt.Errorf("results can't be looked up: %v", err)
		}
		return err
	})
	// A key that the store can't have, as a server on a file system can't have a
	// name of 256 bytes, has no object. A failure's is longer than its output's.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nobody, there, nil
	}
	if err != nil {
		return nobody, there, err
	}
	p, ok := request.ParseProvenance(there.Metadata)
	switch {
	case ok && p.Identity == c.Identity:
		return same, there, nil
	case !ok || !c.Request.SameInput(there.Metadata):
		return stranger, there, nil
	case !w.Locations.Allowed(c.Request.Input): // not to be read, so it can't be asked
		return newer, there, nil
	}
	current, err := w.head(ctx, storage.Ref{Bucket: c.Request.Input.Bucket, Key: c.Request.Input.Key}, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return newer, there, nil
	case err != nil:
		return nobody, there, err
	case !request.SameVersion(current, c.Input):
		return newer, there, nil
	case p.Identity == c.Request.Identify(current):
		// It is of the very version that this claim is on, as far as it knows:
		// what ends before its input is read (expired, cancelled) can't know.
		return same, there, nil
	}
	return older, there, nil
}

// head describes an object. reword, unless nil, has a say in its errors.
func (w *Writer) head(ctx context.Context, ref storage.Ref, reword func(error) error) (info storage.Info, err error) {
	err = w.Try(ctx, w.Limit, Look, ref, func(ctx context.Context) (err error) {
		if info, err = w.Store.Head(ctx, ref); err != nil && reword != nil {
			err = reword(err)
		}
		return err
	})
	return info, err
}
