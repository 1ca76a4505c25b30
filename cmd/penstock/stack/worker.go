package stack

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/cmd/penstock/process"
)

// drainLimit is how long a worker may take to end: longer than its own drain
// timeout, which is to bite first.
const drainLimit = time.Minute

// StartWorkers starts the workers and returns when all are ready: the model is
// loaded and warm, the queue reachable. From then on a worker that ends is
// started again. A worker that ends before it was ever ready is an error, a
// *DiedError: what it lacks now it will lack again.
func (s *Stack) StartWorkers(ctx context.Context) error {
	ready := make(chan error, s.config.Workers)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for n := 1; n <= s.config.Workers; n++ {
		if err := s.startWorker(ctx, n, ready); err != nil {
			return err
		}
	}
	for range s.config.Workers {
		if err := <-ready; err != nil {
			return err
		}
	}
	return nil
}

// startWorker starts the n-th worker and the wait for it, which ends with one
// element in ready.
func (s *Stack) startWorker(ctx context.Context, n int, ready chan<- error) error {
	name, logName := "worker", "worker.log"
	if s.config.Workers > 1 {
		name, logName = fmt.Sprintf("worker %d", n), fmt.Sprintf("worker-%d.log", n)
	}
	log, err := s.OpenLog(logName)
	if err != nil {
		return err
	}
	addr, reserved, err := reserve()
	if err != nil {
		return err
	}
	s.reserved = append(s.reserved, reserved)
	s.Workers = append(s.Workers, addr)
	died := make(chan string, 1) // how it first ended
	var wasReady atomic.Bool
	keeper := process.Keeper{
		Program: process.Program{
			Name: name, Path: s.config.Worker, Output: log,
			Env:  s.environment(s.workerSettings(addr)),
			Hold: s.config.Hold,
		},
		Grace: drainLimit,
		Died: func(how string, again time.Duration) {
			select {
			case died <- how:
			default:
			}
			if !wasReady.Load() {
				return // waitReady gives up on it
			}
			s.say("%s ended (%s) and starts again in %v; its log is %s", name, how, again, s.LogPath(logName))
		},
	}
	s.keepers.Go(func() {
		err := keeper.Run(s.running, s.hard)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.errs = append(s.errs, err)
		if err != nil {
			select {
			case died <- err.Error():
			default:
			}
		}
	})
	s.keepers.Go(func() {
		err := s.waitReady(ctx, "http://"+addr+"/readyz", died, name, logName)
		wasReady.Store(err == nil)
		ready <- err
	})
	return nil
}

// waitReady waits until the worker says that it is ready, or has ended.
func (s *Stack) waitReady(ctx context.Context, url string, died <-chan string, name, logName string) error {
	client := http.Client{Timeout: 2 * time.Second}
	for {
		if isReady(ctx, &client, url) {
			return nil
		}
		select {
		case how := <-died:
			s.stop() // it would be started over and over
			return s.died(name, how, logName)
		case <-s.local.Done():
			return s.FailedHow()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

func isReady(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (s *Stack) say(format string, args ...any) {
	if s.config.Say != nil && s.running.Err() == nil {
		s.config.Say(fmt.Sprintf(format, args...))
	}
}
