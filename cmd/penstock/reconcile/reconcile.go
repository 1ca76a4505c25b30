// Package reconcile finds the inputs that nobody has told the queue of: those
// that were uploaded before there was a notification, or whose event was lost.
// What has neither a result nor a failure object for its current version is
// put into the queue.
//
// To enqueue what waits in the queue already is wasteful and harmless: the
// second message finds the first one's result.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/cmd/internal/outcome"
	"github.com/penstock/penstock/cmd/internal/producer"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Reconciler compares the inputs of an installation with their terminal
// objects. The fields are not changed while it runs, and it runs once at a
// time. Functions that are nil are not called; the others are called one after
// the other.
type Reconciler struct {
	Store     storage.Reader
	Queue     queue.Sender // nil: nothing is sent, and all else is as if it were
	Locations request.Locations
	Prefix    string           // of keys below each input location; empty for all
	MinAge    time.Duration    // of the uploads that are looked at: the events of later ones may be on their way
	Now       func() time.Time // by the store's clock

	// Group gives the MessageGroupId of what is enqueued. Nil gives none, which
	// a FIFO queue does not take.
	Group func(request.Request) string

	Missing  func(storage.Ref)        // is told of each input that is to be enqueued
	Trouble  func(storage.Ref, error) // is told what went wrong with one input; the others go on
	Progress func(Counts)             // is told now and then how far it is

	memory    *memory // nil: every input is looked at anew
	counts    Counts
	versioned atomic.Bool // an input bucket keeps versions, which listings don't show
}

// Counts are how many objects there were of each kind. The kinds add up to
// LookedAt.
type Counts struct {
	LookedAt int `json:"lookedAt"` // all below the input locations
	Results  int `json:"results"`  // have the result of the current version
	Failures int `json:"failures"` // have its failure object
	Enqueued int `json:"enqueued"` // have neither, and are in the queue now
	TooNew   int `json:"tooNew"`   // were uploaded too short a time ago
	Ignored  int `json:"ignored"`  // are no inputs (folder markers, Penstock's own objects), or were deleted just now
	Troubled int `json:"troubled"` // Trouble was told why
	Waiting  int `json:"-"`        // are known to be in the queue, or may be: a Watcher's matter
}

// What bounds a run.
const (
	pageSize = 1000 // inputs in memory at a time
	heads    = 16   // HEADs at a time
	senders  = 4    // SendMessageBatches at a time
	// maxTrouble is how many inputs may be in trouble before it is taken to be
	// everybody's.
	maxTrouble = 10
)

// Run looks at all inputs once, and says how many there were of each kind, in
// a run that ends with an error too. It ends early when a location can't be
// listed, when access is denied, and when too many inputs are in trouble.
//
// A page of a thousand inputs costs about three LISTs: the inputs, and what
// lies at the keys of their results and failures. An input with a terminal
// object costs a HEAD of it, and, in a bucket with versions, one of the input.
// One without costs a HEAD of the input, which may be gone, and a tenth of a
// SendMessageBatch.
func (r *Reconciler) Run(ctx context.Context) (Counts, error) {
	r.counts = Counts{}
	for _, in := range r.Locations.Inputs {
		in.Key += r.Prefix
		if err := r.location(ctx, in); err != nil {
			return r.counts, err
		}
	}
	return r.counts, nil
}

// location looks at all objects whose keys begin with a prefix.
func (r *Reconciler) location(ctx context.Context, prefix storage.Ref) error {
	page := make([]storage.Info, 0, pageSize)
	for info, err := range r.Store.List(ctx, prefix, "") {
		if err != nil {
			return err
		}
		if page = append(page, info); len(page) == pageSize {
			if err := r.page(ctx, page); err != nil {
				return err
			}
			page = page[:0]
		}
	}
	if len(page) == 0 {
		return nil
	}
	return r.page(ctx, page)
}

// fate is what is known of an input.
type fate int

const (
	unknown fate = iota
	result
	failure
	missing
	ignored
	tooNew
	waiting
)

// input is one on its way through a page.
type input struct {
	listed  storage.Info
	request request.Request
	fate    fate
	err     error // why the fate is unknown
}

func (r *Reconciler) page(ctx context.Context, listed []storage.Info) error {
	inputs := make([]input, len(listed))
	var open []*input // their fate is not known by their listing alone
	for i, info := range listed {
		if inputs[i] = r.sift(info); inputs[i].fate == unknown && inputs[i].err == nil {
			open = append(open, &inputs[i])
		}
	}
	if err := r.judge(ctx, open); err != nil {
		return err
	}
	var lacking []*input
	for _, in := range open {
		if in.fate == missing && r.memory != nil && !r.memory.due(versionOf(in.listed), r.Now()) {
			in.fate = waiting
		}
		if in.fate == missing {
			lacking = append(lacking, in)
		}
	}
	r.enqueue(ctx, lacking)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return r.tally(inputs)
}

