package job

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/storage"
)

// Planner divides jobs into parts and sends them. It may die at any moment:
// Submit of the same spec goes on where it was.
type Planner struct {
	*Books
	Queue queue.Sender
	// Cost is about how long a request takes; 0 is not known. It keeps the work
	// in one message below packWork.
	Cost time.Duration
	// Watch is told how far planning has come, by one call at a time; may be nil.
	Watch func(Planned)

	mu   sync.Mutex
	done Planned
}

// Planned is how far planning has come.
type Planned struct {
	Objects int    // planned, in this call or before
	Skipped int    // seen and left out
	Parts   int    // planned
	Sent    int    // parts of which this call has sent the message
	Bytes   int64  // of the objects
	Reading string // the file that is being passed over to be cut
	Read    int64  // bytes of it
	Size    int64
}

// packWork is how much estimated work one message may hold: its lease is
// extended all the while, and all of it is lost with its worker.
const packWork = 10 * time.Minute

// pagesInFlight are sent at a time.
const pagesInFlight = 8

// errAdopted says that another planner has written the page that was to be
// written, and that planning goes on from there.
var errAdopted = errors.New("another planner has come further")

// Submit makes a job and sends all of it. One that is there is gone on with:
// pages that were not sent, and what was not planned. It returns when the plan
// is sealed; the job goes on in the workers.
//
// The error is *OtherSpecError when the id is that of another job, ErrEnded when
// the job has ended, ErrSource when there is nothing to do; others are faults of
// the surroundings, after which Submit goes on where it was.
func (p *Planner) Submit(ctx context.Context, spec Spec) (Planned, error) {
	spec, err := spec.Complete(p.Locations)
	if err != nil {
		return Planned{}, err
	}
	at := booksOf(p.Locations, spec.ID)
	there, err := readSpec(ctx, p.Store, at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if spec, err = p.begin(ctx, at, spec); err != nil {
			return Planned{}, err
		}
	case err != nil:
		return Planned{}, err
	default:
		if d := differences(there, spec); len(d) > 0 {
			return Planned{}, &OtherSpecError{spec.ID, d}
		}
		spec = there
	}
	if err := p.checkEnded(ctx, spec.ID); err != nil {
		return Planned{}, err
	}
	return p.proceed(ctx, spec)
}

// checkEnded is ErrEnded for a job that has its summary.
func (p *Planner) checkEnded(ctx context.Context, id string) error {
	ended, err := exists(ctx, p.Store, booksOf(p.Locations, id).summary())
	if err != nil || !ended {
		return err
	}
	return fmt.Errorf("%w: see penstock batch status %s; what failed or was cancelled is run again by penstock batch resume", ErrEnded, id)
}

// begin writes the spec of a job that is new, if there is anything to do.
func (p *Planner) begin(ctx context.Context, at books, spec Spec) (Spec, error) {
	if err := p.probe(ctx, spec); err != nil {
		return spec, err
	}
	spec.Created = p.now().UTC().Truncate(time.Millisecond)
	created, err := putNote(ctx, p.Store, at.spec(), spec)
	if err != nil || created {
		return spec, err
	}
	there, err := readSpec(ctx, p.Store, at) // another's, or our own
	if err != nil {
		return spec, err
	}
	if d := differences(there, spec); len(d) > 0 {
		return spec, &OtherSpecError{spec.ID, d}
	}
	return there, nil
}

// probe finds the first object of a job.
func (p *Planner) probe(ctx context.Context, spec Spec) error {
	w, err := p.walker(spec)
	if err != nil {
		return err
	}
	seen := 0
	for e, err := range w.walk(ctx, cursor{}) {
		if err != nil {
			return err
		}
		if !e.skip {
			return nil
		}
		seen++
	}
	return nothingToDo(seen)
}

func nothingToDo(seen int) error {
	if seen == 0 {
		return fmt.Errorf("%w: no object is there", ErrSource)
	}
	return fmt.Errorf("%w: no object is to be run on (%d were seen and left out)", ErrSource, seen)
}

func (p *Planner) walker(spec Spec) (*walker, error) {
	c, err := NewChooser(spec.Include, spec.Exclude)
	return &walker{store: p.Store, locations: p.Locations, spec: spec, chooser: c}, err
}

// packSize is how many references a message may hold.
func (p *Planner) packSize(spec Spec) int {
	n := max(spec.ReferencesPerMessage, 1)
	if p.Cost > 0 {
		n = max(1, min(n, int(packWork/p.Cost)))
	}
	return n
}

