package stage_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/penstock/penstock/cmd/internal/faults/stage"
)

// setup gives a stage before a server that answers 1,000 bytes, and counts
// what it was sent whole.
func setup(t *testing.T) (s *stage.Stage, client *http.Client, executed *atomic.Int64) {
	t.Helper()
	executed = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		executed.Add(1)
		w.Header().Set("Host-Was", r.Host)
		_, _ = io.WriteString(w, strings.Repeat("x", 1000))
	}))
	t.Cleanup(server.Close)
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s, err = stage.New(target, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // or it would try again
	return s, client, executed
}

// call sends 100 bytes and reads the reply.
func call(t *testing.T, s *stage.Stage, client *http.Client) (status, length int, err error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+s.Addr()+"/bucket/key", strings.NewReader(strings.Repeat("y", 100)))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "signed.example"
	reply, err := client.Do(r)
	if err != nil {
		return 0, 0, err
	}
	defer reply.Body.Close()
	if was := reply.Header.Get("Host-Was"); reply.StatusCode == http.StatusOK && was != r.Host {
		t.Errorf("the server was asked as %q; it is %q that was signed", was, r.Host)
	}
	body, err := io.ReadAll(reply.Body)
	return reply.StatusCode, len(body), err
}

func TestAStageSpoilsCallsAsItsRuleSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		effect   stage.Effect
		executed int64
		status   int
		length   int
		broken   bool
	}{
		{"request lost", stage.LoseRequest, 0, 0, 0, true},
		{"reply lost", stage.LoseReply, 1, 0, 0, true},
		{"reply cut", stage.CutReply, 1, 200, 500, true},
		{"request cut", stage.CutRequest, 0, 0, 0, true},
		{"refused", stage.SlowDown, 0, 503, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, client, executed := setup(t)
			lift := s.Lay(stage.Rule{Share: 1, Effect: c.effect})
			status, length, err := call(t, s, client)
			if status != c.status || (err != nil) != c.broken || c.length > 0 && length != c.length {
				t.Errorf("status %d, %d bytes, error %v; want %d, %d, an error: %v", status, length, err, c.status, c.length, c.broken)
			}
			if got := executed.Load(); got != c.executed {
				t.Errorf("the server executed %d calls, want %d", got, c.executed)
			}
			if n := lift(); n != 1 {
				t.Errorf("%d calls were struck, want 1", n)
			}
			if status, length, err := call(t, s, client); status != 200 || length != 1000 || err != nil {
				t.Errorf("with the rule lifted: status %d, %d bytes, error %v", status, length, err)
			}
		})
	}
}

func TestARuleStrikesItsShareOfTheCallsItIsAbout(t *testing.T) {
	t.Parallel()
	s, client, executed := setup(t)
	other := s.Lay(stage.Rule{Match: func(r *http.Request) bool { return r.Method == http.MethodGet }, Share: 1, Effect: stage.LoseRequest})
	lift := s.Lay(stage.Rule{Share: 0.5, Effect: stage.LoseRequest})
	const calls = 100
	for range calls {
		_, _, _ = call(t, s, client) // executed says it
	}
	struck := lift()
	if struck < calls/4 || struck > 3*calls/4 || executed.Load() != int64(calls-struck) {
		t.Errorf("%d of %d calls were struck and %d executed", struck, calls, executed.Load())
	}
	if n := other(); n != 0 {
		t.Errorf("%d calls were struck by a rule about others", n)
	}
}
