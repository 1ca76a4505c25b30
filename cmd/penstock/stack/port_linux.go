package stack

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// reserve takes an address for a program that can't say which one it was given.
// Until it is closed, the system gives the port to nobody who asks for any, nor
// to an outgoing connection: not before the program listens there, and not while
// it is started again. The program itself may listen, as both say SO_REUSEADDR,
// which Go's listeners do, and only it listens.
func reserve() (addr string, held io.Closer, err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("reserve a port: %w", os.NewSyscallError("socket", err))
	}
	held = os.NewFile(uintptr(fd), "reserved port")
	port, err := bindLoopback(fd)
	if err != nil {
		held.Close()
		return "", nil, fmt.Errorf("reserve a port: %w", err)
	}
	return loopback(port), held, nil
}

// bindLoopback binds a socket to any port of the loopback interface.
func bindLoopback(fd int) (port int, err error) {
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	return name.(*syscall.SockaddrInet4).Port, nil
}
