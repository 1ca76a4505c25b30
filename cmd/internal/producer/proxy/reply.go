package proxy

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"go.uber.org/zap"
)

// Reply is what Lambda's doors make an HTTP response of.
type Reply struct {
	StatusCode        int                 `json:"statusCode"`
	Headers           map[string]string   `json:"headers,omitempty"`           // format 2.0
	MultiValueHeaders map[string][]string `json:"multiValueHeaders,omitempty"` // format 1.0
	Cookies           []string            `json:"cookies,omitempty"`           // format 2.0
	Body              string              `json:"body"`
	IsBase64Encoded   bool                `json:"isBase64Encoded"`
}

// What Lambda returns: 6 MiB in all. In base64, of which four bytes are three of
// a body's, it is MaxBody.
const (
	maxEncoded = 6<<20 - 64<<10 // with room for headers
	MaxBody    = maxEncoded / 4 * 3
)

// answer is a response that is collected.
type answer struct {
	method string
	header http.Header
	sent   http.Header // as it was at WriteHeader
	status int
	body   bytes.Buffer
}

func newAnswer(method string) *answer { return &answer{method: method, header: make(http.Header)} }

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status != 0 || status < 200 { // interim responses have no place in Lambda's
		return
	}
	a.status, a.sent = status, a.header.Clone()
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		if a.header.Get("Content-Type") == "" {
			a.header.Set("Content-Type", http.DetectContentType(p))
		}
		a.WriteHeader(http.StatusOK)
	}
	if a.method == http.MethodHead {
		return len(p), nil
	}
	return a.body.Write(p)
}

// serve has the handler answer. One that panics is answered for.
func (d Door) serve(h http.Handler, a *answer, r *http.Request) {
	defer func() {
		if v := recover(); v != nil {
			*a = *newAnswer(r.Method)
			problem(a, http.StatusInternalServerError, "InternalFailure", "the front door failed over this request; the function's log says where")
			if v != http.ErrAbortHandler {
				d.Log.Error("the front door failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Any("panic", v), zap.Stack("stack"))
			}
		}
	}()
	h.ServeHTTP(a, r)
}

// refuse answers strangers.
func refuse(a *answer) {
	problem(a, http.StatusForbidden, "AccessDeniedException",
		"nobody has said who calls: give the function URL the AuthType AWS_IAM, or the API an authorizer, and sign the request; or set PENSTOCK_ALLOW_ANONYMOUS=true to serve whoever finds this address")
}

// problem answers in the words of problem+json and of AWS's errors.
func problem(a *answer, status int, code, detail string) {
	a.header.Set("Content-Type", "application/problem+json")
	a.header.Set("X-Amzn-Errortype", code)
	a.WriteHeader(status)
	_ = json.NewEncoder(a).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail, "Message": detail})
}

// reply gives the answer in payload format 2.0 or 1.0.
func (a *answer) reply(second bool) *Reply {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	r := &Reply{StatusCode: a.status}
	switch body := a.body.Bytes(); {
	case isText(a.sent, body) && fits(body):
		r.Body = string(body)
	case len(body) > MaxBody:
		large := newAnswer(a.method)
		problem(large, http.StatusBadGateway, "InternalFailure", fmt.Sprintf("the answer has %d bytes, more than the %d that Lambda returns: read the result from its location in S3", len(body), MaxBody))
		return large.reply(second)
	default:
		r.Body, r.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	}
	a.sent.Del("Content-Length") // Lambda's doors count again
	if !second {
		r.MultiValueHeaders = a.sent
		return r
	}
	r.Headers = make(map[string]string, len(a.sent))
	for name, values := range a.sent {
		if name == "Set-Cookie" {
			r.Cookies = values
			continue
		}
		r.Headers[name] = strings.Join(values, ", ")
	}
	return r
}

// fits says whether a text, with what JSON escapes in it, is not too long.
func fits(text []byte) bool {
	if len(text) <= maxEncoded/6 { // as much as an escaped byte can take
		return true
	}
	encoded, err := json.Marshal(string(text))
	return err == nil && len(encoded) <= maxEncoded
}

// isText says whether a body survives as a JSON string. What is encoded or of
// no textual type may be valid UTF-8 by chance and is told as bytes.
func isText(h http.Header, body []byte) bool {
	if h.Get("Content-Encoding") != "" || !utf8.Valid(body) {
		return false
	}
	is, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	family, kind, _ := strings.Cut(is, "/")
	switch {
	case len(body) == 0, family == "text":
		return true
	case strings.HasSuffix(kind, "json"), strings.HasSuffix(kind, "xml"), strings.HasSuffix(kind, "yaml"),
		kind == "jsonlines", kind == "x-www-form-urlencoded", kind == "javascript":
		return true
	}
	return false
}
