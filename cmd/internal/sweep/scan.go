package sweep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/storage"
)

// source is a folder whose objects ask for requests.
type source struct {
	place storage.Ref
	// read says what the object at ref asks for. asked is false when that has
	// no time to live, or is nothing.
	read func(ctx context.Context, ref storage.Ref) (t target, asked bool, err error)
}

// settled is how old an object is before it is looked at first. Most requests
// have ended by then, and every clock agrees that it is there.
const settled = 2 * time.Minute

// chunk is how many objects are looked at between two points from which a sweep
// can go on.
const chunk = 256

// page is how many objects a LIST tells of.
const page = 1000

// expire looks at what may have expired.
func (w *sweep) expire(ctx context.Context) error {
	if err := w.meet(ctx); err != nil {
		return err
	}
	w.forgetTheDead(ctx)
	w.idle = w.nothingWaits(ctx)
	m, err := w.recall(ctx)
	if err != nil {
		return err
	}
	sources := []source{{w.Locations.Records(), w.readRecord}}
	if w.Uploads {
		for _, in := range w.Locations.Inputs {
			sources = append(sources, source{in, w.readUpload})
		}
	}
	var errs []error
	for _, s := range sources {
		f := m.of(s.place)
		w.again(ctx, s, f)
		errs = append(errs, w.scan(ctx, s, f))
		w.counts.Pending += len(f.Pending)
	}
	return errors.Join(append(errs, w.keep(ctx, m), w.faulty())...)
}

// again looks at what is due of the pending objects; at all of them when there
// are too many, for most will have ended by now.
func (w *sweep) again(ctx context.Context, s source, f *folder) {
	now := w.now()
	full := len(f.Pending) >= maxPending
	var keys []string
	for key, p := range f.Pending {
		if full || p.Due <= now.Unix() && (w.idle || !p.Unsent) {
			keys = append(keys, key)
		}
	}
	// The oldest first, should the time not suffice.
	slices.SortFunc(keys, func(a, b string) int { return int(f.Pending[a].Due - f.Pending[b].Due) })
	for some := range slices.Chunk(keys, chunk) {
		if w.late(ctx) {
			w.counts.Partly = true
			return
		}
		w.lookAt(ctx, s, f, some)
	}
}

// scan looks at the objects that have appeared since the last scan, or goes on
// with one that did not come to its end.
func (w *sweep) scan(ctx context.Context, s source, f *folder) error {
	if f.Began.IsZero() {
		f.Began, f.After = w.now(), ""
	}
	through := f.Began.Add(-settled)
	var some []string
	listed := 0
	for info, err := range w.Store.List(ctx, s.place, f.After) {
		if err != nil {
			w.counts.Partly = true
			return fmt.Errorf("list %s: %w", s.place, err)
		}
		if !info.Modified.Before(f.Through) && info.Modified.Before(through) {
			some = append(some, info.Ref.Key[len(s.place.Key):])
		}
		// Listing alone can take longer than a sweep, where most objects were
		// looked at long ago: the next goes on with the page.
		if listed++; len(some) < chunk && listed%page != 0 {
			continue
		}
		if w.full(ctx, f) {
			return nil
		}
		w.lookAt(ctx, s, f, some)
		f.After, some = info.Ref.Key, some[:0]
	}
	if w.full(ctx, f) {
		return nil
	}
	w.lookAt(ctx, s, f, some)
	f.Through, f.Began, f.After = through, time.Time{}, ""
	return nil
}

// full says that the scan can't go on in this sweep.
func (w *sweep) full(ctx context.Context, f *folder) bool {
	full := w.late(ctx) || len(f.Pending) >= maxPending
	w.counts.Partly = w.counts.Partly || full
	return full
}

// lookAt looks at the objects of those names, and notes which to look at again.
func (w *sweep) lookAt(ctx context.Context, s source, f *folder, names []string) {
	results := make([]*pending, len(names))
	var g errgroup.Group
	g.SetLimit(lookers)
	for n, name := range names {
		was := f.Pending[name]
		g.Go(func() error {
			ref := storage.Ref{Bucket: s.place.Bucket, Key: s.place.Key + name}
			next, err := w.look(ctx, s, ref, was)
			if err != nil {
				w.log.Warn("look at a request", zap.Stringer("object", ref), zap.Error(err))
				w.mu.Lock()
				w.faults++
				w.mu.Unlock()
				next = &pending{}
			}
			results[n] = next
			return nil
		})
	}
	_ = g.Wait() // what failed is pending
	w.counts.Looked += len(names)
	for n, name := range names {
		if p := results[n]; p != nil && !(p.Unsent && len(f.Pending) >= maxUnsent) {
			f.Pending[name] = *p
		} else {
			delete(f.Pending, name)
		}
	}
}

// snapshotsKept is how long the snapshot of a worker is kept that ended without
// removing it: the last one tells what requests cost.
const snapshotsKept = 24 * time.Hour

// forgetTheDead removes what workers have left that died.
func (w *sweep) forgetTheDead(ctx context.Context) {
	for _, info := range w.fleet.Dead {
		if w.now().Sub(info.Modified) < snapshotsKept {
			continue
		}
		if err := w.Store.Delete(ctx, info.Ref, storage.DeleteOptions{}); err != nil {
			w.log.Info("remove a dead worker's snapshot", zap.Stringer("object", info.Ref), zap.Error(err))
		}
	}
}
