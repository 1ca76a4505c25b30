package native

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/penstock/penstock/cmd/internal/frontdoor/desk"
	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/status"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// statusBody is what is told of a request.
type statusBody struct {
	ID              string           `json:"id"`
	Status          status.State     `json:"status"`
	CancelRequested bool             `json:"cancelRequested,omitempty"`
	Input           string           `json:"input"`
	Output          string           `json:"output"`
	Failure         string           `json:"failure"`
	Accepted        *time.Time       `json:"accepted,omitempty"`
	Ended           *time.Time       `json:"ended,omitempty"`
	Model           string           `json:"model,omitempty"`
	ModelVersion    string           `json:"modelVersion,omitempty"`
	Attempts        int              `json:"attempts,omitempty"`
	Spent           *spentBody       `json:"spentMs,omitempty"`
	Records         int64            `json:"records,omitempty"`
	BadRecords      int64            `json:"badRecords,omitempty"`
	ResultType      string           `json:"resultType,omitempty"`
	ResultSize      int64            `json:"resultSize,omitempty"`
	Error           *request.Problem `json:"error,omitempty"`
	Links           linksBody        `json:"links"`
}

// spentBody is where a request's time went, in milliseconds.
type spentBody struct {
	Queued  float64 `json:"queued"`
	Fetch   float64 `json:"fetch"`
	Wait    float64 `json:"wait"`
	Predict float64 `json:"predict"`
	Store   float64 `json:"store"`
}

// linksBody are paths on this server. An upload, which has no id of its
// caller's, has its status alone.
type linksBody struct {
	Self   string `json:"self"`
	Result string `json:"result,omitempty"`
	Cancel string `json:"cancel,omitempty"` // DELETE
}

// report answers with a request's status.
func (a *API) report(w http.ResponseWriter, code int, s status.Status) {
	b := statusBody{
		ID: s.ID, Status: s.State, CancelRequested: s.CancelRequested,
		Input: uri(s.Input), Output: uri(s.Output), Failure: uri(s.Failure),
		Accepted: stamp(s.Accepted), Ended: stamp(s.Ended),
		Model: s.Model, ModelVersion: s.ModelVersion, Attempts: s.Attempts,
		Records: s.Records, BadRecords: s.BadRecords, ResultType: s.ResultType, ResultSize: s.ResultSize, Error: s.Problem,
		Links: linksBody{Self: statusPath(s.ID), Result: resultPath(s.ID), Cancel: statusPath(s.ID)},
	}
	if s.State.Ended() {
		b.Links.Cancel = ""
		b.Spent = &spentBody{millis(s.Spent.Queued), millis(s.Spent.Fetch), millis(s.Spent.Wait), millis(s.Spent.Predict), millis(s.Spent.Store)}
	}
	if a.isUpload(s) {
		b.Links = linksBody{Self: "/v1/inferences?input=" + url.QueryEscape(b.Input)}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	send(w, code, b)
}

// isUpload says that a status is of an object that was uploaded: requests with
// an id of their own have their failure where no upload has.
func (a *API) isUpload(s status.Status) bool {
	return a.Locations.FailureOf(request.Request{ID: s.ID}) != s.Failure
}

// uri names an object in whatever version.
func uri(ref storage.Ref) string { return storage.Ref{Bucket: ref.Bucket, Key: ref.Key}.String() }

func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC().Truncate(time.Millisecond))
}

func millis(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}

// status tells of a request.
func (a *API) status(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	desk.CallOf(r.Context()).ID = id
	s, err := a.Desk.Finder.ByID(r.Context(), id)
	a.told(w, r, s, err, http.StatusOK)
}

// statusByInput tells of what was uploaded without this API.
func (a *API) statusByInput(w http.ResponseWriter, r *http.Request) {
	f := faults{query: r.URL.Query()}
	input := f.one("input")
	ref, err := storage.ParseRef(input)
	switch {
	case input == "":
		f.add("requests are not listed here: name one in the path, or an upload by ?input=s3://BUCKET/KEY")
	case err != nil:
		f.add("input: %v", err)
	case !a.watched(ref):
		f.add("input: %s lies in none of the input locations", ref)
	}
	if err := f.err(); err != nil {
		a.refuse(w, r, err)
		return
	}
	s, err := a.Desk.Finder.ByInput(r.Context(), ref)
	desk.CallOf(r.Context()).ID = s.ID
	a.told(w, r, s, err, http.StatusOK)
}

func (a *API) watched(ref storage.Ref) bool {
	for _, in := range a.Locations.Inputs {
		if in.Contains(ref) {
			return true
		}
	}
	return false
}

// cancel asks that a request is not started.
func (a *API) cancel(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	desk.CallOf(r.Context()).ID = id
	s, err := a.Desk.Finder.Cancel(r.Context(), id)
	code := http.StatusAccepted
	if s.State.Ended() { // it stays as it is
		code = http.StatusOK
	}
	a.told(w, r, s, err, code)
}

// told answers with a status that was found, or not.
func (a *API) told(w http.ResponseWriter, r *http.Request, s status.Status, err error, code int) {
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	if !s.State.Ended() {
		w.Header().Set("Retry-After", seconds(a.Desk.Finder.RetryAfter(r.Context())))
	}
	a.report(w, code, s)
}

// uploadExpiry is how long an upload's URL is good for.
const uploadExpiry = time.Hour

// uploadBody tells where to send an input.
type uploadBody struct {
	ID      string    `json:"id"`
	Method  string    `json:"method"`
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
	Input   string    `json:"input"`
	Next    string    `json:"next"` // POST, once the input is there
}

// upload makes a place for an input that is too large to be sent here.
func (a *API) upload(w http.ResponseWriter, r *http.Request) {
	if a.Presign == nil {
		a.refuse(w, r, &Problem{
			Status: http.StatusNotImplemented, Code: codeNoUploads, Detail: "this server can't make URLs for uploads",
			Hint: "put the input into an input location by other means, then POST /v1/inferences?input=s3://BUCKET/KEY",
		})
		return
	}
	id := intake.NewID()
	desk.CallOf(r.Context()).ID = id
	ref := a.Locations.UploadOf(id)
	location, err := a.Presign.PresignPut(r.Context(), ref, uploadExpiry)
	if err != nil {
		a.refuse(w, r, fmt.Errorf("presign: %w", err))
		return
	}
	now := time.Now
	if a.Now != nil {
		now = a.Now
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	send(w, http.StatusCreated, uploadBody{
		ID: id, Method: http.MethodPut, URL: location, Expires: now().Add(uploadExpiry).UTC().Truncate(time.Second),
		Input: uri(ref), Next: "/v1/inferences?upload=" + url.QueryEscape(id),
	})
}
