// Package request is what every Penstock program must agree on: the wire form
// of a request in a queue message, the identity of a request, where its output
// and failure objects lie, and what a failure object says.
//
// It is pure: it reads no clock, no environment and no network.
package request

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/penstock/penstock/storage"
)

// Request asks for one inference on one object.
type Request struct {
	// ID is the caller's name for the request, at most MaxIDBytes of printable
	// text. Requests with an ID write to <output>/requests/<ID>.out; those
	// without are uploads and write to a key that follows the input's.
	ID string
	// Input is the object to run on. When Version is empty the current object
	// counts, whatever it is when the worker reads it.
	Input storage.Ref
	// ETag and Size are what the sender knew of the input. They are hints: the
	// object that is there when the worker reads it decides.
	ETag string
	Size int64
	// ContentType overrides the input object's own; Accept chooses the form of
	// the result. Empty leaves it to the object and to the model.
	ContentType string
	Accept      string
	// Model and Signature choose what runs. Empty is the worker's only model,
	// and the body's or the model's default signature.
	Model     string
	Signature string
	// TTL is how long after Enqueued the request may still be started; 0 is no
	// limit. A request past it gets the failure object "Expired".
	TTL time.Duration
	// Timeout bounds one run of the model, 0 leaves it to the worker.
	Timeout time.Duration
	// Enqueued is when the request was accepted. Zero: the queue's own
	// timestamp of the message counts.
	Enqueued time.Time
}

// MaxIDBytes is the longest ID. SageMaker takes 64 characters.
const MaxIDBytes = 256

// Upload says that the request came from an object that was uploaded, not from
// a caller who gave it an ID.
func (r Request) Upload() bool { return r.ID == "" }

// wire is a request as it stands in a message.
type wire struct {
	ID             string     `json:"id,omitempty"`
	Input          string     `json:"input"`
	VersionID      string     `json:"versionId,omitempty"`
	ETag           string     `json:"etag,omitempty"`
	Size           int64      `json:"size,omitempty"`
	ContentType    string     `json:"contentType,omitempty"`
	Accept         string     `json:"accept,omitempty"`
	Model          string     `json:"model,omitempty"`
	Signature      string     `json:"signature,omitempty"`
	TTLSeconds     float64    `json:"ttlSeconds,omitempty"`
	TimeoutSeconds float64    `json:"timeoutSeconds,omitempty"`
	Enqueued       *time.Time `json:"enqueued,omitempty"`
}

// envelope is a message of ours. A message holds either one request's members
// at the top, which is what a person types, or a list of them.
type envelope struct {
	// Version is 1, and may be left out. A worker refuses a later one: its
	// members could change what the request means.
	Version int `json:"version,omitempty"`
	wire
	Requests []wire `json:"requests,omitempty"`
}

// version is the wire form that this package writes.
const version = 1

// Encode writes one message body that holds all the requests.
func Encode(requests ...Request) (string, error) {
	if len(requests) == 0 {
		return "", errors.New("a message needs at least one request")
	}
	e := envelope{Version: version}
	for i, r := range requests {
		if err := r.Validate(); err != nil {
			return "", fmt.Errorf("request %d: %w", i, err)
		}
		e.Requests = append(e.Requests, toWire(r))
	}
	// Only the list: an empty "input" at the top would say something else.
	b, err := json.Marshal(struct {
		Version  int    `json:"version"`
		Requests []wire `json:"requests"`
	}{version, e.Requests})
	return string(b), err
}

func toWire(r Request) wire {
	w := wire{
		ID: r.ID, Input: storage.Ref{Bucket: r.Input.Bucket, Key: r.Input.Key}.String(), VersionID: r.Input.Version,
		ETag: r.ETag, Size: r.Size, ContentType: r.ContentType, Accept: r.Accept,
		Model: r.Model, Signature: r.Signature,
		TTLSeconds: r.TTL.Seconds(), TimeoutSeconds: r.Timeout.Seconds(),
	}
	if !r.Enqueued.IsZero() {
		w.Enqueued = new(r.Enqueued.UTC())
	}
	return w
}

func (w wire) request() (Request, error) {
	input, err := storage.ParseRef(w.Input)
	if err != nil {
		return Request{}, fmt.Errorf("input: %w", err)
	}
	input.Version = w.VersionID
	r := Request{
		ID: w.ID, Input: input, ETag: trimETag(w.ETag), Size: w.Size,
		ContentType: w.ContentType, Accept: w.Accept, Model: w.Model, Signature: w.Signature,
	}
	if r.TTL, err = seconds("ttlSeconds", w.TTLSeconds); err != nil {
		return Request{}, err
	}
	if r.Timeout, err = seconds("timeoutSeconds", w.TimeoutSeconds); err != nil {
		return Request{}, err
	}
	if w.Enqueued != nil {
		r.Enqueued = *w.Enqueued
	}
	return r, r.Validate()
}

// seconds turns a number of seconds into a duration that does not overflow.
func seconds(name string, n float64) (time.Duration, error) {
	const most = 400 * 24 * 3600 // longer than any queue keeps a message
	if n < 0 || n > most {
		return 0, fmt.Errorf("%s is %v; it must be between 0 and %d", name, n, most)
	}
	return time.Duration(n * float64(time.Second)), nil
}

// ParseTTL reads the value of the upload metadata "penstock-ttl": a number of
// seconds, or a duration such as "90m".
func ParseTTL(s string) (time.Duration, error) {
	if n, err := strconv.ParseFloat(s, 64); err == nil && n == n {
		return seconds("penstock-ttl", n)
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("penstock-ttl is %q; it must be a number of seconds or a duration such as 90m", s)
	}
	return d, nil
}

// Validate reports what makes the request one that no worker can run.
func (r Request) Validate() error {
	var errs []error
	if err := r.Input.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("input: %w", err))
	} else if r.Input.Key == "" {
		errs = append(errs, fmt.Errorf("input: %s names a bucket, not an object", r.Input))
	}
	if err := validateID(r.ID); err != nil {
		errs = append(errs, err)
	}
	for name, v := range map[string]string{
		"contentType": r.ContentType, "accept": r.Accept, "model": r.Model, "signature": r.Signature,
	} {
		if len(v) > 1024 || !printable(v) {
			errs = append(errs, fmt.Errorf("%s must be at most 1024 bytes of printable text", name))
		}
	}
	return errors.Join(errs...)
}

func validateID(id string) error {
	if len(id) > MaxIDBytes || !printable(id) || strings.TrimSpace(id) != id {
		return fmt.Errorf("id %.80q must be at most %d bytes of printable text without spaces around it", id, MaxIDBytes)
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })
}

// trimETag takes off the quotes that HTTP puts around an ETag and some event
// documents keep.
func trimETag(s string) string { return strings.Trim(s, `"`) }
