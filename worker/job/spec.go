package job

import (
	"errors"
	"fmt"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/jsonpath"
)

// Spec is what a job is: what a person asked for. It is written once, and all
// who work on the job read it.
type Spec struct {
	Version int       `json:"version"` // of this form: 2 with filters, which an older program would pass over, else 1
	ID      string    `json:"id"`
	Created time.Time `json:"created"`

	// Sources are S3 URIs: prefixes (that end in a slash, or are to be listed)
	// and objects. With a Manifest there are none.
	Sources        []string `json:"sources,omitempty"`
	Manifest       string   `json:"manifest,omitempty"` // its URI
	ManifestFormat string   `json:"manifestFormat,omitempty"`
	Include        []string `json:"include,omitempty"` // globs; empty: everything
	Exclude        []string `json:"exclude,omitempty"`

	// SplitType is None: an object is one request; or Line (JSON lines and CSV)
	// or TFRecord: an object is a file of records, of which each part is a range.
	SplitType            string `json:"splitType"`
	BatchStrategy        string `json:"batchStrategy,omitempty"` // MultiRecord, or SingleRecord: each record, or object, has a run of its own
	AssembleWith         string `json:"assembleWith,omitempty"`  // None or Line
	JoinSource           string `json:"joinSource,omitempty"`    // None, or Input: each result stands beside its record
	InputFilter          string `json:"inputFilter,omitempty"`   // a path: what of each record the model gets; empty: all
	OutputFilter         string `json:"outputFilter,omitempty"`  // a path: what is kept of each result, with its record where they are joined; empty: all
	PartBytes            int64  `json:"partBytes,omitempty"`     // of a range, about; 0: a 64th of the file, 1 to 64 MiB
	ReferencesPerMessage int    `json:"referencesPerMessage,omitempty"`

	// What each request of the job has: see request.Request. Messages don't
	// repeat it; Apply fills it in.
	ContentType    string  `json:"contentType,omitempty"`
	Accept         string  `json:"accept,omitempty"`
	Model          string  `json:"model,omitempty"`
	Signature      string  `json:"signature,omitempty"`
	RecordErrors   string  `json:"recordErrors,omitempty"`
	TimeoutSeconds float64 `json:"timeoutSeconds,omitempty"`

	// MaxConcurrency is how many parts of the job one worker has under way at a
	// time; 0 leaves it to the worker.
	MaxConcurrency int `json:"maxConcurrency,omitempty"`
}

// specVersion is the latest form of a spec that this program knows.
const specVersion = 2

// Values of Spec's members, in the words of SageMaker's Batch Transform.
const (
	SplitNone     = "None"
	SplitLine     = "Line"
	SplitTFRecord = "TFRecord"

	AssembleNone = "None"
	AssembleLine = "Line"

	JoinNone  = "None"
	JoinInput = "Input"

	MultiRecord  = "MultiRecord"
	SingleRecord = "SingleRecord"
)

// Records says whether the job's objects are files of records.
func (s Spec) Records() bool { return s.SplitType == SplitLine || s.SplitType == SplitTFRecord }

// Filters are the paths of a job's filters.
type Filters struct{ Input, Output jsonpath.Path }

// Filters reads them. The error is that of all that are none, and says which.
func (s Spec) Filters() (f Filters, err error) {
	read := func(what, text string) jsonpath.Path {
		path, wrong := jsonpath.Parse(text)
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("the %s filter: %w", what, wrong))
		}
		return path
	}
	return Filters{Input: read("input", s.InputFilter), Output: read("output", s.OutputFilter)}, err
}

// rangeBytes is how many bytes a range has of a file of that size.
func (s Spec) rangeBytes(size int64) int64 {
	if s.PartBytes > 0 {
		return s.PartBytes
	}
	return min(max(size/64, 1<<20), 64<<20)
}

// Apply fills what r, an item of the job, leaves open with what the job says.
func (s Spec) Apply(r request.Request) request.Request {
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	fill(&r.ContentType, s.ContentType)
	fill(&r.Accept, s.Accept)
	fill(&r.Model, s.Model)
	fill(&r.Signature, s.Signature)
	fill(&r.RecordErrors, s.RecordErrors)
	if r.Timeout == 0 {
		r.Timeout = time.Duration(s.TimeoutSeconds * float64(time.Second))
	}
	return r
}
