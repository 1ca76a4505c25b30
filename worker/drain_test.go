package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/queue"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/worker/model/fake"
)

// count is how many messages are in a state.
func (p *plant) count(state qmem.State) int {
	n := 0
	for _, s := range p.queue.Snapshot() {
		if s.State == state {
			n++
		}
	}
	return n
}

func TestDrainHandsBackWhatWaitsAndFinishesWhatRuns(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(10*time.Second)), with(func(c *Config) { c.MaxBatchSize = 1 }))
		p.submitMany(5)
		p.eventually("one runs, four wait", func() bool { return len(p.recorder.Batches()) == 1 && p.count(qmem.InFlight) == 5 })

		w.cancel()
		time.Sleep(time.Second)
		if got := p.count(qmem.Visible); got != 4 {
			t.Errorf("%d messages are visible a second later, want the 4 that had not begun", got)
		}
		if err := w.Ready(); !errors.Is(err, errDraining) {
			t.Errorf("Ready gave %v while draining", err)
		}
		if err := w.wait(); err != nil {
			t.Errorf("Run returned %v", err)
		}
		if got := p.list("out/"); len(got) != 1 {
			t.Errorf("the outputs are %q, want that of the run under way", got)
		}
		// The last poll can bring back what was handed back; it goes again.
		if got := w.outcomes(); got[outcomeSucceeded] != 1 || got[outcomeReleased] < 4 || len(got) != 2 {
			t.Errorf("outcome lines are %v, want 1 succeeded and at least 4 released", got)
		}

		p.start(with(func(c *Config) { c.MaxBatchSize = 1 }))
		p.settled()
		p.wantOutputs(5)
		if n := len(p.recorder.Batches()); n != 5 {
			t.Errorf("%d runs, want one for each of 5", n)
		}
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

func TestDrainHandsBackWhatItsLastPollBrings(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		p.eventually("the worker is ready", func() bool { return w.Ready() == nil })
		w.queue.set(func(q *queueShim) {
			q.receive = func(ctx context.Context, call func() ([]*queue.Message, error)) ([]*queue.Message, error) {
				m, err := call()
				if len(m) > 0 {
					w.cancel()
					synctest.Wait() // the drain has begun when the reply comes
					if ctx.Err() != nil {
						t.Error("the drain cancels the poll: what SQS was about to hand over is stranded until its visibility ends")
					}
				}
				return m, err
			}
		})
		p.eventually("a long poll is under way", func() bool { time.Sleep(11 * time.Second); return true })
		p.submit("late", row(1))
		if err := w.wait(); err != nil {
			t.Error(err)
		}
		if p.count(qmem.Visible) != 1 || len(p.recorder.Batches()) != 0 {
			t.Errorf("the message was not handed back unharmed: %+v", p.queue.Snapshot())
		}
		w.wantOutcomes(map[outcome]int{outcomeReleased: 1})
	})
}

func TestAfterTheDrainTimeoutWhatRunsIsHandedBackAndRunReturns(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(5*time.Minute)), with(func(c *Config) { c.DrainTimeout = 20 * time.Second }))
		p.submitMany(3)
		p.eventually("a batch runs", func() bool { return len(p.recorder.Batches()) == 1 })
		began := time.Now()
		if err := w.stop(); !errors.Is(err, ErrRunLeft) {
			t.Errorf("Run returned %v, want ErrRunLeft", err)
		}
		if took := time.Since(began); took > 21*time.Second {
			t.Errorf("Run took %v to return, want the drain timeout of 20s", took)
		}
		if got := p.count(qmem.Visible); got != 3 {
			t.Errorf("%d messages are visible, want 3", got)
		}
		if got := w.outcomes(); got[outcomeReleased] < 3 || len(got) != 1 {
			t.Errorf("outcome lines are %v, want at least 3 released and no others", got)
		}
		p.start()
		p.settled()
		p.wantOutputs(3)
	})
}

func TestTheDrainTimeoutCountsFromTheSignalNotFromTheLastPoll(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(5*time.Minute)), with(func(c *Config) { c.DrainTimeout = 20 * time.Second }))
		p.submit("a", row(1))
		p.eventually("a batch runs", func() bool { return len(p.recorder.Batches()) == 1 })
		time.Sleep(10*time.Second + time.Millisecond) // a poll of ten seconds has just begun
		began := time.Now()
		if err := w.stop(); !errors.Is(err, ErrRunLeft) {
			t.Errorf("Run returned %v, want ErrRunLeft", err)
		}
		if took := time.Since(began); took > 21*time.Second {
			t.Errorf("Run took %v to return, want the drain timeout of 20s", took)
		}
	})
}

// An instance that is reclaimed over and over must lose nothing and double
// nothing, whatever the moment.
func TestNothingIsLostOrDoubledByManyDrains(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submitMany(60)
		for i := range 12 {
			w := p.start(runs(fake.Delay(300*time.Millisecond)), with(func(c *Config) {
				c.MaxBatchSize = 4
				c.MaxInFlight = 20
				c.DrainTimeout = time.Duration(100+50*i) * time.Millisecond
			}))
			time.Sleep(time.Duration(37*i) * time.Millisecond)
			if err := w.stop(); err != nil && !errors.Is(err, ErrRunLeft) {
				t.Fatal(err)
			}
			if n := p.count(qmem.InFlight); n != 0 {
				t.Fatalf("drain %d left %d messages in flight", i, n)
			}
		}
		p.start()
		p.settled()
		p.wantOutputs(60)
		if got := p.list("failed/"); len(got) != 0 || p.dead.Len() != 0 {
			t.Errorf("drains made failures: %q, %d dead letters", got, p.dead.Len())
		}
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

func TestAnItemOfManyBatchesIsDoneWhenItsLastOneRanInTheDrain(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(4*time.Second)), with(func(c *Config) { c.MaxBatchSize = 2 }))
		p.submit("big", row(1, 2, 3, 4))
		p.eventually("the last piece runs", func() bool { return len(p.recorder.Batches()) == 2 })
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		p.wantOutput("big", 1, 2, 3, 4)
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1})
	})
}

func TestASettledMessageFreesItsLease(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		p.eventually("the worker is ready", func() bool { return w.Ready() == nil })
		var held []*lease
		w.store.onCall(always(puts("out/"), func(_ context.Context, _ string, _ ref, call func() error) error {
			w.live.leases.mu.Lock()
			for l := range w.live.leases.held {
				held = append(held, l)
			}
			w.live.leases.mu.Unlock()
			return call()
		}))
		p.submit("a", row(1))
		p.settled()
		if len(held) != 1 || held[0].ctx.Err() == nil {
			t.Errorf("of %d leases seen at the write, one goes on after the acknowledgement", len(held))
		}
	})
}
