package stack_test

import (
	"errors"
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
	addr, held, err := stack.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	local, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the program is started again
		// As the system does for outgoing connections, without SO_REUSEADDR.
		if c, err := net.DialTCP("tcp", local, local); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a connection from %s: %v, error %v, want that it is taken", addr, c, err)
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	}
}
