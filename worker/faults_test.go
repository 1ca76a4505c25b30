package worker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/queue"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/storagetest"
)

var (
	// errCut is the fault of a connection: nobody knows what took effect.
	errCut = errors.New("connection reset")
	// errDead is what a process gets that has died in the test's story.
	errDead = errors.New("the process is dead")
)

// storeShim stands between a worker and the store. Every call passes its hook,
// while the process lives.
type storeShim struct {
	storagetest.Hooked
	dead *atomic.Bool
}

// storeHook sees a call and what makes it; what it returns is the reply.
type storeHook = storagetest.Hook

// newStoreShim gives a worker's way to a store.
func newStoreShim(s storage.Store, dead *atomic.Bool) *storeShim {
	shim := &storeShim{dead: dead}
	shim.Store = s
	shim.onCall(nil)
	return shim
}

// onCall sets the hook from now on; nil takes it away.
func (s *storeShim) onCall(h storeHook) {
	s.OnCall(func(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
		switch {
		case s.dead.Load():
			return errDead
		case h == nil:
			return call()
		}
		return h(ctx, verb, ref, call)
	})
}

// times applies h to the first n calls that match, and lets the others pass.
func times(n int, match func(verb string, ref storage.Ref) bool, h storeHook) storeHook {
	var seen atomic.Int64
	return func(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
		if match(verb, ref) && seen.Add(1) <= int64(n) {
			return h(ctx, verb, ref, call)
		}
		return call()
	}
}

// always applies h to all calls that match.
func always(match func(verb string, ref storage.Ref) bool, h storeHook) storeHook {
	return times(1<<30, match, h)
}

// dropReply lets a call take effect and loses its reply.
func dropReply(_ context.Context, _ string, _ storage.Ref, call func() error) error {
	_ = call() // its reply is what gets lost
	return errCut
}

// answer gives err in place of the call.
func answer(err error) storeHook {
	return func(context.Context, string, storage.Ref, func() error) error { return err }
}

// cutOff is a store that can't be reached.
var cutOff = answer(errCut)

// queueShim stands between a worker and its queue.
type queueShim struct {
	*qmem.Queue
	dead *atomic.Bool

	mu      sync.Mutex
	receive func(ctx context.Context, call func() ([]*queue.Message, error)) ([]*queue.Message, error)
	change  changeHook
	remove  func(ctx context.Context, messages []*queue.Message, call func() []error) []error
	send    func(ctx context.Context, messages []queue.Outgoing, call func() []error) []error
}

// changeHook sees a change of visibility; what it returns is the reply.
type changeHook func(ctx context.Context, d time.Duration, messages []*queue.Message, call func() []error) []error

// set changes hooks under the lock.
func (q *queueShim) set(change func(q *queueShim)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change(q)
}

func (q *queueShim) hooks() (*queueShim, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return &queueShim{receive: q.receive, change: q.change, remove: q.remove, send: q.send}, q.dead.Load()
}

func (q *queueShim) Receive(ctx context.Context, limit int, visibility, wait time.Duration) ([]*queue.Message, error) {
	h, dead := q.hooks()
	call := func() ([]*queue.Message, error) { return q.Queue.Receive(ctx, limit, visibility, wait) }
	switch {
	case dead:
		return nil, errDead
	case h.receive != nil:
		return h.receive(ctx, call)
	}
	return call()
}

func (q *queueShim) ChangeVisibility(ctx context.Context, d time.Duration, messages ...*queue.Message) []error {
	h, dead := q.hooks()
	call := func() []error { return q.Queue.ChangeVisibility(ctx, d, messages...) }
	switch {
	case dead:
		return each(messages, errDead)
	case h.change != nil:
		return h.change(ctx, d, messages, call)
	}
	return call()
}

func (q *queueShim) Delete(ctx context.Context, messages ...*queue.Message) []error {
	h, dead := q.hooks()
	call := func() []error { return q.Queue.Delete(ctx, messages...) }
	switch {
	case dead:
		return each(messages, errDead)
	case h.remove != nil:
		return h.remove(ctx, messages, call)
	}
	return call()
}

func (q *queueShim) Send(ctx context.Context, messages ...queue.Outgoing) []error {
	h, dead := q.hooks()
	call := func() []error { return q.Queue.Send(ctx, messages...) }
	switch {
	case dead:
		return each(messages, errDead)
	case h.send != nil:
		return h.send(ctx, messages, call)
	}
	return call()
}

// each is the same error for every message.
func each[T any](messages []T, err error) []error {
	errs := make([]error, len(messages))
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// deadShim stands between a worker and the dead-letter queue.
type deadShim struct {
	*qmem.Queue
	dead *atomic.Bool
	fail func() error // asked before each send
}

func (q *deadShim) Send(ctx context.Context, messages ...queue.Outgoing) []error {
	if q.dead.Load() {
		return each(messages, errDead)
	}
	if q.fail != nil {
		if err := q.fail(); err != nil {
			return each(messages, err)
		}
	}
	return q.Queue.Send(ctx, messages...)
}

type ref = storage.Ref

// puts matches writes below a folder of the results bucket, or of any with "".
func puts(folder string) func(verb string, ref storage.Ref) bool { return on("put", folder) }

// on matches one kind of call on keys below a folder; "" is any.
func on(verb, folder string) func(string, storage.Ref) bool {
	return func(v string, ref storage.Ref) bool {
		return (verb == "" || v == verb) && strings.HasPrefix(ref.Key, folder)
	}
}
