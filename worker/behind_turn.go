package worker

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/worker/job"
)

// concurrency is how many parts of a job are at work here at a time.
type concurrency struct {
	parts *semaphore.Weighted

	// Guarded by behind.mu.
	users int           // at work or waiting
	took  time.Duration // a part of late; a second before it is known
	until time.Time     // about when all that were put off will have had their turn
}

// turnError puts off a part of a job whose turn is not soon, for about so long,
// and at most mostPutOff. It goes back as a new message, so that others' parts
// pass it: one that is handed back would count as delivered.
type turnError struct{ delay time.Duration }

func (*turnError) Error() string { return "as many parts of its job are under way here as may be" }

const (
	soon       = 5 * time.Second
	mostPutOff = 2 * time.Minute
)

// putOff is for how long the next part is put off. most are under way at a time.
func (c *concurrency) putOff(most int) time.Duration {
	now := time.Now()
	if c.until.Before(now) {
		c.until = now
	}
	c.until = c.until.Add(c.took / time.Duration(most))
	if latest := now.Add(mostPutOff); c.until.After(latest) {
		c.until = latest
		return jitter(mostPutOff) // or all of a long queue would come at the same time
	}
	return c.until.Sub(now)
}

// admit waits until a part of the job may be begun, where that has a limit of
// its own, or until ctx is done. One that comes for the first time waits only if
// its turn is soon, or no other waits, and keeps nobody else from coming: passing
// is called. Else the error is a *turnError. One that comes again always waits:
// a new message would not say what happened to it.
func (b *behind) admit(ctx context.Context, spec job.Spec, first bool, passing func()) (leave func(), err error) {
	most := spec.MaxConcurrency
	if most <= 0 {
		return func() {}, nil
	}
	b.mu.Lock()
	c := b.jobs[spec.ID]
	if c == nil {
		c = &concurrency{parts: semaphore.NewWeighted(int64(most)), took: time.Second}
		b.jobs[spec.ID] = c
	}
	waiting := c.users - most
	if first && waiting > 0 && (waiting >= queue.MaxBatch || c.took*time.Duration(waiting)/time.Duration(most) > soon) {
		delay := c.putOff(most)
		b.mu.Unlock()
		return nil, &turnError{delay}
	}
	c.users++
	b.mu.Unlock()
	admitted := c.parts.TryAcquire(1)
	if !admitted {
		if first {
			passing()
		}
		admitted = c.parts.Acquire(ctx, 1) == nil
	}
	began := time.Now()
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if admitted {
			c.parts.Release(1)
			c.took = time.Since(began)
		}
		if c.users--; c.users == 0 {
			delete(b.jobs, spec.ID)
		}
	}, nil
}
