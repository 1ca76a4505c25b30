// Package worker is the long-lived consumer: it receives requests from a
// queue, runs a model on their inputs in batches, and writes for each of them
// exactly one terminal object, its output or its failure.
//
// This file reads as a message's life: Run receives it, handle splits it into
// its items, run takes an item from its input to its output, and settle (in
// settle.go) decides what becomes of it.
package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/job"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/terminal"
)

// errApart sends the items of a message one by one.
var errApart = errors.New("a message of several requests that is delivered again is sent request by request")

// Causes of cancellation. A shutdown is not a failure of any request.
var (
	errDraining     = errors.New("the worker is shutting down")
	errDrainTimeout = errors.New("the worker was shut down before the work ended")
)

// ErrModelHung is returned by Run when a run of the model exceeded its time
// limit. It can't be stopped: the process must end, and be started anew.
var ErrModelHung = errors.New("a run of the model exceeded its time limit and can't be stopped; the process must be restarted")

// ErrRunLeft is returned by Run when a run of the model was still under way
// after the drain timeout. Its requests were handed back, but it can't be
// stopped: the models are not to be closed before the process ends.
var ErrRunLeft = errors.New("a run of the model was still under way when the drain timeout was over")

// Worker consumes a queue, and beside it one of batch jobs. Make it with New.
type Worker struct {
	cfg       Config
	live      *inlet
	jobs      *inlet // nil without a queue of their own: messages of jobs come by live
	behind    *behind
	books     *job.Books
	chunks    job.Chunks
	batcher   *batcher
	terminals *terminal.Writer
	cancels   *cancels
	store     *surroundings
	metrics   *metrics
	notified  *prometheus.CounterVec
	records   *prometheus.CounterVec
	log       *zap.Logger

	slots     *semaphore.Weighted // messages in flight
	memory    *semaphore.Weighted // bytes, by weight
	decoding  *semaphore.Weighted
	isolation *semaphore.Weighted // a solo run takes all of it, any other one
	quarter   *semaphore.Weighted // suspects at a time
	flights   flights
	aboard    aboard

	work     context.Context // done when the drain timeout is over
	draining context.Context // done when no new work is to start
	drain    context.CancelCauseFunc
	ready    readiness
}

// New makes a worker. All faults of the configuration are reported at once.
func New(cfg Config) (*Worker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	w := &Worker{
		cfg: cfg, log: cfg.Log,
		live:      newInlet(cfg.Queue, cfg.Requests, cfg.DeadLetters, cfg),
		batcher:   newBatcher(cfg.Runners, cfg.MaxBatchSize, cfg.BatchTimeout, cfg.RunTimeout),
		store:     &surroundings{log: cfg.Log},
		slots:     semaphore.NewWeighted(int64(cfg.MaxInFlight)),
		memory:    semaphore.NewWeighted(cfg.MemoryLimit),
		decoding:  semaphore.NewWeighted(decoders()),
		isolation: semaphore.NewWeighted(everybody),
		quarter:   semaphore.NewWeighted(maxSuspects),
	}
	if cfg.BatchQueue != nil {
		w.jobs = newInlet(cfg.BatchQueue, cfg.BatchRequests, cfg.BatchDeadLetters, cfg)
	}
	w.behind = newBehind(cfg, w.memory, w.decoding)
	w.books = &job.Books{
		Store: cfg.Store, Locations: cfg.Locations, Now: func() time.Time { return time.Now().Add(cfg.Skew()) },
		Reserve: w.behind.memory.reserve,
	}
	w.chunks = job.Chunks{Store: cfg.Store, Locations: cfg.Locations}
	w.terminals = &terminal.Writer{Store: cfg.Store, Locations: cfg.Locations, Try: w.store.try, Limit: cfg.callLimit()}
	w.cancels = newCancels(w.listCancels)
	w.draining, w.drain = context.WithCancelCause(context.Background())
	w.metrics, w.notified, w.records = newMetrics(cfg.Metrics, w), newNotified(cfg.Metrics), newRecords(cfg.Metrics)
	w.batcher.log = cfg.Log
	w.batcher.observe = func(r ran) {
		w.metrics.batch(r)
		if !r.background {
			w.aboard.ran(r.predict)
		}
	}
	w.batcher.hung = func() { w.drain(ErrModelHung) }
	return w, nil
}

