//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health serves what an orchestrator and a monitor ask: /healthz (the process
// is alive), /readyz (it takes new work) and /metrics.
type health struct {
	registry *prometheus.Registry
	server   http.Server
	listener net.Listener
	done     chan struct{}
	ready    atomic.Pointer[func() error]
}

func newHealth(addr string) *health {
	h := &health{registry: prometheus.NewRegistry(), done: make(chan struct{})}
	h.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	mux.HandleFunc("GET /readyz", h.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.registry, promhttp.HandlerOpts{}))
	h.server = http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return h
}

// readyz answers 200, or 503 with the reason. Before serve it is not ready:
// the models are being loaded.
func (h *health) readyz(w http.ResponseWriter, _ *http.Request) {
	err := errors.New("the models are being loaded")
	if ready := h.ready.Load(); ready != nil {
		err = (*ready)()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// listen starts serving: alive at once, while models are still being loaded.
func (h *health) listen(ctx context.Context) error {
	var err error
	h.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", h.server.Addr)
	if err != nil {
		return fmt.Errorf("addr: %w; choose another with -addr", err)
	}
	go func() {
		defer close(h.done)
		_ = h.server.Serve(h.listener) // ends by close
	}()
	return nil
}

func (h *health) addr() string { return h.listener.Addr().String() }

// serve says from now on what ready says.
func (h *health) serve(ready func() error) { h.ready.Store(&ready) }

func (h *health) close() {
	_ = h.server.Close() // nobody waits for an answer any more
	<-h.done
}
