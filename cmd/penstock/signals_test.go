package main

import (
	"context"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestSignalsEndTheFirstContextAndThenTheSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal)
		first, second, stop := interruptedBy(t.Context(), signals)
		defer stop()
		send := func(want1, want2 error, when string) {
			t.Helper()
			signals <- syscall.SIGTERM
			synctest.Wait()
			if got1, got2 := context.Cause(first), context.Cause(second); got1 != want1 || got2 != want2 {
				t.Errorf("%s the first context ended with %v and the second with %v, want %v and %v", when, got1, got2, want1, want2)
			}
		}
		send(errInterrupted, nil, "with one signal")
		send(errInterrupted, nil, "with its echo")
		time.Sleep(echo)
		send(errInterrupted, nil, "with the last moment's echo")
		time.Sleep(time.Millisecond)
		send(errInterrupted, errInterrupted, "with a second signal")
	})
}

// The signals are the process's, so nothing runs beside this test.
func TestTheProcessHearsSignals(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		first, second, stop := interruptions(t.Context())
		send := func() {
			if err := syscall.Kill(os.Getpid(), s); err != nil {
				t.Fatal(err)
			}
		}
		send()
		<-first.Done()
		time.Sleep(echo + time.Millisecond) // the first was heard before that
		send()
		<-second.Done()
		stop()
	}
}
