// Package pipetest serves HTTP on a connection in memory, so that what a test
// says of slow callers runs on its bubble's time (testing/synctest).
package pipetest

import (
	"io"
	"net"
	"net/http"
	"testing"
)

// wire is a connection in memory, and the listener that it is the only one of.
type wire struct {
	net.Conn
	accept chan net.Conn
}

// ReadFrom takes a result whole, as a connection of TCP does.
func (w wire) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w.Conn}, r)
}

func (w wire) Accept() (net.Conn, error) {
	if c, ok := <-w.accept; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (w wire) Addr() net.Addr { return w.LocalAddr() }

// Dial serves h on a connection until the test ends, and gives the caller's end
// of it.
func Dial(t testing.TB, h http.HandlerFunc) net.Conn {
	t.Helper()
	caller, served := net.Pipe()
	w := wire{served, make(chan net.Conn, 1)}
	w.accept <- w
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(w) }() // until it is closed
	t.Cleanup(func() {
		close(w.accept)
		_ = caller.Close()
		_ = server.Close()
	})
	return caller
}
