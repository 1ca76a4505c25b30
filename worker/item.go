package worker

import (
	"context"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/terminal"
)

// Keys of log lines.
const (
	keyMessage = "message"
	keyItem    = "request"
	keyOutcome = "outcome"
)

// item is one request of a message on its way through the worker. One
// goroutine works on it at a time: that of its run, then that of settle.
type item struct {
	request request.Request
	sent    request.Request // as it came, before what its object and its job say
	message *queue.Message
	lease   *lease

	// pending ends when the item must not be started any more: its lease is
	// lost, the worker drains, its TTL is over, or it was withdrawn. The lease's
	// own context goes on to what has begun.
	pending  context.Context
	withdraw context.CancelCauseFunc
	entered  func() // to be called when it has its place, or has ended without

	id       string // the inference id, for people
	identity request.Identity
	input    storage.Info // as read; only its Ref before
	model    model.Model  // nil until it is chosen
	leave    func()       // gives the model back; called once the item has its fate

	redriven bool        // a person sent it again from the dead-letter queue
	suspect  bool        // may have been in flight when a process died
	strike   storage.Ref // of the run under way; zero when there is none
	makeRoom func()      // gives its place beside what else runs back, before its end
	careful  bool        // it runs alone, though no run of it has crashed
	single   bool        // its job asks for a run for each record
	spot     string      // of a range: where the run under way began, which its strikes tell
	history  strikes     // of runs before this one
	marked   bool        // strikes may be left of a run that has ended
	ran      bool        // the model was started on it
	flow     flow        // its rows on their way through the model, for the batcher

	ending *ending // what its terminal object says; nil when this worker wrote none

	accepted time.Time // by the queue's clock
	began    time.Time // the goroutine's start, by ours
	spent    request.Provenance
}

// attempts is how many runs count, this one included if it began.
func (it *item) attempts() int {
	n := it.history.total()
	if it.ran {
		n++
	}
	return n
}

// whole is the item of the file that it is a range of: a range that fails fails
// its file. Its identity is the one that who assembles the file knows.
func (it *item) whole() *item {
	if !it.ranged() {
		return it
	}
	file := *it
	file.request = it.request.Whole()
	file.identity = file.request.IdentifyUnread()
	return &file
}

// ranged says that the item is a range of a record file.
func (it *item) ranged() bool { return it.request.Job != nil && it.request.Job.Range != nil }

// claim is the item's claim to its terminal object.
func (it *item) claim(fence func(time.Duration) error) terminal.Claim {
	return terminal.Claim{
		Request: it.request, Identity: it.identity, Input: it.input, Fence: fence, Redriven: it.redriven,
	}
}

// provenance is what the terminal object's metadata tells.
func (it *item) provenance() request.Provenance {
	p := it.spent
	p.Identity, p.InferenceID = it.identity, it.id
	p.Input, p.InputETag = it.input.Ref, it.input.ETag
	p.Attempts = it.attempts()
	if it.model != nil {
		p.Model, p.ModelVersion = it.model.Name(), it.model.Version()
	}
	return p
}

// MarshalLogObject writes the ids and times of the item.
func (it *item) MarshalLogObject(e zapcore.ObjectEncoder) error {
	p := it.provenance()
	e.AddString("id", it.id)
	e.AddString("input", it.request.Input.String())
	e.AddString("message", it.message.ID)
	e.AddInt("receives", it.message.ReceiveCount)
	e.AddInt("attempts", p.Attempts)
	if it.model != nil {
		e.AddString("model", p.Model)
		e.AddString("version", p.ModelVersion)
	}
	if p.Records > 0 {
		e.AddInt64("records", p.Records)
		e.AddInt64("badRecords", p.BadRecords)
	}
	for _, d := range []struct {
		key string
		d   time.Duration
	}{{"queued", p.Queued}, {"fetch", p.Fetch}, {"wait", p.Wait}, {"predict", p.Predict}, {"store", p.Store}} {
		e.AddDuration(d.key, d.d)
	}
	return nil
}

// newItem makes the item of a request that came in m under l.
func (w *Worker) newItem(r request.Request, m *queue.Message, l *lease) *item {
	_, redriven := m.Attributes[attrReason]
	_, marked := m.Attributes[attrSuspect]
	it := &item{
		request: r, sent: r, message: m, lease: l, began: time.Now(),
		input:    storage.Info{Ref: r.Input, ETag: r.ETag},
		identity: r.IdentifyUnread(),
		redriven: redriven, suspect: m.ReceiveCount > 1 || marked,
		accepted: r.Enqueued, leave: func() {},
	}
	it.id = r.InferenceID(it.identity)
	if it.accepted.IsZero() {
		it.accepted = m.Sent
	}
	it.spent.Queued = max(0, it.began.Add(w.cfg.Skew()).Sub(it.accepted))
	return it
}

// expires is when the request may not be started any more, by our clock; zero
// is never.
func (w *Worker) expires(it *item) time.Time {
	if it.request.TTL <= 0 || it.accepted.IsZero() {
		return time.Time{}
	}
	return it.accepted.Add(it.request.TTL - w.cfg.Skew())
}

// log gives a field for the item.
func (it *item) log() zap.Field { return zap.Object(keyItem, it) }
