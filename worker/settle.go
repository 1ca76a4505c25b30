package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/terminal"
)

// Message attributes that Penstock sets.
const (
	attrReason  = request.LetterReason
	attrCode    = request.LetterCode
	attrID      = request.LetterID
	attrSuspect = "penstock-suspect" // on an item sent alone: it was in flight before
)

// metaBuried marks the failure objects of requests whose message goes to the
// dead-letter queue. Whoever finds one that is not acknowledged sends it (again).
const metaBuried = "penstock-dead-letter"

// outcome is what became of an item, as logs and metrics name it.
type outcome string

const (
	outcomeSucceeded  outcome = "succeeded"  // its output was written
	outcomeFailed     outcome = "failed"     // its failure object was written
	outcomeDuplicate  outcome = "duplicate"  // it had its terminal object before
	outcomeSuperseded outcome = "superseded" // a newer version of its input counts
	outcomeIgnored    outcome = "ignored"    // it asks for nothing
	outcomeReleased   outcome = "released"   // handed back unharmed: the worker is shutting down
	outcomeRetried    outcome = "retried"    // handed back with a delay
	outcomeLost       outcome = "lost"       // its lease was lost: it is another worker's now
	outcomeCancelled  outcome = "cancelled"  // its job was cancelled before it was started; nothing was written
)

var outcomes = []outcome{
	outcomeSucceeded, outcomeFailed, outcomeDuplicate, outcomeSuperseded,
	outcomeIgnored, outcomeReleased, outcomeRetried, outcomeLost, outcomeCancelled,
}

// terminal says whether nothing more is to come of the item.
func (o outcome) terminal() bool {
	return o != outcomeReleased && o != outcomeRetried && o != outcomeLost
}

// Errors of run that say what is to become of the item. Any other error is a
// fault of the surroundings: the item is handed back with a delay.
type (
	// skipped: nothing is to be written for it.
	skipped struct {
		outcome outcome
		why     string
	}
	// attempt: it failed, for a reason that may pass. The run counts, and the
	// last one's problem is final.
	attempt struct{ request.Problem }
	// final: it failed for good, and a person must look at it.
	final struct{ request.Problem }
)

func (s *skipped) Error() string { return s.why }
func (a *attempt) Error() string { return a.Problem.Error() }
func (f *final) Error() string   { return f.Problem.Error() }

// skippedFor is the error of an item whose terminal object is settled.
func skippedFor(v terminal.Verdict) error {
	if v == terminal.Superseded {
		return &skipped{outcomeSuperseded, "a newer version of the input counts"}
	}
	return &skipped{outcomeDuplicate, "its terminal object is there already"}
}

// problem gives an error of the codec or the model its place in the failure
// object. Other errors pass.
func problem(stage string, err error) error {
	if e, ok := errors.AsType[*codec.Error](err); ok {
		return &request.Problem{Code: e.Code, Message: e.Message, Hint: cmp.Or(e.Hint, "correct the input and send it again"), Stage: stage}
	}
	if e, ok := errors.AsType[*model.Error](err); ok {
		p := request.Problem{Code: request.CodeModelError, Message: e.Error(), Stage: stage, Retryable: !e.Permanent}
		if e.Permanent {
			p.Hint = "the model refuses this input: compare it with what the model takes"
			return &p
		}
		p.Hint = "the worker's log has the details; send the request again when the cause is gone"
		return &attempt{p}
	}
	return err
}

// commit writes the item's output.
func (w *Worker) commit(it *item, result terminal.Document) error {
	result.Metadata = it.provenance().Metadata(w.cfg.Locations.OutputOf(it.request))
	began := time.Now()
	v, err := w.terminals.PutOutput(it.lease.ctx, it.claim(w.fence(it)), result)
	it.spent.Store += time.Since(began) // for the log and the metrics: the metadata is written by now
	if err = w.written(it, v, err); err == nil && it.request.Job == nil {
		it.succeeded(result)
	}
	return err
}

