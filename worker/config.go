package worker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model"
)

// Config is all that a worker needs. Zero values of the bounds take the
// defaults named with them.
type Config struct {
	// Queue is what messages are received from.
	Queue queue.Receiver
	// Requests sends to that same queue: an item of a message with several
	// that has to run again is sent alone.
	Requests queue.Sender
	// DeadLetters is where messages go that a person must look at. Without it
	// unreadable messages stay in the queue, released with backoff, until the
	// queue's own redrive policy takes them; others have their failure object.
	DeadLetters queue.Sender
	// BatchQueue is a second queue, for messages of batch jobs: they are
	// received as far as the worker has room for them beside what comes by
	// Queue. Without it they come by Queue and are worked on in the same way,
	// but each holds one of MaxInFlight. BatchRequests and BatchDeadLetters are
	// to it what Requests and DeadLetters are to Queue.
	BatchQueue                      queue.Receiver
	BatchRequests, BatchDeadLetters queue.Sender
	// Store holds inputs, results and state.
	Store storage.Store
	// Locations say where inputs may be read and where the rest is written.
	Locations request.Locations
	// Models are the models that requests may name.
	Models model.Set

	// Name is what the worker calls itself in its snapshots. No two workers
	// may have the same. Default: at random.
	Name string

	Log     *zap.Logger           // nil logs nothing
	Metrics prometheus.Registerer // nil measures nothing

	// MaxBatchSize is the most rows in one run of a model. Default 32. Larger
	// batches raise throughput until the machine is busy, and latency always.
	MaxBatchSize int
	// BatchTimeout is how long an idle model waits for a batch to fill.
	// Default 0: it does not, so a single request is never held up; batches
	// then form while the model is busy.
	BatchTimeout time.Duration
	// Runners is how many batches run at once. Default 1: TensorFlow uses all
	// cores within a batch, and a second one at the same time mostly adds
	// memory.
	Runners int
	// MaxInFlight is the most messages held at once. Default 8 batches, at
	// least 64. Fewer than a batch's rows starve the model; more hold messages
	// that other workers could start at once. Of batch jobs half as many items
	// are worked on beside them, a range of a file counting as an eighth.
	MaxInFlight int
	// MemoryLimit bounds, in bytes, the inputs, tensors and results that are
	// in memory at once, as estimated from the inputs' sizes. Default 1 GiB.
	// The model and TensorFlow's own working memory come on top.
	MemoryLimit int64
	// MaxObjectSize is the largest input in bytes; a larger one is refused.
	// Default an eighth of MemoryLimit.
	MaxObjectSize int64
	// VisibilityTimeout is the length of a lease: how long after a worker's
	// death its messages come back. Default 60 s, at least 3 s. It is extended
	// every third of it, so it need not cover the work; a write is begun only
	// when a quarter of it is left.
	VisibilityTimeout time.Duration
	// MaxAttempts is how often a request is run that fails for a reason that
	// may pass. Default 3.
	MaxAttempts int
	// RunTimeout bounds one run of the model where the request does not.
	// Default 15 minutes. A run that exceeds it ends the process, since
	// TensorFlow can't be interrupted.
	RunTimeout time.Duration
	// DrainTimeout is how long, once Run's context is done, runs under way may
	// take to end. Default 25 s, which fits into the 30 s that ECS and
	// Kubernetes give. What has not ended then is handed back.
	DrainTimeout time.Duration
	// Notify says who is told when a request has ended. The zero value tells
	// nobody.
	Notify Notify
	// Skew is how far the clocks of S3 and SQS are ahead of this machine's.
	// Nil is no difference.
	Skew func() time.Duration
}

// MinVisibilityTimeout is the shortest lease: below it, one slow call would
// lose it.
const MinVisibilityTimeout = 3 * time.Second

