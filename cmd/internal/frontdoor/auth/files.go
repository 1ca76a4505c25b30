package auth

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Files are where a gate's tokens and keys are kept. A file that changes is read
// again, so that they can be exchanged while the server runs; one that can't be
// read then, or has a fault, changes nothing.
type Files struct {
	Tokens, Keys string // paths; empty is none
	Token        string // one bearer token more; empty is none
	TokenName    string // what its caller is called, and it in errors
	Log          *zap.Logger

	mu     sync.Mutex
	gate   Gate
	looked time.Time
	seen   [2]os.FileInfo // of both files as they were looked at last; nil where one could not be
}

// lookEvery is how often it is looked whether a file has changed.
const lookEvery = time.Second

// Open reads the files for the first time. All faults are reported at once,
// each after the name of the flag that it is of.
func (f *Files) Open() (Gate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked, f.seen = time.Now(), f.look()
	var err error
	f.gate, err = f.read()
	return f.gate, err
}

// Gate gives the gate as the files have it by now. It may be called
// concurrently, after Open, and looks at the files once a second at most.
func (f *Files) Gate() Gate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < lookEvery {
		return f.gate
	}
	f.looked = time.Now()
	now := f.look()
	if same(now[0], f.seen[0]) && same(now[1], f.seen[1]) {
		return f.gate
	}
	f.seen = now
	gate, err := f.read()
	if err != nil {
		f.Log.Error("the files of tokens and keys have changed and have a fault: what they said before holds on", zap.Error(err))
		return f.gate
	}
	f.Log.Info("the files of tokens and keys have changed, and hold from now on")
	f.gate = gate
	return gate
}

// look says what there is, before it is read: what changes meanwhile is seen
// the next time.
func (f *Files) look() (found [2]os.FileInfo) {
	for n, path := range []string{f.Tokens, f.Keys} {
		if path != "" {
			found[n], _ = os.Stat(path) // read says what is wrong
		}
	}
	return found
}

// same says that a file is the one that it was. Where secrets are mounted, as in
// Kubernetes, another file takes its place.
func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// read makes the gate that the files describe now.
func (f *Files) read() (g Gate, err error) {
	var errs []error
	if g.Tokens, err = parsed(f.Tokens, ParseTokens); err != nil {
		errs = append(errs, fmt.Errorf("token-file: %w", err))
	}
	if g.Keys, err = parsed(f.Keys, ParseKeys); err != nil {
		errs = append(errs, fmt.Errorf("key-file: %w", err))
	}
	if f.Token != "" {
		if g.Tokens, err = g.Tokens.With(f.TokenName, f.Token); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.TokenName, err))
		}
	}
	return g, errors.Join(errs...)
}

func parsed[T any](path string, parse func(string, io.Reader) (*T, error)) (*T, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return parse(path, file)
}