// written is what an attempt to write the item's output means for it.
func (w *Worker) written(it *item, v terminal.Verdict, err error) error {
	switch {
	case errors.Is(err, fs.ErrInvalid):
		return &request.Problem{
			Code: request.CodeOutputTaken, Stage: request.StageStore,
			Message: fmt.Sprintf("the object store refuses the key of the result: %v", err),
			Hint:    "give the input another key, or the request another id",
		}
	case err != nil:
		return err
	case v == terminal.Taken:
		return &request.Problem{
			Code: request.CodeOutputTaken, Stage: request.StageStore,
			Message: fmt.Sprintf("%s holds another object, not a result of this request", w.cfg.Locations.OutputOf(it.request)),
			Hint:    "give the request another id, or remove that object",
		}
	case v != terminal.Committed:
		return skippedFor(v)
	}
	return nil
}

// fence gives the check that every write of the item has to pass: its lease
// must outlast the write.
func (w *Worker) fence(it *item) func(time.Duration) error {
	return func(limit time.Duration) error {
		return it.lease.from.leases.secure(it.lease, limit+limit/4)
	}
}

// settle is the only place that decides what becomes of a message: each item
// gets its fate, and the message is acknowledged when all are terminal.
func (w *Worker) settle(m *queue.Message, l *lease, items []*item, errs []error, undecodable error) {
	// What is left to do must be done although the worker may be shutting
	// down; each call has its own limit, and the lease still bounds all.
	ctx := context.WithoutCancel(l.ctx)
	var again, rest []*item
	var delay time.Duration
	lost, alone := false, false
	outcomes := w.concludeAll(ctx, items, errs)
	for i, it := range items {
		switch outcomes[i] {
		case outcomeLost:
			lost = true
		case outcomeReleased:
			if it.request.Job != nil && !it.suspect && errors.Is(errs[i], errDraining) {
				rest = append(rest, it) // of a job's part, what nothing has happened to
				continue
			}
			again = append(again, it)
			alone = alone || it.request.Job != nil && len(items) > 1
		case outcomeRetried:
			again = append(again, it)
			alone = len(items) > 1
			delay = max(delay, w.pause(it, errs[i]))
		}
	}
	if lost {
		l.from.leases.stop(l)
		return
	}
	// Of several items, those to be tried again are sent alone. What was only
	// handed back goes back with its message, and so does the rest of a message
	// that can't wholly be read: when all else of it is done, it is buried.
	switch {
	case len(again) > 0 && (!alone || undecodable != nil):
		w.release(ctx, l, delay)
		return
	case len(again) > 0 && !w.resend(ctx, l, again, delay):
		w.release(ctx, l, backoff(m.ReceiveCount))
		return
	case len(rest) > 0 && (undecodable != nil || !w.sendOn(ctx, l, rest)):
		w.release(ctx, l, 0)
		return
	}
	if undecodable != nil && !w.buryUnreadable(l, undecodable) {
		w.release(ctx, l, backoff(m.ReceiveCount))
		return
	}
	if len(items) == 0 && undecodable == nil { // a test event, a deletion, a folder marker
		w.metrics.outcomes.WithLabelValues(string(outcomeIgnored)).Inc()
		w.log.Info("done", zap.String(keyOutcome, string(outcomeIgnored)), zap.String(keyMessage, m.ID))
	}
	if err := w.tellJob(l, items, outcomes, errs); err != nil {
		w.log.Warn("tell the job", zap.String(keyMessage, m.ID), zap.Error(err))
		w.release(ctx, l, backoff(m.ReceiveCount))
		return
	}
	if slices.ContainsFunc(items, func(it *item) bool { return it.marked }) {
		// It comes back, is found to be done, and its strikes are taken back then.
		w.release(ctx, l, backoff(m.ReceiveCount))
		return
	}
	w.acknowledge(ctx, l)
}

