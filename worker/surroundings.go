package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/terminal"
)

// surroundings is what the worker knows of the health of the object store. A
// fault of it is nobody's attempt: calls are tried again in place while the
// leases are kept, and nothing new is received until it has healed.
type surroundings struct {
	log *zap.Logger

	mu     sync.Mutex
	faults map[string]*fault // by verb and bucket: results may be out of reach while inputs are not
}

// fault is what one kind of call met.
type fault struct {
	err    error // of the last call; nil when it went well
	since  time.Time
	write  bool
	trying int // calls that are waiting to be tried again
}

// Verbs of calls, as errors name them, beside those of package terminal.
const (
	verbFetch = "fetch"
	verbList  = "list"
)

// patience is how long one call is tried before its message is handed back for
// another worker, whose surroundings may be better.
const patience = 10 * time.Minute

// errUnavailable says that the surroundings were at fault for all of patience.
var errUnavailable = errors.New("the object store could not be used")

// try runs op, which is verb on ref, until it gives an answer: success, or an
// error of the storage contract, or a problem of the request. Each run is
// bounded by limit.
func (s *surroundings) try(ctx context.Context, limit time.Duration, verb string, ref storage.Ref, op func(context.Context) error) error {
	began := time.Now()
	var f *fault // once there is one
	defer func() { s.done(f) }()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		callCtx, cancel := context.WithTimeout(ctx, limit)
		err := op(callCtx)
		cancel()
		switch {
		case errors.Is(err, terminal.ErrLeaseEnds):
			return err // no call was made
		case answered(err):
			s.healed(verb, ref)
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		err = fmt.Errorf("%s %s: %w", verb, ref, err)
		if !errors.Is(err, storage.ErrConflict) { // which is another writer's doing
			if f == nil {
				f = s.trying(verb, ref)
			}
			s.heard(f, err)
		}
		if time.Since(began) > patience {
			return fmt.Errorf("%w for %v: %w", errUnavailable, patience, err)
		}
		if !sleep(ctx, jitter(wait)) {
			return context.Cause(ctx)
		}
	}
}

// answered says whether err is an answer, not a fault on the way.
func answered(err error) bool {
	_, ok := errors.AsType[*request.Problem](err)
	return ok || terminal.Answered(err)
}

// trying counts a call that is tried again until done.
func (s *surroundings) trying(verb string, ref storage.Ref) *fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := verb + " " + ref.Bucket
	f := s.faults[kind]
	if f == nil {
		f = &fault{write: verb == terminal.Write || verb == terminal.Delete}
		if s.faults == nil {
			s.faults = make(map[string]*fault)
		}
		s.faults[kind] = f
	}
	f.trying++
	return f
}

func (s *surroundings) done(f *fault) {
	if f == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.trying--
}

// heard records that a call of f's kind went wrong.
func (s *surroundings) heard(f *fault, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.err == nil {
		f.since = time.Now()
		s.log.Warn("object store at fault: receiving stops until it heals", zap.Error(err))
	}
	f.err = err
}

// healed records that a call went well.
func (s *surroundings) healed(verb string, ref storage.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.faults[verb+" "+ref.Bucket]; f != nil {
		s.heal(f)
	}
}

func (s *surroundings) heal(f *fault) {
	if f.err != nil {
		s.log.Info("object store healed", zap.NamedError("fault", f.err), zap.Duration("after", time.Since(f.since)))
	}
	f.err = nil
}

// reached records that the store has answered a probe: what is at fault now is
// at most a write, of which only those who are trying one can tell.
func (s *surroundings) reached() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if !f.write || f.trying == 0 {
			s.heal(f)
		}
	}
}

// sick is the fault that calls of some kind have, or nil.
func (s *surroundings) sick() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.err != nil {
			return f.err
		}
	}
	return nil
}

// sleep waits for d, or until ctx is done: then it returns false.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// jitter spreads d over [d/2, d].
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}
