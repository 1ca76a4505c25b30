package status

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/penstock/penstock/cmd/internal/fleet"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// How Wait paces itself. An idle worker has a small result in some 8 ms; what
// is not there after a second is looked for every second.
const (
	firstPause = 2 * time.Millisecond
	maxPause   = time.Second
	patience   = 15 * time.Second // with a store that only gives errors
	lastLook   = 2 * time.Second  // for what else there is to say when the time is over
)

// Wait gives the status of the request of that ID when it has ended. When ctx
// is done before, it gives the last status with context.Cause(ctx) as its
// error. It looks often at first and every second later, with 2 HEADs each
// time. A request that nothing is known of is fs.ErrNotExist at once.
func (f *Finder) Wait(ctx context.Context, id string) (Status, error) {
	r, known, err := f.request(ctx, id)
	if err != nil {
		return Status{}, err
	}
	if !known {
		if s, err := f.ByID(ctx, id); err != nil || s.State.Ended() {
			return s, err
		}
	}
	return f.WaitFor(ctx, r)
}

// WaitFor is Wait for a request that the caller has just accepted
// (intake.Accepted.Request): it saves looking up the record.
func (f *Finder) WaitFor(ctx context.Context, accepted request.Request) (Status, error) {
	var faultySince time.Time
	for pause := firstPause; ; pause = min(pause*3/2, maxPause) {
		s, err := f.ended(ctx, accepted)
		switch {
		case err == nil && s.State.Ended():
			return s, nil
		case ctx.Err() != nil:
			return f.unfinished(ctx, s)
		case errors.Is(err, storage.ErrForbidden):
			return s, err
		case err == nil:
			faultySince = time.Time{}
		case faultySince.IsZero():
			faultySince = time.Now()
		case time.Since(faultySince) > patience:
			return s, err
		}
		select {
		case <-ctx.Done():
			return f.unfinished(ctx, s)
		case <-time.After(pause):
		}
	}
}

// unfinished is what Wait returns of a request that has not ended in time.
func (f *Finder) unfinished(ctx context.Context, s Status) (Status, error) {
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
	defer cancel()
	s, _ = f.pending(look, s, s.ID) // whatever can't be told, it waits
	return s, fmt.Errorf("the request has not ended yet: %w", context.Cause(ctx))
}

// The bounds of RetryAfter.
const (
	soonest = time.Second
	latest  = 5 * time.Minute
)

// RetryAfter is when it is worth looking for the result of a request that is
// accepted now: what waits in the queue, times what a request costs as the
// workers have learned, and what they hold already, shared by those that are at
// work. It is in whole seconds, at least one and at most five minutes; where
// nothing is known it is one. It is cached for some seconds, and never an
// error: a guess is good enough.
func (f *Finder) RetryAfter(ctx context.Context) time.Duration {
	workers, err := f.fleet.get(ctx, remembered, func(ctx context.Context) (fleet.Fleet, error) {
		return fleet.Read(ctx, f.Store, f.Locations, f.now())
	})
	if err != nil {
		return soonest
	}
	waiting, err := f.backlog.get(ctx, remembered, func(ctx context.Context) (int, error) {
		if f.Queue == nil {
			return 0, nil
		}
		a, err := f.Queue.Attributes(ctx)
		return a.Visible, err
	})
	if err != nil {
		waiting = 0
	}
	held, cost, n := 0.0, 0.0, 0
	for _, s := range workers.Live {
		held += s.QueuedSeconds
		if s.SecondsPerRequest > 0 {
			cost += s.SecondsPerRequest
			n++
		}
	}
	if n == 0 { // they are idle; the last one that was not has told
		cost, n = workers.Latest.SecondsPerRequest, 1
	}
	seconds := (held + float64(waiting)*cost/float64(n)) / float64(max(1, len(workers.Live)))
	seconds = min(seconds, latest.Seconds())
	return max(soonest, time.Duration(math.Ceil(seconds))*time.Second)
}
