package job

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// A worker accounts for something as cancelled while the job is resumed, and
// another when it has been.
func TestWhatACancelLeftIsRunThoughAWorkerHearsLateOfTheResume(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{"while it is resumed": time.Second, "after it was resumed": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T, p *plant) {
				p.put("in/a", "x")
				p.put("in/b", "x")
				w := p.process()
				spec := prefix("one")
				spec.ReferencesPerMessage = 1
				w.submit(spec)
				if err := w.planner().Cancel(t.Context(), "one"); err != nil {
					t.Fatal(err)
				}
				late := p.process().books()
				if cancelled, err := late.Cancelled(t.Context(), "one"); !cancelled || err != nil {
					t.Fatalf("cancelled: %v, %v", cancelled, err)
				}
				var resuming sync.WaitGroup
				resuming.Go(func() {
					if _, err := p.process().planner().Resume(t.Context(), "one", false); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(after)
				for part := range 2 { // its messages come again if it may not
					_ = late.Settled(t.Context(), "one", Part{part, 1}, []Verdict{{0, Cancelled}})
				}
				resuming.Wait()
				w.work(t.Context())
				if s := p.ended("one"); s.State != StateSucceeded || s.Objects != (Account{2, Counts{2, 0, 0}}) {
					t.Errorf("the summary is %+v", s)
				}
			})
		})
	}
}

// A worker that puts together what a cancel has left of a file is so slow that
// the job is resumed meanwhile: what it writes then must not end the job.
func TestAResumedJobIsNotEndedByWhoWasEndingItBefore(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]int{"a file in a group": 0, "a file over two groups": groupParts - 5} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T, p *plant) {
				body, want, _ := lines(40_000)
				for i := range before {
					p.put(fmt.Sprintf("in/a/%04d", i), "{}\n")
				}
				p.put("in/x.jsonl", body)
				w := p.process()
				w.batch = 20_000
				spec := prefix("one")
				spec.SplitType, spec.PartBytes = SplitLine, leastPartBytes
				w.submit(spec)
				if err := w.planner().Cancel(t.Context(), "one"); err != nil {
					t.Fatal(err)
				}
				var resumed atomic.Bool
				w.store.OnCall(func(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
					if verb == "put" && strings.HasSuffix(ref.Key, "x.jsonl"+partialSuffix) && !resumed.Swap(true) {
						if _, err := p.process().planner().Resume(ctx, "one", false); err != nil {
							t.Error(err)
						}
					}
					return call()
				})
				w.work(t.Context())
				if !resumed.Load() {
					t.Fatal("the job was not resumed")
				}
				s := p.ended("one")
				if s.State != StateSucceeded || s.Objects.Succeeded != before+1 {
					t.Errorf("the summary is %+v", s)
				}
				if got := p.get("out/jobs/one/x.jsonl.out"); got != want {
					t.Errorf("the output has %d bytes, want %d", len(got), len(want))
				}
			})
		})
	}
}

// Of a part whose items travel apart some were left by a cancel, or have failed,
// when the job is resumed: what they are asked for once more counts.
func TestItemsThatWereLeftOfAPartAreNotCountedWhenTheyRunAgain(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		for i := range 4 {
			p.put(fmt.Sprint("in/", i), "x")
		}
		w := p.process()
		w.submit(prefix("one"))
		if err := w.planner().Cancel(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		b := w.books()
		settled := func(v ...Verdict) {
			t.Helper()
			if err := b.Settled(t.Context(), "one", Part{0, 4}, v); err != nil {
				t.Fatal(err)
			}
		}
		p.put("out/jobs/one/0.out", "X")
		p.put("failed/jobs/one/1-error.out", "{}")
		settled(Verdict{0, Succeeded}, Verdict{1, Failed}, Verdict{2, Cancelled})
		r, err := p.process().planner().Resume(t.Context(), "one", true)
		if err != nil || r.Items != 3 {
			t.Errorf("%d items were sent again: %v", r.Items, err)
		}
		settled(Verdict{3, Succeeded})
		settled(Verdict{2, Succeeded})
		if p.summary("one") != nil {
			t.Fatal("the job has ended before its items have")
		}
		settled(Verdict{1, Succeeded})
		if s := p.ended("one"); s.State != StateSucceeded || s.Objects.Counts != (Counts{4, 0, 0}) {
			t.Errorf("the summary is %+v", s)
		}
	})
}