// Run works until ctx is done, then drains: it receives nothing more, hands
// back at once what has not started, and waits for what has, at most for the
// drain timeout; what is still running then is handed back too. It returns
// when everything that it started has ended, but for a run of the model that
// can't be stopped: then it returns ErrModelHung or ErrRunLeft. It is called
// once.
func (w *Worker) Run(ctx context.Context) error {
	work, abandon := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abandon(nil)
	w.work = work
	defer context.AfterFunc(ctx, func() { w.drain(errDraining) })()

	keeping, stopKeeping := context.WithCancel(work)
	var keeper sync.WaitGroup
	for _, in := range w.inlets() {
		keeper.Go(func() { in.leases.run(keeping) })
	}
	keeper.Go(func() { w.cancels.run(keeping, w.log) })
	keeper.Go(func() { w.report(keeping) })
	keeper.Go(func() { // the time counts from the signal, not from the end of the last poll
		<-w.draining.Done()
		if sleep(keeping, w.cfg.DrainTimeout) {
			abandon(errDrainTimeout)
		}
	})
	defer keeper.Wait()
	defer stopKeeping()

	var messages, receiving sync.WaitGroup
	if w.jobs != nil {
		receiving.Go(func() { w.receiveJobs(&messages) })
	}
	for w.draining.Err() == nil {
		w.receive(&messages)
	}

	w.log.Info("draining", zap.NamedError("because", context.Cause(w.draining)), zap.Duration("timeout", w.cfg.DrainTimeout))
	receiving.Wait()
	messages.Wait()
	return w.batcher.wait(work)
}

// receive takes capacity, then messages, and starts each on its way. It
// returns after one poll.
func (w *Worker) receive(messages *sync.WaitGroup) {
	if !w.wellEnough() {
		return
	}
	if w.slots.Acquire(w.draining, 1) != nil {
		return
	}
	n := 1
	for n < queue.MaxBatch && w.slots.TryAcquire(1) {
		n++
	}
	wait := w.cfg.pollWait()
	if !w.ready.answered() {
		wait = 0 // the first poll only asks whether the queue is there
	}
	received, err := w.poll(w.live, n, wait, messages, func(m *queue.Message, l *lease) {
		defer w.slots.Release(1)
		w.handle(m, l, func() {})
	})
	w.ready.polled(err)
	w.slots.Release(int64(n - received))
	if err != nil {
		sleep(w.draining, jitter(2*time.Second))
	}
}

// handle takes a message from its decoding to its settlement. started is called
// when all its items have their place.
func (w *Worker) handle(m *queue.Message, l *lease, started func()) {
	requests, undecodable := request.Decode(m.Body)
	outcomes := make([]error, len(requests))
	// A pack that may have been in flight when a process died is run as single
	// messages, or its members would share each other's fate once more.
	if len(requests) > 1 && m.ReceiveCount > 1 && undecodable == nil && w.draining.Err() == nil {
		for i := range outcomes {
			outcomes[i] = errApart
		}
	}
	of, leave, err := w.takeOn(m, l, requests, outcomes, started) // for messages of batch jobs
	if err != nil {
		w.decline(m, l, err)
		return
	}
	defer leave()
	items := make([]*item, len(requests))
	var running errgroup.Group
	running.SetLimit(w.atOnce(requests))
	var waiting atomic.Int64
	waiting.Store(int64(len(requests)))
	for i, r := range requests {
		it := w.newItem(r, m, l)
		it.request, it.single = of.Apply(r), of.BatchStrategy == job.SingleRecord
		it.entered = sync.OnceFunc(func() {
			if waiting.Add(-1) == 0 {
				started()
			}
		})
		items[i] = it
		w.aboard.enter(it)
		running.Go(func() error {
			defer it.entered()
			ctx, done := w.pendingContext(it)
			defer done()
			it.pending = ctx
			if outcomes[i] == nil { // or it is known without a run
				outcomes[i] = w.run(it)
			}
			return nil
		})
	}
	_ = running.Wait() // outcomes hold the errors
	w.settle(m, l, items, outcomes, undecodable)
	for _, it := range items {
		it.leave()
		w.aboard.leave(it)
	}
}

