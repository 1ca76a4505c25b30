package status

import (
	"context"
	"sync"
	"time"
)

// cached is a value that is asked for more often than it changes. One caller at
// a time loads it, and the others wait for that.
type cached[T any] struct {
	mu      sync.Mutex
	value   T
	loaded  time.Time
	loading chan struct{} // closed at the end; nil while nobody loads
}

// get gives the value, which is no older than life. An error is not remembered.
func (c *cached[T]) get(ctx context.Context, life time.Duration, load func(context.Context) (T, error)) (T, error) {
	for {
		c.mu.Lock()
		if !c.loaded.IsZero() && time.Since(c.loaded) < life {
			defer c.mu.Unlock()
			return c.value, nil
		}
		other := c.loading
		if other == nil {
			break
		}
		c.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			var none T
			return none, context.Cause(ctx)
		}
	}
	loading := make(chan struct{})
	c.loading = loading
	c.mu.Unlock()

	began := time.Now()
	value, err := load(ctx)
	c.mu.Lock()
	if err == nil {
		c.value, c.loaded = value, began
	}
	c.loading = nil
	c.mu.Unlock()
	close(loading)
	return value, err
}
