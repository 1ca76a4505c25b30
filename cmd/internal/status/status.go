// Package status tells what has become of a request: from its terminal object
// if there is one, else from the workers' snapshots and the record of its
// acceptance. There is no database: whoever can read the objects can tell.
package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/penstock/penstock/cmd/internal/fleet"
	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/outcome"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// State is how far a request has come.
type State string

// The states of a request. The first two pass.
const (
	Queued    State = "queued"    // accepted, and no worker is known to have it
	Running   State = "running"   // a worker has it, as its last snapshot says; seconds may have passed since
	Succeeded State = "succeeded" // its output is there
	Failed    State = "failed"    // its failure object is there; Problem says why
	Expired   State = "expired"   // failed since it was not started within its time to live
	Cancelled State = "cancelled" // failed since its sender cancelled it before it was started
)

// Ended says that the state is final.
func (s State) Ended() bool { return s != Queued && s != Running }

// Status is what is known of a request.
type Status struct {
	ID    string // the inference id; an upload's follows from its object
	State State
	// CancelRequested says that the sender wants it cancelled and it has not
	// ended yet.
	CancelRequested bool

	Input storage.Ref
	// Output and Failure are where the two possible terminal objects are, or
	// would be.
	Output, Failure storage.Ref

	Accepted time.Time // zero when nothing tells
	Ended    time.Time // zero while it has not ended

	// What the terminal object says; zero before the end.
	Model, ModelVersion string
	Attempts            int // runs that counted
	Spent               Spent
	Records, BadRecords int64            // of an input of records
	ResultType          string           // the output's Content-Type
	ResultSize          int64            // the output's bytes
	Problem             *request.Problem // what went wrong; nil unless it failed, expired or was cancelled
}

// Spent is where a request's time went.
type Spent struct {
	Queued  time.Duration // from the acceptance to the start of the fetch
	Fetch   time.Duration // reading and decoding the input
	Wait    time.Duration // for a batch
	Predict time.Duration // in the model
	Store   time.Duration // encoding, and waiting to write
}

// Finder finds the status of requests. Its methods may be called concurrently.
// It remembers the workers' snapshots and the queue's length for some seconds,
// so it is made once and not copied.
type Finder struct {
	Store     storage.Store
	Locations request.Locations
	// Now is the time by S3's clock. Nil is this machine's.
	Now func() time.Time
	// Queue tells how much is waiting, for RetryAfter. Nil: nobody knows.
	Queue queue.Inspector

	fleet   cached[fleet.Fleet]
	backlog cached[int]
}

// remembered is how old what is known of the workers and the queue may be.
const remembered = 3 * time.Second

func (f *Finder) now() time.Time {
	if f.Now != nil {
		return f.Now()
	}
	return time.Now()
}

// ByID gives the status of the request of that ID. One that nothing is known
// of is fs.ErrNotExist: it was never accepted, or so long ago that the bucket's
// rules have ended its objects, or it came by the queue alone and no worker has
// it yet. It costs up to 5 HEADs.
func (f *Finder) ByID(ctx context.Context, id string) (Status, error) {
	r, known, err := f.request(ctx, id)
	if err != nil {
		return Status{}, err
	}
	s, err := f.ended(ctx, r)
	if err != nil || s.State.Ended() {
		return s, err
	}
	s, err = f.pending(ctx, s, r.ID)
	if err == nil && !known && s.State != Running {
		return Status{}, unknown(id)
	}
	return s, err
}

func unknown(id string) error {
	return fmt.Errorf("nothing is known of a request with the id %.80q: %w", id, fs.ErrNotExist)
}

// request gives what was accepted under an ID. Where there is no record it
// gives what can be told of the ID alone, for a request may have come by
// another way than the front door.
func (f *Finder) request(ctx context.Context, id string) (r request.Request, known bool, err error) {
	if id == "" || len(id) > request.MaxIDBytes {
		return r, false, unknown(id)
	}
	rec, err := intake.ReadRecord(ctx, f.Store, f.Locations.RecordOf(id))
	_, foreign := errors.AsType[*intake.ForeignError](err)
	switch {
	case foreign, errors.Is(err, fs.ErrNotExist):
		return request.Request{ID: id}, false, nil
	case err != nil:
		return r, false, fmt.Errorf("look for the record of a request: %w", err)
	}
	return rec.Request, true, nil
}

