// Package doctor looks at an installation as an engineer does who is paged for
// it: it tries what can be tried, and names what is wrong with its remedy.
// Nothing is called fine that was not tried.
//
// It changes nothing but objects of its own, below ".penstock/" in the output
// and failure locations and below "doctor/" in the state location, which it
// removes again. It receives from the dead-letter queue alone, and gives back
// what it receives.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"time"

	"github.com/penstock/penstock/cmd/internal/clients"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
)

// Level is how a finding is to be taken.
type Level string

// The levels.
const (
	Fine    Level = "fine"
	Warning Level = "warning" // it works, and will not always
	Fault   Level = "fault"
	Unknown Level = "unknown" // it was not, or could not be, tried
)

// Finding is what was found of one thing.
type Finding struct {
	About  string `json:"about"` // what was looked at, such as "queue" or "output"
	Level  Level  `json:"level"`
	Found  string `json:"found"`            // what there is
	Remedy string `json:"remedy,omitempty"` // what to do; always there for warnings and faults
}

// Buckets tells of whole buckets. What a server does not have is
// errors.ErrUnsupported.
type Buckets interface {
	Region(ctx context.Context, bucket string) (string, error)
	Notifications(ctx context.Context, bucket string) ([]s3.Notification, error)
	Lifecycle(ctx context.Context, bucket string) ([]s3.LifecycleRule, error)
}

var _ Buckets = (*s3.Store)(nil)

// Queue is what is needed of a queue.
type Queue interface {
	queue.Receiver
	queue.Inspector
}

// Doctor is what is looked at. All fields but Limit are required where no other
// default is named.
type Doctor struct {
	Locations request.Locations
	Store     storage.Store
	Buckets   Buckets // nil: nothing is known of them

	Queue    Queue
	QueueURL string
	Batch    Queue // of batch jobs; nil: there is none of their own
	BatchURL string
	// DeadLetters opens the dead-letter queue; without one it gives nil.
	DeadLetters func(ctx context.Context) (Queue, error)

	Region string           // of the settings
	Now    func() time.Time // by the servers' clock, as soon as they have been called
	Skew   func() time.Duration

	Addr     string                                   // of a worker's /readyz; empty: it is not asked
	Model    func(context.Context) (Finding, error)   // nil: it is not looked at
	Programs func(context.Context) ([]Finding, error) // versions of the programs; nil: none

	Limit time.Duration // of one check; default 20 s
}

// check is one thing to look at.
type check struct {
	about string
	run   func(context.Context) ([]Finding, error)
}

// Examine looks at everything and tells found of it, in an order that is always
// the same. A check that takes too long is called unknown.
func (d *Doctor) Examine(ctx context.Context, found func(Finding)) {
	checks := d.checks()
	type answer struct {
		findings []Finding
		err      error
	}
	answers := make([]chan answer, len(checks))
	slots := make(chan struct{}, 8)
	for i, c := range checks {
		answers[i] = make(chan answer, 1)
		go func() { // read below in any case
			slots <- struct{}{}
			defer func() { <-slots }()
			callCtx, cancel := context.WithTimeout(ctx, d.limit())
			defer cancel()
			findings, err := c.run(callCtx)
			answers[i] <- answer{findings, err}
		}()
	}
	met := map[string]string{} // by the cause of a fault, where it was met first
	for i, c := range checks {
		a := <-answers[i]
		for _, f := range a.findings {
			f.About = c.about
			found(f)
		}
		if a.err != nil {
			f := d.explain(a.err)
			if cause := common(a.err); cause != "" && met[cause] != "" {
				f = unknown("not tried: the same fault as of %s (%s)", met[cause], cause)
			} else {
				met[cause] = c.about
			}
			f.About = c.about
			found(f)
		}
	}
}

func (d *Doctor) limit() time.Duration {
	if d.Limit > 0 {
		return d.Limit
	}
	return 20 * time.Second
}

func (d *Doctor) checks() []check {
	list := []check{
		{"queue", d.queue(d.Queue, d.QueueURL, "-queue-url")},
		{"dead letters", d.deadLetters},
	}
	if d.Batch != nil {
		list = append(list, check{"batch queue", d.queue(d.Batch, d.BatchURL, "-batch-queue-url")})
	}
	for _, b := range d.buckets() {
		list = append(list, check{"bucket", func(ctx context.Context) ([]Finding, error) { return d.bucket(ctx, b) }})
	}
	for _, in := range d.Locations.Inputs {
		list = append(list, check{"input", func(ctx context.Context) ([]Finding, error) { return d.input(ctx, in) }})
	}
	list = append(list,
		check{"output", d.place(d.Locations.Output, ownFolder)},
		check{"failure", d.place(d.Locations.Failure, ownFolder)},
		check{"state", d.place(d.Locations.State, "doctor/")},
		check{"events", d.events},
		check{"lifecycle", d.lifecycle},
		check{"workers", d.workers},
	)
	if d.Addr != "" {
		list = append(list, check{"readiness", d.readiness})
	}
	if d.Model != nil {
		list = append(list, check{"model", func(ctx context.Context) ([]Finding, error) {
			f, err := d.Model(ctx)
			if err != nil {
				return nil, err
			}
			return []Finding{f}, nil
		}})
	}
	if d.Programs != nil {
		list = append(list, check{"programs", d.Programs})
	}
	return append(list, check{"clock", d.clock})
}

