//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// program is what to run as a child.
type program struct {
	path           string
	args           []string
	env            []string
	stdout, stderr io.Writer
}

// child is a process that dies with this one.
type child struct {
	cmd   *exec.Cmd
	over  chan struct{} // closed when it has ended and its output is read
	state *os.ProcessState
}

// spawner starts children. The kernel kills a child when the thread that
// started it ends, so one goroutine keeps a thread for that.
type spawner struct{ calls chan func() }

func newSpawner() *spawner {
	s := &spawner{calls: make(chan func())}
	go func() { // ends with close
		runtime.LockOSThread()
		for call := range s.calls {
			call()
		}
	}()
	return s
}

func (s *spawner) close() { close(s.calls) }

func (s *spawner) run(p program) (*child, error) {
	c := &child{cmd: exec.Command(p.path, p.args...), over: make(chan struct{})}
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = p.env, p.stdout, p.stderr
	// A group of its own: Ctrl-C is for the rig, which ends its children.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	s.calls <- func() { started <- c.cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.path, err)
	}
	go func() {
		defer close(c.over)
		_ = c.cmd.Wait() // the state says it
		c.state = c.cmd.ProcessState
	}()
	return c, nil
}

// signal is no error for a child that has ended.
func (c *child) signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) }

// terminate asks the child to end, and makes it after a while.
func (c *child) terminate() error {
	c.signal(syscall.SIGCONT)
	c.signal(syscall.SIGTERM)
	const grace = 20 * time.Second
	select {
	case <-c.over:
		return nil
	case <-time.After(grace):
		c.signal(syscall.SIGKILL)
		<-c.over
		return fmt.Errorf("%s did not end within %v of SIGTERM", c.cmd.Path, grace)
	}
}
