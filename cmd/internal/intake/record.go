package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// maxRequestBytes is more than a request takes as JSON.
const maxRequestBytes = 64 << 10

// ReadRecord reads what was accepted, from the record at ref. It is a HEAD,
// and a GET more where the parameters don't fit into an object's metadata. No
// record is fs.ErrNotExist; an object that is none is a *ForeignError.
func ReadRecord(ctx context.Context, store storage.Reader, ref storage.Ref) (request.Record, error) {
	found, err := store.Head(ctx, ref)
	if err != nil {
		return request.Record{}, err
	}
	rec, whole, err := request.ParseRecord(found, nil)
	if err == nil && !whole {
		var o *storage.Object
		if o, err = store.Get(ctx, ref, storage.GetOptions{IfMatch: found.ETag}); err != nil {
			return rec, err
		}
		defer o.Body.Close()
		body, rerr := io.ReadAll(io.LimitReader(o.Body, maxRequestBytes))
		if rerr != nil {
			return rec, rerr
		}
		rec, _, err = request.ParseRecord(o.Info, body)
	}
	if err != nil {
		return rec, &ForeignError{err}
	}
	return rec, nil
}

// ForeignError says that an object in the folder of records is not one of
// Penstock's.
type ForeignError struct{ err error }

func (e *ForeignError) Error() string { return e.err.Error() }

// Unwrap gives what is wrong with it.
func (e *ForeignError) Unwrap() error { return e.err }

// tries is how often a record is written that another write is in the way of.
const tries = 6

// record takes the ID for rec, or gives the record that has taken it before.
func (i *Intake) record(ctx context.Context, rec request.Record, object []byte, opts storage.PutOptions) (taken request.Record, repeated bool, err error) {
	ref := i.Locations.RecordOf(rec.Request.ID)
	for n := 1; ; n++ {
		_, err = i.Store.Put(ctx, ref, object, opts)
		if errors.Is(err, storage.ErrPrecondition) {
			taken, err = ReadRecord(ctx, i.Store, ref)
			if err == nil {
				// It may be what this very call wrote: a reply can be lost
				// after the write took effect, and the write tried again below.
				return taken, taken.Nonce != rec.Nonce, nil
			}
			if foreign, ok := errors.AsType[*ForeignError](err); ok {
				return taken, false, errors.Join(&ConflictError{rec.Request.ID}, foreign)
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return taken, false, fmt.Errorf("look at the record %s: %w", ref, err)
			}
			err = storage.ErrConflict // it was deleted in between
		}
		switch {
		case err == nil:
			return rec, false, nil
		case errors.Is(err, fs.ErrInvalid):
			return rec, false, &InvalidError{fmt.Errorf("the object store does not take this id: %w", err)}
		case !errors.Is(err, storage.ErrConflict) || n == tries:
			return rec, false, fmt.Errorf("write the record %s: %w", ref, err)
		}
		select {
		case <-ctx.Done():
			return rec, false, context.Cause(ctx)
		case <-time.After(time.Duration(n) * 20 * time.Millisecond):
		}
	}
}
