package job

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fault is what befalls a call to the queue or the store.
type fault int

const (
	sound      fault = iota
	faultFirst       // it does not get there
	faultAfter       // it takes effect, and its reply is lost
	repeated         // its reply is lost, and the SDK makes it again
	crashFirst       // the process dies before it
	crashAfter       // the process dies when it has taken effect
)

var errCut = errors.New("cut off")

// cutting lets choose say what befalls each call of the process.
func (w *process) cutting(choose func() fault) *process {
	w.hook = func(call func() error) error {
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
			w.dead.Store(true)
			return errDead
		case crashAfter:
			_ = call() // nobody is left to hear its reply
			w.dead.Store(true)
			return errDead
		}
		return call()
	}
	return w
}

// story is a job with objects that are good and bad, or of a file.
type story struct {
	spec  func() Spec
	setup func(p *plant)
	check func(t *testing.T, p *plant)
}

var stories = map[string]story{
	"references": {
		spec: func() Spec {
			s := prefix("one")
			s.ReferencesPerMessage = 3
			return s
		},
		setup: func(p *plant) {
			for i := range 7 {
				p.put(fmt.Sprint("in/", i), "x")
			}
			p.put("in/bad", "x")
		},
		check: func(t *testing.T, p *plant) {
			if s := p.ended("one"); s.State != StateFailed || s.Objects != (Account{8, Counts{7, 1, 0}}) {
				t.Errorf("the summary is %+v", s)
			}
			if out, failed := p.keys("out/jobs/one/"), p.keys("failed/"); len(out) != 8 || len(failed) != 1 { // the summary is an output
				t.Errorf("there are %q and %q", out, failed)
			}
		},
	},
	"a file": {
		spec: func() Spec {
			s := prefix("one")
			s.SplitType, s.PartBytes = SplitLine, leastPartBytes
			return s
		},
		setup: func(p *plant) {
			body, _, _ := lines(8000)
			p.put("in/x.jsonl", body)
			p.put("in/y.jsonl", "{\"n\":1}\n")
		},
		check: func(t *testing.T, p *plant) {
			_, want, faults := lines(8000)
			p.wantFile("one", "x.jsonl", want, faults)
			if got := p.get("out/jobs/one/y.jsonl.out"); got != "{\"N\":1}\n" {
				t.Errorf("the other file is %q", got)
			}
			s := p.ended("one")
			if s.State != StateSucceeded || s.Objects != (Account{2, Counts{2, 0, 0}}) || s.Records.Submitted != 8001 {
				t.Errorf("the summary is %+v, its records %+v", s, s.Records)
			}
		},
	},
}

// Every call of the planner and of a worker is cut once, in each way that it can
// be. The same command, and another worker, end what was begun.
func TestACutAtAnyCallLosesAndDoublesNothing(t *testing.T) {
	for name, kind := range map[string]fault{
		"fault before": faultFirst, "fault after": faultAfter, "repeated": repeated, "crash before": crashFirst, "crash after": crashAfter,
	} {
		for what, story := range stories {
			t.Run(what+"/"+name, func(t *testing.T) {
				t.Parallel()
				n, step := int64(1), int64(1)
				if testing.Short() { // one in twenty, from another on for each way
					n, step = int64(kind), 20
				}
				for cutOnce(t, story, kind, n) && !t.Failed() {
					n += step
				}
				if t.Failed() {
					t.Fatalf("call %d was cut", n)
				}
				if n < 40 {
					t.Errorf("only %d calls were cut", n)
				}
			})
		}
	}
}

// cutOnce plays a story in which the n-th call is cut. It says whether there
// were so many.
func cutOnce(t *testing.T, s story, kind fault, n int64) (cut bool) {
	var calls atomic.Int64
	choose := func() fault {
		if calls.Add(1) == n {
			return kind
		}
		return sound
	}
	in(t, func(t *testing.T, p *plant) {
		s.setup(p)
		w := p.process().cutting(choose)
		w.batch = 500
		for _, err := w.planner().Submit(t.Context(), s.spec()); err != nil; _, err = w.planner().Submit(t.Context(), s.spec()) {
			if w.dead.Load() {
				w = p.process()
			}
			if errors.Is(err, ErrEnded) {
				break
			}
		}
		w = p.process().cutting(choose)
		w.batch = 500
		w.work(t.Context())
		last := p.process()
		last.batch = 500
		last.work(t.Context())
		s.check(t, p)
	})
	return calls.Load() >= n
}

// Many workers and planners at a time, with faults, crashes and a cancel that is
// taken back: what is there at the end is what was asked for.
func TestNoStormUnbalancesTheBooks(t *testing.T) {
	for seed := range uint64(12) {
		for what, story := range stories {
			t.Run(fmt.Sprint(what, "/seed ", seed), func(t *testing.T) {
				t.Parallel()
				in(t, func(t *testing.T, p *plant) {
					story.setup(p)
					p.storm(rand.New(rand.NewPCG(seed, 7)), story.spec())
					story.check(t, p)
				})
			})
		}
	}
}

func (p *plant) storm(rnd *rand.Rand, spec Spec) {
	var wg sync.WaitGroup
	var mu sync.Mutex // of the dice
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n)
	}
	process := func() *process {
		odds := draw(6)
		w := p.process().cutting(func() fault {
			if draw(100) < odds {
				return fault(1 + draw(5))
			}
			return sound
		})
		w.batch = 100 + draw(900)
		return w
	}
	for range 2 {
		wg.Go(func() {
			for range 3 {
				_, _ = process().planner().Submit(p.t.Context(), spec) // another goes on
			}
		})
	}
	for range 6 {
		wg.Go(func() {
			time.Sleep(time.Duration(draw(20_000)) * time.Millisecond)
			ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
			defer cancel()
			process().work(ctx)
		})
	}
	wg.Go(func() {
		time.Sleep(time.Duration(draw(10_000)) * time.Millisecond)
		_ = process().planner().Cancel(p.t.Context(), spec.ID)
		time.Sleep(time.Duration(draw(30_000)) * time.Millisecond)
		_, _ = process().planner().Resume(p.t.Context(), spec.ID, false)
	})
	wg.Wait()
	sound := p.process()
	sound.batch = 500
	if _, err := sound.planner().Submit(p.t.Context(), spec); err != nil && !errors.Is(err, ErrEnded) {
		p.t.Errorf("submit: %v", err)
	}
	sound.work(p.t.Context())
	for range 2 { // what was cancelled or lost is asked for once more
		if _, err := sound.planner().Resume(p.t.Context(), spec.ID, false); err != nil {
			p.t.Errorf("resume: %v", err)
		}
		sound.work(p.t.Context())
	}
}
