package worker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/terminal"
)

// writeFailure commits the item's failure object, and sends the request to the
// dead-letter queue when a person must look at it.
func (w *Worker) writeFailure(it *item, r ruling) (outcome, error) {
	ctx := it.lease.ctx
	of := it.whole()
	prov := of.provenance()
	body := request.Failure{
		Error: *r.problem, InferenceID: it.id, Input: it.request.Input.String(), Model: prov.Model,
		Attempts: prov.Attempts, Time: time.Now().Add(w.cfg.Skew()).UTC(),
	}.JSON()
	metadata := prov.Metadata(w.cfg.Locations.FailureOf(of.request))
	if r.bury {
		metadata[metaBuried] = "due"
	}
	v, err := w.terminals.PutFailure(ctx, of.claim(w.fence(it)), terminal.Document{Body: body, ContentType: "application/json", Metadata: metadata})
	reason := r.problem.Message
	if errors.Is(err, fs.ErrInvalid) && it.lease.from.deadLetters != nil {
		// The store can't have an object of that name, today or later: the message
		// tells of the failure then, where a person looks.
		w.log.Warn("a failure object can't be written: the object store refuses its key", zap.String(keyMessage, it.message.ID), zap.Error(err))
		reason += fmt.Sprintf(" (the object store refuses the key of its failure object, %s: give the input a shorter or plainer name)", w.cfg.Locations.FailureOf(of.request))
		r.bury, err = true, nil
	}
	switch {
	case err != nil:
		return outcomeRetried, err
	case v == terminal.Superseded:
		return outcomeSuperseded, nil
	case v == terminal.Overruled:
		return outcomeDuplicate, nil
	}
	if r.bury {
		letter := it.sent
		letter.Enqueued = time.Time{} // who redrives it wants it run, whenever that is
		message, err := request.Encode(letter)
		if err != nil {
			return outcomeFailed, err
		}
		if err := w.bury(ctx, it.lease, message, r.problem.Code, it.id, reason); err != nil {
			return outcomeRetried, err
		}
	}
	if v == terminal.Duplicate {
		if r.problem.Code == request.CodeExpired { // by the sweep, maybe, which tells nobody
			it.failed(r.problem, body)
		}
		return outcomeDuplicate, nil
	}
	it.failed(r.problem, body)
	return outcomeFailed, nil
}

// bury sends a message to the dead-letter queue with its reason.
func (w *Worker) bury(ctx context.Context, l *lease, body, code, id, reason string) error {
	if l.from.deadLetters == nil {
		return nil
	}
	m := l.message
	attributes := map[string]string{attrReason: request.LetterText(reason), attrCode: code, attrID: request.LetterText(id)}
	for k, v := range m.Attributes {
		if _, ok := attributes[k]; !ok && len(attributes) < 10 {
			attributes[k] = v
		}
	}
	out := queue.Outgoing{Body: body, Attributes: attributes, Group: m.Group, DedupID: fmt.Sprintf("%s-%s-%x", m.ID, code, sha256.Sum256([]byte(body)))}
	if out.Size() > queue.MaxMessageBytes {
		out.Attributes = nil // the body leaves no room; the log has the reason
	}
	for tries := 0; ; tries++ {
		err := l.from.leases.secure(l, w.cfg.callLimit())
		if err == nil {
			callCtx, cancel := context.WithTimeout(ctx, w.cfg.callLimit())
			err = l.from.deadLetters.Send(callCtx, out)[0]
			cancel()
		}
		if err == nil {
			w.metrics.deadLetters.Inc()
			return nil
		}
		if l.lost() || tries == 4 || !sleep(ctx, jitter(time.Second<<tries)) {
			return fmt.Errorf("send to the dead-letter queue: %w", err)
		}
	}
}

// buryUnreadable sends a message that is no request, or not wholly one, to the
// dead-letter queue as it is. It says whether it may be acknowledged: without
// a dead-letter queue it is left to the queue's redrive policy.
func (w *Worker) buryUnreadable(l *lease, why error) bool {
	m := l.message
	w.metrics.unreadable.Inc()
	err := w.bury(l.ctx, l, m.Body, request.CodeUnreadable, m.ID, why.Error())
	w.log.Error("unreadable message", zap.String(keyMessage, m.ID), zap.NamedError("reason", why),
		zap.Bool("dead-lettered", err == nil && l.from.deadLetters != nil), zap.Error(err))
	return err == nil && l.from.deadLetters != nil
}

// runLimit is how long a run may take for the item.
func (w *Worker) runLimit(it *item) time.Duration {
	if it.request.Timeout > 0 {
		return min(w.cfg.RunTimeout, it.request.Timeout)
	}
	return w.cfg.RunTimeout
}

// timedOut is the problem of an item on which, and on nothing else, the model
// ran for too long.
func (w *Worker) timedOut(it *item) *request.Problem {
	return &request.Problem{
		Code: request.CodeTimeout, Stage: request.StagePredict, Retryable: true,
		Message: fmt.Sprintf("the model ran for more than %v on this input", w.runLimit(it)),
		Hint:    "send a smaller input, or raise the request's or the worker's time limit",
	}
}
