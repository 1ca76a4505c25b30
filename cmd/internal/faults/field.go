//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/cmd/internal/faults/stage"
	"github.com/penstock/penstock/queue/request"
)

// field is where a scenario takes place.
type field struct {
	bucket    string // and the queue's name
	locations request.Locations
	servers   *servers
	s3Stage   *stage.Stage
	sqsStage  *stage.Stage
	ledger    *ledger
	fleet     *fleet
	inputs    []*input
	say       func(format string, args ...any)

	mu     sync.Mutex // of what follows
	feeder *feeder
	events []occurrence
}

// occurrence is a fault that has taken place.
type occurrence struct {
	step
	ended time.Time
	times int
}

// close ends the workers, then what stands between them and the servers.
func (f *field) close() error {
	var errs []error
	if f.fleet != nil {
		errs = append(errs, f.fleet.close())
	}
	for _, s := range []*stage.Stage{f.s3Stage, f.sqsStage} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// wave sends the next n inputs.
func (f *field) wave(ctx context.Context, n int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.feeder.wave(ctx, n)
}

// run goes through the schedule: every fault strikes workers that have just
// been given work, and a last wave shows that all is well afterwards.
func (f *field) run(ctx context.Context, steps []step) error {
	share := (len(f.feeder.left) + len(steps)) / (len(steps) + 1)
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	before := make(chan struct{})
	close(before)
	for _, s := range steps {
		previous, over := before, make(chan struct{})
		before = over
		g.Go(func() error {
			defer close(over)
			if s.after {
				<-previous
			}
			if err := f.step(ctx, start, s, share); err != nil {
				return fmt.Errorf("%s: %w", s.what, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return f.wave(context.WithoutCancel(ctx), len(f.feeder.left))
}

func (f *field) step(ctx context.Context, start time.Time, s step, share int) error {
	before, during := share, 0
	if s.lasts > 0 {
		before = share / 2
		during = share - before
	}
	if err := sleep(ctx, time.Until(start.Add(s.at-s.lead))); err != nil {
		return err
	}
	if err := f.wave(ctx, before); err != nil {
		return err
	}
	if err := sleep(ctx, time.Until(start.Add(s.at))); err != nil {
		return err
	}
	f.say("%s", s)
	began := time.Now()
	undo, err := s.act(ctx, f)
	if err != nil {
		return err
	}
	err = sleep(ctx, s.lasts/2)
	if err == nil {
		err = f.wave(ctx, during)
	}
	if err == nil {
		err = sleep(ctx, time.Until(began.Add(s.lasts)))
	}
	times, undone := undo(context.WithoutCancel(ctx))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, occurrence{s, time.Now(), times})
	return errors.Join(err, undone)
}

// terminal says when the input got the terminal object that it has. ok is
// false when it has none.
func (f *field) terminal(in *input) (at time.Time, ok bool) {
	if at, ok = f.ledger.stands(f.locations.OutputOf(in.request)); ok {
		return at, true
	}
	return f.ledger.stands(f.locations.FailureOf(in.request))
}

// settled waits until everything that was sent has a terminal object and the
// queue is empty, at most for limit. It says what it waited for in vain.
func (f *field) settled(ctx context.Context, limit time.Duration) (missing string, err error) {
	over := time.Now().Add(limit)
	for {
		left := 0
		for _, in := range f.inputs {
			if _, ok := f.terminal(in); !ok && !in.sent.IsZero() {
				left++
			}
		}
		a, err := f.servers.queue(f.bucket).Attributes(ctx)
		if err != nil {
			return "", err
		}
		if left == 0 && a.Visible+a.InFlight+a.Delayed == 0 {
			return "", nil
		}
		if time.Now().After(over) {
			return fmt.Sprintf("after %v, %d inputs have no terminal object; in the queue are %d messages visible, %d in flight, %d delayed",
				limit, left, a.Visible, a.InFlight, a.Delayed), nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// recovery is how long the faults were felt when they were over: from the end
// of the last until the last input that was sent before it had its terminal
// object. An input that is a fault itself is felt from when it was sent until
// it has its failure object.
func (f *field) recovery() time.Duration {
	var over time.Time
	for _, e := range f.events {
		if e.ended.After(over) {
			over = e.ended
		}
	}
	var longest time.Duration
	for _, in := range f.inputs {
		at, ok := f.terminal(in)
		switch {
		case !ok:
		case verdicts[in.kind] != "":
			longest = max(longest, at.Sub(in.sent))
		case in.sent.Before(over):
			longest = max(longest, at.Sub(over))
		}
	}
	return longest
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