// withDefaults fills zero values.
func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = rand.Text()
	}
	setDefault(&c.MaxBatchSize, 32)
	setDefault(&c.Runners, 1)
	setDefault(&c.MaxInFlight, max(64, 8*c.MaxBatchSize))
	setDefault(&c.MemoryLimit, 1<<30)
	setDefault(&c.MaxObjectSize, c.MemoryLimit/8)
	setDefault(&c.VisibilityTimeout, time.Minute)
	setDefault(&c.MaxAttempts, 3)
	setDefault(&c.RunTimeout, 15*time.Minute)
	setDefault(&c.DrainTimeout, 25*time.Second)
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Skew == nil {
		c.Skew = func() time.Duration { return 0 }
	}
	return c
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// validate reports all faults at once.
func (c Config) validate() error {
	f := faults{}
	f.require(c.Queue != nil && c.Requests != nil, "no queue is given")
	f.require(c.BatchQueue == nil || c.BatchRequests != nil, "nothing is given that sends to the queue of batch jobs")
	f.require(c.Store != nil, "no object store is given")
	f.require(c.Models != nil, "no model is given")
	f.require(c.Notify.Topics != nil || c.Notify.Success == "" && c.Notify.Failure == "", "topics are named and nothing is given that publishes to them")
	return errors.Join(errors.Join(f...), c.Locations.Validate(), c.CheckBounds())
}

// CheckBounds reports all faults of the numbers and durations at once. New
// does it too; it is for those who want to know before they open anything.
func (c Config) CheckBounds() error {
	c = c.withDefaults()
	f := faults{}
	f.require(c.MaxBatchSize > 0, "max-batch-size is %d; it must be at least 1", c.MaxBatchSize)
	f.require(c.BatchTimeout >= 0, "batch-timeout is %v; it must not be negative", c.BatchTimeout)
	f.require(c.Runners > 0, "runners is %d; it must be at least 1", c.Runners)
	f.require(c.MaxInFlight > 0, "max-in-flight is %d; it must be at least 1", c.MaxInFlight)
	f.require(c.MemoryLimit >= 1<<20, "memory-limit is %d bytes; it must be at least 1 MiB", c.MemoryLimit)
	f.require(c.MaxObjectSize > 0 && weight(c.MaxObjectSize) <= c.MemoryLimit,
		"max-object-size is %d bytes; it must be at least 1 and, with what its tensors take, fit into memory-limit (%d bytes)", c.MaxObjectSize, c.MemoryLimit)
	f.require(c.VisibilityTimeout >= MinVisibilityTimeout && c.VisibilityTimeout <= queue.MaxLease,
		"visibility-timeout is %v; it must be between %v and %v", c.VisibilityTimeout, MinVisibilityTimeout, queue.MaxLease)
	f.require(c.MaxAttempts > 0, "max-attempts is %d; it must be at least 1", c.MaxAttempts)
	f.require(c.RunTimeout > 0, "run-timeout is %v; it must be positive", c.RunTimeout)
	f.require(c.DrainTimeout >= 0, "drain-timeout is %v; it must not be negative", c.DrainTimeout)
	return errors.Join(f...)
}

// faults are what is wrong with a configuration.
type faults []error

func (f *faults) require(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

// callLimit bounds one call to the store that is not a fetch. A write needs
// that much of the lease, and a lease never has less than two thirds left but
// when its extensions fail.
func (c Config) callLimit() time.Duration { return c.VisibilityTimeout / 4 }

// pollWait is how long one receive waits. The lease's clock starts before it,
// and drain waits for it to end, so it is short.
func (c Config) pollWait() time.Duration { return min(c.VisibilityTimeout/6, 10*time.Second) }

// decoders is how many inputs are decoded at once: it is work for the
// processor, and an image in decoding takes memory that its size does not show.
func decoders() int64 { return int64(runtime.GOMAXPROCS(0)) }

// weight estimates what an input of size bytes takes in memory until its
// result is written: itself, its tensors and their result.
func weight(size int64) int64 { return 4*size + 256<<10 }
