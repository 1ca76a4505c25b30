// Package outcome finds what became of an upload: the output object or the
// failure object of that very version of the input, and no other's; and what
// became of a request that has an ID.
package outcome

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// ErrSuperseded says that another object took the place of the input before
// it was run: it will never have a result. Test with errors.Is.
var ErrSuperseded = errors.New("superseded by another upload to the same key")

// Outcome is the one terminal object of an upload or a request.
type Outcome struct {
	storage.Info // of the terminal object
	Provenance   request.Provenance
	Failed       bool // a failure object, whose body is a request.Failure
}

// Finder looks for outcomes. Its methods may be called concurrently.
type Finder struct {
	Store     storage.Reader
	Locations request.Locations
}

// Find looks once. input says which version of which object is meant, as Head
// gave it (Put does not tell the time of the upload); without an ETag any
// version's outcome will do. ok is false while there is none.
func (f Finder) Find(ctx context.Context, input storage.Info) (o Outcome, ok bool, err error) {
	// Output, failure, output: a worker that finds both deletes the failure,
	// so an output that came between the first two looks is the verdict.
	output, failure := f.places(input)
	whose := func(p request.Provenance, found storage.Info) bool {
		return belongs(input, p.Identity, found.Metadata)
	}
	if o, ok, err = f.look(ctx, output, false, whose); ok || err != nil {
		return o, ok, err
	}
	failed, ok, err := f.look(ctx, failure, true, whose)
	if !ok || err != nil {
		return Outcome{}, false, err
	}
	if o, ok, err = f.look(ctx, output, false, whose); ok || err != nil {
		return o, ok, err
	}
	return failed, true, nil
}

// places are where the two possible terminal objects of an upload lie.
func (f Finder) places(input storage.Info) (output, failure storage.Ref) {
	r := request.Request{Input: input.Ref}
	return f.Locations.OutputOf(r), f.Locations.FailureOf(r)
}

// belongs says whether a terminal object with this identity and metadata is
// the input's.
func belongs(input storage.Info, identity request.Identity, metadata map[string]string) bool {
	r := request.Request{Input: storage.Ref{Bucket: input.Ref.Bucket, Key: input.Ref.Key}, ETag: input.ETag}
	if input.ETag == "" {
		return r.SameInput(metadata)
	}
	// The second is that of a failure to read the object: what the event knew
	// of it is all that the worker had.
	return identity == r.Identify(input) || identity == r.IdentifyUnread()
}

// How Wait paces itself.
const (
	firstPause = 20 * time.Millisecond
	maxPause   = time.Second
	patience   = 15 * time.Second // with a store that only gives errors
)

// Wait looks until there is an outcome or ctx is done, whose cause it then
// returns. A fault of the store is borne for 15 seconds; a denied access is
// returned at once. Other errors are ErrSuperseded.
func (f Finder) Wait(ctx context.Context, input storage.Info) (Outcome, error) {
	var faultySince time.Time
	pause := firstPause
	for n := 1; ; n++ {
		o, ok, err := f.Find(ctx, input)
		if err == nil && !ok && n%8 == 0 {
			err = f.checkCurrent(ctx, input)
		}
		switch {
		case ok:
			return o, nil
		case ctx.Err() != nil:
			return Outcome{}, context.Cause(ctx)
		case errors.Is(err, storage.ErrForbidden), errors.Is(err, ErrSuperseded):
			return Outcome{}, err
		case err == nil:
			faultySince = time.Time{}
		case faultySince.IsZero():
			faultySince = time.Now()
		case time.Since(faultySince) > patience:
			return Outcome{}, err
		}
		select {
		case <-ctx.Done():
			return Outcome{}, context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(pause*3/2, maxPause)
	}
}

// checkCurrent reports ErrSuperseded when another version is at the input's
// key by now. A worker drops what is not current, and writes nothing for it.
// An input that is gone is no fault: the worker will say so, or has read it.
func (f Finder) checkCurrent(ctx context.Context, input storage.Info) error {
	if input.ETag == "" {
		return nil
	}
	current := input.Ref
	current.Version = ""
	now, err := f.Store.Head(ctx, current)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if request.SameVersion(now, input) {
		return nil
	}
	// The worker may have been done with ours before the other one came, and
	// its result may not have been replaced yet.
	if _, ok, err := f.Find(ctx, input); ok || err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", current, ErrSuperseded)
}