// ownFolder is where the doctor's objects are in a location: events for keys
// like these are acknowledged unread.
const ownFolder = ".penstock/doctor/"

// buckets are those of all locations, each once.
func (d *Doctor) buckets() (names []string) {
	seen := map[string]bool{}
	for _, ref := range append([]storage.Ref{d.Locations.Output, d.Locations.Failure, d.Locations.State}, d.Locations.Inputs...) {
		if !seen[ref.Bucket] {
			seen[ref.Bucket] = true
			names = append(names, ref.Bucket)
		}
	}
	return names
}

// explain makes a finding of an error that ended a check.
func (d *Doctor) explain(err error) Finding {
	f := Finding{Level: Fault, Found: shorten(err)}
	dial, _ := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		f.Level = Unknown
		f.Found = fmt.Sprintf("no answer within %v: %s", d.limit(), f.Found)
		f.Remedy = "look at the way there: DNS, proxies, security groups, VPC endpoints, AWS_ENDPOINT_URL"
	case errors.Is(err, context.Canceled):
		f.Level = Unknown
		f.Found = "not tried: interrupted"
	case clients.NoCredentials(err):
		f.Remedy = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives them"
	case clients.CredentialFault(err) != "":
		f.Remedy = "the credentials are wrong or have expired: look at AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or sign in again"
	case errors.Is(err, storage.ErrForbidden):
		f.Remedy = "these credentials may not do it; a worker's role may, or may not"
	case errors.Is(err, fs.ErrNotExist):
		f.Remedy = "check its name, AWS_REGION, and whose account these credentials are of"
	case dial != nil && dial.Op == "dial":
		f.Remedy = "nobody answers there: is it running? Check AWS_ENDPOINT_URL and the network"
	default:
		f.Remedy = "check AWS_REGION, AWS_ENDPOINT_URL and the credentials"
	}
	return f
}

// common is a cause that makes many checks fail at once, in words, or nothing.
func common(err error) string {
	if code := clients.CredentialFault(err); code != "" {
		return code
	}
	if clients.NoCredentials(err) {
		return "no credentials"
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		return e.Error()
	}
	return ""
}

// shorten leaves of an error what a person needs.
func shorten(err error) string { return clients.Brief(err).Error() }

func fine(format string, args ...any) Finding {
	return Finding{Level: Fine, Found: fmt.Sprintf(format, args...)}
}

func bad(level Level, remedy, format string, args ...any) Finding {
	return Finding{Level: level, Found: fmt.Sprintf(format, args...), Remedy: remedy}
}

func unknown(format string, args ...any) Finding {
	return Finding{Level: Unknown, Found: fmt.Sprintf(format, args...)}
}

// Differences of clocks.
const (
	slightSkew = 5 * time.Second
	maxSkew    = 4 * time.Minute // of the 15 minutes that signatures bear
)

// clock is last: by then the servers have told their time many times.
func (d *Doctor) clock(ctx context.Context) ([]Finding, error) {
	// Others may still be under way; one call of its own is enough.
	if _, err := d.Queue.Attributes(ctx); err != nil {
		if _, err := d.Store.Head(ctx, storage.Ref{Bucket: d.Locations.State.Bucket, Key: d.Locations.State.Key + "doctor/clock"}); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return []Finding{unknown("no server has told its time")}, nil
		}
	}
	const remedy = "set this machine's clock (NTP, chrony); times to live and ages are counted by the servers' clock all the same"
	skew := d.Skew()
	direction := "behind"
	if skew < 0 {
		direction = "ahead of"
	}
	switch off := skew.Abs().Round(time.Second); {
	case off >= maxSkew:
		return []Finding{bad(Fault, remedy+"; AWS refuses signatures that are off by 15 minutes", "this machine's clock is %v %s the servers'", off, direction)}, nil
	case off >= slightSkew:
		return []Finding{bad(Warning, remedy, "this machine's clock is %v %s the servers'", off, direction)}, nil
	}
	return []Finding{fine("this machine's and the servers' agree, to two seconds")}, nil
}

// readiness asks a worker.
func (d *Doctor) readiness(ctx context.Context) ([]Finding, error) {
	url := "http://" + d.Addr + "/readyz"
	call, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return []Finding{bad(Fault, "give host:port of a worker's -addr", "%s: %v", url, err)}, nil
	}
	reply, err := http.DefaultClient.Do(call)
	if err != nil {
		return []Finding{bad(Fault, "is a worker running there, and does its -addr let this machine in (:9090, not 127.0.0.1:9090)?", "%s: %s", url, shorten(err))}, nil
	}
	defer reply.Body.Close()
	text := head(reply.Body)
	if reply.StatusCode != http.StatusOK {
		return []Finding{bad(Fault, "the worker says why; its log says more", "%s answers %s: %s", url, reply.Status, text)}, nil
	}
	return []Finding{fine("%s answers %s", url, reply.Status)}, nil
}