// run takes one item from its input to its output. Its error says why there
// is no output: settle decides what that means.
func (w *Worker) run(it *item) error {
	defer w.untilExpiry(it)()
	leaveRoom, err := w.behind.enter(it) // items of batch jobs
	if err != nil {
		return err
	}
	defer leaveRoom()
	heeded, err := w.heedCancel(it)
	if err != nil {
		return err
	}
	defer heeded()
	if it.ranged() {
		return w.runRange(it)
	}
	input, err := w.fetch(it)
	if err != nil {
		return err
	}
	defer input.release()
	defer w.untilExpiry(it)() // the uploader can have set it

	land, err := w.board(it) // one delivery of a request at a time
	if err != nil {
		return err
	}
	defer land()

	leave, err := w.isolate(it) // suspects apart from the rest
	if err != nil {
		return err
	}
	defer leave()

	if input.records {
		return w.stream(it, input, leave)
	}
	in, err := w.decode(it, input)
	if err != nil {
		return err
	}
	out, err := w.predict(it, in)
	if err != nil {
		return err
	}
	result, err := w.encode(it, in, out)
	if err != nil {
		return err
	}
	leave()
	return w.commit(it, result)
}

// source is what the codec is told of the item's input.
func (w *Worker) source(it *item, c *content) codec.Source {
	name := it.request.Input.Key
	if w.cfg.Locations.State.Contains(it.request.Input) {
		name = "" // it ends in an id, which says nothing of the content
	}
	return codec.Source{
		ContentType: cmp.Or(it.request.ContentType, it.input.ContentType), ContentEncoding: it.input.ContentEncoding,
		Name: name, Signature: it.request.Signature,
		MaxBytes: min(codec.DefaultMaxBytes(len(c.body)), w.cfg.MaxObjectSize),
	}
}

// decode turns the input's bytes into tensors.
func (w *Worker) decode(it *item, c *content) (in *codec.Input, err error) {
	decoding := w.decodingFor(it)
	if err := decoding.Acquire(it.pending, 1); err != nil {
		return nil, context.Cause(it.pending)
	}
	defer decoding.Release(1)
	began := time.Now()
	defer func() { it.spent.Fetch += time.Since(began) }()
	defer w.contain(it, request.StageDecode, &err)
	in, err = codec.Decode(it.pending, c.body, w.source(it, c), it.model)
	return in, problem(request.StageDecode, err)
}

// predict runs the model on the item's tensors, in a batch with others.
func (w *Worker) predict(it *item, in *codec.Input) ([]model.Tensor, error) {
	d, err := w.infer(it.pending, it, in)
	if err != nil {
		return nil, err
	}
	it.ran = true
	it.spent.Wait, it.spent.Predict = d.wait, d.predict
	return d.outputs, d.err
}

// infer runs the model on tensors of the item's. Its own error says that it
// did not; that of done, that the model, or its time limit, did not like them.
func (w *Worker) infer(pending context.Context, it *item, in *codec.Input) (done, error) {
	d, err := w.batcher.Do(pending, it.lease.ctx, work{
		model: it.model, signature: in.Signature, tensors: in.Tensors, rows: in.Rows,
		lane: it.lane(), single: it.single, limit: w.runLimit(it), flow: &it.flow,
	})
	if err == nil && errors.Is(d.err, errOverrun) && d.alone {
		d.err = w.timedOut(it)
	}
	d.err = problem(request.StagePredict, d.err)
	return d, err
}

// encode turns the model's outputs into the result's bytes.
func (w *Worker) encode(it *item, in *codec.Input, outputs []model.Tensor) (result terminal.Document, err error) {
	began := time.Now()
	defer func() { it.spent.Store = time.Since(began) }()
	defer w.contain(it, request.StageEncode, &err)
	result.Body, result.ContentType, err = codec.Encode(in, outputs, it.model, it.request.Accept)
	return result, problem(request.StageEncode, err)
}

// contain makes a panic over an input that input's failure. It is deferred.
func (w *Worker) contain(it *item, stage string, err *error) {
	if p := recover(); p != nil {
		w.log.Error("panic", it.log(), zap.String("stage", stage), zap.Any("panic", p), zap.Stack("stack"))
		*err = &final{request.Problem{
			Code: request.CodeInternal, Stage: stage, Message: fmt.Sprintf("a fault of Penstock's own: %v", p),
			Hint: "report it, with this input and the worker's log",
		}}
	}
}
