// Package intake accepts requests that have an ID, whoever brings them: what it
// has answered once it answers again, and never runs twice.
//
// An ID is taken by a record in the state location, written where nothing is
// before the request is sent. Whoever repeats a request meets its record.
package intake

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/penstock/penstock/cmd/internal/outcome"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Intake accepts requests. Accept may be called concurrently.
type Intake struct {
	Store     storage.Store // holds the records
	Queue     queue.Sender  // what the workers receive from
	Locations request.Locations
	// Now is the time by S3's and SQS's clocks. Nil is this machine's.
	Now func() time.Time
	// Group gives the MessageGroupId of a request: a FIFO queue needs one, a
	// standard queue shares fairly between them. Nil gives none.
	Group func(request.Request) string
}

// Submission is a request as a caller brings it.
type Submission struct {
	// Request is what is asked for. Without an ID it gets one, a UUID. With a
	// Body its Input must be empty; Enqueued is not looked at.
	Request request.Request
	// Body is the input itself, where the caller sends it with the request.
	// Nil: Request.Input names it, an object in one of the input locations or
	// an upload (request.Locations.UploadOf).
	Body []byte
	// ContentEncoding of Body, such as "gzip"; empty is none.
	ContentEncoding string
}

// Accepted is the answer to a submission. The same submission has the same
// answer each time, but for Repeated.
type Accepted struct {
	// Request is what was sent: with its ID, its input (that of a Body is its
	// record), and in Enqueued the time when it was first accepted.
	Request request.Request
	// Output and Failure are where one of the two terminal objects will be.
	Output, Failure storage.Ref
	// Repeated says that the ID was taken before, by this same request. It was
	// sent again unless it had ended.
	Repeated bool
}

// InvalidError says that a request can't be accepted as it is: its sender must
// change it. The text says what is wrong and what to do.
type InvalidError struct{ Err error }

func (e *InvalidError) Error() string { return e.Err.Error() }

// Unwrap gives all that is wrong, joined.
func (e *InvalidError) Unwrap() error { return e.Err }

// ConflictError says that the ID was used before, with other parameters or
// another body. Nothing was sent, and the first request goes its way.
type ConflictError struct{ ID string }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("the id %.80q was used before for another request: send this one under another id, or the first one just as it was", e.ID)
}

// Accept takes a request: when it returns without an error, the request is in
// the queue or has its terminal object. It costs a PUT and a send; a
// repetition costs 3 HEADs more.
//
// A caller who goes away while the request is taken changes nothing, if ctx was
// not done before: a record is not left without its message for that. ctx's
// deadline holds.
//
// Errors are *InvalidError, *ConflictError, or a fault of the surroundings.
// After the last kind the request may be in the queue or not: to call again
// with the same ID, which the Accepted has even then, is right and does no
// harm.
//
// A record whose message could not be sent stays. To delete it again would be
// wrong: somebody who repeats the request may have met it meanwhile, and been
// told that it is accepted, and for an inline body the record is the input. It
// does no harm either. It makes the repetition the same request, and when
// nobody repeats it, it expires by its time to live; without one a sweep sends
// it. What can never be sent is found before anything is written.
func (i *Intake) Accept(ctx context.Context, s Submission) (Accepted, error) {
	r, err := i.complete(s)
	if err != nil {
		return Accepted{}, &InvalidError{err}
	}
	rec := request.Record{Request: r, Digest: r.Digest(s.Body, s.ContentEncoding), Nonce: rand.Text(), Inline: s.Body != nil}
	object, opts, err := rec.Object(s.Body, s.ContentEncoding)
	if err == nil {
		_, err = i.message(r)
	}
	if err != nil {
		return Accepted{}, &InvalidError{err}
	}
	if ctx.Err() != nil {
		return i.accepted(r, false), context.Cause(ctx)
	}
	ctx, cancel := toTheEnd(ctx)
	defer cancel()
	taken, repeated, err := i.record(ctx, rec, object, opts)
	if err != nil {
		return i.accepted(r, false), err
	}
	if taken.Digest != rec.Digest {
		return Accepted{}, &ConflictError{r.ID}
	}
	r.Enqueued = taken.Request.Enqueued // the first time counts
	if repeated {
		found := outcome.Finder{Store: i.Store, Locations: i.Locations}
		_, ended, err := found.FindRequest(ctx, r)
		if err != nil {
			return i.accepted(r, true), fmt.Errorf("look for the result of an earlier request with this id: %w", err)
		}
		if ended {
			return i.accepted(r, true), nil
		}
	}
	return i.accepted(r, repeated), i.send(ctx, r)
}

// endLimit bounds the taking of a request whose caller may have gone.
const endLimit = time.Minute

// toTheEnd is ctx for what is not to be broken off when its caller goes away.
func toTheEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(endLimit)
	}
	return context.WithDeadline(context.WithoutCancel(ctx), deadline)
}

func (i *Intake) accepted(r request.Request, repeated bool) Accepted {
	return Accepted{Request: r, Output: i.Locations.OutputOf(r), Failure: i.Locations.FailureOf(r), Repeated: repeated}
}

// complete gives the request that a submission makes, or says all that is
// wrong with it.
func (i *Intake) complete(s Submission) (request.Request, error) {
	r := s.Request
	now := time.Now
	if i.Now != nil {
		now = i.Now
	}
	r.Enqueued = now().UTC().Truncate(time.Millisecond)
	if r.ID == "" {
		r.ID = NewID()
	}
	var errs []error
	input := r.Input
	switch {
	case s.Body == nil && input == (storage.Ref{}):
		return r, errors.New("there is no input: send a body, or name an object as the input")
	case s.Body == nil:
	case input != (storage.Ref{}):
		return r, errors.New("there are two inputs, a body and an object: send one of them")
	case len(s.Body) == 0:
		return r, errors.New("the body is empty")
	default:
		r.Input = i.Locations.RecordOf(r.ID)
	}
	errs = append(errs, r.Validate())
	if s.Body == nil && input.Validate() == nil && (!i.Locations.Allowed(input) || i.Locations.Records().Contains(input)) {
		errs = append(errs, fmt.Errorf("the input %s lies outside the locations that are read: put it below %s", input, places(i.Locations.Inputs)))
	}
	return r, errors.Join(errs...)
}

func places(refs []storage.Ref) string {
	names := make([]string, len(refs))
	for i, ref := range refs {
		names[i] = ref.String()
	}
	return strings.Join(names, " or ")
}

// message is what is sent for r.
func (i *Intake) message(r request.Request) (queue.Outgoing, error) {
	body, err := request.Encode(r)
	if err != nil {
		return queue.Outgoing{}, err
	}
	m := queue.Outgoing{Body: body, DedupID: string(r.IdentifyUnread())}
	if i.Group != nil {
		m.Group = i.Group(r)
	}
	return m, m.Validate()
}

// Again sends the message of a request that has its record, as Accept does for a
// repetition. It is for who finds one that may never have been sent.
func (i *Intake) Again(ctx context.Context, r request.Request) error { return i.send(ctx, r) }

func (i *Intake) send(ctx context.Context, r request.Request) error {
	m, err := i.message(r)
	if err == nil {
		err = i.Queue.Send(ctx, m)[0]
	}
	switch {
	case errors.Is(err, queue.ErrInvalid):
		return &InvalidError{err}
	case err != nil:
		return fmt.Errorf("put the request %.80q into the queue: %w", r.ID, err)
	}
	return nil
}

// NewID makes an id that nobody has: a UUID of random digits.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
