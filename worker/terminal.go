package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// verdict is how a commit of a terminal object ended.
type verdict int

const (
	committed  verdict = iota // the object is there, and it is this run's
	duplicate                 // one of the same identity was there before
	superseded                // the input has another version now; nothing of this one stays
	overruled                 // a failure: there is an output, which beats it
	taken                     // an output: another request's result is at its key
)

// errLeaseEnds says that a write was not begun because the lease would not
// have outlasted it.
var errLeaseEnds = errors.New("the lease ends before a write would")

// terminals writes terminal objects: for each request one, its output or its
// failure, whoever else writes at the same time. Output and failure are two
// keys and S3's conditions cover one key, so the rule between them is: output
// beats failure, and each writer looks at the other's key after its own write.
type terminals struct {
	store     storage.Store
	locations request.Locations
	try       func(ctx context.Context, limit time.Duration, verb string, ref storage.Ref, op func(context.Context) error) error
	limit     time.Duration // of one call
}

// claim is one request's claim to its terminal object.
type claim struct {
	request  request.Request
	identity request.Identity
	input    storage.Info // as read; only the Ref when it could not be
	// fence is asked before each write: it errs when the lease would not
	// outlast it.
	fence func(limit time.Duration) error
	// redriven says that a person sent the request again: its old failure may
	// be replaced.
	redriven bool
}

// document is what is to be written.
type document struct {
	body        []byte
	contentType string
	metadata    map[string]string
}

// putOutput commits a result. It always looks for a failure too: a first
// delivery can be that of a second message for the same request.
func (t *terminals) putOutput(ctx context.Context, c claim, d document) (verdict, error) {
	ref := t.locations.OutputOf(c.request)
	info, v, err := t.write(ctx, c, ref, d)
	if err != nil || v == superseded || v == taken {
		return v, err
	}
	return t.overrule(ctx, c, info, v)
}

// overrule removes the failure that the output at info leaves no room for.
func (t *terminals) overrule(ctx context.Context, c claim, info storage.Info, v verdict) (verdict, error) {
	rival, other, err := t.look(ctx, c, t.locations.FailureOf(c.request))
	if err != nil {
		return v, err
	}
	switch rival {
	case same, older:
		return v, t.remove(ctx, c, other)
	case newer: // a later version has failed: it was not ours to write
		return superseded, t.remove(ctx, c, info)
	}
	return v, nil
}

// putFailure commits a failure object.
func (t *terminals) putFailure(ctx context.Context, c claim, d document) (verdict, error) {
	if v, err := t.yield(ctx, c); err != nil || v != committed {
		return v, err
	}
	ref := t.locations.FailureOf(c.request)
	info, v, err := t.write(ctx, c, ref, d)
	if err == nil && v == taken {
		// Two requests under one ID, or two inputs under one key: each is to
		// find its own.
		ref.Key += "~" + string(c.identity[:16])
		info, v, err = t.write(ctx, c, ref, d)
	}
	if err != nil || v == superseded {
		return v, err
	}
	return t.stand(ctx, c, info, v)
}

// stand removes the failure at info again if there is an output by now.
func (t *terminals) stand(ctx context.Context, c claim, info storage.Info, v verdict) (verdict, error) {
	switch after, err := t.yield(ctx, c); {
	case err != nil:
		return v, err
	case after != committed:
		return after, t.remove(ctx, c, info)
	}
	return v, nil
}

// yield looks for an output that a failure has to give way to. It returns
// committed when there is none, and removes an older version's.
func (t *terminals) yield(ctx context.Context, c claim) (verdict, error) {
	rival, output, err := t.look(ctx, c, t.locations.OutputOf(c.request))
	if err != nil {
		return committed, err
	}
	switch rival {
	case same:
		return overruled, nil
	case newer:
		return superseded, nil
	case older:
		return committed, t.remove(ctx, c, output)
	}
	return committed, nil
}

