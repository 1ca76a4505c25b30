//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// worker is one process of bin/worker.
type worker struct {
	*child
	working chan struct{} // closed when it works
	health  atomic.Pointer[string]
	logged  chan struct{} // closed when its log is complete
}

// startWorker starts one that logs to log.
func startWorker(start *spawner, p program, log io.Writer) (*worker, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.stderr = in
	c, err := start.run(p)
	in.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	w := &worker{child: c, working: make(chan struct{}), logged: make(chan struct{})}
	go func() { // ends with the process
		defer close(w.logged)
		defer out.Close()
		w.follow(out, log)
	}()
	return w, nil
}

// follow copies the worker's log, and learns from it where its health is
// served, which it says when it works.
func (w *worker) follow(from io.Reader, log io.Writer) {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		_, _ = log.Write(line) // a full disk shows elsewhere
		if err != nil {
			return
		}
		if w.addr() == "" && bytes.Contains(line, []byte(`"working"`)) {
			var said struct{ Addr string }
			if json.Unmarshal(line, &said) == nil && said.Addr != "" {
				w.health.Store(&said.Addr)
				close(w.working)
			}
		}
	}
}

// addr is where the worker serves its health, empty before it works.
func (w *worker) addr() string {
	if a := w.health.Load(); a != nil {
		return *a
	}
	return ""
}

// metrics reads those of the worker that have no labels.
func (w *worker) metrics(ctx context.Context) (map[string]float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr()+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	r.Close = true // a connection kept would be a goroutine of the worker's
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("read the metrics of a worker: %w", err)
	}
	defer reply.Body.Close()
	found := make(map[string]float64)
	for lines := bufio.NewScanner(reply.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			found[name] = v
		}
	}
	return found, nil
}

// level is what a worker takes.
type level struct {
	rss        int64 // bytes
	goroutines int
}

func (w *worker) level(ctx context.Context) (level, error) {
	m, err := w.metrics(ctx)
	if err != nil {
		return level{}, err
	}
	return level{int64(m["process_resident_memory_bytes"]), int(m["go_goroutines"])}, nil
}
