package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/frontdoor"
	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/status"
	"github.com/penstock/penstock/cmd/internal/sweep"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	smem "github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/storage/storagetest"
)

// plant is a server with all that is behind it, in memory. Nobody works.
type plant struct {
	*server
	handler http.Handler
	store   *storagetest.Hooked
	stop    context.CancelFunc
}

// in runs a test in a bubble. Calls go to the handler, since there are no
// connections in a bubble.
func in(t *testing.T, test func(t *testing.T, p *plant), options ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
		if err != nil {
			t.Fatal(err)
		}
		store, queue := &storagetest.Hooked{Store: smem.New("uploads", "results")}, qmem.New(qmem.Options{})
		c := Config{
			Door: frontdoor.Config{
				Intake: &intake.Intake{Store: store, Queue: queue, Locations: l},
				Finder: &status.Finder{Store: store, Locations: l},
				Store:  store, Locations: l, Endpoints: map[string]string{"digits": ""}, Log: zap.NewNop(),
			},
			Store: store, Queue: queue, Locations: l, Log: zap.NewNop(),
			Sweeper: &sweep.Sweeper{Store: store, Locations: l},
		}
		for _, o := range options {
			o(&c)
		}
		ctx, stop := context.WithCancel(t.Context())
		s, handler := newServer(ctx, c)
		p := &plant{s, handler, store, stop}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.work(ctx)
		}()
		t.Cleanup(func() { stop(); <-ended })
		synctest.Wait()
		test(t, p)
	})
}

func (p *plant) call(t *testing.T, method, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader("x"))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	return w
}

func TestARequestExpiresSoonThoughNobodyWorks(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		began := time.Now()
		for range 3 {
			p.call(t, http.MethodPost, "/endpoints/digits/async-invocations", "X-Amzn-SageMaker-RequestTTLSeconds", "61")
			p.call(t, http.MethodPost, "/predict?ttl=2m")
			time.Sleep(time.Second)
		}
		p.call(t, http.MethodPost, "/predict?ttl=61", "Idempotency-Key", "mine")
		w := p.call(t, http.MethodGet, "/v1/inferences/mine/result", "Prefer", "wait=300")
		if w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), request.CodeExpired) {
			t.Errorf("status %d:\n%s", w.Code, w.Body)
		}
		if took := time.Since(began); took > 100*time.Second {
			t.Errorf("it was told after %v, want a minute and what is left to workers", took)
		}
	})
}

func TestALongTimeToLiveWaitsForTheSweep(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.call(t, http.MethodPost, "/predict")
		p.call(t, http.MethodPost, "/predict?ttl=1h")
		if n := len(p.due.list); n != 0 {
			t.Errorf("%d deadlines are remembered, want none", n)
		}
	})
}

func TestAnOpenServerAnswersToThisMachinesNamesOnly(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		for host, want := range map[string]int{
			"127.0.0.1:8080": 202, "localhost:8080": 202, "localhost": 202, "[::1]:8080": 202, "127.0.0.2": 202, "0.0.0.0:8080": 202,
			"evil.example:8080": 421, "10.0.0.1": 421, "": 421, "localhost.evil.example": 421,
		} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/predict", strings.NewReader("x"))
			r.Host = host
			w := httptest.NewRecorder()
			p.handler.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("host %q: status %d, want %d: %s", host, w.Code, want, w.Body)
			}
		}
	}, func(c *Config) { c.OwnHost = true })
}

func TestReadyzSaysWhyItIsNot(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		want := func(code int, says string) {
			t.Helper()
			if w := p.call(t, http.MethodGet, "/readyz"); w.Code != code || !strings.Contains(w.Body.String(), says) {
				t.Errorf("status %d, want %d and %q: %s", w.Code, code, says, w.Body)
			}
		}
		want(http.StatusOK, "ready")
		p.store.OnCall(func(context.Context, string, storage.Ref, func() error) error { return errors.New("on fire") })
		want(http.StatusOK, "ready") // as a moment ago
		time.Sleep(healthAge)
		want(http.StatusServiceUnavailable, "on fire")
		p.store.OnCall(nil)
		time.Sleep(healthAge)
		want(http.StatusOK, "ready")
		p.stop()
		want(http.StatusServiceUnavailable, "shutting down")
	})
}

func TestAProbeThatGoesAwayDoesNotAnswerForOthers(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		ctx, leave := context.WithCancel(t.Context())
		p.store.OnCall(func(ctx context.Context, _ string, _ storage.Ref, call func() error) error {
			leave()
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return call()
		})
		p.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/readyz", http.NoBody))
		if w := p.call(t, http.MethodGet, "/readyz"); w.Code != http.StatusOK {
			t.Errorf("status %d after a probe that did not wait for its answer: %s", w.Code, w.Body)
		}
	})
}

func TestTheDeadLetterQueueIsLookedForUntilItIsFound(t *testing.T) {
	var asked atomic.Int64
	c := func(c *Config) {
		c.DeadLetters = func(context.Context) (sweep.DeadLetterQueue, error) {
			if asked.Add(1) < 3 {
				return nil, errors.New("no route")
			}
			return qmem.New(qmem.Options{}), nil
		}
	}
	in(t, func(t *testing.T, _ *plant) {
		time.Sleep(10*sweep.Every + time.Second)
		if n := asked.Load(); n != 3 {
			t.Errorf("it was asked for %d times, want 3", n)
		}
	}, c)
}
