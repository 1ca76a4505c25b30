package sagemaker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/penstock/penstock/cmd/internal/frontdoor/desk"
	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/status"
	"github.com/penstock/penstock/queue/request"
)

// variant is the production variant that answers; SageMaker's own default.
const variant = "AllTraffic"

// invoke hands a request in and answers with its result. No worker is to run
// for nobody: the request lives for as long as its caller waits at most, and is
// cancelled when the caller has gone before.
func (a *API) invoke(w http.ResponseWriter, r *http.Request) {
	var f faults
	attributes := f.text(r.Header, customAttributes)
	s := intake.Submission{Request: f.syncRequest(r.Header)}
	if err := a.read(r, &s, &f, MaxBody); err != nil {
		a.refuse(w, r, err)
		return
	}
	limit := syncLimit
	if a.limit > 0 {
		limit = a.limit
	}
	desk.CallOf(r.Context()).ID = s.Request.ID
	ctx, done, ok := a.Desk.Wait(r.Context(), limit)
	if !ok {
		Refuse(w, http.StatusServiceUnavailable, "ServiceUnavailable", "too many callers wait for results already; try again in a second, or call InvokeEndpointAsync, which does not wait")
		return
	}
	defer done()
	s.Request.TTL, s.Request.Timeout = limit, limit
	if deadline, ok := ctx.Deadline(); ok { // a function of Lambda's may have less time
		s.Request.TTL = max(time.Until(deadline), time.Millisecond)
	}
	accepted, err := a.Desk.Intake.Accept(ctx, s)
	desk.CallOf(r.Context()).BodyDone()
	s.Body = nil
	var ended status.Status
	_, invalid := errors.AsType[*intake.InvalidError](err)
	if err == nil {
		ended, err = a.Desk.Finder.WaitFor(ctx, accepted.Request)
	}
	switch {
	case err == nil && ended.State == status.Succeeded:
		a.answer(w, r, ended, attributes)
	case err == nil:
		refuseModel(w, modelFault(ended))
	case errors.Is(context.Cause(ctx), desk.ErrWaited):
		// It needs no marker, of which an overload would leave many: its time to
		// live is over, too.
		refuseModel(w, &fault{message: fmt.Sprintf("Received server error (0) from model with message \"Your invocation timed out while waiting for a response from the model.\" "+
			"No worker had a result after %v, and none starts the request any more. Start more workers, or call InvokeEndpointAsync, which does not wait.", s.Request.TTL.Round(time.Second))})
	case invalid:
		a.refuse(w, r, err) // nothing was accepted
	default:
		// Where Accept failed it may have been accepted all the same.
		a.Desk.Cancel(r.Context(), s.Request.ID)
		a.refuse(w, r, err)
	}
}

// answer sends the result.
func (a *API) answer(w http.ResponseWriter, r *http.Request, s status.Status, attributes string) {
	object, err := a.Desk.Open(r.Context(), s)
	if e, ok := errors.AsType[*desk.TooLargeError](err); ok {
		refuseModel(w, &fault{message: "Received server error (0) from model: " + e.Error(), originalMessage: e.Error()})
		return
	}
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	h := w.Header()
	h["x-Amzn-Invoked-Production-Variant"] = []string{variant}
	if attributes != "" {
		h.Set(customAttributes.header, attributes)
	}
	desk.Send(w, r, object)
}

// modelFault tells of a request that failed, as of a model's container that
// answered with an error.
func modelFault(s status.Status) *fault {
	p := s.Problem
	if p == nil {
		p = &request.Problem{Code: string(s.State), Message: "see " + s.Failure.String()}
	}
	f := &fault{originalStatus: originalStatus(*p), originalMessage: p.Code + ": " + p.Message}
	if p.Hint != "" {
		f.originalMessage += " (" + p.Hint + ")"
	}
	whose := "server"
	if f.originalStatus < http.StatusInternalServerError {
		whose = "client"
	}
	f.message = fmt.Sprintf("Received %s error (%d) from model with message %q. See %s", whose, f.originalStatus, f.originalMessage, s.Failure)
	return f
}

func refuseModel(w http.ResponseWriter, f *fault) {
	w.Header().Set("x-amzn-ErrorType", "ModelError")
	write(w, http.StatusFailedDependency, struct {
		Message            string
		OriginalStatusCode int
		OriginalMessage    string
		LogStreamArn       string
	}{f.message, f.originalStatus, f.originalMessage, ""})
}
