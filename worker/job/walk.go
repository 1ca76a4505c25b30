package job

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// entry is an object of a job's sources, as far as the source tells of it: a
// manifest knows neither size nor ETag.
type entry struct {
	info storage.Info
	next cursor // the sources from behind it
	skip bool   // it is left out: a folder, Penstock's own, or not asked for
}

// errStop ends a walk early.
var errStop = errors.New("that is enough")

// walker goes through a job's sources in an order that is always the same, from
// any point of it on.
type walker struct {
	store     storage.Reader
	locations request.Locations
	spec      Spec
	chooser   Chooser
}

// walk yields all objects from a cursor on.
func (w *walker) walk(ctx context.Context, from cursor) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		give := func(e entry) error {
			if !yield(e, nil) {
				return errStop
			}
			return nil
		}
		read := w.sources
		if w.spec.Manifest != "" {
			read = w.manifest
		}
		if err := read(ctx, from, give); err != nil && !errors.Is(err, errStop) {
			yield(entry{}, err)
		}
	}
}

// sources lists each of the spec's URIs.
func (w *walker) sources(ctx context.Context, from cursor, give func(entry) error) error {
	for n := from.Source; n < len(w.spec.Sources); n++ {
		at := cursor{Source: n}
		if n == from.Source {
			at.After = from.After
		}
		ref, err := storage.ParseRef(w.spec.Sources[n])
		if err != nil {
			return err
		}
		if isFolder(ref) {
			err = w.list(ctx, ref, at, give)
		} else {
			err = w.object(ctx, ref, n, give)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isFolder says whether a source is a prefix whose objects are meant, and not an
// object.
func isFolder(ref storage.Ref) bool { return ref.Key == "" || strings.HasSuffix(ref.Key, "/") }

// list goes through a prefix. A listing that meets a fault goes on where it was.
func (w *walker) list(ctx context.Context, folder storage.Ref, at cursor, give func(entry) error) error {
	var given error
	begun := at.After
	err := patiently(ctx, func() error {
		for info, err := range w.store.List(ctx, folder, at.After) {
			if err != nil {
				return err
			}
			at.After = info.Ref.Key
			e := entry{info: info, next: at, skip: !w.wants(info.Ref, info.Ref.Key[len(folder.Key):])}
			if given = give(e); given != nil {
				return nil
			}
		}
		return nil
	})
	switch {
	case given != nil:
		return given
	case !answered(err) && at.After != begun && ctx.Err() == nil: // it is no outage
		return w.list(ctx, folder, at, give)
	case err != nil:
		return fmt.Errorf("list %s: %w", folder, err)
	}
	return nil
}

// wants says whether an object is the job's.
func (w *walker) wants(ref storage.Ref, rel string) bool {
	return !strings.HasSuffix(ref.Key, "/") && w.locations.Allowed(ref) && !w.locations.State.Contains(ref) && w.chooser.Wants(rel)
}

// object is a source that names one.
func (w *walker) object(ctx context.Context, ref storage.Ref, n int, give func(entry) error) error {
	info, err := w.head(ctx, ref)
	if err != nil {
		return err
	}
	info.Ref = ref // not its version: as of a prefix, what is there when it is run counts
	return give(entry{info: info, next: cursor{Source: n + 1}})
}

// head describes an object that a person has named.
func (w *walker) head(ctx context.Context, ref storage.Ref) (info storage.Info, err error) {
	err = patiently(ctx, func() (err error) {
		info, err = w.store.Head(ctx, ref)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return info, fmt.Errorf("%w: there is no object %s; a prefix must end in a slash (%s/)", ErrSource, ref, ref)
	}
	return info, err
}
