package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/terminal"
)

// A message that is delivered again may have been in flight when a process
// died, and one of those killed it. Such suspects run apart, and each leaves a
// strike in the state location before it runs: an object that is taken back
// when the run ends, however it ends, and stays when the process dies. The
// suspects alone pay for this (one LIST, one PUT, one DELETE).
const (
	// maxSuspects is how many run at a time, together, while they have no
	// strike. A killer takes at most that many with it.
	maxSuspects = 8
	// maxSolo is how many runs alone may end the process before the request is
	// not run any more.
	maxSolo = 2
	// everybody is all of the isolation semaphore.
	everybody = 1 << 30
)

// Companies of a strike: with whom the run began that left it.
const (
	companyGroup  = "group"
	companySolo   = "solo"
	companyFailed = "failed" // the run ended, with an error that may pass
)

// strikes are the runs of a request that counted, before this one.
type strikes struct {
	known               bool // they were looked up
	group, solo, failed int
	next                int           // number for the next
	refs                []storage.Ref // to remove when the request is done
	latest              time.Time     // of a run that did not end, by the store's clock
}

func (s strikes) total() int { return s.group + s.solo + s.failed }

// errUnderWay puts off a suspect that another worker seems to be running: a
// second copy of its message, or one whose lease that worker has lost. Were
// such runs taken for crashes, four deliveries at a time would condemn an
// innocent.
var errUnderWay = errors.New("another worker has begun to run it, less than half a lease ago")

// lookUpStrikes lists the request's strikes.
func (w *Worker) lookUpStrikes(ctx context.Context, it *item) error {
	var found strikes
	folder := w.cfg.Locations.StrikesOf(it.identity)
	err := w.store.try(ctx, w.cfg.callLimit(), verbList, folder, func(ctx context.Context) error {
		found = strikes{known: true}
		for info, err := range w.cfg.Store.List(ctx, folder, "") {
			if err != nil {
				return terminal.Unwritable(err)
			}
			number, company, _ := strings.Cut(strings.TrimPrefix(info.Ref.Key, folder.Key), "-")
			company, spot, _ := strings.Cut(company, "-")
			var n int
			if _, err := fmt.Sscan(number, &n); err != nil {
				continue
			}
			found.next = max(found.next, n+1)
			found.refs = append(found.refs, info.Ref)
			switch {
			case company == companyFailed:
				found.failed++
				continue
			case spot != it.spot: // a range has come further since
			case company == companyGroup:
				found.group++
			case company == companySolo:
				found.solo++
			}
			if info.Modified.After(found.latest) {
				found.latest = info.Modified
			}
		}
		return nil
	})
	if err == nil {
		it.history = found
	}
	return err
}

// lane says with whom the item may share a batch.
func (it *item) lane() lane {
	switch {
	case it.strike == storage.Ref{} && it.request.Job != nil:
		return background
	case it.strike == storage.Ref{}:
		return ordinary
	case it.solitary():
		return solo
	}
	return suspects
}

// crashes counts the runs that ended with the process.
func (it *item) crashes() int { return it.history.group + it.history.solo }

// solitary says that the item runs with nobody else.
func (it *item) solitary() bool { return it.careful || it.crashes() > 0 }

// board lets one delivery of an identity go on at a time, and ends those whose
// request already has its terminal object. Only what may be a repetition is
// looked up: a first delivery costs nothing here.
func (w *Worker) board(it *item) (land func(), err error) {
	land, waited, err := w.flights.board(it.pending, it.identity)
	if err != nil {
		return nil, err
	}
	late := it.request.ETag != "" && it.request.ETag != it.input.ETag // an event of an older version
	if it.suspect || waited || late {
		v, found, err := w.terminals.Finished(it.pending, it.claim(w.fence(it)))
		switch {
		case err != nil:
		case v == terminal.Duplicate && found.Metadata[metaBuried] != "":
			err = w.unburied(it, found)
		case v != terminal.Committed:
			err = skippedFor(v)
		}
		if err != nil {
			land()
			return nil, err
		}
	}
	return land, nil
}

// unburied gives the problem in a failure object of the item's whose message
// did not get to the dead-letter queue, or was not acknowledged after it did.
func (w *Worker) unburied(it *item, found storage.Info) error {
	var body []byte
	err := w.store.try(it.pending, w.cfg.callLimit(), verbFetch, found.Ref, func(ctx context.Context) error {
		o, err := w.cfg.Store.Get(ctx, found.Ref, storage.GetOptions{IfMatch: found.ETag})
		if err != nil {
			return err
		}
		defer o.Body.Close()
		body, err = io.ReadAll(o.Body)
		return err
	})
	if err != nil {
		return err
	}
	var f request.Failure
	if json.Unmarshal(body, &f) != nil {
		return skippedFor(terminal.Duplicate) // nothing that a letter could say
	}
	return &final{f.Error}
}

// isolate waits until the item may run next to what else runs, and marks a
// suspect's run by a strike. leave, which may be called twice, makes room.
func (w *Worker) isolate(it *item) (leave func(), err error) {
	if !it.suspect {
		return w.among(it)
	}
	if err := w.confront(it); err != nil {
		return nil, err
	}
	if it.history.solo >= maxSolo {
		return nil, &final{request.Problem{
			Code: request.CodePoison, Stage: request.StagePredict,
			Message: fmt.Sprintf("the worker's process ended %d times while it ran this input, %d of them with nothing else running: it is not run again",
				it.crashes(), it.history.solo),
			Hint: "look at the worker's log and the input; after a fix, redrive the message from the dead-letter queue",
		}}
	}
	return w.apart(it)
}

