package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/job"
	"github.com/penstock/penstock/worker/terminal"
)

// A message of a batch job holds one part of it: a pack of references, each
// of which is a request like any other, or a range of a record file (range.go).
// What is the job's own is here: what all its items share, that it may be
// cancelled, and that its books are told how each item ended.

var (
	// errJobCancelled ends what was not yet started of a job.
	errJobCancelled = errors.New("its job was cancelled before it was started")
	// errPartDone declines a message whose part has ended before.
	errPartDone = errors.New("its part of the job is done")
	// errNoJob declines a message whose job there is not: it never was, or what
	// is known of it was deleted. A person must see it.
	errNoJob = errors.New("its job is not known: what the state location has of jobs was deleted, or is another installation's; submit the job again")
	// errListed ends an item of which a listing shows the output.
	errListed = &skipped{outcomeDuplicate, "its output is there already"}
)

// verbBooks is what is done to a job's state, as errors name it.
const verbBooks = "keep the books of a job in"

// withBooks has op ask or tell a job's books, as calls to the store are made:
// again until there is an answer. Each try may take as long as limit.
func (w *Worker) withBooks(ctx context.Context, limit time.Duration, op func(context.Context) error) error {
	return w.store.try(ctx, limit, verbBooks, w.cfg.Locations.State, op)
}

