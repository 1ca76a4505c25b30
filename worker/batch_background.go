package worker

// What runs in the background, items of batch jobs, waits for everything else:
//
//   - A run is led by it when nothing else waits that may run. So a request
//     that comes then is delayed by that run, and by no other.
//   - A run that ordinary items lead is filled up with it, as far as that
//     costs them little.
//   - Beside requests without end it leads one run in yields + 1.

const (
	// yields is how many runs in a row others may lead while background waits:
	// a job goes on, slowly, on a worker that is never idle.
	yields = 31
	// stretch is how much longer a run may become by what fills it up from the
	// background.
	stretch = 1.25
)

// turn picks who has the next run of those that may, each of which is given
// with its oldest entry; nil when there is none.
func (b *batcher) turn(candidates map[*shareholder]*entry) *shareholder {
	first, behind := least(candidates, false), least(candidates, true)
	switch {
	case behind == nil:
		b.yielded = 0
		return first
	case first == nil || b.yielded >= yields:
		b.yielded = 0
		return behind
	}
	b.yielded++
	return first
}

// least is the one, in the background or not, that has had least of the
// runners' time.
func least(candidates map[*shareholder]*entry, background bool) (next *shareholder) {
	for m, oldest := range candidates {
		if m.background != background {
			continue
		}
		if next == nil || m.share() < next.share() || m.share() == next.share() && oldest.before(candidates[next]) {
			next = m
		}
	}
	return next
}

// fill adds to the shares of a run of q what there is room for from the
// background.
func (b *batcher) fill(q *bucket, shares []*share) []*share {
	behind := b.buckets[bucketKey{policy: q.key.policy, shape: q.key.shape, lane: background}]
	if q.key.lane != ordinary || q.key.single || behind == nil {
		return shares
	}
	rows := int64(0)
	for _, s := range shares {
		rows += s.length()
	}
	room := q.room(rows) - rows
	if room <= 0 || len(shares) >= q.maxItems() {
		return shares
	}
	more, n, _ := behind.compose(smalls, room)
	if n > room { // the first of them is larger
		return shares
	}
	return append(shares, more[:min(len(more), q.maxItems()-len(shares))]...)
}

// room is how many rows a run of that many may have once it is filled up: as
// many as it would be filled up to anyway, and more where it hardly takes
// longer.
func (q *bucket) room(rows int64) int64 {
	p := q.key.policy
	if p.single.Load() {
		return rows
	}
	room := p.size(rows)
	if q.cost.runs == 0 {
		return room
	}
	longest := stretch * q.cost.seconds(room)
	for _, size := range p.sizes {
		if size > room && q.cost.seconds(size) <= longest {
			room = size
		}
	}
	if a, b := q.cost.line(); len(p.sizes) == 0 && a > 0 {
		room = max(room, min(int64((longest-b)/a), p.maxRows))
	} else if len(p.sizes) == 0 {
		room = p.maxRows
	}
	return room
}
