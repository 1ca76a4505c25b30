package worker

import (
	"errors"
	"testing"
	"time"

	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/model/fake"
)

// hangs is a model that never answers on one input, and its time limit.
func hangs(v float32) option {
	return func(p *process, c *Config) {
		c.RunTimeout = time.Minute
		runs(fake.HangWhen(first(v), p.plant.released))(p, c)
	}
}

func TestABatchThatOverrunsHandsItsMembersBack(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submitMany(5)
		w := p.start(hangs(3), with(func(c *Config) { c.BatchTimeout = time.Second }))
		if err := w.wait(); !errors.Is(err, ErrModelHung) {
			t.Errorf("Run returned %v, want ErrModelHung", err)
		}
		if w.Ready() == nil {
			t.Error("a worker whose model hangs says that it is ready")
		}
		if got := p.count(qmem.Visible); got != 5 {
			t.Errorf("%d messages are visible, want 5", got)
		}
		if got := p.list("failed/"); len(got) != 0 {
			t.Errorf("there are failures: %q", got)
		}
		// They are suspects now: an overrun leaves their strikes.
		w = p.start(hangs(3), with(func(c *Config) { c.BatchTimeout = time.Second }))
		if err := w.wait(); !errors.Is(err, ErrModelHung) {
			t.Errorf("Run returned %v, want ErrModelHung", err)
		}
		if got := len(p.strikes()); got == 0 {
			t.Error("no strike is left of a run that did not end")
		}
		// Alone it gets its failure, and the process ends.
		w = p.start(hangs(3))
		if err := w.wait(); !errors.Is(err, ErrModelHung) {
			t.Errorf("Run returned %v, want ErrModelHung", err)
		}
		p.start()
		p.settled()
		p.wantOutputs(5, 3)
		p.wantFailure("3", request.CodeTimeout)
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

func TestAnOverrunAloneIsATimeout(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submit("x", row(3))
		w := p.start(hangs(3))
		began := time.Now()
		if err := w.wait(); !errors.Is(err, ErrModelHung) {
			t.Errorf("Run returned %v, want ErrModelHung", err)
		}
		if took := time.Since(began); took < time.Minute || took > 80*time.Second {
			t.Errorf("Run took %v, want the limit of a minute and the last poll", took)
		}
		if f := p.wantFailure("x", request.CodeTimeout); !f.Error.Retryable || f.Attempts != 1 {
			t.Errorf("the failure says %+v", f)
		}
		if p.queue.Len() != 0 || p.dead.Len() != 0 {
			t.Error("the message is still somewhere")
		}
	})
}

func TestARequestsOwnLimitEndsNeitherItsNeighboursNorTheProcess(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(runs(fake.Delay(10*time.Second)), with(func(c *Config) { c.BatchTimeout = time.Second }))
		p.submitMany(4)
		hasty := request.Request{ID: "hasty", Input: p.upload("hasty", row(9)).Ref, Timeout: 100 * time.Millisecond}
		p.api(hasty)
		// In company it is not to blame for sure: it is run again, apart.
		p.settled()
		p.wantOutputs(4)
		if got := p.failureOf(hasty); got != request.CodeTimeout {
			t.Errorf("the failure's code is %s", got)
		}
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

func TestARunThatNobodyWaitsForEndsTheProcessSoon(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(hangs(3), with(func(c *Config) { c.RunTimeout = time.Hour }))
		r := request.Request{ID: "hasty", Input: p.upload("hasty", row(3)).Ref, Timeout: time.Second}
		p.api(r)
		p.eventually("its failure is there", func() bool { return len(p.list("failed/")) == 1 })
		p.submitMany(2) // they wait behind it
		began := time.Now()
		if err := w.wait(); !errors.Is(err, ErrModelHung) {
			t.Errorf("Run returned %v, want ErrModelHung", err)
		}
		if took := time.Since(began); took > 2*grace {
			t.Errorf("the runner was kept from others for %v", took)
		}
		p.start()
		p.settled()
		p.wantOutputs(2)
		if got := p.failureOf(r); got != request.CodeTimeout {
			t.Errorf("the failure's code is %s", got)
		}
	})
}

func TestAHangDuringADrainIsTold(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submit("x", row(3))
		w := p.start(hangs(3), with(func(c *Config) { c.DrainTimeout = time.Hour }))
		p.eventually("it runs", func() bool { return len(p.recorder.Batches()) == 1 })
		if err := w.stop(); !errors.Is(err, ErrModelHung) {
			t.Errorf("Run returned %v, want ErrModelHung", err)
		}
	})
}

func TestTheOtherRunnersFinishWhenOneHangs(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(hangs(3), with(func(c *Config) { c.Runners, c.MaxBatchSize = 2, 1 }))
		p.submit("x", row(3))
		p.submitMany(3)
		if err := w.wait(); !errors.Is(err, ErrModelHung) {
			t.Errorf("Run returned %v, want ErrModelHung", err)
		}
		p.wantOutputs(3)
	})
}
