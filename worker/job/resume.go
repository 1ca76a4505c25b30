package job

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Resumed is what Resume has found to do.
type Resumed struct {
	Planned
	Items int  // that were sent
	Over  bool // the job has ended, and nothing of it is to be run again
}

// Resume runs what is not done: what was never sent or whose message was lost,
// what a cancel left, and with failed also what has failed, whose failure
// objects are deleted first. Parts that still wait in the queue are sent once
// more, which costs little: workers look at what is there. It may die at any
// moment and be called again.
func (p *Planner) Resume(ctx context.Context, id string, failed bool) (Resumed, error) {
	at := booksOf(p.Locations, id)
	spec, err := readSpec(ctx, p.Store, at)
	if err != nil {
		return Resumed{}, err
	}
	if over, err := p.over(ctx, at, failed); err != nil || over {
		return Resumed{Over: over}, err
	}
	if err := p.takeBackCancel(ctx, at); err != nil {
		return Resumed{}, err
	}
	if err := p.reopen(ctx, spec, failed); err != nil {
		return Resumed{}, err
	}
	s, ok, err := p.sealed(ctx, id)
	if err != nil {
		return Resumed{}, err
	}
	if ok && s.Partial { // more is to be planned
		if err := p.Store.Delete(ctx, at.sealed(), storage.DeleteOptions{}); err != nil {
			return Resumed{}, err
		}
	}
	// Once more, for who was ending the job meanwhile: see finish.
	if err := p.takeBackEnd(ctx, id); err != nil {
		return Resumed{}, err
	}
	var r Resumed
	if r.Items, err = p.sendUndone(ctx, spec); err != nil {
		return r, err
	}
	r.Planned, err = p.proceed(ctx, spec)
	return r, err
}

// over says whether a job has ended and left nothing to resume.
func (p *Planner) over(ctx context.Context, at books, failed bool) (bool, error) {
	var s Summary
	err := readNote(ctx, p.Store, at.summary(), &s)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && s.Objects.Cancelled == 0 && !s.Partial && (s.Objects.Failed == 0 || !failed), err
}

// takeBackCancel comes before all else: what workers account for as cancelled
// until they hear of it is found then, and runs again.
func (p *Planner) takeBackCancel(ctx context.Context, at books) error {
	cancelled, err := exists(ctx, p.Store, at.cancel())
	if err != nil || !cancelled {
		return err
	}
	if err := p.Store.Delete(ctx, at.cancel(), storage.DeleteOptions{}); err != nil {
		return err
	}
	return pause(ctx, staleAfter+time.Second) // until no worker believes in it any more
}

// reopen takes back that a job has ended, and what of it did not go well.
func (p *Planner) reopen(ctx context.Context, spec Spec, failed bool) error {
	at := booksOf(p.Locations, spec.ID)
	if err := p.takeBackEnd(ctx, spec.ID); err != nil {
		return err
	}
	again := func(c Counts) bool { return c.Cancelled > 0 || failed && c.Failed > 0 }
	groups, err := p.touched(ctx, at)
	if err != nil {
		return err
	}
	for _, g := range groups {
		var parts []int
		done, err := doneParts(ctx, p.Store, at, g)
		if err != nil {
			return err
		}
		open, err := partsInItems(ctx, p.Store, at, g)
		if err != nil {
			return err
		}
		for part, marked := range open {
			if _, ok := done[part]; !ok && again(marked.counts()) {
				parts = append(parts, part)
			}
		}
		for part, d := range done {
			if again(d.Counts) {
				parts = append(parts, part)
			}
		}
		slices.Sort(parts)
		if err := p.reopenParts(ctx, spec, g, parts, failed); err != nil {
			return err
		}
	}
	return nil
}

// takeBackEnd deletes the summary.
func (p *Planner) takeBackEnd(ctx context.Context, id string) error {
	return errors.Join(
		p.Store.Delete(ctx, booksOf(p.Locations, id).summary(), storage.DeleteOptions{}),
		p.Store.Delete(ctx, CopyOf(p.Locations, id), storage.DeleteOptions{}),
	)
}

