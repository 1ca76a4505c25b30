package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// aboard is what the worker has in flight, by the names that others ask for,
// and what a request has cost it. The zero value is ready.
type aboard struct {
	mu     sync.Mutex
	names  map[*item]string
	served int           // items that the model was started on, since the last look
	busy   time.Duration // of the model, since then

	requests, seconds float64 // those served and busy before, the older the less
}

// enter notes that the item is in flight, under the name that it has now: an
// upload's is another once its object was read. Items of batch jobs have none
// that anyone would ask for.
func (a *aboard) enter(it *item) {
	if it.request.Job != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.names == nil {
		a.names = make(map[*item]string)
	}
	a.names[it] = it.request.InferenceID(it.identity)
}

// leave notes that the item has its fate.
func (a *aboard) leave(it *item) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.names, it)
	if it.ran && it.request.Job == nil {
		a.served++
	}
}

// ran notes how long the model was busy.
func (a *aboard) ran(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy += d
}

// older is what requests weigh in the cost of one, at each look at newer ones.
const older = 0.7

// look gives the names of what is in flight, sorted, and what a request costs:
// seconds of the worker's time. With several runners a second of the model's is
// a part of that. A run may end before a look and its items behind it, so what
// was busy is not compared with what was served between two looks, but in all.
func (a *aboard) look(runners int) (names []string, cost float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.served > 0 {
		a.requests = older*a.requests + float64(a.served)
		a.seconds = older*a.seconds + a.busy.Seconds()
		a.served, a.busy = 0, 0
	}
	if a.requests > 0 {
		cost = a.seconds / a.requests / float64(runners)
	}
	for _, name := range a.names {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), cost
}

// snapshot is what the worker says of itself.
func (w *Worker) snapshot() request.Snapshot {
	names, cost := w.aboard.look(w.cfg.Runners)
	s := request.Snapshot{
		Worker: w.cfg.Name, Time: time.Now().Add(w.cfg.Skew()), InFlight: names,
		SecondsPerRequest: cost, QueuedSeconds: w.batcher.seconds() / float64(w.cfg.Runners),
	}
	if len(names) > request.MaxInFlightIDs {
		s.InFlight, s.More = names[:request.MaxInFlightIDs], true
	}
	return s
}

// report writes snapshots until ctx is done, then removes the last. They are
// for people, and for the sweep, which lets live what they name: that one can't
// be written changes nothing for any message.
func (w *Worker) report(ctx context.Context) {
	ref := w.cfg.Locations.SnapshotOf(w.cfg.Name)
	var last request.Snapshot // that was written
	tried := false
	for sleep(ctx, request.SnapshotPeriod) {
		s := w.snapshot()
		if !worthTelling(last, s) {
			continue
		}
		tried = true
		call, cancel := context.WithTimeout(ctx, min(w.cfg.callLimit(), request.SnapshotPeriod))
		_, err := w.cfg.Store.Put(call, ref, s.JSON(), storage.PutOptions{ContentType: "application/json"})
		cancel()
		if err == nil {
			last = s
		} else if ctx.Err() == nil {
			w.log.Warn("write a snapshot: others may not see what is in flight here", zap.Error(err))
		}
	}
	if !tried {
		return
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(w.cfg.callLimit(), 5*time.Second))
	defer cancel()
	if err := w.cfg.Store.Delete(call, ref, storage.DeleteOptions{}); err != nil {
		w.log.Info("remove the snapshot; it ages by itself", zap.Error(err))
	}
}

// worthTelling says whether a snapshot is to be written, after the last one
// that was.
func worthTelling(last, s request.Snapshot) bool {
	if s.Time.Sub(last.Time) >= request.SnapshotRefresh && len(s.InFlight) > 0 {
		return true
	}
	// A cost that is about the same is no news of an idle worker's.
	d := s.SecondsPerRequest - last.SecondsPerRequest
	return !slices.Equal(last.InFlight, s.InFlight) || max(d, -d) > last.SecondsPerRequest/10
}
