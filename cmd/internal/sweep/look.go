package sweep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/terminal"
)

// target is a request that may expire.
type target struct {
	request request.Request
	expires time.Time     // when it may not be started any more
	margin  time.Duration // after that it may be seen to be under way
	// found is the input, where it was looked at; only a Ref where not.
	found storage.Info
}

// readRecord reads what was accepted under an ID.
func (w *sweep) readRecord(ctx context.Context, ref storage.Ref) (t target, asked bool, err error) {
	rec, err := intake.ReadRecord(ctx, w.Store, ref)
	if _, foreign := errors.AsType[*intake.ForeignError](err); foreign {
		w.log.Info("an object among the records is none", zap.Error(err))
		return t, false, nil
	}
	if errors.Is(err, fs.ErrNotExist) { // forgotten, by the bucket's rules
		return t, false, nil
	}
	r := rec.Request
	return target{request: r, expires: r.Enqueued.Add(r.TTL), margin: Margin, found: storage.Info{Ref: r.Input}}, r.TTL > 0 || w.Again != nil, err
}

// readUpload reads what the uploader of an input asks for.
func (w *sweep) readUpload(ctx context.Context, ref storage.Ref) (t target, asked bool, err error) {
	found, err := w.Store.Head(ctx, ref)
	if errors.Is(err, fs.ErrNotExist) {
		return t, false, nil // a worker will say so
	}
	if err != nil {
		return t, false, err
	}
	r, asked, err := request.Uploaded(found)
	if !asked || err != nil || w.Locations.Reserved(r) || request.OwnResult(ref, found.Metadata) {
		return t, false, nil
	}
	if r, _, err = r.ApplyUpload(found.Metadata); err != nil {
		return t, false, nil // as it will of this
	}
	return target{request: r, expires: found.Modified.Add(r.TTL), margin: eventMargin, found: found}, r.TTL > 0, nil
}

// look looks at what one object asks for, and lets it expire if it is time. It
// says when to look again, nil for never.
func (w *sweep) look(ctx context.Context, s source, ref storage.Ref, was pending) (*pending, error) {
	t, asked, err := s.read(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	if !asked {
		return nil, nil
	}
	if t.request.TTL == 0 {
		return w.unsent(ctx, t)
	}
	due := t.expires.Add(t.margin)
	if w.asOf.Before(due) {
		ended, err := w.ended(ctx, t)
		if ended || err != nil {
			return nil, err
		}
		return &pending{Due: due.Unix() + 1}, nil
	}
	c, err := w.claim(ctx, t)
	if err != nil {
		return nil, err
	}
	v, found, err := w.terminals.Finished(ctx, c)
	switch {
	case err != nil:
		return nil, fmt.Errorf("look for its result: %w", err)
	case v == terminal.Committed:
		return w.lapse(ctx, t, c)
	case was.Once, found.Ref.Key == w.Locations.OutputOf(t.request).Key && found.Modified.Before(t.expires):
		return nil, nil // no sweep can have missed it
	}
	return w.onceMore(), nil
}

// onceMore is for a request that has ended when its time was over. Another sweep
// may have looked before that, and be about to write a failure and die before it
// sees the output. When its claim is surely over, somebody has to look.
func (w *sweep) onceMore() *pending {
	return &pending{Due: w.now().Add(2 * claimLife).Unix(), Once: true}
}

// ended says whether the request has a terminal object, whose writer has seen
// to it that there is one only: no sweep has been at it before its time.
func (w *sweep) ended(ctx context.Context, t target) (bool, error) {
	for _, ref := range []storage.Ref{w.Locations.OutputOf(t.request), w.Locations.FailureOf(t.request)} {
		found, err := w.Store.Head(ctx, ref)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("look for its result: %w", err)
		}
		if !t.request.SameInput(found.Metadata) || w.Locations.Earlier(t.request, found.Modified) {
			continue
		}
		p, _ := request.ParseProvenance(found.Metadata)
		if !t.request.Upload() || p.Identity == t.request.Identify(t.found) || p.Identity == t.request.IdentifyUnread() {
			return true, nil
		}
	}
	return false, nil
}

// lapse gives the request its failure object, unless a worker is at it.
func (w *sweep) lapse(ctx context.Context, t target, c terminal.Claim) (*pending, error) {
	if w.fleet.Cut() || w.fleet.Has(t.request.InferenceID(c.Identity), t.request.InferenceID(t.request.IdentifyUnread())) {
		return &pending{}, nil
	}
	v, err := w.fail(ctx, c, *request.Expired(t.request))
	if err != nil {
		return nil, fmt.Errorf("let it expire: %w", err)
	}
	if v == terminal.Committed {
		w.count(func(counts *Counts) { counts.Expired++ })
		w.log.Info("expired", zap.String("id", t.request.InferenceID(c.Identity)), zap.Stringer("input", t.request.Input), zap.Duration("ttl", t.request.TTL))
	}
	return w.onceMore(), nil
}

// claimLife is how long a claim of this package is good for. A process that
// slept between its look and its write must not write: sweeps that were made
// meanwhile have looked for the last time.
const claimLife = time.Minute

// claim makes this sweep's claim to the request's terminal object. Nobody else
// is kept from it: there is no lease.
func (w *sweep) claim(ctx context.Context, t target) (terminal.Claim, error) {
	c := terminal.Claim{Request: t.request, Input: t.found, Identity: t.request.IdentifyUnread()}
	if c.Input.ETag == "" && w.Locations.Allowed(t.request.Input) {
		found, err := w.Store.Head(ctx, t.request.Input)
		switch {
		case err == nil:
			c.Input = found
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, storage.ErrForbidden):
			return c, fmt.Errorf("look at its input: %w", err)
		default: // the identity is that of a worker that can't read it either
			c.Input = storage.Info{Ref: t.request.Input, ETag: t.request.ETag}
		}
	}
	if c.Input.ETag != "" && !c.Input.Modified.IsZero() {
		c.Identity = t.request.Identify(c.Input)
	}
	began := time.Now().Round(0) // by the wall clock, which does not stop while the process does
	c.Fence = func(limit time.Duration) error {
		if time.Now().Round(0).Add(limit).Sub(began) > claimLife {
			return errors.New("the sweep looked too long ago")
		}
		return nil
	}
	return c, nil
}

// fail writes the claim's failure object.
func (w *sweep) fail(ctx context.Context, c terminal.Claim, p request.Problem) (terminal.Verdict, error) {
	id := c.Request.InferenceID(c.Identity)
	provenance := request.Provenance{Identity: c.Identity, InferenceID: id, Input: c.Input.Ref, InputETag: c.Input.ETag, Model: c.Request.Model}
	body := request.Failure{Error: p, InferenceID: id, Input: c.Request.Input.String(), Model: c.Request.Model, Time: w.now()}.JSON()
	return w.terminals.PutFailure(ctx, c, terminal.Document{
		Body: body, ContentType: "application/json", Metadata: provenance.Metadata(w.Locations.FailureOf(c.Request)),
	})
}
