// Package rest serves TensorFlow Serving's REST API for predictions, beside a
// worker's queue and in the same batches: for those who wait for the answer.
//
//	POST /v1/models/NAME[/versions/N]:predict
//	GET  /v1/models/NAME[/versions/N]
//	GET  /v1/models/NAME[/versions/N]/metadata
//
// Requests and replies are TensorFlow Serving's, as its page "RESTful API"
// describes them; :classify and :regress, and version labels, are not served.
// Beyond it a request may be in any format of package codec, by its
// Content-Type, and the reply in any by Accept.
package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"time"

	"github.com/penstock/penstock/worker"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/model"
)

// Server is what answers: a *worker.Worker.
type Server interface {
	Query(ctx context.Context, q worker.Query) (worker.Reply, error)
}

// api serves one worker.
type api struct {
	server  Server
	models  model.Set
	timeout time.Duration
}

// New gives the handler of a worker and its models. A query is given up after
// timeout; 0 means worker.QueryTimeout.
func New(server Server, models model.Set, timeout time.Duration) http.Handler {
	if timeout <= 0 {
		timeout = worker.QueryTimeout
	}
	return &api{server: server, models: models, timeout: timeout}
}

// path is TensorFlow Serving's: case does not matter in it, but for the name.
var path = regexp.MustCompile(`^/(?i:v1/models)/([^/:]+)(?:/(?i:versions)/([0-9]+)|/(?i:labels)/([^/:]+))?(?::([a-zA-Z]+)|/((?i:metadata)))?$`)

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	part := path.FindStringSubmatch(r.URL.Path)
	if part == nil {
		refuse(w, http.StatusNotFound, fmt.Sprintf("Malformed request: %s %s", r.Method, r.URL.Path))
		return
	}
	name, version, label, verb, metadata := part[1], part[2], part[3], part[4], part[5] != ""
	if version != "" {
		name += "@" + version
	}
	switch {
	case label != "":
		refuse(w, http.StatusNotFound, fmt.Sprintf("versions have no labels here; ask for /v1/models/%s/versions/N", part[1]))
	case verb == "predict":
		if allow(w, r, http.MethodPost) {
			a.predict(w, r, name)
		}
	case verb != "":
		refuse(w, http.StatusNotImplemented, fmt.Sprintf(":%s is not served; use :predict with a signature_name", verb))
	case allow(w, r, http.MethodGet):
		a.describe(w, name, metadata)
	}
}

// allow says whether the request's method is the one.
func allow(w http.ResponseWriter, r *http.Request, method string) bool {
	if r.Method == method || method == http.MethodGet && r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", method)
	refuse(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s is answered to %s", r.URL.Path, method))
	return false
}

func (a *api) predict(w http.ResponseWriter, r *http.Request, name string) {
	ctx, cancel := context.WithTimeout(r.Context(), a.timeout)
	defer cancel()
	body := &arriving{Reader: r.Body, connection: http.NewResponseController(w)}
	_ = body.connection.SetReadDeadline(time.Now().Add(a.timeout)) // a server that can't has limits of its own
	reply, err := a.server.Query(ctx, worker.Query{
		Model: name, Body: body, Size: r.ContentLength,
		ContentType: r.Header.Get("Content-Type"), ContentEncoding: r.Header.Get("Content-Encoding"), Accept: r.Header.Get("Accept"),
	})
	if err != nil {
		status, text := a.explain(err)
		if status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		if !body.whole {
			w.Header().Set("Connection", "close") // the rest of it may come yet
		}
		refuse(w, status, text)
		return
	}
	w.Header().Set("Content-Type", reply.ContentType)
	_, _ = w.Write(reply.Body) // who went away needs no answer
}

// arriving is a request's body. Its reads have a deadline: who stops in the
// middle would keep what is there in memory for good.
type arriving struct {
	io.Reader
	connection *http.ResponseController
	whole      bool
}

// Read implements io.Reader.
func (b *arriving) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.whole = true
		_ = b.connection.SetReadDeadline(time.Time{}) // or it would end the wait for the answer
	}
	return n, err
}

// explain gives an error its status, as TensorFlow Serving does, and its text.
func (a *api) explain(err error) (status int, text string) {
	if e, ok := errors.AsType[*model.UnknownError](err); ok {
		return http.StatusNotFound, e.Error()
	}
	if e, ok := errors.AsType[*codec.Error](err); ok {
		text = e.Message
		if e.Hint != "" {
			text += " (" + e.Hint + ")"
		}
		switch e.Code {
		case codec.CodeUnsupportedType:
			return http.StatusUnsupportedMediaType, text
		case codec.CodeNotAcceptable:
			return http.StatusNotAcceptable, text
		case codec.CodeTooLarge:
			return http.StatusRequestEntityTooLarge, text
		case codec.CodeBadOutput:
			return http.StatusInternalServerError, text
		}
		return http.StatusBadRequest, text
	}
	if e, ok := errors.AsType[*model.Error](err); ok {
		if status, ok := statuses[e.Code]; ok {
			return status, e.Message
		}
		return http.StatusInternalServerError, e.Error()
	}
	switch {
	case errors.Is(err, worker.ErrDraining):
		return http.StatusServiceUnavailable, "the worker is shutting down; ask another"
	case errors.Is(err, worker.ErrNoMemory):
		return http.StatusServiceUnavailable, err.Error() + "; ask again, or send it through the queue"
	case errors.Is(err, worker.ErrBody) && errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout, fmt.Sprintf("the request did not come within %v; send it through the queue", a.timeout)
	case errors.Is(err, worker.ErrBody):
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, fmt.Sprintf("the model had no turn for this request within %v; send it through the queue, or start more workers", a.timeout)
	case errors.Is(err, context.Canceled):
		return 499, "the request was given up"
	}
	return http.StatusInternalServerError, err.Error()
}

// statuses are those of TensorFlow's error codes.
var statuses = map[string]int{
	"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403,
	"NOT_FOUND": 404, "ALREADY_EXISTS": 409, "ABORTED": 409, "RESOURCE_EXHAUSTED": 429, "CANCELLED": 499, "UNIMPLEMENTED": 501,
	"UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}

func refuse(w http.ResponseWriter, status int, text string) {
	write(w, status, map[string]string{"error": text})
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // who went away needs no answer
}
