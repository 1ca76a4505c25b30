package worker

import (
	"context"
	"sync"
	"time"

	"github.com/penstock/penstock/queue"
)

// queueCalls joins the acknowledgements and releases of many goroutines into
// calls of ten, as SQS bills by the call.
type queueCalls struct {
	queue queue.Receiver

	mu      sync.Mutex
	waiting map[time.Duration]*joined
}

// deletion stands for an acknowledgement where otherwise a visibility stands.
const deletion time.Duration = -1

// gathering is how long the first of a call waits for others.
const gathering = 10 * time.Millisecond

// joined is one call in the making.
type joined struct {
	messages []*queue.Message
	full     chan struct{} // closed when no more fit
	over     chan struct{} // closed when errs is set
	errs     []error
}

// do deletes m, or changes its visibility to what, with others that want the
// same now. The first of them makes the call, under its ctx.
func (c *queueCalls) do(ctx context.Context, what time.Duration, m *queue.Message) error {
	j, index := c.join(what, m)
	if index == 0 {
		c.lead(ctx, what, j)
	}
	<-j.over
	return j.errs[index]
}

func (c *queueCalls) join(what time.Duration, m *queue.Message) (*joined, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.waiting[what]
	if j == nil {
		j = &joined{full: make(chan struct{}), over: make(chan struct{})}
		if c.waiting == nil {
			c.waiting = make(map[time.Duration]*joined)
		}
		c.waiting[what] = j
	}
	j.messages = append(j.messages, m)
	if len(j.messages) == queue.MaxBatch {
		delete(c.waiting, what)
		close(j.full)
	}
	return j, len(j.messages) - 1
}

func (c *queueCalls) lead(ctx context.Context, what time.Duration, j *joined) {
	t := time.NewTimer(gathering)
	defer t.Stop()
	select {
	case <-j.full:
	case <-t.C:
	}
	c.mu.Lock()
	if c.waiting[what] == j {
		delete(c.waiting, what)
	}
	c.mu.Unlock()
	if what == deletion {
		j.errs = c.queue.Delete(ctx, j.messages...)
	} else {
		j.errs = c.queue.ChangeVisibility(ctx, what, j.messages...)
	}
	close(j.over)
}
