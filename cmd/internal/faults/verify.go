//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// findings are what is not as it must be at the end of a scenario.
type findings struct {
	mu                   sync.Mutex
	lost, wrong, doubled []string
	other                []string
}

func (f *findings) add(to *[]string, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*to = append(*to, fmt.Sprintf(format, args...))
}

func (f *findings) none() bool {
	return len(f.lost)+len(f.wrong)+len(f.doubled)+len(f.other) == 0
}

// verify reads the buckets and the queues. copies says that messages were
// delivered more than once at the same time.
func (f *field) verify(ctx context.Context, copies bool, found *findings) error {
	names := make(map[string]bool)
	for _, folder := range []storage.Ref{f.locations.Output, f.locations.Failure, f.locations.State} {
		for info, err := range f.servers.store.List(ctx, folder, "") {
			if err != nil {
				return err
			}
			if !strings.HasPrefix(info.Ref.Key, f.locations.Snapshots().Key) { // a killed worker's ages by itself
				names[info.Ref.Key] = true
			}
		}
	}
	g, ctx2 := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, in := range f.inputs {
		output, failure := f.locations.OutputOf(in.request), f.locations.FailureOf(in.request)
		there := [2]bool{names[output.Key], names[failure.Key]}
		delete(names, output.Key)
		delete(names, failure.Key)
		g.Go(func() error { return f.verifyOne(ctx2, in, there, found) })
	}
	err := g.Wait()
	for name := range names {
		to := &found.wrong
		if strings.HasPrefix(name, f.locations.State.Key) {
			to = &found.other // litter, but no result
		}
		found.add(to, "%s: an object that should not be there", storage.Ref{Bucket: f.bucket, Key: name})
	}
	return errors.Join(err, f.verifyQueues(ctx, copies, found))
}

func (f *field) verifyOne(ctx context.Context, in *input, there [2]bool, found *findings) error {
	output, failure := f.locations.OutputOf(in.request), f.locations.FailureOf(in.request)
	switch {
	case there[0] && there[1]:
		found.add(&found.doubled, "%s: both %s and %s are there", in.request.Input, output, failure)
	case !there[0] && !there[1]:
		found.add(&found.lost, "%s: neither output nor failure is there", in.request.Input)
	}
	for _, ref := range []storage.Ref{output, failure} {
		if n := f.ledger.replaced(ref); n > 0 {
			found.add(&found.doubled, "%s: a committed object was replaced, %d times", ref, n)
		}
	}
	if there[0] {
		if err := f.verifyObject(ctx, in, output, in.resultType, in.checkOutput, found); err != nil {
			return err
		}
	}
	if there[1] {
		if err := f.verifyObject(ctx, in, failure, "application/json", in.checkFailure, found); err != nil {
			return err
		}
	}
	if in.kind == missing {
		return nil
	}
	info, err := f.servers.store.Head(ctx, in.request.Input)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || info.ETag != in.etag {
		found.add(&found.wrong, "%s: the input was changed", in.request.Input)
	}
	return nil
}

// verifyObject looks at a terminal object: its type, its content, by check, and
// what its metadata says of where it comes from.
func (f *field) verifyObject(ctx context.Context, in *input, ref storage.Ref, contentType string, check func([]byte) error, found *findings) error {
	o, err := f.servers.store.Get(ctx, ref, storage.GetOptions{})
	if err != nil {
		return err
	}
	body, err := io.ReadAll(o.Body)
	if err := errors.Join(err, o.Body.Close()); err != nil {
		return err
	}
	if err := check(body); err != nil {
		found.add(&found.wrong, "%s: %v", ref, err)
	}
	p, ok := request.ParseProvenance(o.Metadata)
	switch {
	case !ok:
		found.add(&found.wrong, "%s: its metadata is not that of a terminal object", ref)
	case p.Input.Key != in.request.Input.Key, in.kind != missing && p.InputETag != "" && p.InputETag != in.etag:
		found.add(&found.wrong, "%s: its metadata names the input %s with ETag %s", ref, p.Input, p.InputETag)
	}
	if o.ContentType != contentType {
		found.add(&found.wrong, "%s: its Content-Type is %q", ref, o.ContentType)
	}
	return nil
}

