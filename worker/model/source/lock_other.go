//go:build !linux

package source

import (
	"errors"
	"os"
)

// lockShared locks nothing: TensorFlow, and so the worker, runs on Linux alone.
func lockShared(dir string) (*os.File, error) { return os.Open(dir) }

// lockAlone errs, so that nothing is removed that somebody may use.
func lockAlone(string) (*os.File, error) { return nil, errors.ErrUnsupported }

// lockNext locks nothing.
func lockNext(dir string) (*os.File, error) { return os.Open(dir) }

func unlock(f *os.File) { _ = f.Close() }