// What a worker writes of a job's end, it has looked up a while before: by then
// the job may have been resumed.
func TestAnEndThatIsWrittenWhenTheJobWasResumedCountsForNothing(t *testing.T) {
	t.Parallel()
	for what, key := range map[string]string{"a group's account": "/groups/000000", "the summary": "/jobs/one/summary.json"} {
		for _, dies := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, its writer dies: %v", what, dies), func(t *testing.T) {
				t.Parallel()
				in(t, func(t *testing.T, p *plant) {
					for i := range 4 {
						p.put(fmt.Sprint("in/", i), "x")
					}
					w := p.process()
					spec := prefix("one")
					spec.ReferencesPerMessage = 1
					w.submit(spec)
					if err := w.planner().Cancel(t.Context(), "one"); err != nil {
						t.Fatal(err)
					}
					var resumed atomic.Bool
					w.store.OnCall(func(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
						if w.dead.Load() {
							return errDead
						}
						if verb != "put" || !strings.HasSuffix(ref.Key, key) || strings.HasPrefix(ref.Key, "out/") || resumed.Swap(true) {
							return call()
						}
						if _, err := p.process().planner().Resume(ctx, "one", false); err != nil {
							t.Error(err)
						}
						defer w.dead.Store(dies)
						return call()
					})
					w.work(t.Context())
					if !resumed.Load() {
						t.Fatal("the job was not resumed")
					}
					p.process().work(t.Context())
					if s := p.ended("one"); s.State != StateSucceeded || s.Objects != (Account{4, Counts{4, 0, 0}}) {
						t.Errorf("the summary is %+v", s)
					}
				})
			})
		}
	}
}

// A worker that accounts for what a cancel has left can be slower than a resume.
func TestWhatIsLeftTooLateForAResumeIsRunAgain(t *testing.T) {
	t.Parallel()
	for what, folder := range map[string]string{"a part": "/done/", "an item of a part": "/items/"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T, p *plant) {
				p.put("in/a", "x")
				p.put("in/b", "x")
				w := p.process()
				w.submit(prefix("one"))
				if err := w.planner().Cancel(t.Context(), "one"); err != nil {
					t.Fatal(err)
				}
				var resumed atomic.Bool
				w.store.OnCall(func(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
					if verb == "put" && strings.Contains(ref.Key, folder) && !resumed.Swap(true) {
						if _, err := p.process().planner().Resume(ctx, "one", false); err != nil {
							t.Error(err)
						}
						p.process().work(ctx)
					}
					return call()
				})
				late := []Verdict{{0, Cancelled}, {1, Cancelled}}
				if folder == "/items/" {
					late = late[:1] // the other travels apart
				}
				if err := w.books().Settled(t.Context(), "one", Part{0, 2}, late); err == nil {
					t.Error("it was taken to be settled, and its message for done")
				}
				p.process().work(t.Context())
				if s := p.ended("one"); s.State != StateSucceeded || s.Objects != (Account{2, Counts{2, 0, 0}}) {
					t.Errorf("the summary is %+v", s)
				}
				if got := p.keys(".penstock/jobs/one/done/"); len(got) != 1 {
					t.Errorf("the part is done as %q", got)
				}
				if got := p.keys(".penstock/jobs/one/items/"); len(got) != 0 {
					t.Errorf("the items are marked as %q", got)
				}
			})
		})
	}
}

// Of a plan that was broken off all may have gone well: that it is one group with
// what is planned later must not hide the rest.
func TestWhatIsPlannedOnAfterAllBeforeHasGoneWellIsCounted(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		const n = 2500
		for i := range n {
			p.put(fmt.Sprintf("in/%04d", i), "x")
		}
		planner := p.process()
		var pages atomic.Int64
		planner.store.OnCall(func(_ context.Context, verb string, ref storage.Ref, call func() error) error {
			if verb == "put" && strings.Contains(ref.Key, "/plan/") && pages.Add(1) == 2 {
				time.Sleep(time.Second) // the first is sent
				planner.dead.Store(true)
			}
			if planner.dead.Load() {
				return errDead
			}
			return call()
		})
		if _, err := planner.planner().Submit(t.Context(), prefix("one")); err == nil {
			t.Fatal("the planner has not died")
		}
		p.process().work(t.Context())
		if err := p.process().planner().Cancel(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		if s := p.ended("one"); !s.Partial || s.Objects.Succeeded != s.Objects.Submitted {
			t.Fatalf("the summary is %+v", s)
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
}

// Whoever is told to stop is not told that all was done.
func TestPartsThatAreLeftForAnInterruptionAreNoSuccess(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		for i := range 40 {
			p.put(fmt.Sprint("in/", i), "x")
		}
		w := p.process()
		spec := prefix("one")
		spec.ReferencesPerMessage = 1
		w.submit(spec)
		read, err := w.books().Spec(t.Context(), "one")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var did atomic.Int64
		err = w.planner().eachPart(ctx, read, []int{0, 1000}, func(context.Context, []request.Request) error {
			did.Add(1)
			cancel()
			return nil
		})
		if err == nil {
			t.Errorf("%d of 2 parts were done, without an error", did.Load())
		}
	})
}
