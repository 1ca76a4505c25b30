package worker

import (
	"math"
	"time"
)

// leads is how many runs in a row small items lead while large ones wait. What
// the small ones leave of those goes to the large ones too, so large items
// have a quarter of the runs and all room that is left, however many small
// ones come.
const leads = 3

// shareholder is a model as far as it shares the runners with others. Each is
// due the same time of them while it has work: the one that had least so far
// goes next. So a model whose runs are short or whose requests are few does
// not wait for all that another had sent before. What a model does in the
// background is shared by itself, or it would be held against its requests.
type shareholder struct {
	holding
	had     float64 // seconds of the runners' time, in runs that have ended
	due     float64 // seconds that its runs under way are expected to take
	waiting int     // items
	running int     // runs under way
	lent    int     // of those, the ones whose runner is lent to other models
	led     int     // runs in a row that small items led while large ones waited
	cost    *cost   // of all its runs, of whatever shape, in the background too
	ready   [2]*bucket
}

// holding is what the runners' time is shared by.
type holding struct {
	model      string
	background bool
}

func (b *batcher) shareholder(h holding) *shareholder {
	m := b.models[h]
	if m == nil {
		m = &shareholder{holding: h, cost: new(cost)}
		if h.background {
			m.cost = b.shareholder(holding{model: h.model}).cost
		}
		b.models[h] = m
	}
	return m
}

// share is what m will have had when its runs under way have ended.
func (m *shareholder) share() float64 { return m.had + m.due }

func (m *shareholder) active() bool { return m.waiting+m.running > 0 }

// arrive is called before work of m's comes in. Time that a model did not use
// while it had no work is not saved up: it goes on from where the least of its
// rivals is, or the one is that had most.
func (b *batcher) arrive(m *shareholder) {
	if m.active() {
		return
	}
	least, most := math.Inf(1), 0.0
	for _, other := range b.models {
		if other.background != m.background {
			continue
		}
		if most = max(most, other.had); other.active() {
			least = min(least, other.had)
		}
	}
	if math.IsInf(least, 1) {
		least = most
	}
	m.had = max(m.had, least)
}

// batch is a run of the model and what is in it.
type batch struct {
	*bucket
	shares   []*share
	began    time.Time
	expected float64 // seconds
	lent     bool    // its runner is lent to other models
}

// engage makes a runner look for work: one that is idle, or else one that
// waits for a batch to fill.
func (b *batcher) engage() {
	if b.idle > 0 {
		b.idle--
		b.runners.Go(b.run)
		return
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// run is a runner: it gathers and runs batches until nothing waits, or it comes
// out of a long run and another has its place.
func (b *batcher) run() {
	for {
		batch, wait := b.gather()
		switch {
		case batch != nil:
			b.runShares(batch, batch.shares)
			if !b.landed(batch) {
				return
			}
		case wait == 0:
			return // gather gave the runner back
		default:
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-b.wake:
			}
			t.Stop()
		}
	}
}

// gather takes the next batch. When there is none yet it says how long to wait
// for one; with nothing to wait for it gives the runner back and says 0.
func (b *batcher) gather() (*batch, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q, lead, soonest := b.choose()
	if b.stopped() || q == nil && soonest == 0 {
		b.idle++
		return nil, 0
	}
	if q == nil {
		return nil, soonest
	}
	batch := &batch{bucket: q, shares: b.fill(q, q.next(lead)), began: time.Now()}
	rows := int64(0)
	for _, s := range batch.shares {
		rows += s.length()
		b.take(s, batch)
	}
	if len(batch.shares) == 1 {
		batch.shares[0].alone = true
	}
	batch.expected = q.cost.seconds(q.key.policy.size(rows))
	q.model.due += batch.expected
	q.model.running++
	b.flying[batch] = struct{}{}
	if len(b.buckets) > 0 {
		b.engage() // what came in may be enough for several runners
	}
	return batch, 0
}

// take moves a share from its line to a run. What is left of a large item goes
// to the end of its line.
func (b *batcher) take(s *share, to *batch) {
	e, q := s.entry, s.queue
	b.unline(e)
	s.began, s.waited = to.began, to.began.Sub(e.queued)
	if e.taken = s.to; e.rest() > 0 {
		b.line(q, e)
	}
	e.flying = append(e.flying, s)
	if !e.hasBegun() {
		e.wait = to.began.Sub(e.since)
		close(e.begun)
	}
}

// lend gives the place of a runner that is in a long run to other models: one
// that hangs is not to hold up the rest. The model itself runs nothing else
// meanwhile, so that however long its runs are no more of them are in memory at
// a time than there are runners.
func (b *batcher) lend(batch *batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if batch.lent {
		return
	}
	batch.lent = true
	batch.model.lent++
	b.idle++
	b.engage()
}

// landed notes that a run has ended. It says whether its runner still has a
// place: one that was lent is taken back only if nobody is in it.
func (b *batcher) landed(batch *batch) (placed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.flying, batch)
	batch.model.running--
	batch.model.due -= batch.expected
	if batch.model.running == 0 {
		batch.model.due = 0 // whatever was lost in rounding
	}
	batch.model.had += time.Since(batch.began).Seconds()
	if !batch.lent {
		return true
	}
	batch.model.lent--
	placed = b.idle > 0
	if placed {
		b.idle--
	} else {
		b.engage() // the model may run again
	}
	return placed
}

