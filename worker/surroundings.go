package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// surroundings is what the worker knows of the health of the object store. A
// fault of it is nobody's attempt: calls are tried again in place while the
// leases are kept, and nothing new is received until it has healed.
type surroundings struct {
	log *zap.Logger

	mu    sync.Mutex
	fault error     // of the last call; nil when it went well
	since time.Time // of the first fault in a row
}

// patience is how long one call is tried before its message is handed back for
// another worker, whose surroundings may be better.
const patience = 10 * time.Minute

// errUnavailable says that the surroundings were at fault for all of patience.
var errUnavailable = errors.New("the object store could not be used")

// try runs op until it gives an answer: success, or an error of the storage
// contract, or a problem of the request. Each run is bounded by limit.
func (s *surroundings) try(ctx context.Context, limit time.Duration, step string, op func(context.Context) error) error {
	began := time.Now()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		callCtx, cancel := context.WithTimeout(ctx, limit)
		err := op(callCtx)
		cancel()
		if answered(err) {
			s.heard(nil)
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.heard(fmt.Errorf("%s: %w", step, err))
		if time.Since(began) > patience {
			return fmt.Errorf("%w for %v: %s: %w", errUnavailable, patience, step, err)
		}
		if !sleep(ctx, jitter(wait)) {
			return context.Cause(ctx)
		}
	}
}

// answered says whether err is the store's answer, not a fault on the way.
func answered(err error) bool {
	if _, ok := errors.AsType[*request.Problem](err); ok {
		return true
	}
	return err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, storage.ErrForbidden) ||
		errors.Is(err, storage.ErrPrecondition) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, errLeaseEnds)
}

// heard records how the last call went.
func (s *surroundings) heard(fault error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case fault != nil && s.fault == nil:
		s.since = time.Now()
		s.log.Warn("object store at fault: receiving stops until it heals", zap.Error(fault))
	case fault == nil && s.fault != nil:
		s.log.Info("object store healed", zap.Duration("after", time.Since(s.since)))
	}
	s.fault = fault
}

// sick is the fault that the last call had, or nil.
func (s *surroundings) sick() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// notWritable turns the answers that mean "results can't be written here" (no
// such bucket, access denied) into a fault of the surroundings: the request is
// not to blame for them.
func notWritable(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, storage.ErrForbidden) {
		return fmt.Errorf("results can't be written: %v", err) // not wrapped, so that it is no answer
	}
	return err
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
