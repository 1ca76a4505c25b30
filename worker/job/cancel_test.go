package job

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/storage"
)

// A job is cancelled while its input is being listed: with its planner alive,
// and with one that died, before or after it sent what it had planned.
func TestACancelWhilePlanningLeavesTheRestAndAResumePlansOn(t *testing.T) {
	t.Parallel()
	for name, dies := range map[string]bool{"the planner goes on": false, "the planner dies": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T, p *plant) {
				const n = 2500
				for i := range n {
					p.put(fmt.Sprintf("in/%04d", i), "x")
				}
				planner := p.process()
				var pages atomic.Int64
				planner.store.OnCall(func(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
					if planner.dead.Load() {
						return errDead
					}
					if verb == "put" && strings.Contains(ref.Key, "/plan/") {
						if pages.Add(1) == 2 {
							if dies {
								_ = call() // the page is written, and nothing of it is sent
								planner.dead.Store(true)
								return errDead
							}
							if err := mark(ctx, p.store, booksOf(locations, "one").cancel()); err != nil {
								t.Error(err)
							}
						}
					}
					return call()
				})
				if _, err := planner.planner().Submit(t.Context(), prefix("one")); (err != nil) != dies {
					t.Fatal(err)
				}
				if err := p.process().planner().Cancel(t.Context(), "one"); err != nil && !errors.Is(err, ErrEnded) {
					t.Fatal(err)
				}
				p.process().work(t.Context())
				s := p.ended("one")
				if s.State != StateCancelled || !s.Partial || s.Objects.Submitted != 2000 || s.Objects.Cancelled == 0 {
					t.Errorf("the summary is %+v", s)
				}
				if _, err := p.process().planner().Resume(t.Context(), "one", false); err != nil {
					t.Fatal(err)
				}
				p.process().work(t.Context())
				if s := p.ended("one"); s.State != StateSucceeded || s.Objects != (Account{n, Counts{n, 0, 0}}) {
					t.Errorf("the summary of the resumed job is %+v", s)
				}
				p.ranOnce()
			})
		})
	}
}

func TestACancelOfAJobThatHasEndedOrIsNotThereSaysSo(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		p.put("in/a", "x")
		w := p.process()
		if err := w.planner().Cancel(t.Context(), "one"); err == nil || errors.Is(err, ErrEnded) {
			t.Errorf("the error is %v", err)
		}
		w.submit(prefix("one"))
		w.work(t.Context())
		if err := w.planner().Cancel(t.Context(), "one"); !errors.Is(err, ErrEnded) {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestAnAnswerToCancelledIsAtMostFiveSecondsOld(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		b := p.process().books()
		ask := func(want bool) {
			t.Helper()
			if got, err := b.Cancelled(t.Context(), "one"); got != want || err != nil {
				t.Errorf("cancelled: %v, %v", got, err)
			}
		}
		ask(false)
		if err := mark(t.Context(), p.store, booksOf(locations, "one").cancel()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(staleAfter)
		ask(true)
	})
}

// A planner dies when it has sent a page and not said so: what workers have done
// of it by the time of a cancel is done.
func TestACancelCountsWhatWasDoneOfAPageThatWasNotSaidToBeSent(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		for i := range 5 {
			p.put(fmt.Sprint("in/", i), "x")
		}
		p.put("in/bad", "x")
		spec := prefix("one")
		spec.ReferencesPerMessage = 3
		if _, err := p.failing("put", "/sent/").planner().Submit(t.Context(), spec); err == nil {
			t.Fatal("the planner has not died")
		}
		dying := p.failing("put", "/done/") // it can't say what it has done
		dying.work(t.Context())
		if n := len(p.keys("out/")); n == 0 {
			t.Fatal("nothing was done")
		}
		if err := p.process().planner().Cancel(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		outputs, failures := len(p.keys("out/jobs/one/"))-1, len(p.keys("failed/"))
		if s := p.ended("one"); s.Objects.Counts != (Counts{outputs, failures, 6 - outputs - failures}) {
			t.Errorf("there are %d outputs and %d failures, and the summary is %+v", outputs, failures, s)
		}
	})
}

// Of a part whose message is there twice, one is left because of a cancel.
func TestAPartThatIsLeftKeepsWhatOfItWasDone(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		for i := range 3 {
			p.put(fmt.Sprint("in/", i), "x")
		}
		w := p.process()
		w.submit(prefix("one"))
		b := w.books()
		if err := b.Settled(t.Context(), "one", Part{0, 3}, []Verdict{{0, Succeeded}, {1, Failed}}); err != nil {
			t.Fatal(err)
		}
		if err := w.planner().Cancel(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		if err := b.Settled(t.Context(), "one", Part{0, 3}, []Verdict{{0, Cancelled}, {1, Cancelled}, {2, Cancelled}}); err != nil {
			t.Fatal(err)
		}
		if s := p.ended("one"); s.Objects.Counts != (Counts{1, 1, 1}) {
			t.Errorf("the summary is %+v", s)
		}
	})
}

func TestACancelThatWasBrokenOffGoesOn(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		for i := range 5 {
			p.put(fmt.Sprint("in/", i), "x")
		}
		if _, err := p.failing("put", "/sent/").planner().Submit(t.Context(), prefix("one")); err == nil {
			t.Fatal("the planner has not died")
		}
		if err := p.failing("put", "/done/").planner().Cancel(t.Context(), "one"); err == nil {
			t.Fatal("who cancels has not died")
		}
		if err := p.process().planner().Cancel(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		if s := p.ended("one"); s.State != StateCancelled || s.Partial || s.Objects.Counts != (Counts{0, 0, 5}) {
			t.Errorf("the summary is %+v", s)
		}
	})
}