// checkOutput says what is wrong with an output of the input.
func (in *input) checkOutput(body []byte) error {
	if want, ok := verdicts[in.kind]; ok {
		return fmt.Errorf("an output, where a failure object %s belongs", want)
	}
	if in.kind.hasRecords() {
		return in.checkRecords(body)
	}
	if in.kind == digit {
		var said struct {
			Predictions []struct{ Label string }
		}
		if err := json.Unmarshal(body, &said); err != nil {
			return err
		}
		if len(said.Predictions) != 1 || said.Predictions[0].Label != in.label {
			return fmt.Errorf("a picture of the digit %s was taken for %+v", in.label, said.Predictions)
		}
		return nil
	}
	var said struct{ Predictions [][2]float32 }
	if err := json.Unmarshal(body, &said); err != nil {
		return err
	}
	if len(said.Predictions) != len(in.rows) {
		return fmt.Errorf("%d predictions for %d rows", len(said.Predictions), len(in.rows))
	}
	for i, row := range in.rows {
		if got := said.Predictions[i]; got != [2]float32{2 * row[0], 2 * row[1]} {
			return fmt.Errorf("row %d of it is %v, and the prediction %v: it should be twice as much", i, row, got)
		}
	}
	return nil
}

// checkFailure says what is wrong with a failure object of the input.
func (in *input) checkFailure(body []byte) error {
	var said request.Failure
	if err := json.Unmarshal(body, &said); err != nil {
		return err
	}
	switch want := verdicts[in.kind]; {
	case want == "":
		return fmt.Errorf("an innocent input has failed: %s", said.Error.Message)
	case said.Error.Code != want:
		return fmt.Errorf("the failure is %s (%s); it should be %s", said.Error.Code, said.Error.Message, want)
	case said.Error.Message == "" || said.Error.Stage == "" || said.Input != in.request.Input.String() || said.InferenceID == "" || said.Time.IsZero():
		return fmt.Errorf("the failure object lacks something: %s", body)
	}
	return nil
}

// verifyQueues empties the dead-letter queue: it must hold what is buried,
// each once unless there were copies.
func (f *field) verifyQueues(ctx context.Context, copies bool, found *findings) error {
	a, err := f.servers.queue(f.bucket).Attributes(ctx)
	if err != nil {
		return err
	}
	if a.Visible+a.InFlight+a.Delayed > 0 {
		found.add(&found.other, "the queue is not empty: %d messages visible, %d in flight, %d delayed", a.Visible, a.InFlight, a.Delayed)
	}
	want := make(map[string]bool)
	for _, in := range f.inputs {
		if buried[in.kind] {
			want[in.request.Input.String()] = true
		}
	}
	letters, err := f.letters(ctx)
	if err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, m := range letters {
		requests, err := request.Decode(m.Body)
		if err != nil || len(requests) != 1 {
			found.add(&found.other, "a dead letter is not one request: %s", m.Body)
			continue
		}
		switch name := requests[0].Input.String(); {
		case !want[name]:
			found.add(&found.other, "%s is among the dead letters (%s), and should not", name, m.Attributes["penstock-reason"])
		case seen[name] && !copies:
			found.add(&found.other, "%s is among the dead letters twice", name)
		case m.Attributes["penstock-reason"] == "":
			found.add(&found.other, "the dead letter of %s has no reason", name)
		default:
			seen[name] = true
		}
	}
	for name := range want {
		if !seen[name] {
			found.add(&found.other, "%s is not among the dead letters", name)
		}
	}
	return nil
}

func (f *field) letters(ctx context.Context) ([]*queue.Message, error) {
	var all []*queue.Message
	for {
		got, err := f.servers.deadLetters(f.bucket).Receive(ctx, queue.MaxBatch, time.Hour, 0)
		if err != nil || len(got) == 0 {
			return all, err
		}
		all = append(all, got...)
	}
}