// concludeAll gives each item its fate.
func (w *Worker) concludeAll(ctx context.Context, items []*item, errs []error) []outcome {
	outcomes := make([]outcome, len(items))
	var g errgroup.Group
	g.SetLimit(concluding)
	for i, it := range items {
		g.Go(func() error {
			outcomes[i] = w.conclude(ctx, it, errs[i])
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	return outcomes
}

// concluding is how many items of a message get their fates at a time: a pack
// may have a thousand failures to write.
const concluding = 16

// pause is how long an item that is to be tried again rests.
func (w *Worker) pause(it *item, err error) time.Duration {
	_, attempted := errors.AsType[*attempt](err)
	switch {
	case errors.Is(err, errApart): // nothing has happened to it yet
		return 0
	case errors.Is(err, errUnderWay):
		return w.cfg.VisibilityTimeout / 2
	case attempted: // not by its deliveries, which drains and outages add to
		return backoff(it.attempts())
	}
	return backoff(it.message.ReceiveCount)
}

// ruling is what an error of run means for its item.
type ruling struct {
	outcome outcome
	problem *request.Problem // for failed items: what the failure object says
	bury    bool             // a person must look at it: to the dead-letter queue as well
}

// conclude gives one item its fate. For a failed one that means to write its
// failure object, which can itself turn out otherwise.
func (w *Worker) conclude(ctx context.Context, it *item, err error) outcome {
	r := w.judge(it, err)
	o := r.outcome
	if o == outcomeFailed {
		var werr error
		if o, werr = w.writeFailure(it, r); werr != nil {
			if o = w.judge(it, werr).outcome; o == outcomeFailed {
				o = outcomeRetried // it can't be: there is no object that says so
			}
			err = errors.Join(err, werr)
		}
	}
	if !errors.Is(err, errOverrun) { // an overrun is a run that did not end
		w.forgive(ctx, it, o.terminal())
	}
	if o.terminal() && (errors.Is(err, errCancelled) || errors.Is(err, errExpired)) {
		w.dropCancel(ctx, it)
	}
	if it.request.Job == nil { // whose summary tells of all
		w.notify(ctx, it, o)
	}
	w.metrics.outcome(it, o)
	fields := []zap.Field{zap.String(keyOutcome, string(o)), it.log()}
	if err != nil {
		fields = append(fields, zap.Error(err))
	}
	w.log.Info("done", fields...)
	return o
}

// judge says what an error of run means.
func (w *Worker) judge(it *item, err error) ruling {
	if err == nil {
		return ruling{outcome: outcomeSucceeded}
	}
	if errors.Is(err, queue.ErrLeaseLost) || errors.Is(context.Cause(it.lease.ctx), queue.ErrLeaseLost) {
		return ruling{outcome: outcomeLost}
	}
	if s, ok := errors.AsType[*skipped](err); ok {
		return ruling{outcome: s.outcome}
	}
	if a, ok := errors.AsType[*attempt](err); ok {
		return w.judgeAttempt(it, a)
	}
	if f, ok := errors.AsType[*final](err); ok {
		return ruling{outcomeFailed, &f.Problem, true}
	}
	if p, ok := errors.AsType[*request.Problem](err); ok {
		return ruling{outcomeFailed, p, false}
	}
	switch {
	case errors.Is(err, errExpired):
		return ruling{outcome: outcomeFailed, problem: request.Expired(it.request)}
	case errors.Is(err, errCancelled):
		return ruling{outcome: outcomeFailed, problem: cancelled()}
	case errors.Is(err, errJobCancelled):
		return ruling{outcome: outcomeCancelled}
	case errors.Is(err, errDraining), errors.Is(err, errDrainTimeout), errors.Is(err, ErrModelHung),
		errors.Is(err, errOverrun), errors.Is(err, errHeldTooLong):
		return ruling{outcome: outcomeReleased}
	}
	return ruling{outcome: outcomeRetried} // a fault of the surroundings
}

// judgeAttempt counts a run that failed for a reason that may pass. The count
// outlives this process: it is a strike in the state location.
func (w *Worker) judgeAttempt(it *item, a *attempt) ruling {
	it.ran = true
	if !it.history.known {
		if err := w.lookUpStrikes(it.lease.ctx, it); err != nil {
			return ruling{outcome: outcomeRetried}
		}
	}
	if n := it.attempts(); n >= w.cfg.MaxAttempts {
		p := a.Problem
		p.Message = fmt.Sprintf("%s (attempt %d of %d)", p.Message, n, w.cfg.MaxAttempts)
		return ruling{outcomeFailed, &p, p.Code != request.CodeForbidden}
	}
	began := it.strike
	if err := w.putStrike(it.lease.ctx, it, companyFailed); err != nil {
		w.log.Warn("write strike", it.log(), zap.Error(err))
	}
	it.strike = began // the run ended, so this one goes; the other stays
	return ruling{outcome: outcomeRetried}
}
