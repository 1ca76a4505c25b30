// Package native is Penstock's own HTTP API: send an input, get its result now
// or later. openapi.json describes it, and a test holds the two together.
package native

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/frontdoor/desk"
	"github.com/penstock/penstock/cmd/internal/status"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Presigner makes URLs that callers use without credentials: a *s3.Store of
// package storage/s3.
type Presigner interface {
	PresignPut(ctx context.Context, ref storage.Ref, expires time.Duration) (url string, err error)
	PresignGet(ctx context.Context, ref storage.Ref, expires time.Duration) (url string, err error)
}

// API answers Penstock's own calls. All fields are required but where a
// default is named.
type API struct {
	Desk      *desk.Desk
	Locations request.Locations
	Presign   Presigner        // nil offers no uploads
	MaxBody   int64            // of an input that is sent with its request
	MaxWait   time.Duration    // of "Prefer: wait"
	Now       func() time.Time // nil is time.Now
}

// document is the description of the API.
//
//go:embed openapi.json
var document []byte

// Routes are what the API answers, by their patterns for an http.ServeMux.
func (a *API) Routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"POST /predict":                      a.submit,
		"POST /v1/inferences":                a.submit,
		"POST /v1/models/{model}/inferences": a.submit,
		"GET /v1/inferences":                 a.statusByInput,
		"GET /v1/inferences/{id}":            a.status,
		"DELETE /v1/inferences/{id}":         a.cancel,
		"GET /v1/inferences/{id}/result":     a.result,
		"POST /v1/uploads":                   a.upload,
		"GET /openapi.json":                  a.describe,
	}
}

func (a *API) describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(document) // who went away needs no answer
}

// submit takes a request. It answers that it is accepted, or waits for the
// result where the caller would rather.
func (a *API) submit(w http.ResponseWriter, r *http.Request) {
	s, err := a.submission(r)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	call := desk.CallOf(r.Context())
	call.ID = s.Request.ID
	accepted, err := a.Desk.Accept(r.Context(), s)
	call.BodyDone()
	s.Body = nil // it may be large, and the wait long
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	call.ID = accepted.Request.ID
	queued := status.Status{
		ID: accepted.Request.ID, State: status.Queued, Input: accepted.Request.Input, Model: accepted.Request.Model,
		Output: accepted.Output, Failure: accepted.Failure, Accepted: accepted.Request.Enqueued,
	}
	wait := a.wait(w, r)
	if wait == 0 && !accepted.Repeated {
		a.pending(w, r, queued)
		return
	}
	found, err := a.await(w, r, wait, accepted.Request.ID, func(ctx context.Context) (status.Status, error) {
		return a.Desk.Finder.WaitFor(ctx, accepted.Request)
	})
	if err != nil && r.Context().Err() == nil {
		// Who sent it again for an error would have it run twice.
		a.Desk.Log.Warn("a request is accepted, and its result can't be looked for", zap.String("id", queued.ID), zap.Error(err))
		w.Header().Del(preferenceApplied)
		a.pending(w, r, queued)
		return
	}
	a.conclude(w, r, found, err, wait > 0)
}

// result sends a result that is there, or says what there is in its place.
func (a *API) result(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	desk.CallOf(r.Context()).ID = id
	wait := a.wait(w, r)
	found, err := a.await(w, r, wait, id, func(ctx context.Context) (status.Status, error) {
		return a.Desk.Finder.Wait(ctx, id)
	})
	a.conclude(w, r, found, err, true)
}

// await looks for the end of a request: once, or for as long as wait by until.
// Where too many wait already it looks once, and says that it did not wait.
func (a *API) await(w http.ResponseWriter, r *http.Request, wait time.Duration, id string, until func(context.Context) (status.Status, error)) (status.Status, error) {
	if wait == 0 {
		return a.Desk.Finder.ByID(r.Context(), id)
	}
	ctx, done, ok := a.Desk.Wait(r.Context(), wait)
	if !ok {
		w.Header().Del(preferenceApplied)
		return a.Desk.Finder.ByID(r.Context(), id)
	}
	defer done()
	found, err := until(ctx)
	if (errors.Is(err, desk.ErrWaited) || errors.Is(err, desk.ErrClosing)) && found.ID != "" {
		err = nil // it is as far as it says
	}
	return found, err
}

// conclude answers with what a request has come to: its result where that is
// asked for.
func (a *API) conclude(w http.ResponseWriter, r *http.Request, s status.Status, err error, result bool) {
	switch {
	case err != nil:
		a.refuse(w, r, err)
	case !s.State.Ended() || !result:
		a.pending(w, r, s)
	case s.State == status.Succeeded:
		a.send(w, r, s)
	default:
		w.Header().Set("Content-Location", statusPath(s.ID))
		Refuse(w, failed(s))
	}
}

// pending answers that a request is accepted, and when to come again.
func (a *API) pending(w http.ResponseWriter, r *http.Request, s status.Status) {
	h := w.Header()
	h.Set("Location", statusPath(s.ID))
	if !s.State.Ended() {
		h.Set("Retry-After", seconds(a.Desk.Finder.RetryAfter(r.Context())))
	}
	a.report(w, http.StatusAccepted, s)
}

// resultExpiry is how long the URL of a large result is good for.
const resultExpiry = 15 * time.Minute

// send answers with a result.
func (a *API) send(w http.ResponseWriter, r *http.Request, s status.Status) {
	object, err := a.Desk.Open(r.Context(), s)
	if e, ok := errors.AsType[*desk.TooLargeError](err); ok {
		a.redirect(w, r, s, e)
		return
	}
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Location", resultPath(s.ID))
	h.Set("Link", "<"+statusPath(s.ID)+`>; rel="describedby"`)
	h.Set("X-Content-Type-Options", "nosniff") // a result may be made of what a stranger sent
	h.Set("Cache-Control", "no-store")
	desk.Send(w, r, object)
}

// redirect sends the caller to S3 for a result that can't be answered here.
func (a *API) redirect(w http.ResponseWriter, r *http.Request, s status.Status, e *desk.TooLargeError) {
	if a.Presign == nil {
		a.refuse(w, r, &Problem{Status: http.StatusInternalServerError, Code: codeResultLarge, Detail: e.Error(), InferenceID: s.ID})
		return
	}
	location, err := a.Presign.PresignGet(r.Context(), s.Output, resultExpiry)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	w.Header().Set("Location", location)
	a.report(w, http.StatusSeeOther, s)
}

// seconds is a duration as Retry-After has it.
func seconds(d time.Duration) string {
	return strconv.Itoa(int(max(math.Ceil(d.Seconds()), 1)))
}

func statusPath(id string) string { return "/v1/inferences/" + url.PathEscape(id) }
func resultPath(id string) string { return statusPath(id) + "/result" }

const preferenceApplied = "Preference-Applied"

// wait is how long the caller would wait for the result, as far as it may. It
// says so in the answer.
func (a *API) wait(w http.ResponseWriter, r *http.Request) time.Duration {
	w.Header().Add("Vary", "Prefer")
	for _, line := range r.Header.Values("Prefer") {
		for preference := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(preference), "=")
			value, _, _ = strings.Cut(value, ";")
			n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
			if !strings.EqualFold(strings.TrimSpace(name), "wait") || err != nil || n <= 0 {
				continue // a preference that is not understood is none
			}
			wait := min(time.Duration(min(n, math.MaxInt32))*time.Second, a.MaxWait)
			w.Header().Set(preferenceApplied, fmt.Sprintf("wait=%d", int(wait.Seconds())))
			return wait
		}
	}
	return 0
}
