package worker

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/storage"
)

// readiness is what the receiving goroutine knows of the queue's health.
type readiness struct {
	mu    sync.Mutex
	err   error // of the last poll
	heard bool  // a poll has ended

	proven   bool  // the object store has answered once
	unproven error // why it has not
}

// probe records what the object store answered. It says whether that is news.
func (r *readiness) probe(err error) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	news = err != nil && r.unproven == nil
	r.unproven = err
	r.proven = r.proven || err == nil
	return news
}

func (r *readiness) probed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.proven
}

func (r *readiness) polled(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.heard = err, r.heard || err == nil
}

// answered says whether any poll has succeeded.
func (r *readiness) answered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard && r.err == nil
}

// Ready says why the worker takes no new messages at this time, or nil when it
// does: it drains, or the queue or the object store can't be used. It may be
// called at any time, from any goroutine.
func (w *Worker) Ready() error {
	if w.draining.Err() != nil {
		return context.Cause(w.draining)
	}
	w.ready.mu.Lock()
	heard, err, unproven := w.ready.heard, w.ready.err, w.ready.unproven
	w.ready.mu.Unlock()
	switch {
	case unproven != nil:
		return unproven
	case err != nil:
		return fmt.Errorf("receive: %w", err)
	case !heard:
		return errors.New("the queue has not answered yet")
	}
	return w.store.sick()
}

// wellEnough says whether to receive: the object store must be usable, or what
// is received could only be held. At the start, and while it is at fault, one
// cheap call a moment asks.
func (w *Worker) wellEnough() bool {
	if w.store.sick() == nil && w.ready.probed() {
		return true
	}
	if w.ready.probed() && !sleep(w.draining, jitter(time.Second)) {
		return false
	}
	if err := w.probe(); err != nil {
		if w.ready.probe(err) {
			w.log.Warn("object store: not ready until this is mended", zap.Error(err))
		}
		sleep(w.draining, jitter(time.Second))
		return false
	}
	w.ready.probe(nil)
	w.store.reached()
	return w.store.sick() == nil
}

// probe asks whether the places that the worker writes to are there and
// answer.
func (w *Worker) probe() error {
	ctx, cancel := context.WithTimeout(w.work, w.cfg.callLimit())
	defer cancel()
	asked := make(map[string]bool)
	for _, place := range []storage.Ref{w.cfg.Locations.State, w.cfg.Locations.Output, w.cfg.Locations.Failure} {
		if asked[place.Bucket] {
			continue
		}
		asked[place.Bucket] = true
		place.Key += "probe/"
		next, stop := iter.Pull2(w.cfg.Store.List(ctx, place, ""))
		_, err, _ := next()
		stop()
		if err != nil {
			return fmt.Errorf("list %s: %w", place, err)
		}
	}
	return nil
}
