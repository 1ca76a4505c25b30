package stack_test

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/penstock/penstock/cmd/penstock/stack"
)

func TestAReservedPortIsForWhoWasToldOfIt(t *testing.T) {
	t.Parallel()
	// A child that another test starts has copies of all sockets until it runs its
	// own program.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	var err error
	for range 3 { // another program may have been told of the port before it was reserved
		if err = reserveAndUse(); err == nil {
			return
		}
	}
	t.Error(err)
}

// reserveAndUse reserves a port, and errs when another gets it or when the one
// whom it is for can't listen there.
func reserveAndUse() error {
	addr, held, err := stack.Reserve()
	if err != nil {
		return err
	}
	defer held.Close()
	local, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return err
	}
	for range 2 { // the program is started again
		// As the system does for outgoing connections, without SO_REUSEADDR.
		if c, err := net.DialTCP("tcp", local, local); !errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("a connection from %s: %v, error %v, want that it is taken", addr, c, err)
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		if err := errors.Join(c.Close(), l.Close()); err != nil {
			return err
		}
	}
	return nil
}
