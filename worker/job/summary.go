package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Summary is how a job ended. Its counts add up: of objects and of parts,
// submitted = succeeded + failed + cancelled.
type Summary struct {
	Job      string    `json:"job"`
	State    State     `json:"state"` // succeeded, failed or cancelled
	Created  time.Time `json:"created"`
	Finished time.Time `json:"finished"`

	Objects Account  `json:"objects"`           // inputs: requests, or files of records
	Parts   *Account `json:"parts,omitempty"`   // ranges of record files
	Records *Records `json:"records,omitempty"` // of the files that were assembled, in part or whole

	Bytes   int64  `json:"bytes"`             // of all inputs
	Skipped int    `json:"skipped,omitempty"` // objects that were listed and left out
	Partial bool   `json:"partial,omitempty"` // planning was cancelled: the sources hold more than was submitted
	Output  string `json:"output"`            // folder of the outputs
	Failure string `json:"failure"`           // folder of the failure objects

	Outputs  []string  `json:"outputs,omitempty"`  // of record files, the first hundred
	Failures []Failing `json:"failures,omitempty"` // the first hundred
}

// Account is a sum and what it is the sum of.
type Account struct {
	Submitted int `json:"submitted"`
	Counts
}

// Records counts records of files.
type Records struct {
	Submitted int64 `json:"submitted"`
	Good      int64 `json:"good"`
	Bad       int64 `json:"bad"`
}

// Failing is an object that failed, and why.
type Failing struct {
	Input   string `json:"input"`
	Failure string `json:"failure"` // URI of its failure object
	Code    string `json:"code"`
	Message string `json:"message"`
}

// maxShown is how many outputs and failures a summary names.
const maxShown = 100

// CopyOf is where people find the summary, among the job's outputs.
func CopyOf(l request.Locations, id string) storage.Ref {
	output, _ := l.JobFolders(id)
	output.Key += "summary.json"
	return output
}

// summarize adds everything up.
func (b *Books) summarize(ctx context.Context, spec Spec, sealed seal, counts Counts, files fileSums) (Summary, error) {
	output, failure := b.Locations.JobFolders(spec.ID)
	s := Summary{
		Job: spec.ID, Created: spec.Created, Finished: b.now().UTC(),
		Objects: Account{sealed.Objects, counts},
		Bytes:   sealed.Bytes, Skipped: sealed.Skipped, Partial: sealed.Partial,
		Output: output.String(), Failure: failure.String(),
	}
	if spec.Records() {
		s.Objects.Counts = files.Counts
		s.Parts = &Account{sealed.Items, counts}
		s.Records = &Records{files.Records, files.Records - files.Bad, files.Bad}
		s.Outputs = files.Outputs
	}
	switch {
	case s.Objects.Cancelled > 0 || s.Partial:
		s.State = StateCancelled
	case s.Objects.Failed > 0:
		s.State = StateFailed
	default:
		s.State = StateSucceeded
	}
	if s.Objects.Total() != s.Objects.Submitted || counts.Total() != sealed.Items {
		return s, broken{fmt.Errorf("the books of job %s don't balance: %d objects and %d items were submitted, %d and %d ended; the marks in %s were tampered with",
			spec.ID, s.Objects.Submitted, sealed.Items, s.Objects.Total(), counts.Total(), booksOf(b.Locations, spec.ID).folder)}
	}
	if s.Objects.Failed > 0 {
		for f, err := range b.Failures(ctx, spec.ID) {
			if err != nil {
				return s, err
			}
			if s.Failures = append(s.Failures, f); len(s.Failures) == maxShown {
				break
			}
		}
	}
	return s, nil
}

// publish puts a copy of the summary where people look for it.
func (b *Books) publish(ctx context.Context, id string, s Summary) error {
	body, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	_, err = b.Store.Put(ctx, CopyOf(b.Locations, id), append(body, '\n'), storage.PutOptions{ContentType: jsonType})
	if errors.Is(err, fs.ErrInvalid) { // a store of files, and an input named summary.json/x
		return nil
	}
	return err
}

// files are sums over files of records.
type fileSums struct {
	Counts
	Records int64    `json:"records,omitempty"`
	Bad     int64    `json:"bad,omitempty"`
	Outputs []string `json:"outputs,omitempty"` // the first hundred
}

func (f fileSums) plus(o fileSums) fileSums {
	f.Counts = f.Counts.plus(o.Counts)
	f.Records += o.Records
	f.Bad += o.Bad
	f.Outputs = slices.Concat(f.Outputs, o.Outputs)
	f.Outputs = f.Outputs[:min(len(f.Outputs), maxShown)]
	return f
}