// takeOn prepares what is to be done for a message of a job: it gives what the
// job is, and notes in outcomes which items have ended before. leave is called
// when the message is done with; passing, when it waits and others need not. Other
// messages it leaves as they are.
func (w *Worker) takeOn(m *queue.Message, l *lease, requests []request.Request, outcomes []error, passing func()) (of job.Spec, leave func(), err error) {
	if len(requests) == 0 || requests[0].Job == nil {
		return of, func() {}, nil
	}
	ctx, _, done := w.starting(l)
	defer done()
	w.behind.begun(requests)
	j := requests[0].Job
	_, marked := m.Attributes[attrSuspect]
	err = w.withBooks(ctx, w.cfg.callLimit(), func(ctx context.Context) (err error) {
		of, err = w.books.Spec(ctx, j.ID)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) && w.stateIsThere(ctx) {
		err = fmt.Errorf("%w (%w)", errNoJob, err)
	}
	if err != nil {
		return of, nil, err
	}
	if m.ReceiveCount > 1 || marked {
		if err := w.findDone(ctx, requests, outcomes); err != nil {
			return of, nil, err
		}
	}
	leave, err = w.behind.admit(ctx, of, m.ReceiveCount == 1, passing)
	return of, leave, err
}

// stateIsThere says whether the state location can be listed: what is missing
// there is then missing for good, and not with its bucket.
func (w *Worker) stateIsThere(ctx context.Context) bool {
	_, err := w.listCancels(ctx)
	return err == nil
}

// findDone looks for what of a message that comes again has ended before: all
// of its part, or, of a pack, the items whose output a listing shows. What it
// does not find is found when the item is looked at by itself.
func (w *Worker) findDone(ctx context.Context, requests []request.Request, outcomes []error) error {
	j := requests[0].Job
	over := false
	err := w.withBooks(ctx, longestHold, func(ctx context.Context) (err error) {
		over, err = w.books.Finished(ctx, j.ID, job.Part{Number: j.Part, Items: j.Items})
		return err
	})
	switch {
	case err != nil:
		return err
	case over:
		return errPartDone
	case len(requests) == 1:
		return nil
	}
	outputs, failures := w.cfg.Locations.JobFolders(j.ID)
	done, err := w.listed(ctx, outputs, requests, w.cfg.Locations.OutputOf)
	if err != nil {
		return err
	}
	failed, err := w.listed(ctx, failures, requests, w.cfg.Locations.FailureOf)
	if err != nil {
		return err
	}
	for i := range requests {
		if done[i] && !failed[i] { // with both, or a failure, something may be left to be done
			outcomes[i] = errListed
		}
	}
	return nil
}

// sparse is how many objects are listed at most for each that is looked for,
// beside a page.
const sparse = 4

// listed says which of the requests have an object at the key that of gives, in
// a folder. It gives up where others lie between them.
func (w *Worker) listed(ctx context.Context, folder storage.Ref, requests []request.Request, of func(request.Request) storage.Ref) (found []bool, err error) {
	places := make(map[string]int, len(requests))
	first, last := "", ""
	for i, r := range requests {
		key := of(r).Key
		places[key] = i
		if first == "" || key < first {
			first = key
		}
		last = max(last, key)
	}
	err = w.store.try(ctx, w.cfg.callLimit(), verbList, folder, func(ctx context.Context) error {
		found = make([]bool, len(requests))
		left := 1000 + sparse*len(requests)
		// From before the first key: what is listed comes behind startAfter.
		for info, err := range w.cfg.Store.List(ctx, folder, first[:len(first)-1]) {
			if err != nil {
				return terminal.Unwritable(err)
			}
			if left--; left < 0 || info.Ref.Key > last {
				return nil
			}
			if i, ok := places[info.Ref.Key]; ok {
				found[i] = true
			}
		}
		return nil
	})
	return found, err
}

// decline ends a message that is not taken on: its part is done, it is not its
// turn, or its job's state can't be read.
func (w *Worker) decline(m *queue.Message, l *lease, why error) {
	ctx := context.WithoutCancel(l.ctx)
	if turn, ok := errors.AsType[*turnError](why); ok {
		w.putOff(ctx, l, turn.delay)
		return
	}
	o := w.judge(&item{lease: l}, why).outcome
	if errors.Is(why, errPartDone) {
		o = outcomeDuplicate
	}
	w.metrics.outcomes.WithLabelValues(string(o)).Inc()
	w.log.Info("done", zap.String(keyOutcome, string(o)), zap.String(keyMessage, m.ID), zap.Error(why))
	switch {
	case o == outcomeDuplicate, errors.Is(why, errNoJob) && w.buryUnreadable(l, why):
		w.acknowledge(ctx, l)
	case o == outcomeLost:
		l.from.leases.stop(l)
	case o == outcomeReleased:
		w.release(ctx, l, 0)
	default:
		w.release(ctx, l, backoff(m.ReceiveCount))
	}
}

// heedJob errs when the item's job was cancelled.
func (w *Worker) heedJob(it *item) error {
	var yes bool
	err := w.withBooks(it.pending, w.cfg.callLimit(), func(ctx context.Context) (err error) {
		yes, err = w.books.Cancelled(ctx, it.request.Job.ID)
		return err
	})
	if err == nil && yes {
		err = errJobCancelled
	}
	return err
}

// tellJob tells the books of the job that a message is of how those of its items
// ended that have. It comes before the acknowledgement, and is told again where
// that is lost.
func (w *Worker) tellJob(l *lease, items []*item, outcomes []outcome, errs []error) error {
	if len(items) == 0 || items[0].request.Job == nil {
		return nil
	}
	j := items[0].request.Job
	var verdicts []job.Verdict
	for i, it := range items {
		if !outcomes[i].terminal() {
			continue
		}
		fate, err := w.fate(it, outcomes[i], errs[i])
		if err != nil {
			return err
		}
		verdicts = append(verdicts, job.Verdict{Item: it.request.Job.Item, Fate: fate})
	}
	if len(verdicts) == 0 {
		return nil
	}
	return w.withBooks(l.ctx, longestHold, func(ctx context.Context) error {
		return w.books.Settled(ctx, j.ID, job.Part{Number: j.Part, Items: j.Items}, verdicts)
	})
}

// errNoObject says that an item that has ended has no terminal object.
var errNoObject = errors.New("its terminal object is gone, or a newer version's is not there yet")

// fate is how an item ended, for its job: what its terminal object says, where
// this worker did not write it.
func (w *Worker) fate(it *item, o outcome, why error) (job.Fate, error) {
	switch {
	case o == outcomeSucceeded, why == errListed:
		return job.Succeeded, nil
	case o == outcomeCancelled && (!it.suspect || it.ranged()):
		return job.Cancelled, nil
	case o == outcomeFailed, it.ranged(): // whose only object is the failure of its file
		return job.Failed, nil
	}
	for _, fate := range []job.Fate{job.Succeeded, job.Failed} {
		ref := w.cfg.Locations.OutputOf(it.request)
		if fate == job.Failed {
			ref = w.cfg.Locations.FailureOf(it.request)
		}
		err := w.store.try(it.lease.ctx, w.cfg.callLimit(), terminal.Look, ref, func(ctx context.Context) error {
			_, err := w.cfg.Store.Head(ctx, ref)
			return err
		})
		if !errors.Is(err, fs.ErrNotExist) {
			return fate, err
		}
	}
	if o == outcomeCancelled {
		return job.Cancelled, nil
	}
	return 0, errNoObject
}
