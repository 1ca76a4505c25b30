package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

// pack sends one message of n requests on uploads 0 to n-1.
func (p *plant) pack(n int) {
	p.t.Helper()
	var list []request.Request
	for i := range n {
		list = append(list, request.Request{Input: p.upload(fmt.Sprint(i), row(float32(i))).Ref})
	}
	body, err := request.Encode(list...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(body)
}

func TestOfAPackTheItemThatIsTriedAgainIsSentAlone(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		once := make(chan struct{}, 1)
		soft := fake.FailWhen(func(part []model.Tensor) bool {
			if !first(7)(part) {
				return false
			}
			select {
			case once <- struct{}{}:
				return true
			default:
				return false
			}
		}, errSoft)
		w := p.start(runs(soft), with(func(c *Config) { c.MaxBatchSize = 1 }))
		var sent []queue.Outgoing
		w.queue.set(func(q *queueShim) {
			q.send = func(_ context.Context, messages []queue.Outgoing, call func() []error) []error {
				sent = append(sent, messages...)
				return call()
			}
		})
		p.pack(20)
		p.settled()
		p.wantOutputs(20)
		if len(sent) != 1 {
			t.Errorf("%d messages were sent, want the item's alone: %+v", len(sent), sent)
		}
		if n := len(p.recorder.Batches()); n != 21 {
			t.Errorf("%d runs, want 21", n)
		}
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 20, outcomeRetried: 1})
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

func TestAPackWhoseAcknowledgementWasLostRunsNothingAgain(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		w.queue.set(func(q *queueShim) {
			q.remove = func(_ context.Context, messages []*queue.Message, _ func() []error) []error {
				return each(messages, errCut)
			}
		})
		p.pack(20)
		p.eventually("all is done", func() bool { return len(p.list("out/")) == 20 })
		time.Sleep(20 * time.Second)
		runs := p.recorder.Batches()
		w.queue.set(func(q *queueShim) { q.remove = nil })
		p.settled()
		p.wantOutputs(20)
		if again := p.recorder.Batches(); len(again) != len(runs) {
			t.Errorf("%d runs were made for what was done", len(again)-len(runs))
		}
	})
}

func TestAPackThatCannotBeSplitGoesBackWhole(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.FailTimes(1, errSoft)), with(func(c *Config) { c.MaxBatchSize = 1 }))
		cut := 0
		w.queue.set(func(q *queueShim) {
			q.send = func(_ context.Context, messages []queue.Outgoing, call func() []error) []error {
				if cut++; cut <= 2 {
					return each(messages, errCut)
				}
				return call()
			}
		})
		p.pack(5)
		p.settled()
		p.wantOutputs(5)
	})
}

func TestAPackThatComesBackIsSplitWithoutAWait(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.pack(5)
		for range 6 { // deliveries that came to nothing, which would be minutes of backoff
			if got, err := p.queue.Receive(t.Context(), 1, time.Second, 20*time.Second); err != nil || len(got) != 1 {
				t.Fatalf("received %d messages, error %v", len(got), err)
			}
		}
		began := time.Now()
		p.start()
		p.settled()
		p.wantOutputs(5)
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("its requests took %v", took)
		}
	})
}

func TestAPackWithAKillerLosesTheKillerOnly(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.pack(20)
		for crashes := 0; ; crashes++ {
			if crashes > 4 {
				t.Fatal("the fifth process died")
			}
			w := p.start(kills(first(13)))
			p.eventually("the process is dead or done", func() bool { return w.dead.Load() || p.queue.Len() == 0 })
			if !w.dead.Load() {
				break
			}
		}
		p.settled()
		p.wantOutputs(20, 13)
		p.wantFailure("13", request.CodePoison)
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

func TestADrainedPackGoesBackAsOneMessage(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(10*time.Second)), with(func(c *Config) { c.MaxBatchSize = 2 }))
		p.pack(20)
		p.eventually("a batch runs", func() bool { return len(p.recorder.Batches()) == 2 })
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		if n := p.queue.Len(); n != 1 {
			t.Errorf("there are %d messages, want the pack", n)
		}
		p.start()
		p.settled()
		p.wantOutputs(20)
	})
}

func TestAnInputThatIsTwiceInAPackRunsOnce(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.Delay(time.Second)))
		info := p.upload("x", row(1))
		p.send(event(info, info, info))
		p.settled()
		p.wantOutput("x", 1)
		if n := len(p.recorder.Batches()); n != 1 {
			t.Errorf("%d runs, want 1", n)
		}
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1, outcomeDuplicate: 2})
	})
}

// However long the splitting of a pack takes, it ends.
func TestALargePackIsSplitThoughItTakesManyCalls(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.send(event(slices.Repeat([]storage.Info{p.upload("x", row(1))}, 3000)...))
		if m, err := p.queue.Receive(t.Context(), 1, time.Second, 0); err != nil || len(m) != 1 {
			t.Fatal(m, err)
		}
		sent := 0
		p.start(func(pr *process, _ *Config) {
			pr.queue.send = func(ctx context.Context, messages []queue.Outgoing, _ func() []error) []error {
				errs := make([]error, len(messages))
				for i := range messages {
					if i%queue.MaxBatch == 0 && !sleep(ctx, 100*time.Millisecond) {
						for j := i; j < len(messages); j++ {
							errs[j] = errors.New("the call's time is over")
						}
						return errs
					}
					sent++
				}
				return errs
			}
		})
		p.settled()
		if sent != 3000 {
			t.Errorf("%d messages were sent, want 3000", sent)
		}
	})
}
