package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
)

// behind is the room that batch jobs have in a worker, behind its requests: a
// pack of a thousand references takes no more of its memory, its processors and
// its connections than that. What of it is free, requests don't wait for; in
// the batcher they go first.
type behind struct {
	places   *semaphore.Weighted // items at work; in the order of their coming
	most     int64
	memory   *shared
	decoding *shared

	last atomic.Int64 // places that a message like the last one needs to begin
	live atomic.Int64 // when the last request came that is no job's, in nanoseconds of Unix time
	mu   sync.Mutex
	jobs map[string]*concurrency // that have a limit of their own, and are at work
}

// rangeShare is the part of all places that a range of a record file takes: it
// has as many rows on their way as some dozens of items.
const rangeShare = 4

// While requests come, an item of a job takes so many places as if it were as
// many: what it does to S3, the network and the processors is felt by them. They
// come while the last one is no older than liveSpan.
const (
	besideLive = 8
	liveSpan   = 2 * time.Second
)

func newBehind(cfg Config, memory, decoding *semaphore.Weighted) *behind {
	most := max(int64(cfg.MaxInFlight/2), 1)
	b := &behind{
		places: semaphore.NewWeighted(most), most: most,
		memory:   newShared(memory, cfg.MemoryLimit/2),
		decoding: newShared(decoding, max(decoders()/2, 1)),
		jobs:     make(map[string]*concurrency),
	}
	b.last.Store(b.share()) // until it is known, one message at a time
	return b
}

// share is how many places a range takes.
func (b *behind) share() int64 { return max(b.most/rangeShare, 1) }

// takes is how many places a request takes.
func (b *behind) takes(r request.Request) int64 {
	if r.Job.Range != nil {
		return b.share()
	}
	return 1
}

// atOnce is how many items of a message may be under way.
func (w *Worker) atOnce(requests []request.Request) int {
	if len(requests) > 0 && requests[0].Job != nil {
		return int(w.behind.most)
	}
	return w.cfg.MaxInFlight
}

// enter waits for a place of an item. leave gives it back.
func (b *behind) enter(it *item) (leave func(), err error) {
	if it.request.Job == nil {
		b.live.Store(time.Now().UnixNano())
		return func() {}, nil
	}
	n := b.takes(it.request)
	if time.Since(time.Unix(0, b.live.Load())) < liveSpan {
		n = min(n*besideLive, b.most)
	}
	if b.places.Acquire(it.pending, n) != nil {
		return nil, context.Cause(it.pending)
	}
	it.entered()
	return func() { b.places.Release(n) }, nil
}

// begun notes what a message takes. A pack goes on before it has all its places.
func (b *behind) begun(requests []request.Request) {
	n := int64(0)
	for _, r := range requests {
		n += b.takes(r)
	}
	b.last.Store(min(n, b.share()))
}

// receiveJobs receives from the queue of batch jobs until the worker drains.
func (w *Worker) receiveJobs(messages *sync.WaitGroup) {
	for w.draining.Err() == nil {
		if !w.wellEnough() {
			continue
		}
		n, err := w.behind.room(w.draining)
		if err != nil {
			return
		}
		// No message more before all items of these have their place: what
		// waits here another worker could begin.
		var waiting sync.WaitGroup
		waiting.Add(n)
		received, err := w.poll(w.jobs, n, w.cfg.pollWait(), messages, func(m *queue.Message, l *lease) {
			started := sync.OnceFunc(waiting.Done)
			defer started()
			w.handle(m, l, started)
		})
		waiting.Add(received - n)
		waiting.Wait()
		if err != nil {
			sleep(w.draining, jitter(2*time.Second))
		}
	}
}

// room waits until there are places for one message more like the last, and
// says how many such messages there are places for, up to a call's worth.
func (b *behind) room(ctx context.Context) (messages int, err error) {
	each := b.last.Load()
	if err := b.places.Acquire(ctx, each); err != nil {
		return 0, err
	}
	n := 1
	for n < queue.MaxBatch && each == 1 && b.places.TryAcquire(1) {
		n++
	}
	b.places.Release(each * int64(n))
	return n, nil
}

// shared is a part of what all take from: no more of it is taken, so that there
// is always some for others.
type shared struct {
	part, all *semaphore.Weighted
	most      int64
}

func newShared(all *semaphore.Weighted, most int64) *shared {
	return &shared{part: semaphore.NewWeighted(most), all: all, most: most}
}

// Acquire waits for n, or for ctx. More than the part is taken as all of it.
func (s *shared) Acquire(ctx context.Context, n int64) error {
	if err := s.part.Acquire(ctx, min(n, s.most)); err != nil {
		return err
	}
	if err := s.all.Acquire(ctx, n); err != nil {
		s.part.Release(min(n, s.most))
		return err
	}
	return nil
}

// TryAcquire takes n, or nothing.
func (s *shared) TryAcquire(n int64) bool {
	if n > s.most || !s.part.TryAcquire(n) {
		return false
	}
	if !s.all.TryAcquire(n) {
		s.part.Release(n)
		return false
	}
	return true
}

// reserve takes n, or as much as there is of it, and gives a function that gives
// it back.
func (s *shared) reserve(ctx context.Context, n int64) (release func(), err error) {
	n = min(n, s.most)
	return func() { s.Release(n) }, s.Acquire(ctx, n)
}

// Release gives back all that one taker has taken.
func (s *shared) Release(n int64) {
	s.all.Release(n)
	s.part.Release(min(n, s.most))
}

// bound is what is taken before it is used.
type bound interface {
	Acquire(ctx context.Context, n int64) error
	TryAcquire(n int64) bool
	Release(n int64)
}

// memoryFor is what an item takes its memory from.
func (w *Worker) memoryFor(it *item) bound {
	if it.request.Job != nil {
		return w.behind.memory
	}
	return w.memory
}

// decodingFor is what an item decodes in.
func (w *Worker) decodingFor(it *item) bound {
	if it.request.Job != nil {
		return w.behind.decoding
	}
	return w.decoding
}
