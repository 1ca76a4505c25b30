package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/model/fake"
)

// cut is what befalls a call to the queue or the store.
type cut int

const (
	sound      cut = iota
	faultFirst     // it does not get there
	faultAfter     // it takes effect, and its reply is lost
	repeated       // its reply is lost, and the SDK makes it again
	crashFirst     // the process dies before it
	crashAfter     // the process dies when it has taken effect
)

// cutting lets choose say what befalls each call of the process.
func (w *process) cutting(choose func() cut) {
	through := func(call func() error) error {
		switch choose() {
		case faultFirst:
			return errCut
		case faultAfter:
			_ = call() // its reply is what gets lost
			return errCut
		case repeated:
			_ = call() // its reply is what gets lost
			return call()
		case crashFirst:
			w.kill()
			return errDead
		case crashAfter:
			_ = call() // nobody is left to hear its reply
			w.kill()
			return errDead
		}
		return call()
	}
	w.store.onCall(func(_ context.Context, _ string, _ ref, call func() error) error { return through(call) })
	batch := func(n int, call func() []error) (errs []error) {
		if err := through(func() error { errs = call(); return nil }); err != nil {
			return each(make([]int, n), err)
		}
		return errs
	}
	hook := func(q *queueShim) {
		q.change = func(_ context.Context, _ time.Duration, m []*queue.Message, call func() []error) []error {
			return batch(len(m), call)
		}
		q.remove = func(_ context.Context, m []*queue.Message, call func() []error) []error { return batch(len(m), call) }
		q.send = func(_ context.Context, m []queue.Outgoing, call func() []error) []error { return batch(len(m), call) }
		q.receive = func(_ context.Context, call func() ([]*queue.Message, error)) (m []*queue.Message, err error) {
			if err := through(func() (err error) { m, err = call(); return err }); err != nil {
				return nil, err
			}
			return m, nil
		}
	}
	w.queue.set(hook)
	w.jobs.set(hook)
}

// mixed is a story with every kind of request; wantMixed checks its end.
func (p *plant) mixed() {
	p.t.Helper()
	p.submitMany(3)
	p.submit("bad", "no json")
	p.submit("soft", row(666))
	p.send(event(p.upload("twin", row(4)), p.upload("other", row(5))))
	p.send("no request")
	p.api(request.Request{ID: "api", Input: p.upload("api", row(6)).Ref})
}

func mixedModel() option {
	return func(p *process, c *Config) {
		c.MaxAttempts = 2
		runs(fake.FailWhen(first(666), errSoft), fake.Delay(100*time.Millisecond))(p, c)
	}
}

func (p *plant) wantMixed() {
	p.t.Helper()
	for i := range 3 {
		p.wantOutput(fmt.Sprint(i), float32(i))
	}
	p.wantOutput("twin", 4)
	p.wantOutput("other", 5)
	p.wantFailure("bad", "MalformedInput")
	p.wantFailure("soft", request.CodeModelError)
	if out, failed := p.list("out/"), p.list("failed/"); len(out) != 6 || len(failed) != 2 || !slices.Contains(out, "out/requests/api.out") {
		p.t.Errorf("there is %q and %q", out, failed)
	}
	codes := make(map[string]bool)
	for _, m := range p.letters() {
		codes[m.Attributes[attrCode]] = true
	}
	if len(codes) != 2 || !codes[request.CodeUnreadable] || !codes[request.CodeModelError] {
		p.t.Errorf("the dead letters are of %v", codes)
	}
}

// Every arrow of a message's life is cut once, in each way that it can be.
func TestACutAtAnyCallLosesAndDoublesNothing(t *testing.T) {
	everyCallIsCut(t, 30, cutStory{
		options: []option{mixedModel()},
		begin:   (*plant).mixed,
		done:    func(p *plant) bool { return p.queue.Len() == 0 },
		check: func(p *plant) {
			p.settled()
			p.wantMixed()
			if left := p.strikes(); len(left) != 0 {
				p.t.Errorf("strikes are left: %q", left)
			}
		},
	})
}

// cutStory is some work in which calls are cut.
type cutStory struct {
	options []option     // of the workers
	begin   func(*plant) // sends it
	done    func(*plant) bool
	check   func(*plant) // what is to be there when a second worker has gone on after a crash
}

