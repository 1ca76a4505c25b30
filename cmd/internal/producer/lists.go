package producer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/manifest"
)

// A list of any length is taken in pages. When the function's time is nearly
// up, the answer holds the event for the rest: whoever invoked the function
// invokes it with that. It does not invoke itself, for then it would need the
// right to, an error would end a chain that nobody watches, and Lambda stops a
// function that it takes for a loop after some sixteen rounds.
const (
	pageSize    = 1000
	maxProblems = 10 // that are told; all are logged
)

// place is where to go on.
type place struct {
	After    string             `json:"after,omitempty"`    // the last key below the prefix that was taken
	Manifest *manifest.Position `json:"manifest,omitempty"` // behind the last entry that was taken
}

// entry is one of a list: a request, or why there is none.
type entry struct {
	request request.Request
	none    bool  // it is no input, such as a folder marker
	err     error // it can't be one
	place   place // behind it
}

// longList takes all objects below a prefix, or all of a manifest.
func (h *Handler) longList(ctx context.Context, in invocation, event json.RawMessage) (any, error) {
	var from place
	if in.Continue != nil {
		from = *in.Continue
	}
	open, kind := h.underPrefix, origin{many: true}
	if in.Manifest != "" {
		open, kind = h.inManifest, origin{many: true, named: true}
	}
	var result Result
	page := make([]entry, 0, pageSize)
	flush := func() error {
		if err := h.page(ctx, page, kind, &result); err != nil {
			return err
		}
		if len(page) > 0 {
			from, result.moved = page[len(page)-1].place, true
		}
		page = page[:0]
		return nil
	}
	err := func() error {
		for e, err := range open(ctx, in, from) {
			if err != nil {
				return errors.Join(flush(), err)
			}
			if page = append(page, e); len(page) < pageSize {
				continue
			}
			began := time.Now()
			if err := flush(); err != nil {
				return err
			}
			if nearlyUp(ctx, time.Since(began)) {
				return errTimeUp
			}
		}
		return flush()
	}()
	return h.endOfList(ctx, result, err, event, from)
}

// nearlyUp says that there may not be the time for another page, where the last
// one took so long.
func nearlyUp(ctx context.Context, last time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Until(deadline) < last+last/2+time.Second
}

// endOfList turns how a list ended into an answer.
func (h *Handler) endOfList(ctx context.Context, result Result, err error, event json.RawMessage, from place) (any, error) {
	counts := []zap.Field{zap.Int("enqueued", result.Enqueued), zap.Int("dropped", result.Dropped), zap.Int("refused", result.Refused)}
	rest, e := continued(event, from)
	if e != nil {
		return nil, &EventError{e}
	}
	switch _, faulty := errors.AsType[*manifest.Error](err); {
	case err == nil && result.Enqueued+result.Dropped == 0 && result.Refused > 0:
		return nil, &EventError{fmt.Errorf("all %d of the list are refused, the first because of %s", result.Refused, result.Problems[0])}
	case err == nil:
		h.Log.Info("list is done", counts...)
		return result, nil
	case ctx.Err() != nil && !result.moved:
		return nil, inQueue(result, &QueueError{fmt.Errorf("the function's time does not suffice for %d of the list: give it a longer time-out", pageSize)})
	case errors.Is(err, errTimeUp), ctx.Err() != nil:
		result.Continue = rest
		h.Log.Warn("list is not done: invoke the function with the event in \"continue\" for the rest", append(counts, zap.ByteString("continue", rest))...)
		return result, nil
	case faulty, errors.Is(err, fs.ErrNotExist), errors.Is(err, storage.ErrForbidden), isPermanent(err):
		return nil, inQueue(result, &EventError{err})
	}
	return nil, inQueue(result, &QueueError{fmt.Errorf("%w; invoke the function again, or with %s for the rest", err, rest)})
}

// continued is the event with another place to begin at.
func continued(event json.RawMessage, from place) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(event, &members); err != nil {
		return nil, err
	}
	p, err := json.Marshal(from)
	if err != nil {
		return nil, err
	}
	members["continue"] = p
	return json.Marshal(members)
}

// page takes one page. It fails as a whole when one of it may be in the queue
// with another try, so that the place behind the last page stays true.
func (h *Handler) page(ctx context.Context, page []entry, from origin, result *Result) error {
	asked := make([]request.Request, 0, len(page))
	for _, e := range page {
		switch {
		case e.err != nil:
			result.refuse(e.err)
			h.Log.Warn("entry of the list refused", zap.Error(e.err))
		case e.none:
			result.Dropped++
		default:
			asked = append(asked, e.request)
		}
	}
	var retry []error
	for _, f := range h.take(ctx, asked, from) {
		switch {
		case f.err == nil && f.dropped:
			result.Dropped++
		case f.err == nil:
			result.Enqueued++
		case isPermanent(f.err):
			result.refuse(f.err)
		default:
			retry = append(retry, f.err)
		}
	}
	if len(retry) > 0 {
		return fmt.Errorf("%d of a page of %d are not in the queue: %w", len(retry), len(page), retry[0])
	}
	return nil
}

func (r *Result) refuse(err error) {
	if r.Refused++; len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, err.Error())
	}
}

// underPrefix yields the objects below the prefix, from a place on.
func (h *Handler) underPrefix(ctx context.Context, in invocation, from place) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		below, err := storage.ParseRef(in.Prefix)
		if err == nil {
			err = in.anonymous("prefix")
		}
		if why := h.outside(request.Request{Input: below}); err == nil && why != "" {
			err = fmt.Errorf("the prefix %s: %s", below, why)
		}
		if err != nil {
			yield(entry{}, &EventError{err})
			return
		}
		for info, err := range h.Store.List(ctx, below, from.After) {
			if err != nil {
				yield(entry{}, err)
				return
			}
			e := entry{place: place{After: info.Ref.Key}}
			var asked request.Request
			var ok bool
			asked, ok, e.err = request.Uploaded(info)
			e.none, e.request = !ok, in.on(asked)
			if !yield(e, nil) {
				return
			}
		}
	}
}

// on is the invocation's request on an object.
func (in invocation) on(object request.Request) request.Request {
	r := in.template
	r.Input, r.ETag, r.Size = object.Input, object.ETag, object.Size
	return r
}

// inManifest yields the objects of the manifest, from a place on.
func (h *Handler) inManifest(ctx context.Context, in invocation, from place) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		ref, err := storage.ParseRef(in.Manifest)
		if err == nil {
			err = in.anonymous("manifest")
		}
		if err != nil {
			yield(entry{}, &EventError{fmt.Errorf("the manifest: %w", err)})
			return
		}
		var at manifest.Position
		if from.Manifest != nil {
			at = *from.Manifest
		}
		reader, err := manifest.Open(ctx, h.Store, ref, in.Format, at)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("there is no manifest %s: %w", ref, fs.ErrNotExist)
		}
		for err == nil {
			var next manifest.Entry
			if next, err = reader.Next(); err != nil {
				break
			}
			position := reader.Position()
			e := entry{err: next.Err, place: place{Manifest: &position}}
			if e.request = in.on(request.Request{Input: next.Ref}); e.err == nil {
				e.err = e.request.Validate()
			}
			if !yield(e, nil) {
				return
			}
		}
		if _, faulty := errors.AsType[*manifest.Error](err); faulty {
			err = fmt.Errorf("%s: %w", ref, err)
		}
		if errors.Is(err, manifest.ErrChanged) {
			err = fmt.Errorf("%w: begin anew, what is asked for twice takes effect once", err)
		}
		if !errors.Is(err, io.EOF) {
			yield(entry{}, err)
		}
	}
}
