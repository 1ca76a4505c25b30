package job

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/storage"
)

// sealWait is how long a cancel waits for the planner to see it and to seal what
// it has planned. A planner that doesn't is gone.
const (
	sealWait  = 20 * time.Second
	sealEvery = 500 * time.Millisecond
)

// Cancel has nothing more of a job started; what was done is kept. Workers see
// it within seconds, end what they are at, and account for the rest as
// cancelled: the job has its summary when they have. A job that has ended stays
// as it is: ErrEnded. One that is not there is fs.ErrNotExist.
func (p *Planner) Cancel(ctx context.Context, id string) error {
	at := booksOf(p.Locations, id)
	spec, err := readSpec(ctx, p.Store, at)
	if err != nil {
		return err
	}
	if err := p.checkEnded(ctx, id); err != nil {
		return err
	}
	if err := mark(ctx, p.Store, at.cancel()); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < sealWait; {
		_, ok, err := p.sealed(ctx, id)
		if err != nil {
			return err
		}
		if ok {
			break
		}
		if err := pause(ctx, sealEvery); err != nil {
			return err
		}
	}
	return p.settleCancel(ctx, spec)
}

// settleCancel seals a plan that was broken off by a cancel, if nobody has, and
// accounts for what was planned and not sent. The workers do the rest.
func (p *Planner) settleCancel(ctx context.Context, spec Spec) error {
	at := booksOf(p.Locations, spec.ID)
	pages, err := listNumbers(ctx, p.Store, at.pages())
	if err != nil {
		return err
	}
	sum := seal{Partial: true, Time: new(p.now().UTC())}
	if len(pages) > 0 {
		var last page
		if err := readNote(ctx, p.Store, at.page(pages[len(pages)-1]), &last); err != nil {
			return err
		}
		last.Sum.Partial, last.Sum.Time = !last.End, sum.Time
		sum = last.Sum
	}
	if _, err := putNote(ctx, p.Store, at.sealed(), sum); err != nil {
		return err
	}
	if sum, _, err = p.sealed(ctx, spec.ID); err != nil { // another's may have been first
		return err
	}
	sent, err := listNumbers(ctx, p.Store, at.sents())
	if err != nil {
		return err
	}
	for _, first := range pages {
		if _, ok := slices.BinarySearch(sent, first); ok || first >= sum.Parts {
			continue
		}
		if err := p.settlePage(ctx, spec, first); err != nil {
			return err
		}
	}
	return p.Close(ctx, spec.ID)
}

// settlePage accounts for the parts of a page that was not sent.
func (p *Planner) settlePage(ctx context.Context, spec Spec, first int) error {
	var pg page
	if err := readNote(ctx, p.Store, booksOf(p.Locations, spec.ID).page(first), &pg); err != nil {
		return err
	}
	parts, err := pg.requests(spec.ID)
	if err == nil && !spec.Records() { // some of it was sent if its planner died meanwhile
		parts, err = p.withoutEnded(ctx, spec, parts)
	}
	if err != nil {
		return err
	}
	g, settling := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for _, items := range parts {
		if len(items) == 0 {
			continue
		}
		g.Go(func() error {
			verdicts := make([]Verdict, len(items))
			for i, r := range items {
				verdicts[i] = Verdict{r.Job.Item, Cancelled}
			}
			return p.Settled(settling, spec.ID, Part{items[0].Job.Part, items[0].Job.Items}, verdicts)
		})
	}
	return g.Wait()
}

// deleteAll deletes what lies below a folder.
func deleteAll(ctx context.Context, s storage.Store, folder storage.Ref) error {
	g, deleting := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for info, err := range s.List(ctx, folder, "") {
		if err != nil {
			_ = g.Wait() // the listing's error is the one
			return err
		}
		g.Go(func() error { return s.Delete(deleting, info.Ref, storage.DeleteOptions{}) })
	}
	return g.Wait()
}
