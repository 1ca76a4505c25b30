package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/queue"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/worker/model/fake"
)

// visibility sets a change hook.
func (w *process) visibility(h changeHook) {
	w.queue.set(func(q *queueShim) { q.change = h })
}

// deliveries is the most often that any message was received.
func (p *plant) deliveries() int {
	most := 0
	for _, s := range p.queue.Snapshot() {
		most = max(most, s.Message.ReceiveCount)
	}
	return most
}

func TestALeaseIsKeptOverEveryWait(t *testing.T) {
	for name, wait := range map[string]func(w *process){
		"for a batch and a long run": func(*process) {},
		"for a store that is out of reach": func(w *process) {
			w.store.onCall(always(puts("out/"), cutOff))
			time.AfterFunc(9*time.Minute, func() { w.store.onCall(nil) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				w := p.start(runs(fake.Delay(5*time.Minute)), with(func(c *Config) { c.MaxBatchSize = 2; c.VisibilityTimeout = 30 * time.Second }))
				wait(w)
				p.submitMany(6)
				p.start(runs(fake.Delay(5*time.Minute)), with(func(c *Config) { c.MaxInFlight = 1 })) // one who would take what is let go
				for p.queue.Len() > 0 {
					time.Sleep(time.Second)
					if n := p.deliveries(); n > 1 {
						t.Fatal("a message was received twice")
					}
				}
				time.Sleep(time.Minute)
				p.wantOutputs(6)
			})
		})
	}
}

func TestALostLeaseStopsTheItemBeforeItsBatch(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(10*time.Minute)), with(func(c *Config) { c.MaxBatchSize = 1 }))
		p.submit("busy", row(0))
		p.eventually("the model is busy", func() bool { return len(p.recorder.Batches()) == 1 })
		p.submit("lost", row(1))
		p.eventually("both are held", func() bool { return w.counter("penstock_messages_in_flight") == 2 })
		w.visibility(func(_ context.Context, _ time.Duration, messages []*queue.Message, call func() []error) []error {
			errs := call()
			for i, m := range messages {
				if m.Body == p.queue.Snapshot()[1].Message.Body {
					errs[i] = queue.ErrLeaseLost
				}
			}
			return errs
		})
		p.eventually("one is let go", func() bool { return w.outcomes()[outcomeLost] == 1 })
		if n := w.counter("penstock_messages_in_flight"); n != 1 {
			t.Errorf("%v messages are held, want 1: the other's entry was good", n)
		}
		w.visibility(nil)
		p.settled()
		p.wantOutput("busy", 0)
		p.wantOutput("lost", 1)
		w.wantOutcomes(map[outcome]int{outcomeLost: 1, outcomeSucceeded: 2})
	})
}

func TestALeaseThatIsLostDuringTheRunStoresAndAcknowledgesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		noticed time.Duration
		h       changeHook
	}{
		// Told by the first extension, after a third and a twelfth at most.
		"by the queue's word": {26 * time.Second, func(_ context.Context, _ time.Duration, m []*queue.Message, _ func() []error) []error {
			return each(m, queue.ErrLeaseLost)
		}},
		"by our clock, the queue being out of reach": {61 * time.Second, func(_ context.Context, _ time.Duration, m []*queue.Message, _ func() []error) []error {
			return each(m, errCut)
		}},
		"by our clock, the queue not answering": {61 * time.Second, func(ctx context.Context, _ time.Duration, m []*queue.Message, _ func() []error) []error {
			<-ctx.Done()
			return each(m, ctx.Err())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				w := p.start(runs(fake.Delay(5 * time.Minute)))
				w.visibility(c.h)
				p.submit("x", row(1))
				p.eventually("the lease is lost", func() bool { return w.outcomes()[outcomeLost] == 1 })
				if d := time.Since(p.queue.Snapshot()[0].Message.Sent); d > c.noticed {
					t.Errorf("it took %v to notice, with a lease of a minute", d)
				}
				w.kill() // whatever it would still do is not to be seen
				time.Sleep(10 * time.Minute)
				if out, failed := p.list("out/"), p.list("failed/"); len(out)+len(failed) != 0 || p.queue.Len() != 1 {
					t.Errorf("there is %q, %q and %d messages, want the message alone", out, failed, p.queue.Len())
				}
				p.start()
				p.settled()
				p.wantOutput("x", 1)
			})
		})
	}
}

func TestAWriteIsNotBegunWhenTheLeaseWouldNotOutlastIt(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		// The run ends when a tenth of the lease is left, which is not extended.
		w := p.start(runs(fake.Delay(54 * time.Second)))
		w.visibility(func(_ context.Context, _ time.Duration, m []*queue.Message, _ func() []error) []error {
			return each(m, errCut)
		})
		var writes []time.Duration
		sent := time.Now()
		w.store.onCall(always(puts("out/"), func(_ context.Context, _ string, _ ref, call func() error) error {
			writes = append(writes, time.Since(sent))
			return call()
		}))
		p.submit("x", row(1))
		p.eventually("it is given up", func() bool { return w.outcomes()[outcomeLost] == 1 })
		if len(writes) != 0 {
			t.Errorf("writes were begun after %v of a lease of a minute", writes)
		}
		w.visibility(nil)
		p.settled()
		p.wantOutput("x", 1)
	})
}

