package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/penstock/penstock/cmd/internal/outcome"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// maxShown is the largest object that is read before it is its turn to be
// printed; a larger one is printed straight from the store.
const maxShown = 64 << 10

// result is what became of one input.
type result struct {
	name    string // of the upload, or the input's URI
	path    string // of the input, for the folder of results
	input   storage.Ref
	sent    bool   // the input is where it is to be: it has a result, or will have one
	file    string // that the result was written to
	outcome outcome.Outcome
	body    []byte        // of the outcome's object, when it is not large
	took    time.Duration // since the upload or the call began
	err     error         // why there is no outcome
}

// fetch reads a terminal object that is not large.
func fetch(ctx context.Context, store storage.Reader, o outcome.Outcome) ([]byte, error) {
	if o.Size > maxShown {
		return nil, nil
	}
	body, err := stream(ctx, store, o)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// stream opens a terminal object, as it was when it was found.
func stream(ctx context.Context, store storage.Reader, o outcome.Outcome) (io.ReadCloser, error) {
	return streamFrom(ctx, store, o, 0)
}

// streamFrom is stream from a byte on.
func streamFrom(ctx context.Context, store storage.Reader, o outcome.Outcome, at int64) (io.ReadCloser, error) {
	if at > 0 && at == o.Size { // a range can't begin there
		return io.NopCloser(strings.NewReader("")), nil
	}
	object, err := store.Get(ctx, o.Ref, storage.GetOptions{IfMatch: o.ETag, Offset: at})
	if errors.Is(err, storage.ErrPrecondition) || errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s was replaced by a later upload's just now: %w", o.Ref, err)
	}
	if err != nil {
		return nil, err
	}
	return object.Body, nil
}

// explained is the failure object, in one line. Names and contents are others',
// and none of them is to steer a terminal.
func (r result) explained() string {
	var f request.Failure
	if json.Unmarshal(r.body, &f) != nil || f.Error.Code == "" {
		return plain(fmt.Sprintf("%s: it failed; see %s", r.name, r.outcome.Ref))
	}
	line := fmt.Sprintf("%s: %s: %s", r.name, f.Error.Code, f.Error.Message)
	if f.Error.Hint != "" {
		line += "; " + f.Error.Hint
	}
	return plain(line)
}

// prediction is what is shown of one.
type prediction struct {
	label      string
	confidence float64
}

// predictions reads a result with labels. ok is false for any other.
func (r result) predictions() (list []prediction, ok bool) {
	var body struct {
		Predictions []struct {
			Label      *string  `json:"label"`
			Confidence *float64 `json:"confidence"`
		} `json:"predictions"`
	}
	if json.Unmarshal(r.body, &body) != nil {
		return nil, false
	}
	for _, p := range body.Predictions {
		if p.Label == nil || p.Confidence == nil {
			return nil, false
		}
		list = append(list, prediction{*p.Label, *p.Confidence})
	}
	return list, len(list) > 0
}

// maxLine bounds what is shown of a result without labels, in bytes.
const maxLine = 120

// lines shows a result to a person: one line for each labelled prediction,
// else one for all. width is that of the column of names.
func (r result) lines(width int, ink ink) []string {
	took := ink.faint(seconds(r.took))
	list, ok := r.predictions()
	if !ok || r.outcome.Provenance.BadRecords > 0 {
		return []string{fmt.Sprintf("%-*s  %s  %s", width, plain(r.name), plain(r.brief()), took)}
	}
	var lines []string
	for i, p := range list {
		name := plain(r.name)
		if len(list) > 1 {
			name = fmt.Sprintf("%s[%d]", name, i)
		}
		lines = append(lines, fmt.Sprintf("%-*s  %s  %s  %s", width, name, ink.bold(plain(p.label)), percent(p.confidence), took))
	}
	return lines
}

// brief is a short result itself, and where a long one lies; of one with bad
// records, that it has them.
func (r result) brief() string {
	var compact bytes.Buffer
	if bad := r.outcome.Provenance.BadRecords; bad > 0 {
		return fmt.Sprintf("%d of %s bad, see %s", bad, plural(int(r.outcome.Provenance.Records), "record"), r.outcome.Ref)
	}
	if strings.HasPrefix(r.outcome.ContentType, "application/json") && json.Compact(&compact, r.body) == nil && compact.Len() <= maxLine {
		return compact.String()
	}
	return fmt.Sprintf("%s (%d bytes, %s)", r.outcome.Ref, r.outcome.Size, r.outcome.ContentType)
}

// write prints the terminal object as it is, and ends it with a newline.
func (r result) write(ctx context.Context, w io.Writer, store storage.Reader) error {
	if r.outcome.Size > maxShown {
		return download(ctx, store, r.outcome, w)
	}
	body := r.body
	if strings.HasPrefix(r.outcome.ContentType, "application/json") && !bytes.HasSuffix(body, []byte("\n")) {
		body = append(body, '\n')
	}
	_, err := w.Write(body)
	return err
}

func percent(confidence float64) string { return fmt.Sprintf("%5.1f %%", 100*confidence) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
