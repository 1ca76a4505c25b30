// Package proxy lets an http.Handler answer the HTTP requests that a Lambda
// function is invoked with: those of function URLs and HTTP APIs (API
// Gateway's payload format 2.0), and those of REST APIs (format 1.0).
package proxy

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"
)

// Door is what stands behind Lambda's doors.
type Door struct {
	// Known answers those whom AWS has identified before the function was
	// invoked: by IAM, by an authorizer, or by a client's certificate.
	Known http.Handler
	// Strangers answers all others, and is to know itself whom it serves. Nil
	// refuses them: a function URL of AuthType NONE is open to the world.
	Strangers http.Handler
	// BasePath is taken off the paths of requests, where a domain of one's own
	// has the API below a path. The API's stage is taken off without it.
	BasePath string
	Log      *zap.Logger
}

// event is a request in either payload format.
type event struct {
	Version string `json:"version"`

	// Format 2.0.
	RawPath  string            `json:"rawPath"`
	RawQuery string            `json:"rawQueryString"`
	Cookies  []string          `json:"cookies"`
	Headers  map[string]string `json:"headers"` // of all values, with commas between

	// Format 1.0.
	Method           string              `json:"httpMethod"`
	Path             string              `json:"path"`
	MultiValueQuery  map[string][]string `json:"multiValueQueryStringParameters"` // decoded
	Query            map[string]string   `json:"queryStringParameters"`
	MultiValueHeader map[string][]string `json:"multiValueHeaders"`

	RequestContext struct {
		Stage      string `json:"stage"`
		Path       string `json:"path"` // format 1.0
		DomainName string `json:"domainName"`
		HTTP       *struct {
			Method   string `json:"method"`
			SourceIP string `json:"sourceIp"`
		} `json:"http"`
		Identity struct {
			SourceIP   string          `json:"sourceIp"`
			UserARN    string          `json:"userArn"`
			ClientCert json.RawMessage `json:"clientCert"`
		} `json:"identity"`
		Authentication struct {
			ClientCert json.RawMessage `json:"clientCert"`
		} `json:"authentication"`
		Authorizer map[string]json.RawMessage `json:"authorizer"`
	} `json:"requestContext"`

	Body            *string `json:"body"`
	IsBase64Encoded bool    `json:"isBase64Encoded"`
}

// Serve has the door's handler answer the event, and gives the answer in the
// event's payload format. An error says that the event is no HTTP request.
func (d Door) Serve(ctx context.Context, document []byte) (*Reply, error) {
	var e event
	if err := json.Unmarshal(document, &e); err != nil {
		return nil, fmt.Errorf("the event is no HTTP request: %w", err)
	}
	r, err := e.request(ctx, d.BasePath)
	if err != nil {
		return nil, fmt.Errorf("the event is no HTTP request: %w", err)
	}
	answer := newAnswer(r.Method)
	switch {
	case e.known() && d.Known != nil:
		d.serve(d.Known, answer, r)
	case d.Strangers != nil:
		d.serve(d.Strangers, answer, r)
	default:
		refuse(answer)
	}
	return answer.reply(e.second()), nil
}

// second says that the event is of payload format 2.0.
func (e *event) second() bool { return e.RequestContext.HTTP != nil }

// known says whether AWS identified the caller.
func (e *event) known() bool {
	c := &e.RequestContext
	for _, who := range c.Authorizer {
		if present(who) {
			return true
		}
	}
	return c.Identity.UserARN != "" || present(c.Identity.ClientCert) || present(c.Authentication.ClientCert)
}

// present says that a member is there and says something.
func present(member json.RawMessage) bool {
	switch string(member) {
	case "", "null", `""`, "{}":
		return false
	}
	return true
}

func (e *event) request(ctx context.Context, base string) (*http.Request, error) {
	method, source := e.Method, e.RequestContext.Identity.SourceIP
	if e.second() {
		method, source = e.RequestContext.HTTP.Method, e.RequestContext.HTTP.SourceIP
	}
	if method == "" {
		return nil, errors.New(`it has a "requestContext" and no method`)
	}
	body, err := e.body()
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, "/", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.URL = e.url(base)
	r.RequestURI = r.URL.RequestURI()
	r.Header = e.header()
	r.Host = e.RequestContext.DomainName
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	r.Header.Del("Host")           // as net/http's server does
	r.Header.Del("Content-Length") // it may be that of the base64
	if source != "" {
		r.RemoteAddr = net.JoinHostPort(source, "0")
	}
	return r, nil
}

func (e *event) body() (string, error) {
	switch {
	case e.Body == nil:
		return "", nil
	case !e.IsBase64Encoded:
		return *e.Body, nil
	}
	b, err := base64.StdEncoding.DecodeString(*e.Body)
	if err != nil {
		return "", fmt.Errorf("its body is not the base64 that it is said to be: %w", err)
	}
	return string(b), nil
}

// url is the request's, as it would be without Lambda: without the base path of
// a domain of one's own and without the API's stage.
func (e *event) url(base string) *url.URL {
	path, stage := e.Path, "/"+e.RequestContext.Stage
	if e.second() {
		path = e.RawPath
	}
	path = without(path, "/"+strings.Trim(base, "/"))
	// An HTTP API has its stage in every path. A REST API has it only where its
	// domain's mapping leaves the stage to the path: then both paths are one.
	if e.second() || e.Path == e.RequestContext.Path {
		path = without(path, stage)
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	u := &url.URL{Path: path, RawQuery: e.query()}
	// Paths come as they were sent from some doors and decoded from others.
	if decoded, err := url.PathUnescape(path); err == nil {
		u.Path, u.RawPath = decoded, path
	}
	return u
}

// without takes whole folders off the beginning of a path.
func without(path, folders string) string {
	rest, ok := strings.CutPrefix(path, folders)
	if folders == "/" || !ok || rest != "" && rest[0] != '/' {
		return path
	}
	return rest
}

func (e *event) query() string {
	if e.second() {
		return e.RawQuery
	}
	values := url.Values(e.MultiValueQuery)
	if values == nil {
		values = make(url.Values)
		for name, value := range e.Query {
			values.Set(name, value)
		}
	}
	return values.Encode()
}

func (e *event) header() http.Header {
	h := make(http.Header)
	for name, values := range e.MultiValueHeader {
		for _, v := range values {
			h.Add(name, v)
		}
	}
	if len(h) == 0 {
		for name, value := range e.Headers {
			h.Set(name, value)
		}
	}
	if len(e.Cookies) > 0 {
		h.Set("Cookie", strings.Join(e.Cookies, "; "))
	}
	return h
}
