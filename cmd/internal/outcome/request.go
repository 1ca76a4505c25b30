package outcome

import (
	"context"
	"errors"
	"io/fs"
	"sync"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// FindRequest is Find for a request that has an ID. Without an Input that of
// any request under this ID will do. It looks at both keys at a time, so that
// who polls learns of either end as soon as it can be.
func (f Finder) FindRequest(ctx context.Context, r request.Request) (o Outcome, ok bool, err error) {
	belongs := func(_ request.Provenance, found storage.Info) bool {
		if r.Input.Key == "" {
			return r.SameID(found.Metadata)
		}
		return r.SameInput(found.Metadata) && !f.Locations.Earlier(r, found.Modified)
	}
	output, failure := f.Locations.OutputOf(r), f.Locations.FailureOf(r)
	var failed Outcome
	var isFailed bool
	var failedErr error
	var both sync.WaitGroup
	both.Go(func() { failed, isFailed, failedErr = f.look(ctx, failure, true, belongs) })
	o, ok, err = f.look(ctx, output, false, belongs)
	both.Wait()
	if ok || err != nil {
		return o, ok, err
	}
	if !isFailed || failedErr != nil {
		return Outcome{}, false, failedErr
	}
	if o, ok, err = f.look(ctx, output, false, belongs); ok || err != nil {
		return o, ok, err
	}
	return failed, true, nil
}

// look looks at a key. What is there and does not belong to whom it is looked
// for is nothing.
func (f Finder) look(ctx context.Context, at storage.Ref, failed bool, belongs func(request.Provenance, storage.Info) bool) (Outcome, bool, error) {
	info, err := f.Store.Head(ctx, at)
	// Where the store can't have the key, there is no object either.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return Outcome{}, false, nil
	}
	if err != nil {
		return Outcome{}, false, err
	}
	p, ok := request.ParseProvenance(info.Metadata)
	if !ok || !belongs(p, info) {
		return Outcome{}, false, nil
	}
	return Outcome{Info: info, Provenance: p, Failed: failed}, true, nil
}
