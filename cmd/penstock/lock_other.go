//go:build !linux

package main

import (
	"context"
	"os"
)

// held does nothing: the worker, and so local mode, runs on Linux alone.
type held struct{ file *os.File }

func lock(context.Context, string) (*held, error) { return &held{}, nil }

func tryLock(path string) (*os.File, error) { return os.Open(path) }

func (h *held) release() {}

func lockedBy(string) string { return "" }

func leftBehind(string) string { return "" }
