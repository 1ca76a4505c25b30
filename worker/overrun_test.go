package worker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/job"
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

func TestARunThatGoesOnForLongIsToldOfEveryMinute(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submit("x", row(3))
		w := p.start(hangs(3), with(func(c *Config) { c.RunTimeout = 3*time.Minute + time.Second }))
		if err := w.wait(); !errors.Is(err, ErrModelHung) {
			t.Errorf("Run returned %v, want ErrModelHung", err)
		}
		if n := w.logs.FilterMessageSnippet("a run of the model goes on").Len(); n != 3 {
			t.Errorf("it was told of %d times, want 3", n)
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

// hangsOver is hangs for a number that can stand anywhere in an input.
func hangsOver(v float32) option {
	return func(p *process, c *Config) {
		c.RunTimeout, c.MaxBatchSize = time.Minute, 16
		runs(fake.HangWhen(has(v), p.plant.released))(p, c)
	}
}

// hanging starts workers, each when the one before has ended because its model
// hung, until done. It gives how many ended.
func (p *plant) hanging(done func() bool, options ...option) (ended int) {
	p.t.Helper()
	for ; ended < 8; ended++ {
		w := p.start(options...)
		p.eventually("the process has ended or all is done", func() bool { return len(w.ended) > 0 || done() })
		if len(w.ended) == 0 {
			return ended
		}
		if err := w.wait(); !errors.Is(err, ErrModelHung) {
			p.t.Errorf("Run returned %v, want ErrModelHung", err)
		}
	}
	p.t.Fatal("8 processes hung over the same input")
	return ended
}

// An input of records is not handed back unharmed by a run of its own that
// hangs: it would end one worker after the other.
func TestRecordsThatHangTheModelAreATimeout(t *testing.T) {
	for _, record := range []int{0, 5, 99} {
		t.Run(fmt.Sprint(record), func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				p.submitLines("x.jsonl", lines(100))
				if n := p.hanging(func() bool { return p.queue.Len() == 0 }, hangsOver(float32(record))); n > 1 {
					t.Errorf("%d processes ended, want one", n)
				}
				p.wantFailure("x.jsonl", request.CodeTimeout)
				if left := p.strikes(); len(left) != 0 {
					t.Errorf("strikes are left: %q", left)
				}
			})
		})
	}
}

func TestRecordsThatHangTheModelInCompanyHurtNoOther(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		options := []option{hangsOver(1000), with(func(c *Config) { c.BatchTimeout = time.Second })}
		for _, key := range []string{"a", "b"} {
			p.submitLines(key, lines(100))
		}
		p.submitMany(4)
		p.submitLines("x", strings.Replace(lines(100), "[0]", "[1000]", 1))
		if n := p.hanging(func() bool { return p.queue.Len() == 0 }, options...); n > 4 {
			t.Errorf("%d processes ended, want at most 4", n)
		}
		p.settled()
		p.wantFailure("x", request.CodeTimeout)
		p.wantLines("a", 100, nil)
		p.wantLines("b", 100, nil)
		p.wantOutputsOf(4)
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

// What waits in the batcher is handed back at once, not after the drain timeout:
// there is no run any more that it could be in.
func TestRecordsWaitForNoRunOnceTheModelHangs(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(hangs(3), with(func(c *Config) { c.DrainTimeout, c.MaxBatchSize = time.Hour, 1 }))
		p.submit("x", row(3))
		p.eventually("it runs", func() bool { return len(p.recorder.Batches()) == 1 })
		p.submitLines("innocent", lines(2))
		began := time.Now()
		if err := w.wait(); !errors.Is(err, ErrModelHung) {
			t.Errorf("Run returned %v, want ErrModelHung", err)
		}
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("the process ended after %v", took)
		}
		p.start()
		p.settled()
		p.wantLines("innocent", 2, nil)
	})
}

// A request's own limit can pass long before it is known that the run hangs.
func TestRecordsPastTheRequestsOwnLimitAreATimeoutWhenTheModelHangs(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		r := request.Request{ID: "hasty", Input: p.uploadLines("x", lines(100)).Ref, Timeout: time.Second}
		p.api(r)
		// In company of its own other records it is run again, apart, and again alone.
		if n := p.hanging(func() bool { return p.queue.Len() == 0 }, hangsOver(50), with(func(c *Config) { c.RunTimeout = time.Hour })); n > 3 {
			t.Errorf("%d processes ended, want at most 3", n)
		}
		if got := p.failureOf(r); got != request.CodeTimeout {
			t.Errorf("the failure's code is %s", got)
		}
	})
}

// In a job's file the record that hangs the model is found, and the others have
// their results.
func TestARecordOfAFileThatHangsTheModelHasItsErrorInItsPlace(t *testing.T) {
	for _, record := range []int{0, 63, 500, 1199} {
		t.Run(fmt.Sprint(record), func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				p.file("f.jsonl", "", padded(50, numbered(1200)...))
				p.submitJob(ranges("f.jsonl"))
				done := func() bool { return !p.missing(job.CopyOf(locations, "nightly")) }
				if n := p.hanging(done, hangsOver(float32(record)), behindQueue()); n > 5 {
					t.Errorf("%d processes ended, want at most 5", n)
				}
				p.wantCounts(p.summary("nightly"), 1, 0, 0)
				p.wantRecords("f.jsonl", 1200, record)
				errors, _, _ := p.body(storage.Ref{Bucket: "results", Key: "out/jobs/nightly/f.jsonl-errors.jsonl"})
				if !slices.ContainsFunc([]string{request.CodePoison, request.CodeTimeout}, func(code string) bool { return strings.Contains(errors, code) }) {
					t.Errorf("the error is %s", errors)
				}
				if left := p.strikes(); len(left) != 0 {
					t.Errorf("strikes are left: %q", left)
				}
			})
		})
	}
}

// Whoever waits for an item may be told at the same moment that it has ended and
// that nothing starts any more, and see to the second first.
func TestAnItemThatHasEndedIsNotEndedAgainByAWithdrawal(t *testing.T) {
	for name, ended := range map[string]done{"to go once more, when all stops": {}, "by an error": {err: errSoft}} {
		t.Run(name, func(t *testing.T) {
			b := newBatcher(1, 4, 0, time.Hour)
			w := wish(fake.Double(1), make([]float32, 8)...)
			e := newEntry(w, b.policyFor(w.model, w.signature))
			e.policy.single.Store(true) // its rows turn out to belong together
			first, second := &share{entry: e, to: 4}, &share{entry: e, from: 4, to: 8}
			e.flying, e.taken = []*share{first, second}, 8
			b.deliver(first, done{})
			b.overrun(nil)
			b.deliver(second, ended)
			select {
			case <-e.over:
			default:
				t.Fatal("it has not ended")
			}
			b.withdraw(e, errDraining)
		})
	}
}