// ended gives the status of a request by its terminal object. Without one it is
// that of a request which waits.
func (f *Finder) ended(ctx context.Context, r request.Request) (Status, error) {
	s := Status{
		ID: r.ID, State: Queued, Input: r.Input, Accepted: r.Enqueued,
		Output: f.Locations.OutputOf(r), Failure: f.Locations.FailureOf(r),
	}
	o, ok, err := f.outcomes().FindRequest(ctx, r)
	if err != nil {
		return s, fmt.Errorf("look for the request's result: %w", err)
	}
	if !ok {
		return s, nil
	}
	return f.conclude(ctx, s, o)
}

func (f *Finder) outcomes() outcome.Finder {
	return outcome.Finder{Store: f.Store, Locations: f.Locations}
}

// pending completes the status of a request that has not ended, which the
// workers' snapshots name by one of those names.
func (f *Finder) pending(ctx context.Context, s Status, names ...string) (Status, error) {
	workers, err := f.fleet.get(ctx, remembered, func(ctx context.Context) (fleet.Fleet, error) {
		return fleet.Read(ctx, f.Store, f.Locations, f.now())
	})
	if err != nil {
		return s, err
	}
	if workers.Has(names...) {
		s.State = Running
	}
	_, err = f.Store.Head(ctx, f.Locations.CancelOf(s.ID))
	switch {
	case err == nil:
		s.CancelRequested = true
	case !errors.Is(err, fs.ErrNotExist):
		return s, fmt.Errorf("look for a cancel marker: %w", err)
	}
	return s, nil
}

// ByInput gives the status of the upload that is at input, or was: once the
// input is gone, that of its terminal object. One that is neither there nor has
// a terminal object is fs.ErrNotExist, and so is one that lies where uploads
// are not watched.
func (f *Finder) ByInput(ctx context.Context, input storage.Ref) (Status, error) {
	if err := input.Validate(); err != nil || input.Key == "" {
		return Status{}, fmt.Errorf("%s names no object: %w", input, fs.ErrNotExist)
	}
	found, err := f.Store.Head(ctx, input)
	gone := errors.Is(err, fs.ErrNotExist)
	if err != nil && !gone {
		return Status{}, fmt.Errorf("look at the input: %w", err)
	}
	if gone {
		found = storage.Info{Ref: input}
	}
	r := request.Request{Input: storage.Ref{Bucket: input.Bucket, Key: input.Key}, ETag: found.ETag}
	identity := r.Identify(found)
	s := Status{
		ID: cmp.Or(found.Metadata[request.UploadID], r.InferenceID(identity)), State: Queued, Input: input,
		Accepted: found.Modified, Output: f.Locations.OutputOf(r), Failure: f.Locations.FailureOf(r),
	}
	o, ok, err := f.outcomes().Find(ctx, found)
	if err != nil {
		return s, fmt.Errorf("look for the upload's result: %w", err)
	}
	if ok {
		return f.conclude(ctx, s, o)
	}
	if _, asked, err := request.Uploaded(found); gone || !asked || err != nil || !f.watched(r) {
		return Status{}, fmt.Errorf("nothing is known of an upload to %s: %w", input, fs.ErrNotExist)
	}
	return f.pending(ctx, s, r.InferenceID(identity), r.InferenceID(r.IdentifyUnread()))
}

func (f *Finder) watched(r request.Request) bool {
	return slices.ContainsFunc(f.Locations.Inputs, func(in storage.Ref) bool { return in.Contains(r.Input) })
}

// Cancel asks that the request of that ID is not started: ten seconds later it
// will not be. The status says what it was at the call, with CancelRequested
// unless it had ended: a request that has ended stays as it is, and one that
// has begun goes on; a finished output wins. An ID that nothing is known of is
// fs.ErrNotExist, and nothing is written.
func (f *Finder) Cancel(ctx context.Context, id string) (Status, error) {
	s, err := f.ByID(ctx, id)
	if err != nil || s.State.Ended() || s.CancelRequested {
		return s, err
	}
	if _, err := f.Store.Put(ctx, f.Locations.CancelOf(id), nil, storage.PutOptions{}); err != nil {
		return s, fmt.Errorf("write the cancel marker: %w", err)
	}
	s.CancelRequested = true
	return s, nil
}