// The queue counts a lease from when it heard of it, not from when its answer
// came: a slow answer must not be taken for a longer lease.
func TestTheClockOfALeaseRunsFromBeforeTheCall(t *testing.T) {
	slow := func(_ context.Context, call func() ([]*queue.Message, error)) ([]*queue.Message, error) {
		m, err := call()
		if len(m) > 0 {
			time.Sleep(9 * time.Second)
		}
		return m, err
	}
	// A write takes 15 seconds at most, and needs a quarter more to be begun.
	for name, c := range map[string]struct {
		run     time.Duration
		receive func(context.Context, func() ([]*queue.Message, error)) ([]*queue.Message, error)
		first   func(call func() []error) []error // extension
	}{
		"that received the message": {37 * time.Second, slow, nil}, // over at 46, the lease at 60
		"that extended it": {70 * time.Second, nil, func(call func() []error) []error { // at 20: the lease is over at 80
			errs := call()
			time.Sleep(15 * time.Second)
			return errs
		}},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				p.submit("x", row(1))
				w := p.start(runs(fake.Delay(c.run)), func(w *process, _ *Config) {
					w.queue.set(func(q *queueShim) {
						q.receive = c.receive
						q.change = func(_ context.Context, _ time.Duration, m []*queue.Message, call func() []error) []error {
							if c.first == nil {
								return each(m, errCut)
							}
							defer func() { c.first = nil }()
							return c.first(call)
						}
					})
				})
				w.store.onCall(always(puts("out/"), func(_ context.Context, _ string, r ref, call func() error) error {
					t.Errorf("a write of %s was begun when the lease would not outlast it", r)
					return call()
				}))
				p.eventually("it is given up", func() bool { return w.outcomes()[outcomeLost] == 1 })
				w.kill()
				p.start()
				p.settled()
				p.wantOutput("x", 1)
			})
		})
	}
}

func TestAShortLeaseIsExtendedBeforeTheWrite(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(50 * time.Second)))
		until := time.Now().Add(49 * time.Second)
		w.visibility(func(_ context.Context, _ time.Duration, m []*queue.Message, call func() []error) []error {
			if time.Now().Before(until) {
				return each(m, errCut)
			}
			return call()
		})
		p.submit("x", row(1))
		p.settled()
		p.wantOutput("x", 1)
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1})
	})
}

// An extension that takes its time must not cost the lease that it renews.
func TestAWriteWaitsForTheExtensionThatIsUnderWay(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(47 * time.Second)))
		calls := 0
		w.visibility(func(ctx context.Context, _ time.Duration, m []*queue.Message, call func() []error) []error {
			switch calls++; calls {
			case 1: // at a third of the lease; it times out at two thirds
				<-ctx.Done()
				return each(m, ctx.Err())
			case 2: // under way when the run ends
				time.Sleep(10 * time.Second)
			}
			return call()
		})
		p.submit("x", row(1))
		p.settled()
		p.wantOutput("x", 1)
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1})
	})
}

func TestAfterElevenHoursAMessageIsHandedBack(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(13*time.Hour)), with(func(c *Config) { c.RunTimeout = 24 * time.Hour }))
		p.submit("x", row(1))
		time.Sleep(10*time.Hour + 50*time.Minute)
		p.eventually("it is handed back", func() bool { return w.outcomes()[outcomeReleased] == 1 })
		s := p.queue.Snapshot()[0]
		if held := time.Since(s.Message.Sent); held < 11*time.Hour || held > 11*time.Hour+time.Minute {
			t.Errorf("it was held for %v, want 11h", held)
		}
		w.kill()
		p.start()
		p.settled()
		p.wantOutput("x", 1)
	})
}

// The last extensions of a long lease must not ask for more than the queue
// gives, which it counts from a moment later than we do, in whole seconds.
func TestALongLeaseIsNotLostAtTheQueuesLimit(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(13*time.Hour)), with(func(c *Config) {
			c.VisibilityTimeout = 3*time.Hour + 700*time.Millisecond
			c.RunTimeout = 24 * time.Hour
		}))
		p.submit("x", row(1))
		time.Sleep(10*time.Hour + 50*time.Minute)
		p.eventually("it is let go", func() bool { return len(w.outcomes()) > 0 })
		w.wantOutcomes(map[outcome]int{outcomeReleased: 1})
		w.kill()
		p.start()
		p.settled()
		p.wantOutput("x", 1)
	})
}