// everyCallIsCut tells a story once for each call to the queue or the store that
// it takes and each way to cut it, with that call cut. There are to be at least
// so many calls. A short run takes one in twenty of them, from another on for each
// way.
func everyCallIsCut(t *testing.T, calls int64, story cutStory) {
	for name, c := range map[string]cut{
		"fault before": faultFirst, "fault after": faultAfter, "repeated": repeated, "crash before": crashFirst, "crash after": crashAfter,
	} {
		first, step := int64(1), int64(1)
		if testing.Short() {
			first, step = int64(c), 20
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			struck := int64(0)
			for n := first; ; n += step {
				var made atomic.Int64
				in(t, func(t *testing.T, p *plant) {
					story.begin(p)
					w := p.start(story.options...)
					w.cutting(func() cut {
						if made.Add(1) == n {
							return c
						}
						return sound
					})
					p.eventually("the process is dead or done", func() bool { return w.dead.Load() || story.done(p) })
					if w.dead.Load() {
						p.start(story.options...)
					}
					story.check(p)
				})
				if t.Failed() {
					t.Fatalf("call %d was cut", n)
				}
				if made.Load() >= n {
					struck += step
					continue
				}
				// How many calls there are differs a little from run to run: as
				// many acknowledgements share one as happen to meet.
				if n < calls+10 {
					continue
				}
				if struck+step <= calls {
					t.Errorf("only %d calls were cut", struck)
				}
				return
			}
		})
	}
}

// faulty draws for each call whether it is cut, in most percent of all at most.
func faulty(rnd *rand.Rand, most int) func() cut {
	percent := rnd.IntN(most)
	random := rand.New(rand.NewPCG(rnd.Uint64(), 1))
	odds := make([]cut, 4096)
	for i := range odds {
		if random.IntN(100) < percent {
			odds[i] = cut(1 + random.IntN(3))
		}
	}
	var draw atomic.Int64
	return func() cut { return odds[draw.Add(1)%int64(len(odds))] }
}

// Many workers at a time, with faults, drains, duplicate events, new versions
// and leases that are lost: what is there at the end is what was asked for.
func TestNoStormMakesALieOfThePromises(t *testing.T) {
	for seed := range storms() {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T, p *plant) { p.storm(rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

// storms is how many there are of a kind.
func storms() uint64 {
	if testing.Short() {
		return 3
	}
	return 8
}

func (p *plant) storm(rnd *rand.Rand) {
	p.t.Helper()
	const inputs = 30
	current := make([]string, inputs)
	upload := func(i int) {
		current[i] = []string{row(float32(i)), row(float32(i), float32(rnd.IntN(50))), "no json"}[rnd.IntN(3)]
		info := p.upload(fmt.Sprint(i), current[i])
		for range 1 + rnd.IntN(3) { // at least once
			p.send(event(info))
		}
	}
	for i := range inputs {
		upload(i)
	}
	for range 12 {
		cuts := faulty(rnd, 30)
		w := p.start(runs(fake.Delay(time.Duration(rnd.IntN(2000))*time.Millisecond)), with(func(c *Config) {
			c.MaxBatchSize, c.Runners, c.MaxInFlight = 1+rnd.IntN(6), 1+rnd.IntN(2), 1+rnd.IntN(20)
			c.VisibilityTimeout = time.Duration(3+rnd.IntN(20)) * time.Second
			c.DrainTimeout = time.Duration(1+rnd.IntN(5000)) * time.Millisecond
		}))
		w.cutting(cuts)
		time.Sleep(time.Duration(rnd.IntN(20_000)) * time.Millisecond)
		if rnd.IntN(2) == 0 {
			upload(rnd.IntN(inputs))
		}
		if rnd.IntN(3) > 0 {
			w.cancel() // others go on beside it
		}
	}
	p.start()
	p.settled()
	time.Sleep(2 * time.Hour) // writers that hold nothing any more end too
	for i, body := range current {
		key := fmt.Sprint(i)
		if body == "no json" {
			p.wantFailure(key, "MalformedInput")
			continue
		}
		var rows struct{ Instances [][]float32 }
		if err := json.Unmarshal([]byte(body), &rows); err != nil {
			p.t.Fatal(err)
		}
		p.wantOutput(key, slices.Concat(rows.Instances...)...)
	}
	if n := len(p.list("out/")) + len(p.list("failed/")); n != inputs {
		p.t.Errorf("there are %d terminal objects, want %d", n, inputs)
	}
	if n := p.dead.Len(); n != 0 {
		p.t.Errorf("%d dead letters, want none", n)
	}
}
