package native

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/cmd/internal/frontdoor/desk"
	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// parameters of a submission in the query, each with what it is.
var parameters = map[string]string{
	"id":            "the request's name",
	"model":         "which model runs",
	"signature":     "which of its signatures",
	"accept":        "media type of the result",
	"ttl":           "seconds, or a duration such as 90m, after which it is not started any more",
	"timeout":       "seconds, or a duration, that one run may take",
	"record-errors": "report or fail",
	"input":         "s3:// URI of an object, in place of a body",
	"upload":        "id of an upload, in place of a body",
}

// submission reads a request from a call. All faults are one problem.
func (a *API) submission(r *http.Request) (intake.Submission, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return intake.Submission{}, invalid(fmt.Sprintf("the query can't be read: %v", err), "percent-escape what is no letter or digit")
	}
	f := faults{query: q}
	f.known()
	s := intake.Submission{Request: request.Request{
		ID:           f.either("id", strings.Join(r.Header.Values("Idempotency-Key"), ", "), "the header Idempotency-Key"),
		Model:        f.either("model", r.PathValue("model"), "the path"),
		Signature:    f.one("signature"),
		Accept:       f.one("accept"),
		RecordErrors: f.one("record-errors"),
		TTL:          f.duration("ttl"),
		Timeout:      f.duration("timeout"),
	}}
	if s.Request.Accept == "" {
		s.Request.Accept = accepted(r.Header)
	}
	upload := f.one("upload")
	f.input(&s.Request, f.one("input"), upload, a.Locations)
	if err := a.body(r, &s, &f); err != nil {
		return s, err
	}
	if s.Request.ID == "" {
		// An upload is one request, however often it is asked for.
		if s.Request.ID = upload; upload == "" {
			s.Request.ID = intake.NewID()
		}
	}
	if s.Request.ID == "." || s.Request.ID == ".." {
		f.add("id %q can't stand in a URL; choose another", s.Request.ID)
	}
	if err := f.err(); err != nil || upload == "" {
		return s, err
	}
	_, err = a.Desk.Store.Head(r.Context(), s.Request.Input)
	if errors.Is(err, fs.ErrNotExist) {
		return s, invalid(fmt.Sprintf("nothing has been uploaded for %.80q", upload), "POST /v1/uploads gives an id and a URL; PUT the input there first")
	}
	return s, err
}

// body reads the input that is sent with its request.
func (a *API) body(r *http.Request, s *intake.Submission, f *faults) error {
	elsewhere := s.Request.Input.Bucket != ""
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if mediaType == "multipart/form-data" {
		return &Problem{
			Status: http.StatusUnsupportedMediaType, Code: codeForm, Detail: "the body is a form, and the input must be the body itself",
			Hint: `with curl: --data-binary @FILE in place of -F, and -H "Content-Type: TYPE"`,
		}
	}
	body, err := desk.ReadBody(r, a.MaxBody)
	if e, ok := errors.AsType[*desk.BodyTooLargeError](err); ok {
		return &Problem{
			Status: http.StatusRequestEntityTooLarge, Code: codeTooLarge, Detail: e.Error(),
			Hint: "send a larger input to S3: POST /v1/uploads gives a URL to PUT it to, then POST /v1/inferences?upload=ID",
		}
	}
	if err != nil {
		return invalid(err.Error(), "")
	}
	switch {
	case len(body) > 0 && elsewhere:
		f.add("there is a body, and the query names an input too; give one of them")
	case len(body) == 0 && !elsewhere && len(f.list) == 0:
		f.add("there is no input: send it as the body, or name it in the query (input or upload)")
	case len(body) > 0:
		s.Body = body
		s.ContentEncoding = r.Header.Get("Content-Encoding")
	}
	s.Request.ContentType = r.Header.Get("Content-Type")
	if elsewhere || mediaType == "application/x-www-form-urlencoded" { // curl's, where it was told nothing
		s.Request.ContentType = ""
	}
	return nil
}

// accepted is the header Accept, without what asks for anything.
func accepted(h http.Header) string {
	v := strings.Join(h.Values("Accept"), ", ")
	if v == "*/*" {
		return ""
	}
	return v
}

// faults gathers all that is wrong with a call, while it is read.
type faults struct {
	query url.Values
	list  []string
}

func (f *faults) add(format string, args ...any) {
	f.list = append(f.list, fmt.Sprintf(format, args...))
}

// err is the problem of all faults, or nil.
func (f *faults) err() error {
	switch len(f.list) {
	case 0:
		return nil
	case 1:
		return invalid(f.list[0], "")
	}
	p := invalid(fmt.Sprintf("there are %d faults in the request", len(f.list)), "")
	p.Errors = f.list
	return p
}

// known looks for parameters that there are none of, which may be misspelt.
func (f *faults) known() {
	for _, name := range slices.Sorted(maps.Keys(f.query)) {
		if _, ok := parameters[name]; !ok {
			f.add("there is no parameter %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(parameters)), ", "))
		}
	}
}

// one is a parameter that may be given once.
func (f *faults) one(name string) string {
	if n := len(f.query[name]); n > 1 {
		f.add("%s is given %d times; give it once", name, n)
	}
	return f.query.Get(name)
}

// either is a parameter that may also stand elsewhere, but not differ.
func (f *faults) either(name, other, where string) string {
	v := f.one(name)
	if v != "" && other != "" && v != other {
		f.add("%s is %.80q in the query and %.80q in %s; give one of them", name, v, other, where)
	}
	if v == "" {
		return other
	}
	return v
}

func (f *faults) duration(name string) time.Duration {
	v := f.one(name)
	if v == "" {
		return 0
	}
	d, err := request.ParseTTL(v)
	if err != nil || d <= 0 {
		f.add("%s is %.80q; it must be a number of seconds or a duration such as 90m, more than 0 and at most %.0f days", name, v, request.MaxDuration.Hours()/24)
	}
	return d
}

// input reads where the input lies, when it is not the body.
func (f *faults) input(r *request.Request, input, upload string, l request.Locations) {
	switch {
	case input != "" && upload != "":
		f.add("both input and upload are given; give one of them")
	case upload != "":
		r.Input = l.UploadOf(upload)
	case input != "":
		ref, err := storage.ParseRef(input)
		if err != nil {
			f.add("input: %v", err)
			return
		}
		r.Input = ref
	}
}
