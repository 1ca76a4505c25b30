package reconcile

import (
	"context"
	"fmt"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// overview is what listings showed of the terminal objects of some inputs.
type overview struct {
	locations       request.Locations
	output, failure listing
}

// listing is a stretch of one location's keys.
type listing struct {
	place       storage.Ref
	first, last string            // all keys from first to last are known
	etags       map[string]string // of those that are there
}

// maxListed bounds a listing. The terminal objects of a page of inputs lie
// close to each other, but for names such as "a" and "a-1": their order
// changes when each gets its suffix.
const maxListed = 3 * pageSize

// survey lists the stretches of output and failure in which the terminal
// objects of the inputs lie.
func (r *Reconciler) survey(ctx context.Context, inputs []*input) (overview, error) {
	o := overview{locations: r.Locations}
	if len(inputs) == 0 {
		return o, nil
	}
	group, ctx := errgroup.WithContext(ctx)
	list := func(to *listing, place storage.Ref, terminal func(request.Request) storage.Ref) {
		first := terminal(inputs[0].request).Key
		last := first
		for _, in := range inputs[1:] {
			key := terminal(in.request).Key
			first, last = min(first, key), max(last, key)
		}
		group.Go(func() (err error) {
			*to, err = r.list(ctx, place, first, last)
			return err
		})
	}
	list(&o.output, r.Locations.Output, r.Locations.OutputOf)
	list(&o.failure, r.Locations.Failure, r.Locations.FailureOf)
	err := group.Wait() // before what the group has filled in is returned
	return o, err
}

// list lists the keys from first to last, or, when there are too many of them,
// to an earlier one.
func (r *Reconciler) list(ctx context.Context, place storage.Ref, first, last string) (listing, error) {
	l := listing{place: place, first: first, last: last, etags: map[string]string{}}
	// A listing begins after a key. All terminal keys end in an ASCII letter,
	// without which the key is one before the first.
	for info, err := range r.Store.List(ctx, place, first[:len(first)-1]) {
		switch {
		case err != nil:
			return l, err
		case info.Ref.Key > last:
			return l, nil
		}
		l.etags[info.Ref.Key] = info.ETag
		if len(l.etags) == maxListed {
			l.last = info.Ref.Key
			return l, nil
		}
	}
	return l, nil
}

// absent says that an object was not there.
func (l listing) absent(ref storage.Ref) bool {
	_, there := l.etags[ref.Key]
	return !there && l.place.Contains(ref) && l.first <= ref.Key && ref.Key <= l.last
}

func (o overview) absent(ref storage.Ref) bool { return o.output.absent(ref) || o.failure.absent(ref) }

// mayHave says whether an input may have a terminal object, of any version.
func (o overview) mayHave(input storage.Info) bool {
	r := request.Request{Input: input.Ref}
	return !o.absent(o.locations.OutputOf(r)) || !o.absent(o.locations.FailureOf(r))
}

// sight is what an input and its terminal objects looked like in listings.
type sight struct {
	version
	output, failure string // ETags; empty for what is not there, or is not known to be
}

// version is a state of an object, as listings tell states apart.
type version struct {
	ref      storage.Ref
	etag     string
	modified int64 // milliseconds
}

func versionOf(info storage.Info) version {
	return version{info.Ref, info.ETag, info.Modified.UnixMilli()}
}

func (o overview) sight(input storage.Info) sight {
	r := request.Request{Input: input.Ref}
	return sight{versionOf(input), o.output.etags[o.locations.OutputOf(r).Key], o.failure.etags[o.locations.FailureOf(r).Key]}
}

// surveyed is a store of which a part is known already.
type surveyed struct {
	storage.Reader
	overview overview
}

// Head implements storage.Reader.
func (s surveyed) Head(ctx context.Context, ref storage.Ref) (storage.Info, error) {
	if s.overview.absent(ref) {
		return storage.Info{}, fmt.Errorf("%s: it was not listed: %w", ref, fs.ErrNotExist)
	}
	return s.Reader.Head(ctx, ref)
}
