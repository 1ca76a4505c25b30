//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// fleet is the workers of one scenario and their supervisor, which starts a
// worker again whenever it has ended, as systemd or ECS do.
type fleet struct {
	slots []*slot
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

// slot is the place of one worker: the links and the log stay, the process
// comes and goes.
type slot struct {
	name    string
	s3, sqs *link
	program program
	log     *os.File
	start   *spawner

	mu      sync.Mutex
	worker  *worker // the running one, or nil
	changed chan struct{}
	told    bool // a signal of the rig's ends the running one
	ends    []end
}

// end is how a process of a slot ended.
type end struct {
	how     string // "exit status 1", "signal: killed"
	at      time.Time
	told    bool // the rig had asked for it
	working bool // it had got as far as to work
	last    bool // it was the end of the scenario
}

// upstreams are the hosts and ports that a worker's links lead to.
type upstreams struct{ s3, sqs string }

// restartPause is how long the supervisor waits before it starts a worker
// again.
const restartPause = 250 * time.Millisecond

// startFleet starts workers with a link each to both servers, and returns when
// all of them work.
func startFleet(ctx context.Context, start *spawner, l linker, to upstreams, n int, dir string, p program) (*fleet, error) {
	supervising, stop := context.WithCancel(ctx)
	f := &fleet{stop: stop}
	for i := range n {
		sl, err := newSlot(start, l, to, fmt.Sprintf("worker-%d", i+1), dir, p)
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		f.slots = append(f.slots, sl)
		f.wg.Go(func() { sl.supervise(supervising) })
	}
	if err := f.allWork(ctx); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func newSlot(start *spawner, l linker, to upstreams, name, dir string, p program) (*slot, error) {
	sl := &slot{name: name, start: start, program: p, changed: make(chan struct{})}
	var err error
	if sl.log, err = os.Create(filepath.Join(dir, name+".log")); err != nil {
		return nil, err
	}
	if sl.s3, err = l.open(name+"-s3", to.s3); err != nil {
		return nil, err
	}
	if sl.sqs, err = l.open(name+"-sqs", to.sqs); err != nil {
		return nil, err
	}
	sl.program.env = append(slices.Clip(p.env), "AWS_ENDPOINT_URL_S3="+sl.s3.url(), "AWS_ENDPOINT_URL_SQS="+sl.sqs.url())
	return sl, nil
}

// supervise keeps a worker in the slot until ctx is done; then it ends it by
// SIGTERM.
func (s *slot) supervise(ctx context.Context) {
	for ctx.Err() == nil {
		w, err := startWorker(s.start, s.program, s.log)
		if err != nil {
			s.ended(end{how: err.Error()})
			return
		}
		s.set(w)
		s.ended(s.attend(ctx, w))
		select {
		case <-ctx.Done():
		case <-time.After(restartPause):
		}
	}
}

// attend waits for the worker's end.
func (s *slot) attend(ctx context.Context, w *worker) end {
	working := w.working
	for {
		select {
		case <-working:
			s.announce()
			working = nil
			continue
		case <-ctx.Done():
			s.tell()
			if err := w.terminate(); err != nil {
				return end{how: err.Error(), last: true, working: true}
			}
		case <-w.over:
		}
		<-w.logged
		return end{how: w.state.String(), last: ctx.Err() != nil, working: w.addr() != ""}
	}
}

// set puts a worker into the slot.
func (s *slot) set(w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.worker, s.told = w, false
}

// announce tells those who wait that the slot's worker works.
func (s *slot) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// tell notes that the rig is about to end the worker.
func (s *slot) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = true
}

func (s *slot) ended(e end) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.at, e.told = time.Now(), s.told
	s.ends = append(s.ends, e)
	s.worker = nil
}

// working is the slot's worker once it works. It waits for that.
func (s *slot) working(ctx context.Context) (*worker, error) {
	for {
		s.mu.Lock()
		w, changed := s.worker, s.changed
		s.mu.Unlock()
		if w != nil && w.addr() != "" {
			return w, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s to work: %w", s.name, ctx.Err())
		}
	}
}

// strike sends the slot's worker a signal once it works and holds messages,
// and says how many. If none come to it soon it strikes all the same.
func (s *slot) strike(ctx context.Context, sig syscall.Signal) (held int, err error) {
	w, err := s.working(ctx)
	if err != nil {
		return 0, err
	}
	waiting, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for held == 0 && waiting.Err() == nil {
		m, err := w.metrics(waiting)
		if err != nil {
			break // it is stopped
		}
		held = int(m["penstock_messages_in_flight"])
	}
	if sig == syscall.SIGKILL || sig == syscall.SIGTERM {
		s.tell()
	}
	w.signal(sig)
	return held, ctx.Err()
}

// wake undoes SIGSTOP.
func (s *slot) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.worker != nil {
		s.worker.signal(syscall.SIGCONT)
	}
}

// allWork returns when every worker works.
func (f *fleet) allWork(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var g errgroup.Group
	for _, s := range f.slots {
		g.Go(func() error {
			_, err := s.working(ctx)
			return err
		})
	}
	return g.Wait()
}

// hangUp cuts all connections of all workers.
func (f *fleet) hangUp() error {
	var errs []error
	for _, s := range f.slots {
		errs = append(errs, s.s3.hangUp(), s.sqs.hangUp())
	}
	return errors.Join(errs...)
}

// close ends the workers by SIGTERM, then the links. How the workers ended is
// in the slots.
func (f *fleet) close() error {
	f.stop()
	f.wg.Wait()
	var errs []error
	for _, s := range f.slots {
		s.s3.down()
		s.sqs.down()
		errs = append(errs, s.log.Close())
	}
	return errors.Join(errs...)
}
