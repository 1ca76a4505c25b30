// Package process runs other programs as children that never outlive this
// one: not when it ends in good order, and not when it is killed.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Program says what to run.
type Program struct {
	Name   string // for messages
	Path   string
	Args   []string // without the name in front
	Env    []string // the whole environment, as os.Environ gives it
	Output io.Writer
	// Hold are files that stay open as long as the child runs, whatever
	// becomes of this process: locks.
	Hold []*os.File
	// First, when set, is called with the first line that the child writes to
	// its standard output, which then does not go to Output. All else that the
	// child writes goes there.
	First func(line string)
}

// Child is a running program. Its methods may be called concurrently.
type Child struct {
	name    string
	process *os.Process
	stdin   io.Closer
	done    chan struct{}
	err     error // set before done is closed
}

// stragglers is how long the output of a child's own children is waited for
// once it has ended.
const stragglers = 2 * time.Second

// Start runs a program. It has a standard input that is closed when it is to
// stop or when this process ends, however it ends; on Linux it is also killed
// then. It is in a process group of its own, so that a ^C on the terminal
// reaches this process alone, which then stops its children in order.
func Start(p Program) (*Child, error) {
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Env = p.Env
	cmd.Stdout, cmd.Stderr = p.Output, p.Output // one writer, to which exec then writes from one goroutine
	if p.First != nil {
		shared := &serial{w: p.Output}
		cmd.Stdout, cmd.Stderr = &firstLine{next: shared, first: p.First}, shared
	}
	cmd.ExtraFiles = p.Hold
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = stragglers
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	c := &Child{name: p.Name, stdin: stdin, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(c.done)
		// Linux sends a child its parent-death signal when the thread that
		// started it ends, so this thread must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		<-c.done
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	c.process = cmd.Process
	return c, nil
}

// Done is closed when the child has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Ended says how the child ended: "exit status 1", "signal: killed". It is
// empty as long as the child runs.
func (c *Child) Ended() string {
	select {
	case <-c.done:
	default:
		return ""
	}
	if c.err == nil {
		return "exit status 0"
	}
	return c.err.Error()
}

// Terminate asks the child to end by SIGTERM and waits until it has. When ctx
// is done before, the child is killed.
func (c *Child) Terminate(ctx context.Context) error {
	return c.stop(ctx, func() error { return c.process.Signal(syscall.SIGTERM) })
}

// CloseInput asks the child to end by closing its standard input, and waits
// as Terminate does.
func (c *Child) CloseInput(ctx context.Context) error {
	return c.stop(ctx, c.stdin.Close)
}

func (c *Child) stop(ctx context.Context, ask func() error) error {
	select {
	case <-c.done:
		return nil
	default:
	}
	if err := ask(); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, os.ErrClosed) {
		c.kill()
		return fmt.Errorf("stop %s: %w", c.name, err)
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		c.kill()
		return fmt.Errorf("stop %s: it did not end in time and was killed: %w", c.name, context.Cause(ctx))
	}
}

func (c *Child) kill() {
	// The only error is that it has ended already.
	_ = c.process.Kill()
	<-c.done
}

// serial lets several goroutines write to w.
type serial struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *serial) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

// firstLine gives the first line that is written to it to first, and the rest
// to next.
type firstLine struct {
	next  io.Writer
	first func(string)
	held  []byte
	over  bool
}

func (f *firstLine) Write(b []byte) (int, error) {
	if f.over {
		return f.next.Write(b)
	}
	line, rest, whole := bytes.Cut(b, []byte("\n"))
	f.held = append(f.held, line...)
	if !whole {
		return len(b), nil
	}
	f.over = true
	f.first(string(f.held))
	if len(rest) > 0 {
		if _, err := f.next.Write(rest); err != nil {
			return len(line) + 1, err
		}
	}
	return len(b), nil
}
