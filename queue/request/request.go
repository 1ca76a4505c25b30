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
	"math"
	"slices"
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
	// Sequencer is what S3's event calls the upload that it tells of: the same
	// in each copy of the event, and another in an event of the next upload,
	// also of the same bytes. It is for whoever decodes the event, and not
	// sent on.
	Sequencer string
	// ContentType overrides the input object's own; Accept chooses the form of
	// the result. Empty leaves it to the object and to the model.
	ContentType string
	Accept      string
	// OutputPath puts the result of a request with an ID at
	// <output>/requests/<OutputPath> instead (SageMaker's
	// S3OutputPathExtension and Filename): a relative path of letters, digits
	// and "!_.*'()-". A last part without a dot gets ".out". Empty for uploads.
	OutputPath string
	// Model and Signature choose what runs. Empty is the worker's only model,
	// and the body's or the model's default signature.
	Model     string
	Signature string
	// Endpoint is the name by which the caller called, where it stands for a
	// model (SageMaker's endpoints). It chooses nothing and is only told when
	// the request has ended.
	Endpoint string
	// RecordErrors says what becomes of an input of many records of which some
	// are bad: "report" writes each error in its record's place, "fail" fails
	// the request. Empty leaves it to the model's file, which means "report"
	// when it says nothing.
	RecordErrors string
	// TTL is how long after Enqueued the request may still be started; 0 is no
	// limit. A request past it gets the failure object "Expired". Like Timeout
	// it is sent to the millisecond and at most MaxDuration.
	TTL time.Duration
	// Timeout bounds one run of the model for this request, 0 leaves it to the
	// worker. Past it the request fails; the run itself can not be stopped.
	Timeout time.Duration
	// Enqueued is when the request was accepted. Zero: the queue's own
	// timestamp of the message counts.
	Enqueued time.Time
	// Job says that the request is an item of a batch job; nil when it is not.
	Job *JobItem
}

// MaxIDBytes is the longest ID. SageMaker takes 64 characters.
const MaxIDBytes = 256

// MaxOutputPathBytes is the longest OutputPath: SageMaker's 512 characters of
// S3OutputPathExtension, a slash and its 32 of Filename.
const MaxOutputPathBytes = 512 + 1 + 32

// Values of RecordErrors.
const (
	ReportRecords = "report"
	FailOnRecord  = "fail"
)

// MaxDuration bounds TTL and Timeout. No queue keeps a message as long.
const MaxDuration = 400 * 24 * time.Hour

// Upload says that the request has no ID that its caller gave it: it came from
// an object that was uploaded, or is an item of a job.
func (r Request) Upload() bool { return r.ID == "" }

// wire is a request as it stands in a message.
type wire struct {
	ID             string     `json:"id,omitempty"`
	Input          string     `json:"input,omitempty"` // left out of an inline body's record: it is the input
	VersionID      string     `json:"versionId,omitempty"`
	ETag           string     `json:"etag,omitempty"`
	Size           int64      `json:"size,omitempty"`
	ContentType    string     `json:"contentType,omitempty"`
	Accept         string     `json:"accept,omitempty"`
	OutputPath     string     `json:"outputPath,omitempty"`
	Model          string     `json:"model,omitempty"`
	Signature      string     `json:"signature,omitempty"`
	Endpoint       string     `json:"endpoint,omitempty"`
	RecordErrors   string     `json:"recordErrors,omitempty"`
	TTLSeconds     float64    `json:"ttlSeconds,omitempty"`
	TimeoutSeconds float64    `json:"timeoutSeconds,omitempty"`
	Enqueued       *time.Time `json:"enqueued,omitempty"`
	Item           *int       `json:"item,omitempty"`
	Range          *rangeWire `json:"range,omitempty"`
}

// envelope is a message of ours. A message holds either one request's members
// at the top, which is what a person types, or a list of them.
type envelope struct {
	// Version is 1, and may be left out. A worker refuses a later one: its
	// members could change what the request means.
	Version int `json:"version,omitempty"`
	// Job is that of all requests in the message, which then are items of one
	// part of it.
	Job *jobWire `json:"job,omitempty"`
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
	// Only the list: an empty "input" at the top would say something else.
	body := struct {
		Version  int      `json:"version"`
		Job      *jobWire `json:"job,omitempty"`
		Requests []wire   `json:"requests"`
	}{Version: version}
	for i, r := range requests {
		if err := r.Validate(); err != nil {
			return "", fmt.Errorf("request %d of %d: %w", i+1, len(requests), err)
		}
		w := toWire(r)
		w.ofJob(i, r.Job)
		body.Requests = append(body.Requests, w)
	}
	var err error
	if body.Job, err = toJobWire(requests); err != nil {
		return "", err
	}
	b, err := json.Marshal(body)
	return string(b), err
}

func toWire(r Request) wire {
	w := wire{
		ID: r.ID, Input: storage.Ref{Bucket: r.Input.Bucket, Key: r.Input.Key}.String(), VersionID: r.Input.Version,
		ETag: r.ETag, Size: r.Size, ContentType: r.ContentType, Accept: r.Accept, OutputPath: r.OutputPath,
		Model: r.Model, Signature: r.Signature, Endpoint: r.Endpoint, RecordErrors: r.RecordErrors,
		TTLSeconds: r.TTL.Seconds(), TimeoutSeconds: r.Timeout.Seconds(),
	}
	if !r.Enqueued.IsZero() {
		w.Enqueued = new(r.Enqueued.UTC())
	}
	return w
}