// proceed sends what of the plan was not sent, and plans the rest.
func (p *Planner) proceed(ctx context.Context, spec Spec) (Planned, error) {
	at := booksOf(p.Locations, spec.ID)
	p.done = Planned{}
	pages, err := listNumbers(ctx, p.Store, at.pages())
	if err != nil {
		return p.done, err
	}
	sent, err := listNumbers(ctx, p.Store, at.sents())
	if err != nil {
		return p.done, err
	}
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(pagesInFlight)
	for _, first := range pages {
		if _, ok := slices.BinarySearch(sent, first); ok {
			continue
		}
		g.Go(func() error {
			var pg page
			if err := readNote(sending, p.Store, at.page(first), &pg); err != nil {
				return err
			}
			return p.send(sending, spec, &pg)
		})
	}
	if err := g.Wait(); err != nil {
		return p.done, err
	}
	_, whole, err := p.sealed(ctx, spec.ID)
	if err != nil {
		return p.done, err
	}
	if !whole {
		if err := p.plan(ctx, spec, pages); err != nil {
			return p.done, err
		}
	}
	return p.done, p.Close(ctx, spec.ID)
}

// plan goes through the sources from behind the last page on, and seals the
// plan.
func (p *Planner) plan(ctx context.Context, spec Spec, pages []int) error {
	at := booksOf(p.Locations, spec.ID)
	var last page
	if len(pages) > 0 {
		if err := readNote(ctx, p.Store, at.page(pages[len(pages)-1]), &last); err != nil {
			return err
		}
	}
	for {
		sum, end, err := p.planFrom(ctx, spec, last)
		if errors.Is(err, errAdopted) {
			last = *end
			continue
		}
		if errors.Is(err, errCancelled) {
			return p.settleCancel(ctx, spec)
		}
		if err != nil {
			return err
		}
		sum.Time = new(p.now().UTC())
		_, err = putNote(ctx, p.Store, at.sealed(), sum)
		return err
	}
}

// errCancelled says that a job was cancelled while it was planned.
var errCancelled = errors.New("the job was cancelled")

// planFrom plans what is behind a page. With errAdopted it gives the page that
// another has written.
func (p *Planner) planFrom(ctx context.Context, spec Spec, last page) (seal, *page, error) {
	if last.End {
		return last.Sum, nil, nil
	}
	at := booksOf(p.Locations, spec.ID)
	w, err := p.walker(spec)
	if err != nil {
		return seal{}, nil, err
	}
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(pagesInFlight)
	var other *page
	pg := &pager{walker: w, splitter: p.splitter(spec), packSize: p.packSize(spec)}
	pg.emit = func(ctx context.Context, full *page) error {
		if sending.Err() != nil {
			return sending.Err() // the group has the error
		}
		if full.First+full.parts() > MaxParts {
			return fmt.Errorf("%w: it has more than %d parts", ErrSource, MaxParts)
		}
		var created bool
		if err := patiently(ctx, func() (err error) { created, err = putNote(ctx, p.Store, at.page(full.First), full); return err }); err != nil {
			return err
		}
		if !created {
			var there page
			if err := readNote(ctx, p.Store, at.page(full.First), &there); err != nil {
				return err
			}
			if !there.same(full) {
				other = &there
			}
			full = &there
		}
		p.tell(func(d *Planned) {
			d.Objects, d.Skipped, d.Parts, d.Bytes = full.Sum.Objects, full.Sum.Skipped, full.Sum.Parts, full.Sum.Bytes
		})
		// After the page was written: who cancels writes first and then looks for
		// pages, so that one of both sees the other.
		if cancelled, err := exists(ctx, p.Store, at.cancel()); err != nil {
			return err
		} else if cancelled {
			return errCancelled
		}
		g.Go(func() error { return p.send(sending, spec, full) })
		if other != nil {
			return errAdopted
		}
		return nil
	}
	err = pg.run(ctx, last.Next, last.First+last.parts(), last.Sum)
	if sendErr := g.Wait(); sendErr != nil {
		return seal{}, nil, sendErr
	}
	return pg.sum, other, err
}

func (p *Planner) splitter(spec Spec) *splitter {
	return &splitter{store: p.Store, spec: spec, progress: func(file storage.Ref, read, size int64) {
		p.tell(func(d *Planned) { d.Reading, d.Read, d.Size = file.String(), read, size })
	}}
}

func (p *Planner) tell(change func(*Planned)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.done)
	if p.Watch != nil {
		p.Watch(p.done)
	}
}

// send sends the messages of a page, and notes that it has.
func (p *Planner) send(ctx context.Context, spec Spec, pg *page) error {
	parts, err := pg.requests(spec.ID)
	if err != nil {
		return err
	}
	messages := make([]queue.Outgoing, len(parts))
	for i, items := range parts {
		if messages[i], err = message(spec.ID, items); err != nil {
			return err
		}
	}
	if err := p.sendAll(ctx, messages); err != nil {
		return err
	}
	return patiently(ctx, func() error { return mark(ctx, p.Store, booksOf(p.Locations, spec.ID).sent(pg.First)) })
}
