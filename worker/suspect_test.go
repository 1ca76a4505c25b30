package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

// crashing starts workers until one outlives what is in the queue. It gives
// that one and how many died.
func (p *plant) crashing(options ...option) (survivor *process, crashes int) {
	p.t.Helper()
	for ; crashes < 50; crashes++ {
		w := p.start(options...)
		p.eventually("the process is dead or done", func() bool { return w.dead.Load() || p.queue.Len() == 0 })
		if !w.dead.Load() {
			p.settled()
			return w, crashes
		}
	}
	p.t.Fatal("50 processes died")
	return nil, 0
}

func TestAKillerIsFoundAndNobodyElseIsFailed(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submitMany(100)
		w, crashes := p.crashing(kills(first(42)), with(func(c *Config) { c.MaxInFlight = 100 }))
		if crashes < 3 || crashes > 4 {
			t.Errorf("it took %d crashes, want 3 or 4", crashes)
		}
		p.wantOutputs(100, 42)
		f := p.wantFailure("42", request.CodePoison)
		if !strings.Contains(f.Error.Message, "2 of them with nothing else") || f.Error.Hint == "" || f.Attempts < 3 {
			t.Errorf("the failure says %+v", f)
		}
		letters := p.letters()
		if len(letters) != 1 || letters[0].Attributes[attrCode] != request.CodePoison || letters[0].Attributes[attrID] != f.InferenceID {
			t.Errorf("the dead letters are %+v", letters)
		}
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
		if n := w.counter("penstock_dead_letters_total"); n != 1 {
			t.Errorf("%v dead letters were counted", n)
		}
	})
}

func TestTwoKillersAreBothFound(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submitMany(30)
		match := func(part []model.Tensor) bool { return first(3)(part) || first(17)(part) }
		p.crashing(kills(match), with(func(c *Config) { c.MaxInFlight = 30 }))
		p.wantOutputs(30, 3, 17)
		p.wantFailure("3", request.CodePoison)
		p.wantFailure("17", request.CodePoison)
	})
}

func TestARedrivenPoisonRunsAfresh(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submit("x", row(42))
		p.crashing(kills(first(42)))
		p.wantFailure("x", request.CodePoison)
		p.redrive()
		p.start()
		p.settled()
		p.wantOutput("x", 42)
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

func TestASuspectsStrikeIsThereWhileItRunsAndGoneAfter(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submitMany(3)
		first := p.start(runs(fake.Delay(time.Hour)))
		p.eventually("they run", func() bool { return len(p.recorder.Batches()) > 0 && p.queue.Len() == 3 })
		first.kill()
		w := p.start(runs(fake.Delay(time.Minute)))
		p.eventually("strikes are put", func() bool { return len(p.strikes()) == 3 })
		for _, key := range p.strikes() {
			if !strings.HasSuffix(key, "/0-group") {
				t.Errorf("there is a strike %s, want 0-group", key)
			}
		}
		p.settled()
		p.wantOutputs(3)
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
		_ = w
	})
}

func TestAFirstDeliveryPaysForNoSuspicion(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		var calls []string
		w := p.start()
		p.eventually("the worker is ready", func() bool { return w.Ready() == nil })
		w.store.onCall(func(_ context.Context, verb string, r ref, call func() error) error {
			calls = append(calls, verb)
			return call()
		})
		p.submit("x", row(1))
		p.settled()
		if want := []string{"get", "put", "head"}; !slices.Equal(calls, want) {
			t.Errorf("the calls are %q, want %q", calls, want)
		}
	})
}

// suspectsOf leaves strikes as crashed workers would, of the given companies.
func (p *plant) suspectsOf(info storage.Info, companies ...string) {
	p.t.Helper()
	identity := request.Request{Input: ref{Bucket: info.Ref.Bucket, Key: info.Ref.Key}}.Identify(info)
	for i, c := range companies {
		if _, err := p.store.Put(p.t.Context(), locations.StrikeOf(identity, i, c), nil, storage.PutOptions{}); err != nil {
			p.t.Fatal(err)
		}
	}
}