// request is w as the message's element of that place, an item of job unless
// that is nil.
func (w wire) request(place int, job *jobWire) (Request, error) {
	input, err := storage.ParseRef(w.Input)
	if err != nil {
		return Request{}, fmt.Errorf("input: %w", err)
	}
	input.Version = w.VersionID
	r := Request{
		ID: w.ID, Input: input, ETag: trimETag(w.ETag), Size: w.Size,
		ContentType: w.ContentType, Accept: w.Accept, OutputPath: w.OutputPath, Model: w.Model, Signature: w.Signature,
		Endpoint: w.Endpoint, RecordErrors: w.RecordErrors,
	}
	if r.TTL, err = seconds("ttlSeconds", w.TTLSeconds); err != nil {
		return Request{}, err
	}
	if r.Timeout, err = seconds("timeoutSeconds", w.TimeoutSeconds); err != nil {
		return Request{}, err
	}
	if w.Enqueued != nil {
		r.Enqueued = w.Enqueued.UTC()
	}
	if r.Job, err = w.item(place, job); err != nil {
		return Request{}, err
	}
	return r, r.Validate()
}

// seconds turns a number of seconds into a duration of whole milliseconds.
// What is above 0 stays above 0, which would mean something else.
func seconds(name string, n float64) (time.Duration, error) {
	switch most := MaxDuration.Seconds(); {
	case n == 0:
		return 0, nil
	case n > 0 && n <= most:
		return max(time.Duration(math.Round(n*1000)), 1) * time.Millisecond, nil
	default:
		return 0, fmt.Errorf("%s is %v; it must be between 0 and %.0f", name, n, most)
	}
}

// ParseTTL reads the value of the upload metadata "penstock-ttl": a number of
// seconds, or a duration such as "90m".
func ParseTTL(s string) (time.Duration, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf("%s is %.80q; it must be a number of seconds or a duration such as 90m", UploadTTL, s)
		}
		n = d.Seconds()
	}
	return seconds(UploadTTL, n)
}

// Validate reports what makes the request one that no worker can run, all at
// once.
func (r Request) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := r.Input.Validate(); err != nil {
		fault("input: %w", err)
	} else if r.Input.Key == "" {
		fault("input: %s names a bucket, not an object", r.Input)
	}
	if err := validateID(r.ID); err != nil {
		errs = append(errs, err)
	}
	for _, f := range []struct{ name, value string }{
		{"versionId", r.Input.Version},
		{"etag", r.ETag},
		{"contentType", r.ContentType},
		{"accept", r.Accept},
		{"model", r.Model},
		{"signature", r.Signature},
		{"endpoint", r.Endpoint},
	} {
		if len(f.value) > 1024 || !printable(f.value) {
			fault("%s must be at most 1024 bytes of printable text", f.name)
		}
	}
	if err := r.validateOutputPath(); err != nil {
		errs = append(errs, err)
	}
	switch r.RecordErrors {
	case "", ReportRecords, FailOnRecord:
	default:
		fault("recordErrors is %.80q; it must be %q or %q", r.RecordErrors, ReportRecords, FailOnRecord)
	}
	if r.Size < 0 {
		fault("size is %d bytes; it can't be negative", r.Size)
	}
	if r.TTL < 0 || r.TTL > MaxDuration {
		fault("ttlSeconds is %v; it must be between 0 and %v", r.TTL, MaxDuration)
	}
	if r.Timeout < 0 || r.Timeout > MaxDuration {
		fault("timeoutSeconds is %v; it must be between 0 and %v", r.Timeout, MaxDuration)
	}
	if err := r.Job.validate(r); err != nil {
		errs = append(errs, err)
	}
	if y := r.Enqueued.UTC().Year(); !r.Enqueued.IsZero() && (y < 1970 || y > 9999) {
		fault("enqueued is in the year %d", y)
	}
	return errors.Join(errs...)
}

func validateID(id string) error {
	if len(id) > MaxIDBytes || !printable(id) || strings.TrimSpace(id) != id {
		return fmt.Errorf("id %.80q must be at most %d bytes of printable text without spaces around it", id, MaxIDBytes)
	}
	return nil
}

func (r Request) validateOutputPath() error {
	if r.OutputPath == "" {
		return nil
	}
	if r.Upload() {
		return errors.New("outputPath is for requests with an id: an upload's result follows its key")
	}
	foreign := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!_.*'()/-", c)
	}
	parts := strings.Split(r.OutputPath, "/")
	if len(r.OutputPath) > MaxOutputPathBytes || strings.ContainsFunc(r.OutputPath, foreign) ||
		slices.ContainsFunc(parts, func(p string) bool { return strings.Trim(p, ".") == "" }) {
		return fmt.Errorf("outputPath %.80q must be a relative path of at most %d letters, digits and \"!_.*'()-\"", r.OutputPath, MaxOutputPathBytes)
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })
}

// trimETag takes off the quotes that HTTP puts around an ETag and some event
// documents keep.
func trimETag(s string) string { return strings.Trim(s, `"`) }
