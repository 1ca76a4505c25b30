// Package stage is a reverse proxy that makes single HTTP calls go wrong: what
// a proxy of TCP connections can't, because it does not know where a call
// begins, what it asks for, and whether the server has executed it.
package stage

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Stage stands before one server. Make it with New. All its methods may be
// called concurrently.
type Stage struct {
	proxy    *httputil.ReverseProxy
	server   http.Server
	listener net.Listener
	over     chan struct{}
	observe  func(r *http.Request, status int)

	mu    sync.Mutex
	rules []*laid
	dice  *rand.Rand
}

// Rule is a fault that strikes calls while it is laid.
type Rule struct {
	// Match says whether the rule is about a call. Nil is about every one.
	Match func(*http.Request) bool
	// Share of the matching calls is struck: 1 is all of them.
	Share float64
	// Effect is what becomes of them.
	Effect Effect
}

// laid is a rule in force.
type laid struct {
	Rule
	struck int // guarded by Stage.mu
}

// New starts a stage before the server at target. The seed decides which calls
// a share strikes. observe is told of every call that the server answered,
// whether or not the answer reaches the client; nil is nobody.
func New(target *url.URL, seed uint64, observe func(r *http.Request, status int)) (*Stage, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Stage{listener: l, over: make(chan struct{}), observe: observe, dice: rand.New(rand.NewPCG(seed, 0))}
	s.proxy = &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Host = p.In.Host // it is signed
		},
		Transport:      &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
		ModifyResponse: s.answered,
		// The client's end of the connection is cut, as a proxy on the way
		// would: an answer of the stage's own would be taken for the server's.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	s.server = http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() {
		defer close(s.over)
		_ = s.server.Serve(l) // ends by Close
	}()
	return s, nil
}

// Addr is the host and port to connect to.
func (s *Stage) Addr() string { return s.listener.Addr().String() }

// Close ends the stage at once.
func (s *Stage) Close() error {
	err := s.server.Close()
	<-s.over
	return err
}

func (s *Stage) answered(r *http.Response) error {
	if s.observe != nil {
		s.observe(r.Request, r.StatusCode)
	}
	return nil
}

// Lay makes a rule strike from now on. Of several that match a call the first
// that was laid strikes. lift ends it and says how many calls it has struck.
func (s *Stage) Lay(r Rule) (lift func() int) {
	rule := &laid{Rule: r}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, rule)
	return func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.rules = slices.DeleteFunc(s.rules, func(o *laid) bool { return o == rule })
		return rule.struck
	}
}

// strikes is the effect on the call of the rule that strikes it, or nil.
func (s *Stage) strikes(r *http.Request) Effect {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rule := range s.rules {
		if (rule.Match == nil || rule.Match(r)) && s.dice.Float64() < rule.Share {
			rule.struck++
			return rule.Effect
		}
	}
	return nil
}

// ServeHTTP passes a call on, or lets a rule spoil it.
func (s *Stage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A server goes on with what it has received when its client goes away:
	// the write of a worker that was killed takes effect.
	r = r.WithContext(context.WithoutCancel(r.Context()))
	if effect := s.strikes(r); effect != nil {
		effect(w, r, s.pass)
		return
	}
	s.pass(w, r)
}

func (s *Stage) pass(w http.ResponseWriter, r *http.Request) {
	s.proxy.ServeHTTP(plain{w}, r)
}

// plain hides that the writer can tell when the client goes away.
type plain struct{ http.ResponseWriter }

// Unwrap lets the body be flushed.
func (p plain) Unwrap() http.ResponseWriter { return p.ResponseWriter }
