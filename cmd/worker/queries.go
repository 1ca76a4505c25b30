//go:build cgo

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/penstock/penstock/worker"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/rest"
)

// queries serves those who wait for their answer, if it has an address.
type queries struct {
	server   http.Server
	listener net.Listener
	done     chan struct{}
}

func newQueries(addr string, w *worker.Worker, models model.Set) *queries {
	return &queries{
		server: http.Server{Addr: addr, Handler: rest.New(w, models, 0), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute},
		done:   make(chan struct{}),
	}
}

func (q *queries) listen(ctx context.Context) error {
	if q.server.Addr == "" {
		close(q.done)
		return nil
	}
	var err error
	if q.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", q.server.Addr); err != nil {
		return fmt.Errorf("rest-addr: %w; choose another with -rest-addr", err)
	}
	go func() {
		defer close(q.done)
		_ = q.server.Serve(q.listener) // ends by close
	}()
	return nil
}

// addr is where it is served; empty when it is not.
func (q *queries) addr() string {
	if q.listener == nil {
		return ""
	}
	return q.listener.Addr().String()
}

// close lets replies that are being written end: the worker has answered all
// that it had taken.
func (q *queries) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if q.server.Shutdown(ctx) != nil {
		_ = q.server.Close()
	}
	<-q.done
}
