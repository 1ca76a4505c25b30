// Package frontdoor takes requests over HTTP: in SageMaker's words, for its
// clients, and in Penstock's own. It is a plain http.Handler, which `penstock
// serve` listens with and the Lambda producer calls.
package frontdoor

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/frontdoor/auth"
	"github.com/penstock/penstock/cmd/internal/frontdoor/desk"
	"github.com/penstock/penstock/cmd/internal/frontdoor/native"
	"github.com/penstock/penstock/cmd/internal/frontdoor/sagemaker"
	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/status"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Config is all that a front door needs. Fields without a default are
// required.
type Config struct {
	Intake    *intake.Intake
	Finder    *status.Finder
	Store     storage.Reader
	Locations request.Locations
	// Presign makes URLs for what is too large to go through the front door.
	// Nil: there are no uploads, and a result above MaxResult is an error.
	Presign native.Presigner

	// Endpoints are SageMaker's names that are answered to, with the model of
	// each (sagemaker.ParseEndpoints). Another name gets SageMaker's error.
	Endpoints map[string]string
	// Account is the twelve digits that SageMaker's error names. Default zeros.
	Account string

	// Gate says who may call, at each call anew. Nil admits everybody: right
	// where something else, such as IAM, has asked already.
	Gate func() auth.Gate

	// MaxBody is the largest body of the native API, in bytes. SageMaker's own
	// limits hold for its calls. Default 6 MiB, which Lambda takes too.
	MaxBody int64
	// MaxBodies bounds the bytes of bodies in memory at a time. Calls wait for
	// room. Default 256 MiB.
	MaxBodies int64
	// MaxResult is the largest result that is answered, in bytes: Lambda can't
	// answer more than 6 MiB. A larger one is a redirect to S3. Default any.
	MaxResult int64
	// MaxWait bounds how long a call waits for its result where it asks to
	// ("Prefer: wait"). Default 5 minutes.
	MaxWait time.Duration
	// MaxWaiting bounds how many calls wait at a time. More get the answer of
	// those who don't: 202, or SageMaker's ServiceUnavailable. Default 1,000.
	MaxWaiting int64
	// Closing, when it is done, ends the waits of calls under way, so that a
	// server can shut down soon. Nil: they end by themselves.
	Closing context.Context

	// Accepted, when set, is told of each request that was accepted and goes
	// on when its call has been answered.
	Accepted func(request.Request)

	// Log gets a line for each call. Default none.
	Log *zap.Logger
	// Seen, when set, is told of each call: for metrics. route is the pattern
	// that was served, or empty.
	Seen func(route string, status int, took time.Duration)
}

// Defaults of a Config.
const (
	DefaultMaxBody    = sagemaker.MaxBody
	DefaultMaxBodies  = 256 << 20
	DefaultMaxWait    = 5 * time.Minute
	DefaultMaxWaiting = 1000
)

// bodyPatience is how long a body may take to arrive.
const bodyPatience = time.Minute

// door is the handler.
type door struct {
	cfg    Config
	mux    *http.ServeMux
	bodies *desk.Bodies
	guard  *http.CrossOriginProtection
}

// New makes the handler of a front door.
func New(cfg Config) http.Handler {
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	if cfg.MaxBodies <= 0 {
		cfg.MaxBodies = DefaultMaxBodies
	}
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = DefaultMaxWait
	}
	if cfg.MaxWaiting <= 0 {
		cfg.MaxWaiting = DefaultMaxWaiting
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	most := max(cfg.MaxBody, sagemaker.MaxBody)
	if cfg.Gate == nil {
		cfg.Gate = func() auth.Gate { return auth.Gate{} }
	}
	d := &door{
		cfg: cfg, mux: http.NewServeMux(), guard: http.NewCrossOriginProtection(),
		bodies: &desk.Bodies{Max: most, All: cfg.MaxBodies, Patience: bodyPatience},
	}
	shared := &desk.Desk{
		Intake: cfg.Intake, Finder: cfg.Finder, Store: cfg.Store, Log: cfg.Log,
		MaxResult: cfg.MaxResult, MaxWaiting: cfg.MaxWaiting, Closing: cfg.Closing, Accepted: cfg.Accepted,
	}
	for _, routes := range []map[string]http.HandlerFunc{
		(&sagemaker.API{Desk: shared, Endpoints: cfg.Endpoints, Account: cfg.Account}).Routes(),
		(&native.API{Desk: shared, Locations: cfg.Locations, Presign: cfg.Presign, MaxBody: cfg.MaxBody, MaxWait: cfg.MaxWait}).Routes(),
	} {
		for pattern, handler := range routes {
			d.mux.HandleFunc(pattern, handler)
		}
	}
	return d
}

