package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/penstock/penstock/cmd/internal/outcome"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// conclude gives the status of a request that has that outcome, waiting being
// what it was without.
func (f *Finder) conclude(ctx context.Context, waiting Status, o outcome.Outcome) (Status, error) {
	p, s := o.Provenance, waiting
	if p.InferenceID != "" {
		s.ID = p.InferenceID
	}
	if s.Input.Key == "" {
		s.Input = p.Input
	}
	s.Ended = o.Modified
	s.Model, s.ModelVersion, s.Attempts = p.Model, p.ModelVersion, p.Attempts
	s.Spent = Spent{Queued: p.Queued, Fetch: p.Fetch, Wait: p.Wait, Predict: p.Predict, Store: p.Store}
	s.Records, s.BadRecords = p.Records, p.BadRecords
	if !o.Failed {
		s.State, s.Output = Succeeded, o.Ref
		s.ResultType, s.ResultSize = o.ContentType, o.Size
		return s, nil
	}
	failure, err := f.readFailure(ctx, o.Ref)
	if errors.Is(err, fs.ErrNotExist) {
		// It was there a moment ago. An output that has come takes its place,
		// or the request runs again.
		return waiting, nil
	}
	if err != nil {
		return waiting, err
	}
	s.Failure, s.Problem = o.Ref, &failure.Error
	switch failure.Error.Code {
	case request.CodeExpired:
		s.State = Expired
	case request.CodeCancelled:
		s.State = Cancelled
	default:
		s.State = Failed
	}
	return s, nil
}

// maxFailureBytes is more than a failure object has.
const maxFailureBytes = 1 << 20

// readFailure reads a failure object. One that can't be understood is a failure
// all the same.
func (f *Finder) readFailure(ctx context.Context, ref storage.Ref) (failure request.Failure, err error) {
	o, err := f.Store.Get(ctx, ref, storage.GetOptions{})
	if err != nil {
		return failure, fmt.Errorf("read the failure object: %w", err)
	}
	defer o.Body.Close()
	body, err := io.ReadAll(io.LimitReader(o.Body, maxFailureBytes))
	if err != nil {
		return failure, fmt.Errorf("read the failure object: %w", err)
	}
	if err := json.Unmarshal(body, &failure); err != nil || failure.Error.Code == "" {
		failure.Error = request.Problem{
			Code: request.CodeInternal, Stage: request.StageStore,
			Message: fmt.Sprintf("the request failed, and why can't be read: %s holds no failure of Penstock's", ref),
			Hint:    "look at the object itself, and at the workers' logs",
		}
	}
	return failure, nil
}