func TestAtMostEightSuspectsRunAtATime(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(runs(fake.Delay(time.Second)), with(func(c *Config) { c.Runners = 4 }))
		for i := range 40 {
			p.send(event(p.upload(fmt.Sprint(i), row(float32(i)))), attrSuspect, "1")
		}
		p.settled()
		p.wantOutputs(40)
		now := 0
		for _, b := range p.recorder.Batches() {
			beside := 0
			for _, o := range p.recorder.Batches() {
				if o.Start.Compare(b.Start) <= 0 && o.End.After(b.Start) {
					beside += o.Parts
				}
			}
			now = max(now, beside)
		}
		if now > 8 || now < 4 {
			t.Errorf("%d suspects ran at a time, want at most 8 and a batch of several", now)
		}
	})
}

func TestASoloRunHasNobodyBesideIt(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		var running, beside atomic.Int64
		watch := func(next fake.RunFunc) fake.RunFunc {
			return func(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
				solo := slices.ContainsFunc(parts, first(1000))
				n := running.Add(1)
				if solo && n > 1 || solo && len(parts) > 1 {
					beside.Add(1)
				}
				r, err := next(ctx, sig, parts)
				if solo && running.Load() > 1 {
					beside.Add(1)
				}
				running.Add(-1)
				return r, err
			}
		}
		p.start(runs(watch, fake.Delay(700*time.Millisecond)), with(func(c *Config) { c.Runners, c.MaxBatchSize = 3, 2 }))
		p.submitMany(10)
		struck := p.upload("struck", row(1000))
		p.suspectsOf(struck, companyGroup)
		p.send(event(struck), attrSuspect, "1")
		for i := range 10 {
			p.submit(fmt.Sprint("later", i), row(float32(i)))
			time.Sleep(300 * time.Millisecond)
		}
		p.settled()
		p.wantOutput("struck", 1000)
		if n := len(p.list("out/")); n != 21 {
			t.Errorf("there are %d outputs, want 21", n)
		}
		if beside.Load() != 0 {
			t.Error("the solo run was not alone")
		}
		if got := p.recorder.MostConcurrent(); got != 3 {
			t.Errorf("%d runs at a time, want 3 of the others", got)
		}
	})
}

// Drains and outages during its solo runs say nothing against a suspect.
func TestAnInnocentIsNeverTakenForPoison(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		info := p.upload("x", row(1))
		p.suspectsOf(info, companyGroup)
		p.send(event(info), attrSuspect, "1")
		for range 5 {
			before := len(p.recorder.Batches())
			// A strike whose reply is lost is ours all the same.
			w := p.start(runs(fake.Delay(time.Hour)), with(func(c *Config) { c.DrainTimeout = time.Second }),
				hooked(times(1, on("put", ".penstock/strikes/"), dropReply)))
			p.eventually("it runs", func() bool { return len(p.recorder.Batches()) > before })
			_ = w.stop() // ErrRunLeft
			if got := len(p.strikes()); got != 1 {
				t.Fatalf("there are strikes %q, want the first alone", p.strikes())
			}
		}
		p.start()
		p.settled()
		p.wantOutput("x", 1)
	})
}