// described is the one path that tells strangers what there is, and no more.
const described = "/openapi.json"

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	call := &desk.Call{RequestID: intake.NewID()}
	r = r.WithContext(desk.With(r.Context(), call))
	seen := &observed{ResponseWriter: w, patience: resultPatience}
	if sagemaker.Ours(r.URL.Path) {
		w.Header()["x-amzn-RequestId"] = []string{call.RequestID}
	} else {
		w.Header().Set("X-Request-Id", call.RequestID)
	}
	handler, route := d.mux.Handler(r)
	defer func() {
		call.BodyDone()
		d.tell(r, call, route, seen, time.Since(began))
	}()
	if err := d.guard.Check(r); err != nil {
		refuse(seen, r, http.StatusForbidden, "CrossOrigin", "a page of another site sent this call; call from a program, or from a page of this server's own origin")
		return
	}
	if route == "" {
		d.notHere(seen, r, handler)
		return
	}
	if err := d.bodies.Admit(w, r, call); err != nil {
		seen.Header().Set("Retry-After", "1")
		refuse(seen, r, http.StatusServiceUnavailable, "ServiceUnavailable", err.Error())
		return
	}
	if r.URL.Path != described {
		caller, err := d.cfg.Gate().Admit(r, d.bodies.Max)
		if denied, ok := errors.AsType[*auth.Denied](err); ok {
			if denied.Challenge != "" {
				seen.Header().Set("WWW-Authenticate", denied.Challenge)
			}
			refuse(seen, r, denied.Status, denied.Code, denied.Message)
			return
		}
		call.Caller = caller
	}
	d.mux.ServeHTTP(seen, r)
}

// refuse answers with an error in the words of the API that was called.
func refuse(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	if sagemaker.Ours(r.URL.Path) {
		sagemaker.Refuse(w, status, code, message)
		return
	}
	native.Refuse(w, &native.Problem{Status: status, Code: code, Detail: message})
}

// notHere answers a call for which there is no route: the mux's own answer
// tells whether the path is unknown, the method, or the path's spelling.
func (d *door) notHere(w http.ResponseWriter, r *http.Request, own http.Handler) {
	probe := &answer{header: http.Header{}}
	own.ServeHTTP(probe, r)
	allow := probe.header.Get("Allow")
	switch {
	case probe.status == http.StatusMovedPermanently || probe.status == http.StatusTemporaryRedirect || probe.status == http.StatusPermanentRedirect:
		w.Header().Set("Location", probe.header.Get("Location"))
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	case allow != "":
		w.Header().Set("Allow", allow)
	}
	if sagemaker.Ours(r.URL.Path) {
		if allow != "" {
			sagemaker.Refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed", r.URL.Path+" is answered to "+allow)
			return
		}
		sagemaker.Refuse(w, http.StatusNotFound, "UnknownOperationException", "of SageMaker's calls, InvokeEndpoint and InvokeEndpointAsync are answered here")
		return
	}
	native.Refuse(w, native.NotHere(r, allow))
}

// tell writes the line of a call into the log.
func (d *door) tell(r *http.Request, c *desk.Call, route string, o *observed, took time.Duration) {
	status := o.status
	if status == 0 {
		status = statusGone // nothing was answered, since nobody listened
	}
	fields := []zap.Field{
		zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Int("status", status),
		zap.Int64("bytes", o.bytes), zap.Duration("took", took), zap.String("remote", r.RemoteAddr), zap.String("request", c.RequestID),
	}
	for _, f := range []struct{ key, value string }{{"id", c.ID}, {"caller", c.Caller}} {
		if f.value != "" {
			fields = append(fields, zap.String(f.key, f.value))
		}
	}
	d.cfg.Log.Info("call", fields...)
	if d.cfg.Seen != nil {
		_, path, _ := strings.Cut(route, " ")
		d.cfg.Seen(path, status, took)
	}
}

// statusGone is how servers log a call whose client went away.
const statusGone = 499

// answer keeps the head of an answer and drops the rest.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(b []byte) (int, error) { return len(b), nil }
func (a *answer) WriteHeader(status int)      { a.status = status }
