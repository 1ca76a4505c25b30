package native

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/frontdoor/desk"
	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/status"
	"github.com/penstock/penstock/queue/request"
)

// Problem is an error as RFC 9457 has it. Its type is "about:blank", which is
// not written; what tells problems apart is the code.
type Problem struct {
	Title       string   `json:"title"` // the status in words
	Status      int      `json:"status"`
	Code        string   `json:"code"`             // stable, for programs
	Detail      string   `json:"detail"`           // what, where, why
	Hint        string   `json:"hint,omitempty"`   // what to do
	Errors      []string `json:"errors,omitempty"` // each fault, where there are several
	Stage       string   `json:"stage,omitempty"`  // of the request's life; of a failed request
	Retryable   *bool    `json:"retryable,omitempty"`
	InferenceID string   `json:"inferenceId,omitempty"`
	Failure     string   `json:"failure,omitempty"` // where the failure object is
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// Codes of problems, beside those of failed requests (queue/request and
// worker/codec).
const (
	codeInvalid     = "InvalidRequest"
	codeConflict    = "IdConflict"
	codeNotFound    = "NotFound"
	codeMethod      = "MethodNotAllowed"
	codeTooLarge    = "BodyTooLarge"
	codeForm        = "FormNotTaken"
	codeNoUploads   = "UploadsNotOffered"
	codeResultLarge = "ResultTooLarge"
	codeUnavailable = "Unavailable"
)

func invalid(detail, hint string) *Problem {
	return &Problem{Status: http.StatusBadRequest, Code: codeInvalid, Detail: detail, Hint: hint}
}

// Refuse answers with a problem.
func Refuse(w http.ResponseWriter, p *Problem) {
	q := *p
	q.Title = http.StatusText(p.Status)
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	send(w, p.Status, q)
}

// NotHere is the problem of a path or a method that is not served. allow is
// the header Allow, which has been set, or empty for an unknown path.
func NotHere(r *http.Request, allow string) *Problem {
	if allow != "" {
		return &Problem{
			Status: http.StatusMethodNotAllowed, Code: codeMethod,
			Detail: r.URL.Path + " is answered to " + allow + ", not to " + r.Method, Hint: "GET /openapi.json describes what there is",
		}
	}
	return &Problem{
		Status: http.StatusNotFound, Code: codeNotFound, Detail: "there is nothing at " + r.URL.Path,
		Hint: "POST /v1/inferences takes requests, GET /openapi.json describes what there is",
	}
}

// refuse answers with whatever went wrong.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if p, ok := errors.AsType[*Problem](err); ok {
		Refuse(w, p)
		return
	}
	if e, ok := errors.AsType[*intake.InvalidError](err); ok {
		a.refuse(w, r, (&faults{list: strings.Split(e.Error(), "\n")}).err())
		return
	}
	if e, ok := errors.AsType[*intake.ConflictError](err); ok {
		Refuse(w, &Problem{Status: http.StatusConflict, Code: codeConflict, Detail: e.Error(), InferenceID: e.ID})
		return
	}
	if errors.Is(err, fs.ErrNotExist) {
		Refuse(w, &Problem{
			Status: http.StatusNotFound, Code: codeNotFound, Detail: "nothing is known of this request",
			Hint: "it was never accepted, or so long ago that its objects have been deleted",
		})
		return
	}
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // nobody listens
	}
	a.Desk.Log.Error("the front door can't serve a call", zap.String("path", r.URL.Path), zap.Error(err))
	w.Header().Set("Retry-After", "1")
	Refuse(w, &Problem{
		Status: http.StatusServiceUnavailable, Code: codeUnavailable, Detail: "S3 or SQS can't be reached, or refuse; this server's log says more",
		Hint: "send the same again, with the same Idempotency-Key where you gave one",
	})
}

// failed is the problem of a request that failed.
func failed(s status.Status) *Problem {
	p := s.Problem
	if p == nil { // its failure object could not be understood
		p = &request.Problem{Code: request.CodeInternal, Message: "the request failed; its failure object says why"}
	}
	return &Problem{
		Status: desk.StatusOf(*p), Code: p.Code, Detail: p.Message, Hint: p.Hint, Stage: p.Stage, Retryable: &p.Retryable,
		InferenceID: s.ID, Failure: s.Failure.String(),
	}
}

// send writes JSON that people can read, too.
func send(w http.ResponseWriter, code int, v any) {
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // who went away needs no answer
}
