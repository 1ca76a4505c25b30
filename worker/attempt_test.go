package worker

import (
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

func TestASoftErrorIsTriedAgainWithBackoff(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.FailTimes(2, errSoft)))
		p.submit("x", row(1))
		p.settled()
		info := p.wantOutput("x", 1)
		if prov, _ := request.ParseProvenance(info.Metadata); prov.Attempts != 3 {
			t.Errorf("%d attempts are told, want 3", prov.Attempts)
		}
		b := p.recorder.Batches()
		if len(b) != 3 {
			t.Fatalf("%d runs, want 3", len(b))
		}
		if first, second := b[1].Start.Sub(b[0].End), b[2].Start.Sub(b[1].End); first < 2*time.Second || second < 5*time.Second {
			t.Errorf("the waits between the runs are %v and %v", first, second)
		}
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1, outcomeRetried: 2})
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

func TestTheLastAttemptIsFinalAcrossWorkers(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submit("x", row(666))
		for range 2 { // each worker knows of the others' attempts
			w := p.start(runs(fake.FailWhen(first(666), errSoft)))
			p.eventually("it failed once", func() bool { return w.outcomes()[outcomeRetried] == 1 })
			if err := w.stop(); err != nil {
				t.Error(err)
			}
			if len(p.list("failed/")) != 0 {
				t.Fatal("there is a failure before the last attempt")
			}
		}
		p.start(runs(fake.FailWhen(first(666), errSoft)))
		p.settled()
		f := p.wantFailure("x", request.CodeModelError)
		if f.Attempts != 3 || !f.Error.Retryable || !strings.Contains(f.Error.Message, "attempt 3 of 3") {
			t.Errorf("the failure says %+v", f)
		}
		letters := p.letters()
		if len(letters) != 1 || letters[0].Attributes[attrCode] != request.CodeModelError {
			t.Errorf("the dead letters are %+v", letters)
		}
		if n := len(p.recorder.Batches()); n != 3 {
			t.Errorf("%d runs, want 3", n)
		}
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

func TestOneAttemptMeansOne(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(runs(fake.FailTimes(1, errSoft)), with(func(c *Config) { c.MaxAttempts = 1 }))
		p.submit("x", row(1))
		p.settled()
		p.wantFailure("x", request.CodeModelError)
		if n := p.dead.Len(); n != 1 {
			t.Errorf("%d dead letters, want 1", n)
		}
	})
}

func TestReceivesAreNotAttempts(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submit("x", row(1))
		for range 10 { // received and handed back, or lost with its worker
			m, err := p.queue.Receive(t.Context(), 1, time.Second, 5*time.Second)
			if err != nil || len(m) != 1 {
				t.Fatal(m, err)
			}
		}
		p.start(runs(fake.FailTimes(2, errSoft)))
		p.settled()
		info := p.wantOutput("x", 1)
		if prov, _ := request.ParseProvenance(info.Metadata); prov.Attempts != 3 {
			t.Errorf("%d attempts are told, want 3", prov.Attempts)
		}
	})
}

func TestAPermanentErrorIsFinalAtOnce(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(runs(fake.FailWhen(first(666), errPermanent)))
		p.submit("x", row(666))
		p.settled()
		if f := p.wantFailure("x", request.CodeModelError); f.Attempts != 1 || f.Error.Retryable {
			t.Errorf("the failure says %+v", f)
		}
		if n := p.dead.Len(); n != 0 {
			t.Errorf("%d dead letters, want none", n)
		}
	})
}

func TestAPanicOfTheModelCountsAsAnAttempt(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		boom := fake.FailWhen(func(part []model.Tensor) bool {
			if first(666)(part) {
				panic("out of bounds")
			}
			return false
		}, nil)
		p.start(runs(boom))
		p.submit("x", row(666))
		p.submit("y", row(1))
		p.settled()
		p.wantOutput("y", 1)
		if f := p.wantFailure("x", request.CodeModelError); !strings.Contains(f.Error.Message, "out of bounds") {
			t.Errorf("the failure says %+v", f)
		}
	})
}
