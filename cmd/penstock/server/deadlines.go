package server

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/penstock/penstock/cmd/internal/sweep"
	"github.com/penstock/penstock/queue/request"
)

// deadlines remembers accepted requests whose time to live is shorter than the
// time between two sweeps. One that no worker has taken when its time is over
// has its caller told soon, rather than minutes later.
type deadlines struct {
	now func() time.Time

	mu   sync.Mutex
	list deadlineHeap
	more chan struct{} // there is a new first one; at most one element
}

// overdue is how long after its time a request is looked at: a little later
// than from when on sweeps let it expire.
const overdue = sweep.Margin + 3*time.Second

// maxDeadlines bounds what is remembered. What is more waits for a sweep.
const maxDeadlines = 100_000

type deadline struct {
	id string
	at time.Time
}

// newDeadlines takes the time by S3's clock; nil is this machine's.
func newDeadlines(now func() time.Time) *deadlines {
	if now == nil {
		now = time.Now
	}
	return &deadlines{now: now, more: make(chan struct{}, 1)}
}

// add remembers a request if its deadline comes before the sweep would.
func (d *deadlines) add(r request.Request) {
	if r.TTL <= 0 || r.TTL >= sweep.Every {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) >= maxDeadlines {
		return
	}
	heap.Push(&d.list, deadline{r.ID, r.Enqueued.Add(r.TTL + overdue)})
	select {
	case d.more <- struct{}{}:
	default:
	}
}

// due takes the requests whose time is over, and says when the next one's is.
func (d *deadlines) due() (ids []string, next time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.list) > 0 {
		if next := d.list[0].at.Sub(d.now()); next > 0 {
			return ids, next
		}
		ids = append(ids, heap.Pop(&d.list).(deadline).id)
	}
	return ids, sweep.Every
}

// run calls late with the requests whose time is over, until ctx is done. Those
// whose time ends meanwhile are taken together by the next call.
func (d *deadlines) run(ctx context.Context, late func(ctx context.Context, ids []string)) {
	for ctx.Err() == nil {
		ids, next := d.due()
		if len(ids) > 0 {
			late(ctx, ids)
			continue
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-d.more:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// deadlineHeap has the first deadline at its top.
type deadlineHeap []deadline

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h deadlineHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *deadlineHeap) Push(x any)        { *h = append(*h, x.(deadline)) }

func (h *deadlineHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
