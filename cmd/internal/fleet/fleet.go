// Package fleet reads what the workers say of themselves.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Fleet is what is known of the workers.
type Fleet struct {
	// Live are the snapshots that still tell what is under way. A worker that
	// has had nothing to do for a while has none.
	Live []request.Snapshot
	// Latest is the last one that any worker wrote, be it live or not; zero
	// when there is none.
	Latest request.Snapshot
	// Dead are the snapshots of workers that ended without removing them, or
	// have been idle for long.
	Dead []storage.Info
}

// reads is how many snapshots are read at a time.
const reads = 16

// maxBytes is more than a snapshot has.
const maxBytes = 8 << 20

// Read reads the snapshots as they are at now, by the store's clock. It costs a
// LIST and a GET for each worker that is at work.
func Read(ctx context.Context, store storage.Reader, l request.Locations, now time.Time) (Fleet, error) {
	var f Fleet
	var latest storage.Info
	var live []storage.Info
	for info, err := range store.List(ctx, l.Snapshots(), "") {
		if err != nil {
			return f, fmt.Errorf("list the workers' snapshots: %w", err)
		}
		if info.Modified.After(latest.Modified) {
			latest = info
		}
		if (request.Snapshot{Time: info.Modified}).Live(now) {
			live = append(live, info)
		} else {
			f.Dead = append(f.Dead, info)
		}
	}
	if len(live) == 0 && latest.Ref.Key != "" {
		live = append(live, latest)
	}
	snapshots := make([]request.Snapshot, len(live))
	var g errgroup.Group
	g.SetLimit(reads)
	for n, info := range live {
		g.Go(func() (err error) {
			snapshots[n], err = read(ctx, store, info)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return f, err
	}
	for _, s := range snapshots {
		if s.Time.After(f.Latest.Time) {
			f.Latest = s
		}
		if s.Live(now) {
			f.Live = append(f.Live, s)
		}
	}
	return f, nil
}

// read reads one snapshot, of which the store's time counts. One that is gone
// or can't be understood is empty: it says nothing of anything.
func read(ctx context.Context, store storage.Reader, listed storage.Info) (s request.Snapshot, err error) {
	o, err := store.Get(ctx, listed.Ref, storage.GetOptions{})
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read a worker's snapshot: %w", err)
	}
	defer o.Body.Close()
	body, err := io.ReadAll(io.LimitReader(o.Body, maxBytes))
	if err != nil {
		return s, fmt.Errorf("read a worker's snapshot: %w", err)
	}
	if s, err = request.ParseSnapshot(body); err != nil {
		return request.Snapshot{}, nil
	}
	s.Time = o.Modified
	if s.Time.IsZero() { // a store that does not tell it with the object
		s.Time = listed.Modified
	}
	return s, nil
}

// Has says whether a live worker has a request in flight, by one of its names.
func (f Fleet) Has(names ...string) bool {
	return slices.ContainsFunc(f.Live, func(s request.Snapshot) bool {
		return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(s.InFlight, name) })
	})
}

// Cut says that a live worker has more in flight than it names.
func (f Fleet) Cut() bool {
	return slices.ContainsFunc(f.Live, func(s request.Snapshot) bool { return s.More })
}
