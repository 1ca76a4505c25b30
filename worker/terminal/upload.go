package terminal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/penstock/penstock/storage"
)

// BeginOutput begins a result that is too large to be written at once. The
// condition of its completion is settled here, by what is at its key now: when
// that is a result already, the verdict says so and there is no upload.
func (w *Writer) BeginOutput(ctx context.Context, c Claim, d Document) (u storage.Upload, v Verdict, err error) {
	ref := w.Locations.OutputOf(c.Request)
	mark, metadata := marked(d.Metadata)
	opts := storage.PutOptions{ContentType: d.ContentType, Metadata: metadata}
	rival, there, err := w.look(ctx, c, ref)
	if err != nil {
		return nil, Committed, err
	}
	switch {
	case rival == nobody:
		opts.IfNoneMatch = true
	case rival == older, rival == same && c.Redriven:
		opts.IfMatch = there.ETag
	case rival == same:
		v, err := w.overrule(ctx, c, there, Duplicate)
		return nil, v, err
	default:
		return nil, rival.verdict(), nil
	}
	err = w.Try(ctx, w.Limit, Write, ref, func(ctx context.Context) (err error) {
		u, err = w.Store.Upload(ctx, ref, opts)
		return Unwritable(err)
	})
	if err != nil {
		return nil, Committed, err
	}
	return begun{u, mark}, Committed, nil
}

// begun is an upload with the mark of its write.
type begun struct {
	storage.Upload
	mark string
}

// complete makes an upload the output. Where it can't be what it was begun as,
// since somebody else has written there, it is ErrUploadLost.
func (w *Writer) complete(ctx context.Context, c Claim, ref storage.Ref, d Document) (storage.Info, Verdict, error) {
	var info storage.Info
	limit := 2 * w.Limit // it can take a store a while to put many parts together
	err := w.Try(ctx, limit, Write, ref, func(ctx context.Context) (err error) {
		if err := c.Fence(limit); err != nil {
			return fmt.Errorf("%w: %w", ErrLeaseEnds, err)
		}
		info, err = d.Upload.Complete(ctx)
		switch {
		case errors.Is(err, storage.ErrConflict):
			err = fmt.Errorf("%w: %v", ErrUploadLost, err)
		case errors.Is(err, fs.ErrNotExist): // the upload, by an answer that was lost, or by another hand
			err = storage.ErrPrecondition
		case errors.Is(err, storage.ErrForbidden):
			err = Unwritable(err)
		}
		return err
	})
	if !errors.Is(err, storage.ErrPrecondition) {
		return info, Committed, err
	}
	rival, there, err := w.look(ctx, c, ref)
	switch {
	case err != nil:
		return info, Committed, err
	case there.Metadata[metaWrite] == d.Upload.(begun).mark:
		return there, Committed, nil
	case rival == nobody, rival == older:
		return there, Committed, fmt.Errorf("complete %s: %w", ref, ErrUploadLost)
	}
	return there, rival.verdict(), nil
}
