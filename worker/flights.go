package worker

import (
	"context"
	"sync"

	"github.com/penstock/penstock/queue/request"
)

// flights makes deliveries of one identity that come at the same time go one
// after the other in this worker.
type flights struct {
	mu sync.Mutex
	up map[request.Identity]chan struct{} // closed on landing
}

// board waits until nobody else is up for the identity, and takes off. waited
// says that somebody was.
func (f *flights) board(ctx context.Context, id request.Identity) (land func(), waited bool, err error) {
	for {
		f.mu.Lock()
		other, busy := f.up[id]
		if !busy {
			if f.up == nil {
				f.up = make(map[request.Identity]chan struct{})
			}
			up := make(chan struct{})
			f.up[id] = up
			f.mu.Unlock()
			return func() {
				f.mu.Lock()
				delete(f.up, id)
				f.mu.Unlock()
				close(up)
			}, waited, nil
		}
		f.mu.Unlock()
		waited = true
		select {
		case <-other:
		case <-ctx.Done():
			return nil, waited, context.Cause(ctx)
		}
	}
}
