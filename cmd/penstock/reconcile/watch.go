package reconcile

import (
	"context"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/storage"
)

// Watcher looks again and again, and enqueues what was missed: soon after its
// start, then ever more seldom, at last every half a minute. Of what it has
// seen it looks at changes only, and nothing is enqueued twice because it has
// to wait in the queue.
type Watcher struct {
	Reconciler
	Inspector queue.Inspector // of Reconciler.Queue
	Found     func(n int)     // is told how many missed inputs are in the queue now
	Failing   func(error)     // is told once why it can't look, until it could again
}

// How a Watcher paces itself. The first pause is short: after a crash, what
// was missed can be told from what is queued once the queue is empty.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
	// patience is how long an input may be without a terminal object before
	// it is enqueued though the queue is not empty and may hold it.
	patience = 5 * time.Minute
	// maxVerdicts bounds what is remembered of inputs that are done.
	maxVerdicts = 50_000
)

// Run looks until ctx is done.
func (w *Watcher) Run(ctx context.Context) {
	w.memory = &memory{verdicts: map[sight]fate{}, noticed: map[version]notice{}}
	failed := 0 // looks in a row
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := w.look(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failed = 0
		default:
			if failed++; failed == 2 { // one may be a hiccup
				w.Failing(err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// look looks once.
func (w *Watcher) look(ctx context.Context) error {
	// First: what was uploaded before this moment is either done, or in the
	// queue, or was missed.
	attributes, err := w.Inspector.Attributes(ctx)
	if err != nil {
		return err
	}
	w.memory.idle = attributes.Visible+attributes.InFlight+attributes.Delayed == 0
	var trouble error
	w.Trouble = func(_ storage.Ref, err error) { trouble = err }
	counts, err := w.Reconciler.Run(ctx)
	if counts.Enqueued > 0 {
		w.Found(counts.Enqueued)
	}
	w.memory.tidy(w.Now())
	if err == nil {
		err = trouble
	}
	return err
}

// memory is what a Watcher knows from looks before. A nil one knows nothing.
type memory struct {
	idle     bool           // nothing was in the queue when this look began
	verdicts map[sight]fate // of inputs that are done
	noticed  map[version]notice
}

// notice is what was noticed of an input without a terminal object.
type notice struct {
	at       time.Time
	enqueued bool // by us, then; else it may be in the queue
}

// recall is the fate that an input was found to have, or unknown.
func (m *memory) recall(s sight) fate { return m.verdicts[s] }

func (m *memory) keep(s sight, f fate) {
	// Without a terminal object in the listing nothing is final.
	if (f == result || f == failure) && s.output+s.failure != "" {
		if len(m.verdicts) >= maxVerdicts {
			clear(m.verdicts)
		}
		m.verdicts[s] = f
	}
}

// due says whether an input without a terminal object is to be enqueued now,
// and takes it that it is.
func (m *memory) due(in version, now time.Time) bool {
	n, known := m.noticed[in]
	old := known && now.Sub(n.at) >= patience
	switch {
	case old, m.idle && !n.enqueued:
		m.noticed[in] = notice{now, true}
		return true
	case !known:
		m.noticed[in] = notice{at: now}
	}
	return false
}

// forget lets an input be enqueued that could not be.
func (m *memory) forget(in version) { delete(m.noticed, in) }

// tidy forgets inputs that were not noticed again, because they are done.
func (m *memory) tidy(now time.Time) {
	for in, n := range m.noticed {
		if now.Sub(n.at) > 2*patience {
			delete(m.noticed, in)
		}
	}
}