// among lets an item that is no suspect run among the others.
func (w *Worker) among(it *item) (leave func(), err error) {
	it.makeRoom, err = w.room(it.pending, 1)
	return it.makeRoom, err
}

// room takes a place beside what else runs: 1, or everybody's.
func (w *Worker) room(ctx context.Context, share int64) (leave func(), err error) {
	if w.isolation.Acquire(ctx, share) != nil {
		return nil, context.Cause(ctx)
	}
	return sync.OnceFunc(func() { w.isolation.Release(share) }), nil
}

// confront looks up a suspect's strikes, and puts it off when another worker
// seems to be running it.
func (w *Worker) confront(it *item) error {
	if err := w.lookUpStrikes(it.pending, it); err != nil {
		return err
	}
	// The strikes of a worker that died are older: its messages came back when
	// its lease was over, of which there was two thirds or more when it put them.
	if time.Now().Add(w.cfg.Skew()).Sub(it.history.latest) < w.cfg.VisibilityTimeout/2 {
		return errUnderWay
	}
	return nil
}

// apart lets a suspect run apart from the rest, behind a strike.
func (w *Worker) apart(it *item) (leave func(), err error) {
	// Taken in this order by all: a group's seat, then the room.
	company, share, seat := companyGroup, int64(1), int64(1)
	if it.solitary() {
		company, share, seat = companySolo, everybody, 0
	}
	if w.quarter.Acquire(it.pending, seat) != nil {
		return nil, context.Cause(it.pending)
	}
	if it.makeRoom, err = w.room(it.pending, share); err != nil {
		w.quarter.Release(seat)
		return nil, err
	}
	leave = sync.OnceFunc(func() {
		it.makeRoom()
		w.quarter.Release(seat)
	})
	if err := w.putStrike(it.pending, it, company); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// putStrike leaves the strike of the run that is about to begin. Its body
// names the delivery, so that a write which met its own effect, because it was
// repeated on the way, is known for ours: counted as another's it would stay,
// and tell against an innocent.
func (w *Worker) putStrike(ctx context.Context, it *item, company string) error {
	if it.spot != "" && company != companyFailed {
		company += "-" + it.spot
	}
	for {
		ref := w.cfg.Locations.StrikeOf(it.identity, it.history.next, company)
		err := w.store.try(ctx, w.cfg.callLimit(), terminal.Write, ref, func(ctx context.Context) error {
			_, err := w.cfg.Store.Put(ctx, ref, []byte(it.message.Receipt), storage.PutOptions{IfNoneMatch: true})
			return terminal.Unwritable(err)
		})
		ours := err == nil
		if errors.Is(err, storage.ErrPrecondition) {
			ours, err = w.isOurs(ctx, it, ref)
		}
		switch {
		case ours:
			it.strike = ref
			return nil
		case err != nil:
			it.strike = ref // a write that was called off can have taken effect
			return err
		}
		it.history.next++ // that one is of a worker that holds the message no more
	}
}

// isOurs says whether this delivery left the strike.
func (w *Worker) isOurs(ctx context.Context, it *item, strike storage.Ref) (bool, error) {
	var body []byte
	err := w.store.try(ctx, w.cfg.callLimit(), verbFetch, strike, func(ctx context.Context) error {
		o, err := w.cfg.Store.Get(ctx, strike, storage.GetOptions{})
		if err != nil {
			return err
		}
		defer o.Body.Close()
		body, err = io.ReadAll(o.Body)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // taken back meanwhile
	}
	return err == nil && string(body) == it.message.Receipt, err
}

// forgive takes back the strike of the run that has ended, and the earlier
// ones too when the request is done. An outage is waited out while the lease
// is kept, or the strike would stay and tell against the request; after that
// it is done as well as can be, and what may be left is noted: settle does not
// acknowledge it.
func (w *Worker) forgive(ctx context.Context, it *item, all bool) {
	var refs []storage.Ref
	if it.strike != (storage.Ref{}) {
		refs = append(refs, it.strike)
	}
	if all {
		// A worker can have died after the commit, before it came to this.
		if it.suspect && !it.history.known {
			if err := w.lookUpStrikes(it.lease.ctx, it); err != nil {
				w.log.Warn("look up strikes", it.log(), zap.Error(err))
				it.marked = !terminal.Answered(err)
			}
		}
		refs = append(refs, it.history.refs...)
	}
	var last context.Context // for what is left when the lease is over: one limit for all
	for _, ref := range refs {
		remove := func(ctx context.Context) error { return w.cfg.Store.Delete(ctx, ref, storage.DeleteOptions{}) }
		err := w.store.try(it.lease.ctx, w.cfg.callLimit(), terminal.Delete, ref, remove)
		if it.lease.ctx.Err() != nil {
			if last == nil {
				var cancel context.CancelFunc
				last, cancel = context.WithTimeout(ctx, w.cfg.callLimit())
				defer cancel()
			}
			err = w.store.try(last, w.cfg.callLimit(), terminal.Delete, ref, remove)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.log.Warn("delete strike", it.log(), zap.Stringer("strike", ref), zap.Error(err))
			it.marked = it.marked || !terminal.Answered(err)
		}
	}
	it.strike = storage.Ref{}
}
