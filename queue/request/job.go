package request

import (
	"errors"
	"fmt"
	"strings"

	"github.com/penstock/penstock/storage"
)

// JobItem says of a request that it is an item of a batch job, and which. A
// job is divided into parts: a part is what one message holds, a pack of
// references or a range of a record file.
//
// An item has no ID and no OutputPath: its terminal objects lie below
// jobs/<job id>/, where its input lies below its location.
type JobItem struct {
	ID    string // the job's; see ValidateJobID
	Part  int    // from 0
	Items int    // how many the part has, also where a message holds fewer
	Item  int    // its number in the part, from 0
	// Range is what of the input is the item's; nil is all of it, as one
	// request like any other.
	Range *Range
}

// Range is a part of a file of records: the bytes [From, To). Of JSON lines it
// has the records whose first byte it holds; of other files it begins and ends
// where records do. A compressed file is one range, from 0 to its size.
type Range struct {
	From, To int64
	// Header is the length of a CSV file's first record, which is read beside
	// a range that begins later: it may name the columns. 0 for other files.
	Header int64
}

// MaxJobIDBytes is the longest id of a job.
const MaxJobIDBytes = 64

// ValidateJobID says why id can't be a job's. It is part of keys and of message
// groups as it stands.
func ValidateJobID(id string) error {
	foreign := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.", c)
	}
	if id == "" || len(id) > MaxJobIDBytes || strings.ContainsFunc(id, foreign) || strings.HasPrefix(id, ".") {
		return fmt.Errorf("the job id %.80q must be 1 to %d letters, digits and \"-_.\", and begin with no dot", id, MaxJobIDBytes)
	}
	return nil
}

// jobWire is what all items of a message share of their job.
type jobWire struct {
	ID    string `json:"id"`
	Part  int    `json:"part"`
	Items int    `json:"items"`
}

type rangeWire struct {
	From   int64 `json:"from"`
	To     int64 `json:"to"`
	Header int64 `json:"header,omitempty"`
}

// toJobWire gives what stands once in the message of requests: nil when they
// are of no job.
func toJobWire(requests []Request) (*jobWire, error) {
	shared := func(r Request) jobWire {
		if r.Job == nil {
			return jobWire{}
		}
		return jobWire{ID: r.Job.ID, Part: r.Job.Part, Items: r.Job.Items}
	}
	w := shared(requests[0])
	for _, r := range requests[1:] {
		if shared(r) != w {
			return nil, errors.New("the requests of one message must be of one part of one job, or of none")
		}
	}
	if requests[0].Job == nil {
		return nil, nil
	}
	return &w, nil
}

// ofJob writes what is an item's own: its number only where that is not its
// place in the message.
func (w *wire) ofJob(place int, j *JobItem) {
	if j == nil {
		return
	}
	if j.Item != place {
		w.Item = &j.Item
	}
	if j.Range != nil {
		w.Range = &rangeWire{From: j.Range.From, To: j.Range.To, Header: j.Range.Header}
	}
}

// item is what w says of its job, as the message's element of that place.
func (w wire) item(place int, j *jobWire) (*JobItem, error) {
	if j == nil {
		if w.Item != nil || w.Range != nil {
			return nil, errors.New(`"item" and "range" are for requests of a job, and the message has no "job"`)
		}
		return nil, nil
	}
	item := &JobItem{ID: j.ID, Part: j.Part, Items: j.Items, Item: place}
	if w.Item != nil {
		item.Item = *w.Item
	}
	if w.Range != nil {
		item.Range = &Range{From: w.Range.From, To: w.Range.To, Header: w.Range.Header}
	}
	return item, nil
}

// validate reports what is wrong with r as an item of a job, all at once.
func (j *JobItem) validate(r Request) error {
	if j == nil {
		return nil
	}
	errs := []error{ValidateJobID(j.ID)}
	if r.ID != "" || r.OutputPath != "" {
		errs = append(errs, errors.New("an item of a job has no id and no outputPath: its result lies below jobs/, named after its input"))
	}
	if j.Part < 0 || j.Items < 1 || j.Item < 0 || j.Item >= j.Items {
		errs = append(errs, fmt.Errorf("item %d of %d of part %d: parts and items count from 0, and a part has at least one", j.Item, j.Items, j.Part))
	}
	if g := j.Range; g != nil && (g.From < 0 || g.To <= g.From || g.Header < 0 || g.Header > g.From) {
		errs = append(errs, fmt.Errorf("the range from %d to %d, with a header of %d bytes: it must have bytes, and no header reaches into it", g.From, g.To, g.Header))
	}
	return errors.Join(errs...)
}

// fields are what tells items from other requests on the same object: those of
// two jobs, and two ranges of one file.
func (j *JobItem) fields() []string {
	if j == nil {
		return nil
	}
	f := []string{"job", j.ID}
	if j.Range != nil {
		f = append(f, fmt.Sprint(j.Range.From), fmt.Sprint(j.Range.To))
	}
	return f
}

// Whole is r without its range: the request on all of the file, whose terminal
// objects are those of the file.
func (r Request) Whole() Request {
	if r.Job != nil && r.Job.Range != nil {
		whole := *r.Job
		whole.Range = nil
		r.Job = &whole
	}
	return r
}

// JobFolders are where the outputs and the failures of a job's items lie.
func (l Locations) JobFolders(id string) (output, failure storage.Ref) {
	output, failure = l.Output, l.Failure
	output.Key += jobsFolder + id + "/"
	failure.Key += jobsFolder + id + "/"
	return output, failure
}
