//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
)

// Live requests: one so often, and looked at so often until its result is there.
const (
	livePause = 50 * time.Millisecond
	liveLook  = 5 * time.Millisecond
)

// besideLive measures live requests without a job and beside one.
func (p *jobProof) besideLive(ctx context.Context) error {
	if err := p.uploadRows(ctx, "in/beside/", p.beside); err != nil {
		return err
	}
	dismiss, err := p.staff(ctx, 1)
	if err != nil {
		return err
	}
	defer dismiss()
	alone, cancel := context.WithTimeout(ctx, 20*time.Second)
	before, err := p.live(alone, "alone")
	cancel()
	if err != nil {
		return err
	}
	p.say("beside live", "a live request took %s without a job (%d requests)", quantiles(before), len(before))
	source := "s3://" + jobBucket + "/in/beside/"
	for _, job := range []struct {
		name, what string
		args       []string
	}{
		{"beside", "beside a job", []string{source}},
		// S3 and SQS run on this very machine: fewer calls of the job at a time leave
		// them more of it.
		{"narrow", "beside a job of 8 objects at a time", []string{"-references-per-message", "8", "-max-concurrency", "1", "-include", "0?/*", source}},
	} {
		if err := p.besideJob(ctx, job.name, job.what, job.args); err != nil {
			return err
		}
	}
	return nil
}

// besideJob measures live requests beside one job.
func (p *jobProof) besideJob(ctx context.Context, name, what string, args []string) error {
	beside, over := context.WithCancel(ctx)
	var during []time.Duration
	var liveErr error
	var wg sync.WaitGroup
	began := time.Now()
	wg.Go(func() { during, liveErr = p.live(beside, name) })
	_, err := p.penstock(ctx, append([]string{"batch", "submit", "-wait", "-o", "json", "-id", name}, args...)...)
	took := time.Since(began)
	over()
	wg.Wait()
	if err := errors.Join(err, liveErr); err != nil {
		return err
	}
	s, err := p.summary(ctx, name)
	if err != nil {
		return err
	}
	n := s.Objects.Submitted
	p.say("beside live", "%s: %s (%d requests, %d objects at %.0f a second)", what, quantiles(during), len(during), n, float64(n)/took.Seconds())
	return nil
}

func quantiles(d []time.Duration) string {
	if len(d) == 0 {
		return "nothing"
	}
	slices.Sort(d)
	ms := func(q float64) float64 { return float64(d[int(q*float64(len(d)-1))].Microseconds()) / 1000 }
	return fmt.Sprintf("%.0f ms at p50, %.0f ms at p99", ms(0.5), ms(0.99))
}

// live sends requests, one after the other at fixed times, until ctx is done,
// and gives how long each took from its send to its result.
func (p *jobProof) live(ctx context.Context, name string) (took []time.Duration, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	input := at("in/live.json")
	if err := p.upload(ctx, input, []byte(`{"instances": [[7, 1]]}`)); err != nil {
		return nil, err
	}
	working := context.WithoutCancel(ctx) // what was sent is waited for
	send := func(n int) error {
		r := request.Request{ID: fmt.Sprintf("%s-%d", name, n), Input: input}
		body, err := request.Encode(r)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := errors.Join(p.servers.queue(jobBucket).Send(working, queue.Outgoing{Body: body})...); err != nil {
			return err
		}
		for {
			_, err := p.servers.store.Head(working, p.places.OutputOf(r))
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(began))
				return nil
			}
			if !errors.Is(err, fs.ErrNotExist) || time.Since(began) > time.Minute {
				return fmt.Errorf("the live request %s has no result: %w", r.ID, err)
			}
			time.Sleep(liveLook)
		}
	}
	ticks := time.NewTicker(livePause)
	defer ticks.Stop()
	for n := 0; ; n++ {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			wg.Wait()
			return took, err
		}
		wg.Go(func() {
			if e := send(n); e != nil {
				mu.Lock()
				defer mu.Unlock()
				err = e
			}
		})
	}
}
