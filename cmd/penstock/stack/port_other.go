//go:build !linux

package stack

import (
	"fmt"
	"io"
	"net"
)

// reserve finds an address that nobody listens on. Another program could take
// it first; whoever comes second then says so.
func reserve() (addr string, held io.Closer, err error) {
	l, err := net.Listen("tcp", loopback(0))
	if err != nil {
		return "", nil, fmt.Errorf("find a free port: %w", err)
	}
	addr = l.Addr().String()
	return addr, io.NopCloser(nil), l.Close()
}
