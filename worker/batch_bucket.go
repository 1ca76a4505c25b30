package worker

import (
	"slices"
	"time"
)

// bucketKey is what items must share to be in one run.
type bucketKey struct {
	policy *policy // of their signature
	shape  string  // of all inputs, but for the first dimension, filled up
	lane   lane
	single bool // there is one item in a run
}

// bucket holds what waits for one kind of run, in two lines, oldest first.
//
// Small items are those of at most half a batch; a larger one, or a piece of
// something larger, is large. Were there one line, a small item would wait for
// all that large ones had sent before it. So the lines take turns, and what
// one leaves of a batch is filled from the other.
type bucket struct {
	key   bucketKey
	model *shareholder
	cost  *cost
	lines [2][]*entry // by class
}

// class is one of a bucket's lines.
type class int

const (
	smalls class = iota
	larges
)

func (e *entry) class() class {
	if e.small {
		return smalls
	}
	return larges
}

// other is the class that fills what c leaves.
func (c class) other() class { return 1 - c }

// bucketFor gives the bucket of a key.
func (b *batcher) bucketFor(key bucketKey) *bucket {
	q := b.buckets[key]
	if q == nil {
		h := holding{model: key.policy.model.Name(), background: key.lane == background}
		q = &bucket{key: key, model: b.shareholder(h), cost: key.policy.costOf(key.shape)}
		b.buckets[key] = q
	}
	return q
}

// line makes e stand last in its line.
func (b *batcher) line(q *bucket, e *entry) {
	b.arrive(q.model)
	q.model.waiting++
	b.turns++
	e.queue, e.turn, e.queued = q, b.turns, time.Now()
	q.lines[e.class()] = append(q.lines[e.class()], e)
	b.buckets[q.key] = q // it may have been empty
}

// unline takes e out of its line, if it stands in one.
func (b *batcher) unline(e *entry) {
	q := e.queue
	if q == nil {
		return
	}
	line := &q.lines[e.class()]
	if i := slices.Index(*line, e); i >= 0 {
		*line = slices.Delete(*line, i, i+1)
	}
	e.queue = nil
	q.model.waiting--
	if q.empty() {
		delete(b.buckets, q.key)
	}
}

func (q *bucket) empty() bool { return len(q.lines[smalls])+len(q.lines[larges]) == 0 }

// oldest is the entry that came first of those that wait.
func (q *bucket) oldest() (first *entry) {
	for _, line := range q.lines {
		if len(line) > 0 && (first == nil || line[0].before(first)) {
			first = line[0]
		}
	}
	return first
}

// maxItems is how many items may be in one run.
func (q *bucket) maxItems() int {
	switch {
	case q.key.policy.single.Load() || q.key.lane == solo || q.key.single:
		return 1
	case q.key.lane == suspects:
		return maxSuspects
	}
	return int(q.key.policy.maxRows) // empty items have no rows
}

// compose gives the shares of a run of at most that many rows, led by a class.
// full says that more items would not make it larger.
func (q *bucket) compose(lead class, most int64) (shares []*share, rows int64, full bool) {
	maxItems := q.maxItems()
	for _, c := range []class{lead, lead.other()} {
		for _, e := range q.lines[c] {
			n := e.rest()
			if e.divisible() {
				n = max(0, min(n, most-rows)) // the first can be larger than that
			}
			if len(shares) == maxItems || len(shares) > 0 && (rows+n > most || n == 0 && e.rows > 0) {
				full = true
				break
			}
			shares = append(shares, &share{entry: e, from: e.taken, to: e.taken + n})
			rows += n
		}
	}
	return shares, rows, full || rows >= most || len(shares) == maxItems
}

// next gives the shares of the next run, led by a class.
//
// Among the sizes that a run may have it takes the one with which what waits
// now costs least. Nine rows and sizes 8 and 16: filled up to 16 they are
// done in one run; or the first eight go now, and the last is filled up to 8 in
// a second, or goes with what has come by then. The learned cost says which. As
// long as nothing is known, it is the one run.
func (q *bucket) next(lead class) []*share {
	p := q.key.policy
	shares, rows, _ := q.compose(lead, p.maxRows)
	if p.single.Load() || q.cost.runs == 0 || p.size(rows) == rows {
		return shares
	}
	least := q.cost.seconds(p.size(rows))
	for _, size := range slices.Backward(p.sizes) {
		if size >= rows {
			continue
		}
		some, n, _ := q.compose(lead, size)
		if n == 0 || n > size {
			continue // an item that does not fit into that size
		}
		if s := q.cost.seconds(size) + q.cost.seconds(p.size(rows-n)); s < least {
			shares, least = some, s
		}
	}
	return shares
}

// patience is how long the bucket's oldest item still waits for others. One
// class leads as well as the other here.
func (q *bucket) patience() time.Duration {
	p := q.key.policy
	if p.timeout <= 0 || q.maxItems() == 1 {
		return 0
	}
	if _, _, full := q.compose(smalls, p.maxRows); full {
		return 0
	}
	wait := p.timeout
	for _, line := range q.lines {
		for _, e := range line { // pieces of a large one stand behind younger ones
			wait = min(wait, p.timeout-time.Since(e.since))
		}
	}
	return wait
}

// seconds is how long the runs will take for all that waits in the bucket.
func (q *bucket) seconds(c *cost) float64 {
	p := q.key.policy
	rows, items := int64(0), int64(0)
	for _, line := range q.lines {
		for _, e := range line {
			rows += e.rest()
			items++
		}
	}
	if q.maxItems() == 1 {
		return float64(items) * c.seconds(rows/items)
	}
	full := rows / p.maxRows
	s := float64(full) * c.seconds(p.maxRows)
	if rest := rows % p.maxRows; rest > 0 || rows == 0 {
		s += c.seconds(p.size(rest))
	}
	return s
}
