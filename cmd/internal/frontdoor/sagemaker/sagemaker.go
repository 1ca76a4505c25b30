// Package sagemaker answers as Amazon SageMaker's runtime does, so that its
// clients (boto3, the AWS command line, the SageMaker SDK) work with Penstock
// by another endpoint URL.
//
//	POST /endpoints/NAME/async-invocations   InvokeEndpointAsync
//	POST /endpoints/NAME/invocations         InvokeEndpoint
//
// Source of the forms: botocore's service model of sagemaker-runtime,
// 2017-05-13. What SageMaker has and Penstock has not (target containers,
// sessions, explanations) is refused, rather than passed over.
package sagemaker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/frontdoor/desk"
	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/queue/request"
)

// Bodies' limits are SageMaker's.
const (
	MaxAsyncBody = 128_000
	MaxBody      = 6_291_456
)

// syncLimit is how long InvokeEndpoint waits: as long as SageMaker.
const syncLimit = 60 * time.Second

// API answers SageMaker's calls. All fields are required but Account.
type API struct {
	Desk *desk.Desk
	// Endpoints are the names that are answered to, with the model of each; an
	// empty model is the worker's only one.
	Endpoints map[string]string
	Account   string // that errors name; default twelve zeros

	limit time.Duration // of InvokeEndpoint, for tests; 0 is syncLimit
}

// Routes are what the API answers, by their patterns for an http.ServeMux.
func (a *API) Routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"POST /endpoints/{name}/async-invocations": a.invokeAsync,
		"POST /endpoints/{name}/invocations":       a.invoke,
	}
}

// Ours says whether a path is SageMaker's, so that errors about it are too.
func Ours(path string) bool { return strings.HasPrefix(path, "/endpoints/") }

var endpointName = regexp.MustCompile(`^[a-zA-Z0-9](-*[a-zA-Z0-9])*$`)

const maxEndpointName = 63

// ParseEndpoints reads endpoint names with commas between, each NAME or
// NAME=MODEL. All faults are reported at once.
func ParseEndpoints(s string) (map[string]string, error) {
	endpoints := map[string]string{}
	var errs []error
	for entry := range strings.SplitSeq(s, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, model, named := strings.Cut(entry, "=")
		_, twice := endpoints[name]
		switch {
		case !ValidName(name):
			errs = append(errs, fmt.Errorf("endpoints: %.80q is no endpoint name; SageMaker's have at most %d letters, digits and hyphens, and begin and end without a hyphen", name, maxEndpointName))
		case named && model == "":
			errs = append(errs, fmt.Errorf("endpoints: %q names no model; write %s=MODEL, or %s for the worker's only model", entry, name, name))
		case twice:
			errs = append(errs, fmt.Errorf("endpoints: %q is there twice", name))
		}
		endpoints[name] = model
	}
	return endpoints, errors.Join(errs...)
}

// ValidName says whether SageMaker could have an endpoint of that name.
func ValidName(name string) bool {
	return len(name) <= maxEndpointName && endpointName.MatchString(name)
}

// invokeAsync accepts a request and tells where its result will be.
func (a *API) invokeAsync(w http.ResponseWriter, r *http.Request) {
	var f faults
	s := intake.Submission{Request: f.asyncRequest(r.Header)}
	if err := a.read(r, &s, &f, MaxAsyncBody); err != nil {
		a.refuse(w, r, err)
		return
	}
	desk.CallOf(r.Context()).ID = s.Request.ID
	accepted, err := a.Desk.Accept(r.Context(), s)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	desk.CallOf(r.Context()).ID = accepted.Request.ID
	w.Header().Set("X-Amzn-SageMaker-OutputLocation", accepted.Output.String())
	w.Header().Set("X-Amzn-SageMaker-FailureLocation", accepted.Failure.String())
	write(w, http.StatusAccepted, struct{ InferenceId string }{accepted.Request.ID})
}

// read fills what both calls have in common into s: the endpoint with its model,
// and the body. All faults of the call are one error.
func (a *API) read(r *http.Request, s *intake.Submission, f *faults, limit int64) error {
	name := r.PathValue("name")
	model, known := a.Endpoints[name]
	if !known {
		switch {
		case len(name) > maxEndpointName:
			f.add(shown(name), "endpointName", fmt.Sprintf("Member must have length less than or equal to %d", maxEndpointName))
		case !ValidName(name):
			f.add(shown(name), "endpointName", "Member must satisfy regular expression pattern: "+endpointName.String())
		}
		if err := f.err(); err != nil {
			return err
		}
		account := a.Account
		if account == "" {
			account = "000000000000"
		}
		return invalid("Endpoint %s of account %s not found.", name, account)
	}
	s.Request.Endpoint = name
	if s.Request.Model == "" {
		s.Request.Model = model
	}
	body, err := desk.ReadBody(r, limit)
	if _, tooLarge := errors.AsType[*desk.BodyTooLargeError](err); tooLarge {
		f.tooLarge(limit)
		return f.err()
	}
	if err != nil {
		return invalid("%v", err)
	}
	if len(body) > 0 {
		s.Body, s.ContentEncoding = body, r.Header.Get("Content-Encoding")
	}
	if f.err() == nil { // else the input may be what is wrong
		f.exactlyOne(len(body) > 0, s.Request.Input.Bucket != "", limit == MaxAsyncBody)
	}
	return f.err()
}

// fault is an error that SageMaker's clients know.
type fault struct {
	status        int
	code, message string
	// Of a ModelError.
	originalStatus  int
	originalMessage string
}

func (f *fault) Error() string { return f.message }

func invalid(format string, args ...any) *fault {
	return &fault{status: http.StatusBadRequest, code: "ValidationError", message: fmt.Sprintf(format, args...)}
}

// refuse answers with an error.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if f, ok := errors.AsType[*fault](err); ok {
		Refuse(w, f.status, f.code, f.message)
		return
	}
	if e, ok := errors.AsType[*intake.InvalidError](err); ok {
		Refuse(w, http.StatusBadRequest, "ValidationError", strings.ReplaceAll(e.Error(), "\n", "; "))
		return
	}
	if e, ok := errors.AsType[*intake.ConflictError](err); ok {
		Refuse(w, http.StatusBadRequest, "ValidationError", e.Error())
		return
	}
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // nobody listens
	}
	if errors.Is(err, desk.ErrClosing) {
		Refuse(w, http.StatusServiceUnavailable, "ServiceUnavailable", "this server is shutting down, and the request is cancelled; send it again")
		return
	}
	a.Desk.Log.Error("the front door can't serve a call", zap.String("path", r.URL.Path), zap.Error(err))
	Refuse(w, http.StatusServiceUnavailable, "ServiceUnavailable", "S3 or SQS can't be reached, or refuse; try again, with the same InferenceId where you gave one")
}

// Refuse answers with an error as AWS's clients read it.
func Refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("x-amzn-ErrorType", code)
	write(w, status, struct{ Message string }{message})
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // who went away needs no answer
}

// originalStatus is the status that SageMaker's container would have answered.
func originalStatus(p request.Problem) int {
	if s := desk.StatusOf(p); s < http.StatusInternalServerError {
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}
