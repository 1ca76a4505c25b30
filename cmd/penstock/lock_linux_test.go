package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestALockIsWaitedForWhileAKilledLocalModesChildrenEnd(t *testing.T) {
	t.Parallel()
	const none = 1<<22 + 1 // more than any process id
	for pid, want := range map[int]error{none: nil, os.Getpid(): errHeld} {
		unforked(func() { synctest.Test(t, func(t *testing.T) { waitForLock(t, pid, want) }) })
	}
}

func waitForLock(t *testing.T, pid int, want error) {
	path := filepath.Join(t.TempDir(), "lock")
	children, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := children.WriteString(strconv.Itoa(pid) + "\n"); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Second, func() { children.Close() })
	held, err := lock(t.Context(), path)
	if !errors.Is(err, want) {
		t.Errorf("of a lock by process %d: %v, want %v", pid, err, want)
	}
	if err == nil {
		held.release()
	}
	time.Sleep(10 * time.Second)
}