// A client below the store repeats a write whose reply was lost, and is told
// that something is there.
func TestAStrikeThatMetItsOwnEffectIsNoOthers(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		info := p.upload("x", row(1))
		p.send(event(info), attrSuspect, "1")
		repeated := func(_ context.Context, _ string, _ storage.Ref, call func() error) error {
			if err := call(); err != nil {
				return err
			}
			return storage.ErrPrecondition
		}
		w := p.start(runs(fake.Delay(time.Hour)), with(func(c *Config) { c.DrainTimeout = time.Second }),
			hooked(times(1, on("put", ".penstock/strikes/"), repeated)))
		p.eventually("it runs", func() bool { return len(p.recorder.Batches()) > 0 })
		if got := len(p.strikes()); got != 1 {
			t.Errorf("there are strikes %q, want one", p.strikes())
		}
		_ = w.stop() // ErrRunLeft
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

func TestAStrikeThatWasCalledOffIsTakenBack(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		info := p.upload("x", row(1))
		p.send(event(info), attrSuspect, "1")
		calledOff := func(ctx context.Context, _ string, _ storage.Ref, call func() error) error {
			if err := call(); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}
		w := p.start(hooked(times(1, on("put", ".penstock/strikes/"), calledOff)))
		p.eventually("a strike is put", func() bool { return len(p.strikes()) > 0 })
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

func TestDeliveriesAtTheSameTimeAreNotTakenForCrashes(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		for range 5 {
			p.start(runs(fake.Delay(5*time.Second)), with(func(c *Config) { c.MaxInFlight = 1 }))
		}
		info := p.upload("x", row(1))
		for range 5 {
			p.send(event(info), attrSuspect, "1")
			time.Sleep(time.Second) // or nobody's strike would be there yet
		}
		p.settled()
		p.wantOutput("x", 1)
		if n := p.dead.Len(); n != 0 {
			t.Errorf("%d dead letters of an innocent", n)
		}
		if n := len(p.recorder.Batches()); n != 1 {
			t.Errorf("%d runs, want one: the others wait for it", n)
		}
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

func TestAStrikeIsTakenBackWhenAnOutageAfterTheCommitIsOver(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		w.store.onCall(always(on("delete", ".penstock/strikes/"), cutOff))
		info := p.upload("x", row(1))
		p.send(event(info), attrSuspect, "1")
		time.Sleep(2 * time.Minute)
		p.wantOutput("x", 1)
		w.store.onCall(nil)
		p.settled()
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

// The worker is told to end while the store is away, between a result and the
// removal of its strike.
func TestAStrikeThatADrainHadToLeaveIsTakenBackByAnother(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(with(func(c *Config) { c.DrainTimeout = 5 * time.Second }))
		w.store.onCall(always(on("delete", ".penstock/strikes/"), cutOff))
		info := p.upload("x", row(1))
		p.send(event(info), attrSuspect, "1")
		p.eventually("the result is there", func() bool { return len(p.list("out/")) == 1 })
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		if p.queue.Len() != 1 {
			t.Error("the message was acknowledged, and its strike is left for good")
		}
		p.start()
		p.settled()
		p.wantOutput("x", 1)
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
		if n := len(p.recorder.Batches()); n != 1 {
			t.Errorf("%d runs, want 1", n)
		}
	})
}

func TestStrikesOfAWorkerThatDiedAfterItsCommitAreTakenBack(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start()
		info := p.submit("x", row(1))
		p.settled()
		p.suspectsOf(info, companyGroup, companySolo)
		p.send(event(info), attrSuspect, "1")
		p.settled()
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

func TestSoloStrikesEndARequestThatWasNeverFinished(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start()
		info := p.upload("x", row(1))
		p.suspectsOf(info, companyGroup, companySolo, companySolo)
		p.send(event(info), attrSuspect, "1")
		p.settled()
		p.wantFailure("x", request.CodePoison)
		if n := len(p.recorder.Batches()); n != 0 {
			t.Errorf("the poison ran %d times", n)
		}
		if n := p.dead.Len(); n != 1 {
			t.Errorf("%d dead letters, want 1", n)
		}
	})
}

// A large input of records lasts for hours. Who waits to run alone waits for its
// runs under way, and so do those that wait behind.
func TestASoloRunDoesNotWaitForTheEndOfALargeInput(t *testing.T) {
	for name, attributes := range map[string][]string{"of a first delivery": nil, "of a suspect": {attrSuspect, "1"}} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				var running, beside atomic.Int64
				watch := func(next fake.RunFunc) fake.RunFunc {
					return func(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
						n := running.Add(1)
						defer running.Add(-1)
						r, err := next(ctx, sig, parts)
						if slices.ContainsFunc(parts, first(-1000)) && (n > 1 || len(parts) > 1 || running.Load() > 1) {
							beside.Add(1)
						}
						return r, err
					}
				}
				p.start(runs(watch, fake.Delay(700*time.Millisecond)), with(func(c *Config) { c.MaxBatchSize, c.Runners = 8, 2 }))
				p.send(event(p.uploadLines("many.jsonl", lines(4000))), attributes...)
				p.eventually("it runs", func() bool { return len(p.recorder.Batches()) > 3 })
				struck := p.upload("struck", row(-1000))
				p.suspectsOf(struck, companyGroup)
				time.Sleep(time.Minute) // or it would be taken for a run that is under way
				p.send(event(struck), attrSuspect, "1")
				time.Sleep(time.Second)
				p.submit("behind", row(1))
				began := time.Now()
				p.eventually("both are done", func() bool { return len(p.list("out/")) == 2 })
				if took := time.Since(began); took > time.Minute {
					t.Errorf("it took %v", took)
				}
				p.wantOutput("struck", -1000)
				p.wantOutput("behind", 1)
				p.settled()
				p.wantLines("many.jsonl", 4000, nil)
				if beside.Load() != 0 {
					t.Error("the solo run was not alone")
				}
			})
		})
	}
}
