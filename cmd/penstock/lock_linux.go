package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// How long lock waits for those who are ending.
const (
	lockWait = 3 * time.Second
	// orphanWait is for what a local mode had started that was killed. The system
	// has killed it too, and a busy one takes its time over a worker's memory.
	orphanWait = 30 * time.Second
)

// held is a lock that the system gives back when this process and all that it
// started with the lock's file are gone, however they end. So whoever has it
// knows that nothing of an earlier local mode still runs.
type held struct {
	file *os.File // to be inherited
}

// lock takes the lock. Its file holds the process id of who has it.
func lock(ctx context.Context, path string) (*held, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	for began := time.Now(); ; {
		f, err := tryLock(path)
		if err == nil {
			// The lock is what counts; the number in it is for people.
			_ = f.Truncate(0)
			_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
			return &held{f}, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		limit := lockWait
		if isGone(lockedBy(path)) {
			limit = orphanWait
		}
		if time.Since(began) > limit {
			return nil, fmt.Errorf("%w by process %s (%s)", errHeld, lockedBy(path), path)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tryLock takes the lock on the file that is at path now, or fails with
// EWOULDBLOCK.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	ours, err := f.Stat()
	now, err2 := os.Stat(path)
	if err != nil || err2 != nil || !os.SameFile(ours, now) { // it was removed by who had it
		f.Close()
		return nil, syscall.EWOULDBLOCK
	}
	return f, nil
}

// lockedBy is the process id in a lock's file.
func lockedBy(path string) string {
	pid, _ := os.ReadFile(path)
	return strings.TrimSpace(string(pid))
}

// isGone says that a process has ended, whatever it has started.
func isGone(pid string) bool {
	n, err := strconv.Atoi(pid)
	return err == nil && n > 0 && errors.Is(syscall.Kill(n, 0), syscall.ESRCH)
}

// release gives the lock back. An empty file says that it was done in good
// order.
func (h *held) release() {
	_ = h.file.Truncate(0)
	_ = h.file.Close()
}

// leftBehind says whose lock was not given back in good order: the id of a
// process that is gone. It is empty when the lock is held, or was released.
func leftBehind(path string) string {
	pid := lockedBy(path)
	if pid == "" {
		return ""
	}
	f, err := tryLock(path)
	if err != nil {
		return "" // it is held
	}
	f.Close()
	return pid
}
