// Package sweep sees to what no worker will: requests that expire while nobody
// works, messages that SQS itself moved to the dead-letter queue, and requests
// that were recorded and never sent.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/fleet"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/terminal"
)

// Every is how often a sweep is to be made: by the producer's schedule, and by
// the front door's server.
const Every = 5 * time.Minute

// DeadLetterQueue is where SQS, and workers, put messages that a person must
// see.
type DeadLetterQueue interface {
	queue.Receiver
	queue.Sender
	queue.Inspector
}

// Sweeper sweeps. Any number of sweeps may be made at the same time, by
// whatever processes, and each may end anywhere: none harms another, and the
// next goes on where one has stopped.
//
// A request that expires is given its failure object by the rules of package
// terminal, though without a lease: so an output that a worker writes at the
// same time takes the failure's place, in whatever order their calls come.
//
// A sweep lists all records, which is a LIST for 1,000 of them, and looks at
// each once: 2 or 3 HEADs, and a PUT and about 11 more where it expires. What
// it has to remember, the requests that have a time to live and have not ended,
// is kept in one object. Records that the bucket's rules have removed are
// forgotten: a time to live beyond the records' own is for the workers alone to
// watch.
type Sweeper struct {
	Store     storage.Store
	Locations request.Locations
	// DeadLetters is the queue's dead-letter queue. Nil: it is left alone.
	DeadLetters DeadLetterQueue
	// Queue tells whether messages wait for workers. While none does, a request
	// without a time to live that nobody has begun or ended was never sent, or
	// its message is lost: Again sends it. With either nil nothing is sent.
	Queue queue.Inspector
	Again func(context.Context, request.Request) error
	// Uploads makes uploads that have a time to live in their metadata expire
	// too. Each sweep then lists all of the input locations, a LIST for 1,000
	// objects whatever their age, and each upload costs 2 or 3 HEADs once.
	// Without it an upload's time to live is watched by the workers alone, and
	// ends when one receives its message.
	Uploads bool
	// Now is the time by S3's and SQS's clocks. Nil is this machine's.
	Now func() time.Time
	// Log may be nil.
	Log *zap.Logger
}

// Counts are what a sweep did.
type Counts struct {
	Looked    int  `json:"looked"`    // requests that were looked at
	Expired   int  `json:"expired"`   // that got the failure object "Expired"
	Resent    int  `json:"resent"`    // that were recorded, and nothing of them in the queue: it is there now
	Pending   int  `json:"pending"`   // that a later sweep has to look at again: mostly since their time to live is not over
	Abandoned int  `json:"abandoned"` // that SQS had dead-lettered and that got a failure object
	Explained int  `json:"explained"` // messages that were put back into the dead-letter queue with a reason
	Dropped   int  `json:"dropped"`   // messages there whose requests had all succeeded
	Partly    bool `json:"partly"`    // the time did not suffice; the next sweep goes on
}

// The bounds of one sweep.
const (
	longest    = Every            // of a sweep
	reserve    = 15 * time.Second // before the context's deadline: what is under way ends, and what was learned is written
	maxPending = 200_000          // requests that are remembered
	maxUnsent  = maxPending / 2   // beside which none without a time to live is
	lookers    = 32               // looks at a time
	callLimit  = 10 * time.Second // for one call to the store
)

// Margin is how long after its time a request is left alone: a worker may have
// started it at the last moment, and shows it in its next snapshot.
const Margin = 3 * request.SnapshotPeriod

// eventMargin is Margin for an upload: its time counts from its message for a
// worker, which events bring late.
const eventMargin = 5 * time.Minute

// Run makes one sweep. It ends by itself before ctx's deadline, if it has one,
// and after five minutes at the most; what is left is done by the next. An
// error says what could not be done; all else was.
func (s *Sweeper) Run(ctx context.Context) (Counts, error) {
	w := s.begin(ctx)
	var errs []error
	if s.DeadLetters != nil {
		errs = append(errs, w.letters(ctx))
	}
	errs = append(errs, w.expire(ctx))
	return w.counts, errors.Join(errs...)
}

// Expire looks at the requests with these IDs alone, as a sweep does when it
// comes to them, and lets those expire whose time is over by Margin. It is for
// who knows that: it lists no records, and costs for each what it costs a sweep.
// Sweeps come to them all the same, and to those that an error is about.
func (s *Sweeper) Expire(ctx context.Context, ids ...string) (Counts, error) {
	w := s.begin(ctx)
	if err := w.meet(ctx); err != nil {
		return w.counts, err
	}
	records := s.Locations.Records()
	var names []string
	for _, id := range ids {
		names = append(names, s.Locations.RecordOf(id).Key[len(records.Key):])
	}
	slices.Sort(names)
	f := &folder{Pending: make(map[string]pending)} // sweeps remember what they have to
	for some := range slices.Chunk(slices.Compact(names), chunk) {
		if w.late(ctx) {
			w.counts.Partly = true
			break
		}
		w.lookAt(ctx, source{records, w.readRecord}, f, some)
	}
	return w.counts, w.faulty()
}

// begin makes one run.
func (s *Sweeper) begin(ctx context.Context) *sweep {
	until := time.Now().Add(longest)
	if deadline, ok := ctx.Deadline(); ok {
		until = earlier(until, deadline.Add(-min(reserve, time.Until(deadline)/2)))
	}
	w := &sweep{Sweeper: s, now: time.Now, until: until, log: s.Log}
	if s.Now != nil {
		w.now = s.Now
	}
	if w.log == nil {
		w.log = zap.NewNop()
	}
	w.terminals = &terminal.Writer{Store: s.Store, Locations: s.Locations, Try: try, Limit: callLimit}
	return w
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// sweep is one run of a Sweeper.
type sweep struct {
	*Sweeper
	now       func() time.Time
	until     time.Time // by this machine's clock
	log       *zap.Logger
	terminals *terminal.Writer
	fleet     fleet.Fleet
	asOf      time.Time // that the fleet was read at: what expires later may have been started since
	idle      bool      // no message waits for a worker

	mu     sync.Mutex
	counts Counts
	faults int // looks that failed
}

// meet learns what the workers have in flight.
func (w *sweep) meet(ctx context.Context) (err error) {
	w.asOf = w.now()
	w.fleet, err = fleet.Read(ctx, w.Store, w.Locations, w.asOf)
	return err
}

// faulty says how many looks failed.
func (w *sweep) faulty() error {
	if w.faults == 0 {
		return nil
	}
	return fmt.Errorf("%d requests could not be looked at, and will be by the next sweep; the log has the reasons", w.faults)
}

// late says that nothing more is to be begun.
func (w *sweep) late(ctx context.Context) bool {
	return ctx.Err() != nil || !time.Now().Before(w.until)
}

// count changes the counts.
func (w *sweep) count(change func(c *Counts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.counts)
}

// try runs op a few times, until it gives an answer.
func try(ctx context.Context, limit time.Duration, verb string, ref storage.Ref, op func(context.Context) error) error {
	for n := 1; ; n++ {
		call, cancel := context.WithTimeout(ctx, limit)
		err := op(call)
		cancel()
		if terminal.Answered(err) {
			return err
		}
		if n == 3 || ctx.Err() != nil {
			return fmt.Errorf("%s %s: %w", verb, ref, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(n) * 200 * time.Millisecond):
		}
	}
}
