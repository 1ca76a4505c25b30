package job

import (
	"context"
	"errors"
	"sync"
	"time"
)

// checks lets many who ask the same at the same time share one answer. An
// answer counts for who asked before it was begun, so that what they wrote is in
// it. Between the beginnings of two for the same name is a while: of a group of a
// thousand parts that end within seconds, each costs a few listings instead of a
// thousand. The zero value is ready.
type checks struct {
	mu    sync.Mutex
	names map[string]*asking
}

// checkEvery is how often one process looks at the same thing.
const checkEvery = 50 * time.Millisecond

// asking are the rounds of one name.
type asking struct {
	waiting *round        // not begun; nil when nobody asks
	ended   chan struct{} // closed when the round under way has ended; nil when there is none
	began   time.Time     // of the last one
}

type round struct {
	done chan struct{}
	err  error
}

// errLeft ends a round whose leader gave up: those who wait begin another.
var errLeft = errors.New("who asked gave up")

// do runs check, or has it run by another.
func (c *checks) do(ctx context.Context, name string, check func(context.Context) error) error {
	for {
		r, leads := c.join(name)
		if leads {
			return c.lead(ctx, name, r, check)
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if !errors.Is(r.err, errLeft) {
			return r.err
		}
	}
}

func (c *checks) join(name string) (r *round, leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.names[name]
	if a == nil {
		a = &asking{}
		if c.names == nil {
			c.names = map[string]*asking{}
		}
		c.names[name] = a
	}
	if a.waiting != nil {
		return a.waiting, false
	}
	a.waiting = &round{done: make(chan struct{})}
	return a.waiting, true
}

// lead runs a round when the one before has ended and its time has come.
func (c *checks) lead(ctx context.Context, name string, r *round, check func(context.Context) error) error {
	c.mu.Lock()
	a := c.names[name]
	before, wait := a.ended, time.Until(a.began.Add(checkEvery))
	c.mu.Unlock()
	err := pause(ctx, wait)
	if before != nil && err == nil {
		select {
		case <-before:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	c.mu.Lock()
	a.waiting = nil // who comes now is too late for this round
	if err == nil {
		a.ended, a.began = r.done, time.Now()
	}
	c.mu.Unlock()
	if err == nil {
		err = check(ctx)
	}
	if r.err = err; ctx.Err() != nil {
		r.err = errLeft
	}
	close(r.done)
	c.forget(name, r)
	return err
}

// forget drops a name that nobody has asked for since, once it has been quiet
// for long enough that the pause would not count any more.
func (c *checks) forget(name string, r *round) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.names[name]; a != nil && a.waiting == nil && a.ended == r.done {
		a.ended = nil
	}
	if len(c.names) < 1024 {
		return
	}
	for name, a := range c.names {
		if a.waiting == nil && a.ended == nil && time.Since(a.began) > checkEvery {
			delete(c.names, name)
		}
	}
}