// write puts d at ref where nothing is, or over what an older version of the
// same input left there.
func (t *terminals) write(ctx context.Context, c claim, ref storage.Ref, d document) (storage.Info, verdict, error) {
	opts := storage.PutOptions{ContentType: d.contentType, Metadata: d.metadata, IfNoneMatch: true}
	unsure := false // whether a write without an answer took effect
	for {
		var info storage.Info
		err := t.try(ctx, t.limit, verbWrite, ref, func(ctx context.Context) (err error) {
			if err := c.fence(t.limit); err != nil {
				return fmt.Errorf("%w: %w", errLeaseEnds, err)
			}
			info, err = t.store.Put(ctx, ref, d.body, opts)
			if opts.IfMatch != "" && errors.Is(err, fs.ErrNotExist) {
				err = storage.ErrPrecondition // what was to be replaced is gone
			}
			unsure = unsure || !answered(err)
			return notWritable(err)
		})
		if !errors.Is(err, storage.ErrPrecondition) {
			return info, committed, err
		}
		// Something is there. It may be what this call wrote: a reply can be
		// lost after the write took effect.
		rival, there, err := t.look(ctx, c, ref)
		if err != nil {
			return info, committed, err
		}
		switch {
		case rival == nobody:
			opts.IfNoneMatch, opts.IfMatch = true, ""
		case rival == older, rival == same && c.redriven:
			opts.IfNoneMatch, opts.IfMatch = false, there.ETag
		case rival == same && unsure:
			return there, committed, nil
		case rival == same:
			return there, duplicate, nil
		case rival == newer:
			return there, superseded, nil
		default:
			return there, taken, nil
		}
	}
}

// rival is whose object is at a key.
type rival int

const (
	nobody   rival = iota
	same           // this claim's own identity
	older          // the same request on a version of the input that is not the current one, while ours is
	newer          // ... while ours is not, or the input is gone
	stranger       // another request's, or no terminal object at all
)

// look says what is at ref, as seen from c. The arbiter between two versions
// of an input is the input bucket: the object that is there now counts, not
// the order in which anyone heard of them.
func (t *terminals) look(ctx context.Context, c claim, ref storage.Ref) (rival, storage.Info, error) {
	there, err := t.head(ctx, ref, func(err error) error {
		if errors.Is(err, storage.ErrForbidden) { // not wrapped, so that it is no answer
			return fmt.Errorf("results can't be looked up: %v", err)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nobody, there, nil
	}
	if err != nil {
		return nobody, there, err
	}
	p, ok := request.ParseProvenance(there.Metadata)
	switch {
	case ok && p.Identity == c.identity:
		return same, there, nil
	case !ok || !c.request.SameInput(there.Metadata):
		return stranger, there, nil
	case !t.locations.Allowed(c.request.Input): // not to be read, so it can't be asked
		return newer, there, nil
	}
	current, err := t.head(ctx, storage.Ref{Bucket: c.request.Input.Bucket, Key: c.request.Input.Key}, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return newer, there, nil
	case err != nil:
		return nobody, there, err
	case request.SameVersion(current, c.input):
		return older, there, nil
	}
	return newer, there, nil
}

// head describes an object. reword, unless nil, has a say in its errors.
func (t *terminals) head(ctx context.Context, ref storage.Ref, reword func(error) error) (info storage.Info, err error) {
	err = t.try(ctx, t.limit, verbLook, ref, func(ctx context.Context) (err error) {
		if info, err = t.store.Head(ctx, ref); err != nil && reword != nil {
			err = reword(err)
		}
		return err
	})
	return info, err
}

// remove deletes the very object that was seen; another in its place stays.
func (t *terminals) remove(ctx context.Context, c claim, seen storage.Info) error {
	seen.Ref.Version = "" // a plain delete, also where versions are kept
	err := t.try(ctx, t.limit, verbDelete, seen.Ref, func(ctx context.Context) error {
		if err := c.fence(t.limit); err != nil {
			return fmt.Errorf("%w: %w", errLeaseEnds, err)
		}
		return t.store.Delete(ctx, seen.Ref, storage.DeleteOptions{IfMatch: seen.ETag})
	})
	if errors.Is(err, storage.ErrPrecondition) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// finished says whether the request already has its terminal object, and which
// it is; committed means that it has none. Its writer can have died before it
// looked at the other key, so that is done here.
func (t *terminals) finished(ctx context.Context, c claim) (verdict, storage.Info, error) {
	output, failure := t.locations.OutputOf(c.request), t.locations.FailureOf(c.request)
	for _, ref := range []storage.Ref{output, failure} {
		rival, there, err := t.look(ctx, c, ref)
		switch {
		case err != nil:
			return committed, there, err
		case rival == same && ref == output:
			v, err := t.overrule(ctx, c, there, duplicate)
			return v, there, err
		case rival == same && !c.redriven:
			v, err := t.stand(ctx, c, there, duplicate)
			return v, there, err
		case rival == newer:
			return superseded, there, nil
		}
	}
	return committed, storage.Info{}, nil
}
