package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// readiness is what the receiving goroutine knows of the queue's health.
type readiness struct {
	mu    sync.Mutex
	err   error // of the last poll
	heard bool  // a poll has ended
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
	heard, err := w.ready.heard, w.ready.err
	w.ready.mu.Unlock()
	switch {
	case err != nil:
		return fmt.Errorf("receive: %w", err)
	case !heard:
		return errors.New("the queue has not answered yet")
	}
	return w.store.sick()
}

// wellEnough says whether to receive: the object store must be usable, or what
// is received could only be held. While it is at fault, one cheap call a
// moment asks whether it has healed.
func (w *Worker) wellEnough() bool {
	if w.store.sick() == nil {
		return true
	}
	if !sleep(w.draining, jitter(time.Second)) {
		return false
	}
	ctx, cancel := context.WithTimeout(w.work, w.cfg.callLimit())
	defer cancel()
	probe := w.cfg.Locations.State
	probe.Key += "probe"
	_, err := w.cfg.Store.Head(ctx, probe)
	if answered(err) {
		w.store.reached()
	}
	return w.store.sick() == nil
}
