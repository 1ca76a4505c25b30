package producer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/manifest"
)

// invocation is what a person or a program invokes the function with. One of
// the first five members says what to run on; the members of a request that
// stand beside it ("model", "accept", "ttlSeconds", …) hold for all of it.
type invocation struct {
	Body       json.RawMessage `json:"body"` // a text, or any other JSON
	BodyBase64 []byte          `json:"bodyBase64"`
	Inputs     []string        `json:"inputs"`
	Prefix     string          `json:"prefix"`
	Manifest   string          `json:"manifest"`

	Format   manifest.Format `json:"format"`   // of the manifest
	Continue *place          `json:"continue"` // where an earlier invocation stopped

	template request.Request // of the members of a request
}

// ownMembers are those that are not a request's.
var ownMembers = []string{"body", "bodyBase64", "inputs", "prefix", "manifest", "format", "continue"}

// invoke answers an invocation by hand.
func (h *Handler) invoke(ctx context.Context, k kind, event json.RawMessage) (any, error) {
	if k == kindRequests {
		return h.requests(ctx, event)
	}
	in, err := readInvocation(event)
	if err != nil {
		return nil, &EventError{err}
	}
	switch k {
	case kindInline:
		return h.inline(ctx, in)
	case kindList:
		return h.list(ctx, in)
	}
	return h.longList(ctx, in, event)
}

// readInvocation reads the members of its own, and leaves the others to the
// decoder of requests, which knows their limits and refuses unknown ones.
func readInvocation(event []byte) (invocation, error) {
	if event = bytes.TrimSpace(event); event[0] == '[' {
		event = bytes.Join([][]byte{[]byte(`{"inputs":`), event, []byte(`}`)}, nil)
	}
	var in invocation
	var members map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(event, &in), json.Unmarshal(event, &members)); err != nil {
		return in, fmt.Errorf("the invocation is not valid: %w", err)
	}
	for _, name := range ownMembers {
		delete(members, name)
	}
	members["input"] = json.RawMessage(`"s3://any/any"`) // each has its own
	body, err := json.Marshal(members)
	if err != nil {
		return in, err
	}
	template, err := request.Decode(string(body))
	if err != nil {
		return in, err
	}
	in.template = template[0]
	in.template.Input = storage.Ref{}
	return in, nil
}

// requests takes requests in Penstock's own form.
func (h *Handler) requests(ctx context.Context, event json.RawMessage) (any, error) {
	asked, unreadable := request.Decode(string(event))
	return h.each(ctx, asked, unreadable)
}

// maxPlaced is how many requests are told where their results will be: Lambda
// returns no more than 6 MiB.
const maxPlaced = 1000

// each takes requests that someone named, and says of each where its result
// will be.
func (h *Handler) each(ctx context.Context, asked []request.Request, unreadable error) (any, error) {
	fates := h.take(ctx, asked, origin{named: true})
	result, faults := tally(fates)
	if err := fault(faults, unreadable); err != nil {
		return nil, inQueue(result, err)
	}
	if len(asked) > maxPlaced {
		return result, nil
	}
	for _, r := range asked {
		result.Requests = append(result.Requests, h.placed(r))
	}
	return result, nil
}

// inQueue says how much was done before, or in spite of, an error. The type
// stays, for Lambda shows it.
func inQueue(done Result, err error) error {
	if done.Enqueued == 0 {
		return err
	}
	text := fmt.Errorf("%d requests of it are in the queue, and: %w", done.Enqueued, err)
	if _, ok := errors.AsType[*QueueError](err); ok {
		return &QueueError{text}
	}
	return &EventError{text}
}

func (h *Handler) placed(r request.Request) Placed {
	return Placed{ID: r.ID, Input: r.Input.String(), Output: h.Locations.OutputOf(r).String(), Failure: h.Locations.FailureOf(r).String()}
}

// list takes a list of URIs.
func (h *Handler) list(ctx context.Context, in invocation) (any, error) {
	if len(in.Inputs) == 0 {
		return nil, &EventError{errors.New("the list of inputs is empty")}
	}
	if err := in.anonymous("inputs"); err != nil && len(in.Inputs) > 1 {
		return nil, &EventError{err}
	}
	var asked []request.Request
	var unreadable []error
	for i, uri := range in.Inputs {
		r := in.template
		var err error
		if r.Input, err = storage.ParseRef(uri); err == nil {
			err = r.Validate()
		}
		if err != nil {
			unreadable = append(unreadable, fmt.Errorf("input %d of %d: %w", i+1, len(in.Inputs), err))
			continue
		}
		asked = append(asked, r)
	}
	return h.each(ctx, asked, errors.Join(unreadable...))
}

// anonymous refuses members that only one request can have.
func (in invocation) anonymous(with string) error {
	if in.template.ID != "" {
		return fmt.Errorf(`"id" names one request, and %q stands for many; their results are found by their inputs' keys`, with)
	}
	return nil
}

// inline takes a body, and gives it an id.
func (h *Handler) inline(ctx context.Context, in invocation) (any, error) {
	if h.Intake == nil {
		return nil, &EventError{errors.New("it holds a body, and this producer has nowhere to keep one")}
	}
	body, contentType, err := in.body()
	if err != nil {
		return nil, &EventError{err}
	}
	r := in.template
	if r.ContentType == "" {
		r.ContentType = contentType
	}
	if r.ID == "" && h.Invocation != nil {
		r.ID = h.Invocation(ctx)
	}
	a, err := h.accept(ctx, intake.Submission{Request: r, Body: body})
	if _, permanent := errors.AsType[*EventError](err); err != nil && !permanent {
		err = &QueueError{err}
	}
	if err != nil {
		return nil, err
	}
	h.tell(a.Request, fate{}, origin{})
	return Result{Enqueued: 1, Requests: []Placed{{
		ID: a.Request.ID, Input: a.Request.Input.String(), Output: a.Output.String(), Failure: a.Failure.String(),
	}}}, nil
}

// body is the inline body and what it most likely is.
func (in invocation) body() (body []byte, contentType string, err error) {
	if in.BodyBase64 != nil {
		return in.BodyBase64, "", nil
	}
	var text string
	if json.Unmarshal(in.Body, &text) != nil {
		return in.Body, "application/json", nil
	}
	if strings.TrimSpace(text) == "" {
		return nil, "", errors.New("the body is empty")
	}
	if json.Valid([]byte(text)) {
		return []byte(text), "application/json", nil
	}
	return []byte(text), "text/plain", nil
}