func TestNoHeartbeatAfterTheDelete(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(30 * time.Second)))
		var mu sync.Mutex
		deleted := make(map[string]bool)
		var underWay []string
		w.queue.set(func(q *queueShim) {
			q.change = func(_ context.Context, _ time.Duration, messages []*queue.Message, call func() []error) []error {
				mu.Lock()
				for _, m := range messages {
					underWay = append(underWay, m.ID)
					if deleted[m.ID] {
						t.Errorf("a heartbeat for %s after its delete", m.ID)
					}
				}
				mu.Unlock()
				time.Sleep(9 * time.Second) // so that runs end during it
				errs := call()
				mu.Lock()
				underWay = underWay[:0]
				mu.Unlock()
				return errs
			}
			q.remove = func(_ context.Context, messages []*queue.Message, call func() []error) []error {
				mu.Lock()
				for _, m := range messages {
					deleted[m.ID] = true
					if slices.Contains(underWay, m.ID) {
						t.Errorf("a delete of %s during its heartbeat", m.ID)
					}
				}
				mu.Unlock()
				return call()
			}
		})
		for i := range 40 {
			p.submit(string(rune('a'+i%26))+string(rune('a'+i/26)), row(float32(i)))
			time.Sleep(time.Second)
		}
		p.settled()
		if n := len(p.list("out/")); n != 40 {
			t.Errorf("%d outputs, want 40", n)
		}
	})
}

func TestLeasesAreExtendedTenACall(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(70 * time.Second)))
		var mu sync.Mutex
		var sizes []int
		w.visibility(func(_ context.Context, d time.Duration, messages []*queue.Message, call func() []error) []error {
			mu.Lock()
			sizes = append(sizes, len(messages))
			mu.Unlock()
			if d != time.Minute {
				t.Errorf("an extension by %v, want the constant minute", d)
			}
			return call()
		})
		p.submitMany(30)
		time.Sleep(60 * time.Second)
		mu.Lock()
		if len(sizes) < 6 || len(sizes) > 14 || slices.Max(sizes) > queue.MaxBatch {
			t.Errorf("calls of %v messages in a minute, want two or three of ten for each ten", sizes)
		}
		mu.Unlock()
		p.settled()
		p.wantOutputs(30)
	})
}

func TestJoinedCallsAnswerEachForItself(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submitMany(10)
		messages, err := p.queue.Receive(t.Context(), 10, time.Minute, 0)
		if err != nil {
			t.Fatal(err)
		}
		shim := &queueShim{Queue: p.queue, dead: new(atomic.Bool)}
		calls := 0
		shim.remove = func(_ context.Context, m []*queue.Message, call func() []error) []error {
			calls++
			errs := call()
			for i := range m {
				if m[i] == messages[3] {
					errs[i] = errCut
				}
			}
			return errs
		}
		c := queueCalls{queue: shim}
		errs := make([]error, 10)
		var wg sync.WaitGroup
		for i, m := range messages {
			wg.Go(func() { errs[i] = c.do(t.Context(), deletion, m) })
		}
		wg.Wait()
		for i, err := range errs {
			if (err != nil) != (i == 3) {
				t.Errorf("message %d: %v", i, err)
			}
		}
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	})
}

func TestSecuringALostLeaseSaysSo(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		k := newLeases(p.queue, time.Minute, zap.NewNop())
		p.submit("x", row(1))
		m, err := p.queue.Receive(t.Context(), 1, time.Minute, 0)
		if err != nil {
			t.Fatal(err)
		}
		l := k.hold(t.Context(), m[0], time.Now())
		time.Sleep(50 * time.Second)
		if err := k.secure(l, 20*time.Second); err != nil {
			t.Errorf("a lease with ten seconds left was not extended: %v", err)
		}
		time.Sleep(61 * time.Second)
		if err := k.secure(l, time.Second); !errors.Is(err, queue.ErrLeaseLost) {
			t.Errorf("a lease that is over gave %v", err)
		}
		if got := p.count(qmem.Visible); got != 1 {
			t.Errorf("%d messages are visible, want 1", got)
		}
		k.stop(l)
		if k.count() != 0 {
			t.Error("a stopped lease is kept")
		}
	})
}

// SQS can take a receipt for good whose time is over, and would take the message
// from whoever has it by then.
func TestAMessageWhoseLeaseIsOverIsNotHandedBack(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submit("x", row(1))
		m, err := p.queue.Receive(t.Context(), 1, time.Hour, 0)
		if err != nil {
			t.Fatal(err)
		}
		w := p.start()
		released := 0
		w.visibility(func(_ context.Context, d time.Duration, m []*queue.Message, _ func() []error) []error {
			if d == 0 {
				released++
			}
			return each(m, errCut)
		})
		for wait, want := range map[time.Duration]int{59 * time.Second: 1, 61 * time.Second: 0} {
			l := w.live.leases.hold(t.Context(), m[0], time.Now())
			l.from = w.live
			time.Sleep(wait)
			w.release(t.Context(), l, 0)
			if released != want {
				t.Errorf("released %d times after %v, want %d", released, wait, want)
			}
			released = 0
		}
	})
}