// sift tells of an input what its listing does.
func (r *Reconciler) sift(info storage.Info) input {
	in := input{listed: info}
	var ok bool
	in.request, ok, in.err = request.Uploaded(info)
	switch {
	case !ok:
		in.fate = ignored
	case info.Modified.After(r.Now().Add(-r.MinAge)):
		in.fate = tooNew
	}
	return in
}

// judge finds the fates of inputs.
func (r *Reconciler) judge(ctx context.Context, inputs []*input) error {
	o, err := r.survey(ctx, inputs)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(heads)
	for _, in := range inputs {
		if r.memory != nil {
			if in.fate = r.memory.recall(o.sight(in.listed)); in.fate != unknown {
				continue
			}
		}
		group.Go(func() error {
			in.fate, in.err = r.look(ctx, o, in)
			if errors.Is(in.err, storage.ErrForbidden) {
				return in.err // it will be denied for the others too
			}
			return nil
		})
	}
	err = group.Wait()
	if r.memory != nil {
		for _, in := range inputs {
			r.memory.keep(o.sight(in.listed), in.fate)
		}
	}
	return err
}

// look finds the fate of one input. Where a listing showed that there is
// nothing, it does not look again.
func (r *Reconciler) look(ctx context.Context, o overview, in *input) (fate, error) {
	finder := outcome.Finder{Store: surveyed{r.Store, o}, Locations: r.Locations}
	find := func(info storage.Info) (fate, error) {
		found, ok, err := finder.Find(ctx, info)
		switch {
		case err != nil || !ok:
			return unknown, err
		case found.Failed:
			return failure, nil
		}
		return result, nil
	}
	maybe := o.mayHave(in.listed)
	if maybe && !r.versioned.Load() {
		if f, err := find(in.listed); f != unknown || err != nil {
			return f, err
		}
	}
	now, err := r.Store.Head(ctx, in.listed.Ref)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ignored, nil
	case err != nil:
		return unknown, err
	case request.OwnResult(now.Ref, now.Metadata):
		return ignored, nil
	}
	in.request.ETag, in.request.Size = now.ETag, now.Size
	if now.Ref.Version != "" {
		r.versioned.Store(true)
	}
	if maybe && (now.Ref.Version != "" || !request.SameVersion(now, in.listed)) {
		if f, err := find(now); f != unknown || err != nil {
			return f, err
		}
	}
	return missing, nil
}

// enqueue sends what is missing, and marks what could not be sent.
func (r *Reconciler) enqueue(ctx context.Context, inputs []*input) {
	if r.Missing != nil {
		for _, in := range inputs {
			r.Missing(in.listed.Ref)
		}
	}
	if r.Queue == nil {
		return
	}
	var group errgroup.Group
	group.SetLimit(senders)
	for batch := range slices.Chunk(inputs, queue.MaxBatch) {
		group.Go(func() error {
			requests := make([]request.Request, len(batch))
			for i, in := range batch {
				requests[i] = in.request
			}
			for i, err := range producer.Enqueue(ctx, r.Queue, r.Group, requests) {
				if err != nil {
					batch[i].fate, batch[i].err = unknown, fmt.Errorf("enqueue it: %w", err)
				}
			}
			return nil
		})
	}
	_ = group.Wait() // each input has its own error
	for _, in := range inputs {
		if in.err != nil && r.memory != nil {
			r.memory.forget(versionOf(in.listed))
		}
	}
}

// tally counts the inputs of a page and tells of those in trouble.
func (r *Reconciler) tally(inputs []input) error {
	c := &r.counts
	c.LookedAt += len(inputs)
	var last error
	for _, in := range inputs {
		switch in.fate {
		case result:
			c.Results++
		case failure:
			c.Failures++
		case missing:
			c.Enqueued++
		case ignored:
			c.Ignored++
		case tooNew:
			c.TooNew++
		case waiting:
			c.Waiting++
		default:
			c.Troubled++
			last = fmt.Errorf("%s: %w", in.listed.Ref, in.err)
			if r.Trouble != nil && c.Troubled <= maxTrouble {
				r.Trouble(in.listed.Ref, in.err)
			}
		}
	}
	if r.Progress != nil {
		r.Progress(*c)
	}
	if c.Troubled > maxTrouble {
		return fmt.Errorf("%d inputs are in trouble, which is too many to go on; the last is %w", c.Troubled, last)
	}
	return nil
}
