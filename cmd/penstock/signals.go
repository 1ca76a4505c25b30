package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// echo is how soon after the first a second signal is the same one again: some
// send theirs to a process and then to its group, which is two.
const echo = 300 * time.Millisecond

// outlivePipes makes a write to a pipe that nobody reads any more an error,
// until restore: otherwise it ends the process.
func outlivePipes() (restore func()) {
	signal.Ignore(syscall.SIGPIPE)
	return func() { signal.Reset(syscall.SIGPIPE) }
}

// interruptions gives a context that is done with the first signal to end, and
// one that is done with the second, for those who will not wait until what is
// under way has been finished. stop gives the signals back.
func interruptions(parent context.Context) (first, second context.Context, stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	first, second, end := interruptedBy(parent, signals)
	return first, second, func() {
		signal.Stop(signals)
		end()
	}
}

// interruptedBy is interruptions for signals that come from a channel.
func interruptedBy(parent context.Context, signals <-chan os.Signal) (first, second context.Context, stop func()) {
	first, endFirst := context.WithCancelCause(parent)
	second, endSecond := context.WithCancelCause(parent)
	var wg sync.WaitGroup
	over := make(chan struct{})
	wg.Go(func() {
		var since time.Time // of the first
		for {
			select {
			case <-signals:
			case <-over:
				return
			}
			switch {
			case since.IsZero():
				since = time.Now()
				endFirst(errInterrupted)
			case time.Since(since) > echo:
				endSecond(errInterrupted)
				return
			}
		}
	})
	return first, second, func() {
		close(over)
		wg.Wait()
		endFirst(nil)
		endSecond(nil)
	}
}
