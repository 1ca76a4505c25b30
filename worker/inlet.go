package worker

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue"
)

// inlet is a queue that the worker receives from, and where what can't be ended
// here goes: back there, or to its dead-letter queue. Whatever is done about a
// message is done by the inlet that it came by.
type inlet struct {
	queue       queue.Receiver
	requests    queue.Sender // to the same queue
	deadLetters queue.Sender // nil when there is none
	leases      *leases
	calls       queueCalls
}

func newInlet(q queue.Receiver, requests, deadLetters queue.Sender, cfg Config) *inlet {
	return &inlet{
		queue: q, requests: requests, deadLetters: deadLetters,
		leases: newLeases(q, cfg.VisibilityTimeout, cfg.Log), calls: queueCalls{queue: q},
	}
}

// inlets are all that the worker has.
func (w *Worker) inlets() []*inlet {
	if w.jobs == nil {
		return []*inlet{w.live}
	}
	return []*inlet{w.live, w.jobs}
}

// poll receives at most n messages, and has handle called for each under a
// lease that is kept from then on. It returns how many there were.
func (w *Worker) poll(in *inlet, n int, wait time.Duration, messages *sync.WaitGroup, handle func(*queue.Message, *lease)) (int, error) {
	// Not under the draining context: cancelling a poll strands what the queue
	// was about to hand over until its visibility ends (aws-sdk-go-v2 #2068).
	ctx, cancel := context.WithTimeout(w.work, wait+w.cfg.callLimit())
	defer cancel()
	asked := time.Now()
	received, err := in.queue.Receive(ctx, n, w.cfg.VisibilityTimeout, wait)
	if err != nil {
		w.log.Warn("receive", zap.Error(err))
	}
	for _, m := range received {
		l := in.leases.hold(w.work, m, asked)
		l.from = in
		messages.Go(func() {
			defer l.cancel(nil) // or the worker's context would remember every message
			handle(m, l)
		})
	}
	return len(received), err
}
