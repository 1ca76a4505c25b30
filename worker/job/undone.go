package job

import (
	"context"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// sendUndone sends the items of pages that were sent, which have no terminal
// object. It settles those that have.
func (p *Planner) sendUndone(ctx context.Context, spec Spec) (int, error) {
	at := booksOf(p.Locations, spec.ID)
	sent, err := listNumbers(ctx, p.Store, at.sents())
	if err != nil {
		return 0, err
	}
	total := 0
	var done map[int]doneMark
	group := -1
	for _, first := range sent {
		var pg page
		if err := readNote(ctx, p.Store, at.page(first), &pg); err != nil {
			return total, err
		}
		parts, err := pg.requests(spec.ID)
		if err != nil {
			return total, err
		}
		var left [][]request.Request
		for i, items := range parts {
			if g := groupOf(first + i); g != group {
				if done, err = doneParts(ctx, p.Store, at, g); err != nil {
					return total, err
				}
				group = g
			}
			if _, ok := done[first+i]; !ok {
				left = append(left, items)
			}
		}
		n, err := p.sendLeft(ctx, spec, left)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// sendLeft sends of parts that are not done what has no terminal object.
func (p *Planner) sendLeft(ctx context.Context, spec Spec, parts [][]request.Request) (int, error) {
	if !spec.Records() {
		var err error
		if parts, err = p.withoutEnded(ctx, spec, parts); err != nil {
			return 0, err
		}
	}
	total := 0
	var messages []queue.Outgoing
	for _, items := range parts {
		if len(items) == 0 {
			continue
		}
		m, err := message(spec.ID, items)
		if err != nil {
			return 0, err
		}
		messages, total = append(messages, m), total+len(items)
	}
	return total, p.sendAll(ctx, messages)
}

// withoutEnded leaves out the items that have a terminal object, and settles
// them.
func (p *Planner) withoutEnded(ctx context.Context, spec Spec, parts [][]request.Request) ([][]request.Request, error) {
	if len(parts) == 0 {
		return nil, nil
	}
	there, err := p.terminals(ctx, spec, slices.Concat(parts...))
	if err != nil {
		return nil, err
	}
	left := make([][]request.Request, len(parts))
	g, settling := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for i, items := range parts {
		var verdicts []Verdict
		for _, r := range items {
			switch {
			case there[p.Locations.OutputOf(r)]:
				verdicts = append(verdicts, Verdict{r.Job.Item, Succeeded})
			case there[p.Locations.FailureOf(r)]:
				verdicts = append(verdicts, Verdict{r.Job.Item, Failed})
			default:
				left[i] = append(left[i], r)
			}
		}
		if len(verdicts) > 0 {
			g.Go(func() error {
				return p.Settled(settling, spec.ID, Part{items[0].Job.Part, items[0].Job.Items}, verdicts)
			})
		}
	}
	return left, g.Wait()
}

// terminals are the terminal objects of items that are there. They are listed
// where the items follow one another as keys do; else each is asked for.
func (p *Planner) terminals(ctx context.Context, spec Spec, items []request.Request) (map[storage.Ref]bool, error) {
	there := map[storage.Ref]bool{}
	want := map[storage.Ref]bool{}
	outputs, failures := p.Locations.JobFolders(spec.ID)
	for _, kind := range []struct {
		folder storage.Ref
		of     func(request.Request) storage.Ref
	}{{outputs, p.Locations.OutputOf}, {failures, p.Locations.FailureOf}} {
		keys := make([]storage.Ref, len(items))
		for i, r := range items {
			keys[i] = kind.of(r)
			want[keys[i]] = true
		}
		ok, err := p.listBetween(ctx, kind.folder, keys, there)
		if err == nil && !ok {
			err = p.askEach(ctx, keys, there)
		}
		if err != nil {
			return nil, err
		}
	}
	maps.DeleteFunc(there, func(ref storage.Ref, _ bool) bool { return !want[ref] })
	return there, nil
}

// listBetween lists from the first of keys to the last. ok is false when so many
// others lie between them that it gave up.
func (p *Planner) listBetween(ctx context.Context, folder storage.Ref, keys []storage.Ref, there map[storage.Ref]bool) (ok bool, err error) {
	first, last := keys[0].Key, keys[0].Key
	for _, k := range keys {
		first, last = min(first, k.Key), max(last, k.Key)
	}
	if keys[0].Key != first {
		return false, nil // a manifest's own order
	}
	if err := p.askEach(ctx, keys[:1], there); err != nil { // the listing begins behind it
		return false, err
	}
	seen := 0
	for info, err := range p.Store.List(ctx, folder, first) {
		if err != nil {
			return false, err
		}
		if info.Ref.Key > last {
			break
		}
		if seen++; seen > 4*len(keys)+1000 {
			return false, nil
		}
		there[storage.Ref{Bucket: info.Ref.Bucket, Key: info.Ref.Key}] = true
	}
	return true, nil
}

// askEach asks for each of keys.
func (p *Planner) askEach(ctx context.Context, keys []storage.Ref, there map[storage.Ref]bool) error {
	found := make([]bool, len(keys))
	g, asking := errgroup.WithContext(ctx)
	g.SetLimit(2 * atATime)
	for i, k := range keys {
		g.Go(func() (err error) {
			found[i], err = exists(asking, p.Store, k)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, k := range keys {
		if found[i] {
			there[k] = true
		}
	}
	return nil
}
