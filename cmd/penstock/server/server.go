// Package server is the front door as a process of its own: it listens, says
// how it is, sweeps now and then, and ends without breaking off what is under
// way.
package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/frontdoor"
	"github.com/penstock/penstock/cmd/internal/sweep"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Config is all that a server needs. All fields are required but where a
// default is named.
type Config struct {
	Door      frontdoor.Config // without Closing, Accepted and Seen, which are the server's
	Store     storage.Reader
	Queue     queue.Inspector
	Locations request.Locations
	Sweeper   *sweep.Sweeper // without DeadLetters; nil sweeps nothing
	// DeadLetters finds the dead-letter queue, which is swept too; it is asked
	// until it has. It gives nil where there is none, and may be nil itself.
	DeadLetters func(ctx context.Context) (sweep.DeadLetterQueue, error)
	Log         *zap.Logger
	// OwnHost answers only to calls that name this machine's loopback interface
	// as their host: set it where nobody is asked who they are. Else a page in a
	// browser could call, by a name of its own that it lets mean 127.0.0.1.
	OwnHost bool
}

// Limits of a connection. How long a body may take, and a wait, is the front
// door's matter.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// server is a running one.
type server struct {
	Config
	calls   *prometheus.CounterVec
	took    *prometheus.HistogramVec
	swept   *prometheus.CounterVec
	closing context.Context
	health  health
	due     *deadlines
}

// Run serves until ctx is done, and then lets what is under way end: calls that
// wait for a result are answered with what there is. It returns when all has
// ended, or, with an error, when hard is done first. It closes the listener.
func Run(ctx, hard context.Context, l net.Listener, c Config) error {
	s, handler := newServer(ctx, c)
	h := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: zap.NewStdLog(c.Log),
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	working, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { s.work(working) })
	ended := make(chan error, 1)
	wg.Go(func() { ended <- h.Serve(l) })
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	if err := h.Shutdown(hard); err != nil {
		return errors.Join(fmt.Errorf("calls under way were broken off: %w", context.Cause(hard)), h.Close())
	}
	return nil
}

// newServer makes a server that closes when ctx is done, and its handler.
func newServer(ctx context.Context, c Config) (*server, http.Handler) {
	registry := prometheus.NewRegistry()
	s := &server{
		Config: c, closing: ctx,
		health: health{store: c.Store, queue: c.Queue, locations: c.Locations},
		calls:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "penstock_http_requests_total", Help: "Calls to the front door."}, []string{"route", "status"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "penstock_http_request_seconds", Help: "How long calls to the front door took, with the wait for a result where they waited.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"route"}),
		swept: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "penstock_swept_total", Help: "Requests that the sweep ended, or sent again."}, []string{"as"}),
	}
	registry.MustRegister(s.calls, s.took, s.swept, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	c.Door.Closing, c.Door.Seen = ctx, s.seen
	if c.Sweeper != nil {
		s.due = newDeadlines(c.Sweeper.Now)
		c.Door.Accepted = s.due.add
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	door := frontdoor.New(c.Door)
	if c.OwnHost {
		door = ownHost(door)
	}
	mux.Handle("/", door)
	return s, mux
}

// ownHost refuses calls to hosts that are not this machine's loopback.
func ownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if host != "localhost" && (ip == nil || !ip.IsLoopback() && !ip.IsUnspecified()) {
			http.Error(w, fmt.Sprintf("this server answers to 127.0.0.1 and localhost, not to %q; where a proxy stands before it, and keeps strangers out, start it with -allow-anonymous", host), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// work does what is to be done beside calls, until ctx is done.
func (s *server) work(ctx context.Context) {
	if s.Sweeper == nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.due.run(ctx, s.expire) })
	s.sweep(ctx)
	wg.Wait()
}

// seen counts a call.
func (s *server) seen(route string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	s.calls.WithLabelValues(route, fmt.Sprint(status)).Inc()
	s.took.WithLabelValues(route).Observe(took.Seconds())
}

// expire ends the requests whose time is over and which nobody works on.
func (s *server) expire(ctx context.Context, ids []string) {
	counts, err := s.Sweeper.Expire(ctx, ids...)
	s.tell(ctx, counts, err)
}

// sweep sweeps at once and then at every interval.
func (s *server) sweep(ctx context.Context) {
	tick := time.NewTicker(sweep.Every)
	defer tick.Stop()
	sweeper, found := *s.Sweeper, s.DeadLetters == nil
	for {
		var err error
		if !found {
			if sweeper.DeadLetters, err = s.DeadLetters(ctx); err != nil && ctx.Err() == nil {
				s.Log.Warn("the dead-letter queue is not swept: its URL can't be found", zap.Error(err))
			}
			found = err == nil
		}
		counts, err := sweeper.Run(ctx)
		s.tell(ctx, counts, err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// tell counts what was swept.
func (s *server) tell(ctx context.Context, counts sweep.Counts, err error) {
	s.swept.WithLabelValues("expired").Add(float64(counts.Expired))
	s.swept.WithLabelValues("abandoned").Add(float64(counts.Abandoned))
	s.swept.WithLabelValues("resent").Add(float64(counts.Resent))
	switch {
	case ctx.Err() != nil: // it was broken off
	case err != nil:
		s.Log.Warn("the sweep could not do all; the next goes on", zap.Error(err))
	default:
		s.Log.Debug("swept", zap.Int("looked", counts.Looked), zap.Int("expired", counts.Expired), zap.Int("resent", counts.Resent), zap.Int("abandoned", counts.Abandoned))
	}
}

// readyz answers 200, or 503 with the reason.
func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	err := s.health.check(r.Context())
	if s.closing.Err() != nil {
		err = errors.New("shutting down")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// health asks whether S3 and SQS answer, at most every few seconds.
type health struct {
	store     storage.Reader
	queue     queue.Inspector
	locations request.Locations

	mu   sync.Mutex
	at   time.Time
	last error
}

const (
	healthAge   = 5 * time.Second // for which an answer is good
	healthLimit = 3 * time.Second // for one question
)

func (h *health) check(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.at.IsZero() && time.Since(h.at) < healthAge {
		return h.last
	}
	// The answer is for all who ask in the next seconds, whoever goes away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthLimit)
	defer cancel()
	_, ofQueue := h.queue.Attributes(ctx)
	if ofQueue != nil {
		ofQueue = fmt.Errorf("the queue: %w", ofQueue)
	}
	_, ofStore := h.store.Head(ctx, h.locations.RecordOf("readyz"))
	if errors.Is(ofStore, fs.ErrNotExist) {
		ofStore = nil // it answers
	}
	h.at, h.last = time.Now(), errors.Join(ofQueue, ofStore)
	return h.last
}