// touched are the groups that may hold what did not go well: those whose account
// says so, and those without one.
func (p *Planner) touched(ctx context.Context, at books) ([]int, error) {
	marked, err := listNumbers(ctx, p.Store, at.groups())
	if err != nil {
		return nil, err
	}
	marks, err := groupMarks(ctx, p.Store, at, marked)
	if err != nil {
		return nil, err
	}
	fine := map[int]bool{}
	for i, m := range marks {
		fine[marked[i]] = len(m.Parts) == 0 && m.Files.Failed+m.Files.Cancelled == 0
	}
	last, err := p.lastPage(ctx, at)
	if err != nil {
		return nil, err
	}
	var groups []int
	for g := range (seal{Parts: last.First + last.parts()}).groups() {
		if !fine[g] {
			groups = append(groups, g)
		}
	}
	return groups, nil
}

// lastPage is the last page of the plan; the zero page when there is none.
func (p *Planner) lastPage(ctx context.Context, at books) (page, error) {
	var last page
	pages, err := listNumbers(ctx, p.Store, at.pages())
	if err != nil || len(pages) == 0 {
		return last, err
	}
	err = readNote(ctx, p.Store, at.page(pages[len(pages)-1]), &last) // before it is returned
	return last, err
}

// reopenParts takes back the account of a group and of some of its parts. The
// marks go last: until then a crash leaves them to be found again.
func (p *Planner) reopenParts(ctx context.Context, spec Spec, g int, parts []int, failed bool) error {
	at := booksOf(p.Locations, spec.ID)
	if err := p.Store.Delete(ctx, at.group(g), storage.DeleteOptions{}); err != nil {
		return err
	}
	if len(parts) == 0 {
		return nil
	}
	if failed {
		if err := p.deleteFailures(ctx, spec, parts); err != nil {
			return err
		}
	}
	again, reopening := errgroup.WithContext(ctx)
	again.SetLimit(atATime)
	for _, part := range parts {
		again.Go(func() error {
			if err := deleteAll(reopening, p.Store, at.items(part)); err != nil {
				return err
			}
			return deleteAll(reopening, p.Store, at.doneAny(part))
		})
	}
	return again.Wait()
}

// deleteFailures deletes the failure objects of parts' items.
func (p *Planner) deleteFailures(ctx context.Context, spec Spec, parts []int) error {
	return p.eachPart(ctx, spec, parts, func(ctx context.Context, items []request.Request) error {
		for _, r := range items {
			if err := p.Store.Delete(ctx, p.Locations.FailureOf(r.Whole()), storage.DeleteOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachPart calls do with the items of each of these parts, which are in
// ascending order.
func (p *Planner) eachPart(ctx context.Context, spec Spec, parts []int, do func(context.Context, []request.Request) error) error {
	at := booksOf(p.Locations, spec.ID)
	pages, err := listNumbers(ctx, p.Store, at.pages())
	if err != nil {
		return err
	}
	g, doing := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for len(parts) > 0 && doing.Err() == nil {
		i, found := slices.BinarySearch(pages, parts[0])
		if !found {
			i--
		}
		var pg page
		if err := readNote(ctx, p.Store, at.page(pages[i]), &pg); err != nil {
			_ = g.Wait() // this error is the first
			return err
		}
		all, err := pg.requests(spec.ID)
		if err != nil {
			_ = g.Wait()
			return err
		}
		for len(parts) > 0 && parts[0] < pg.First+len(all) {
			items := all[parts[0]-pg.First]
			parts = parts[1:]
			g.Go(func() error { return do(doing, items) })
		}
	}
	if err := g.Wait(); err != nil || len(parts) == 0 {
		return err
	}
	return context.Cause(ctx) // it ended the loop: the group has no error of that
}