// choose gives the bucket of the next run and the class that leads it; without
// one, how long until there can be one, or 0 when nothing waits that may run.
func (b *batcher) choose() (q *bucket, lead class, soonest time.Duration) {
	candidates, soonest := b.candidates()
	next := b.turn(candidates)
	if next == nil {
		return nil, smalls, soonest
	}
	switch {
	case next.ready[larges] == nil:
		return next.ready[smalls], smalls, 0
	case next.ready[smalls] != nil && next.led < leads:
		next.led++
		return next.ready[smalls], smalls, 0
	}
	next.led = 0
	return next.ready[larges], larges, 0
}

// candidates gives the models with buckets that may run now, each with its
// oldest entry; in ready, the models have their bucket for each class, that
// with the oldest entry.
func (b *batcher) candidates() (candidates map[*shareholder]*entry, soonest time.Duration) {
	candidates = make(map[*shareholder]*entry, len(b.models))
	alone := b.alone()
	if alone != nil && len(b.flying) > 0 {
		return nil, 0 // the runner of the last run looks again
	}
	for _, q := range b.buckets {
		p, m := q.key.policy, q.model
		if alone != nil && q != alone || b.full(m.model, p.concurrent) {
			continue // whoever ends the run that is in the way looks again
		}
		if wait := q.patience(); wait > 0 {
			if soonest == 0 || wait < soonest {
				soonest = wait
			}
			continue
		}
		if candidates[m] == nil {
			m.ready = [2]*bucket{}
		}
		for c, line := range q.lines {
			if len(line) == 0 {
				continue
			}
			if r := m.ready[c]; r == nil || line[0].before(r.lines[c][0]) {
				m.ready[c] = q
			}
			if candidates[m] == nil || line[0].before(candidates[m]) {
				candidates[m] = line[0]
			}
		}
	}
	return candidates, soonest
}

// full says that no further run of a model may start: so many as it takes at a
// time (0: any number) are under way, or one of them is long.
func (b *batcher) full(model string, concurrent int) bool {
	live, behind := b.shareholder(holding{model: model}), b.shareholder(holding{model, true})
	return live.lent+behind.lent > 0 || concurrent > 0 && live.running+behind.running >= concurrent
}

func (e *entry) before(other *entry) bool { return e.turn < other.turn }

// alone gives the bucket, if there is one, that what runs or waits alone is in:
// while it runs nothing else starts, and it starts when nothing else runs. The
// worker sees to that by its isolation, but a run goes on when the item that it
// was for has been given up.
func (b *batcher) alone() *bucket {
	for flying := range b.flying {
		if flying.key.lane == solo {
			return flying.bucket
		}
	}
	var first *bucket
	for key, q := range b.buckets {
		if key.lane != solo {
			continue
		}
		if first == nil || q.oldest().before(first.oldest()) {
			first = q
		}
	}
	return first
}
