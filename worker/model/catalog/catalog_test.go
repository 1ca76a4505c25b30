package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
	"github.com/penstock/penstock/worker/model/source"
)

func TestANewVersionTakesOverBetweenRequests(t *testing.T) {
	in(t, "latest", []string{"1"}, func(b *bench) {
		old, release := b.use("digits")
		b.set("1", "2")
		b.polls(2)
		b.want("2")
		if err := run(b.t, old); err != nil || old.Version() != "1" {
			b.t.Errorf("who has version 1 still runs %s: %v", old.Version(), err)
		}
		if b.open() != "1, 2" || b.said("model retired") != 0 {
			b.t.Errorf("open are %s", b.open())
		}
		release()
		synctest.Wait()
		if b.open() != "2" || b.said("model retired") != 1 {
			b.t.Errorf("after the last use, open are %s", b.open())
		}
		if b.said("model loaded") != 2 || b.said("model switched") != 1 {
			b.t.Errorf("the log says %v", b.logs.All())
		}
		for labels, want := range map[string]float64{"1": -1, "2": 1} {
			if got := b.metric("penstock_model_info", "digits", labels); got != want {
				b.t.Errorf("the info of version %s is %v, want %v", labels, got, want)
			}
		}
		if got := b.metric("penstock_model_loads_total", "digits", "loaded"); got != 2 {
			b.t.Errorf("%v loads, want 2", got)
		}
		if got := b.metric("penstock_model_load_seconds", "digits"); got != 2 {
			b.t.Errorf("%v times, want 2", got)
		}
	})
}

func TestARunThatOutlastsItsItemKeepsItsVersionOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := start(t, "latest", func(o *origin) {
			o.set("1")
			o.knobs = []fake.Knob{fake.Delay(time.Hour)}
		})
		if err != nil {
			t.Fatal(err)
		}
		m, release := b.use("digits")
		var hanging sync.WaitGroup
		hanging.Go(func() {
			if err := run(t, m); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		release() // the item was handed back
		b.set("2")
		b.polls(3)
		if b.want("2"); b.open() != "1, 2" {
			t.Errorf("open are %s", b.open())
		}
		hanging.Wait()
		synctest.Wait()
		if b.open() != "2" {
			t.Errorf("after the run, open are %s", b.open())
		}
	})
}

// The goroutine of a run can be so late that its item has left, and its version
// was closed: what it ran on then would be memory that was freed.
func TestARunThatBeginsAfterItsVersionWasClosedDoesNotReachTheModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := start(t, "latest", func(o *origin) { o.set("1") })
		if err != nil {
			t.Fatal(err)
		}
		retired, release := b.use("digits")
		b.set("2")
		b.polls(3)
		release()
		synctest.Wait()
		current, release := b.use("digits")
		release()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		for _, m := range []model.Model{retired, current} {
			if err := run(t, m); err == nil || strings.Contains(err.Error(), "fake model") {
				t.Errorf("a run of version %s reached the closed model: %v", m.Version(), err)
			}
		}
		if n := b.shelves[0].leaving; n != 0 {
			t.Errorf("%d versions are leaving", n)
		}
	})
}

func TestNothingFailsWhileVersionsComeAndGo(t *testing.T) {
	in(t, "latest", []string{"1"}, func(b *bench) {
		ctx, cancel := context.WithCancel(b.t.Context())
		var users sync.WaitGroup
		for i := range 8 {
			users.Go(func() {
				for ctx.Err() == nil {
					m, release, err := b.Use("digits")
					if err != nil {
						b.t.Error(err)
						return
					}
					time.Sleep(time.Duration(i+1) * 100 * time.Millisecond) // the item is fetched
					if err := run(b.t, m); err != nil {
						b.t.Error(err)
					}
					release()
					time.Sleep(time.Millisecond)
				}
			})
		}
		for _, list := range [][]string{{"1", "2"}, {"1", "2", "3"}, {"1", "2"}, {"1"}, {"1=other"}, {"4", "5"}} {
			b.set(list...)
			b.polls(3)
		}
		cancel()
		users.Wait()
		if b.want("5"); b.open() != "5" {
			b.t.Errorf("open are %s", b.open())
		}
	})
}

func TestABrokenVersionNeverReplacesAGoodOne(t *testing.T) {
	in(t, "latest", []string{"2"}, func(b *bench) {
		b.breaks("bad", errBroken)
		b.set("2", "3=bad")
		b.polls(2)
		b.want("2")
		if b.said("model refused") != 1 || b.metric("penstock_model_loads_total", "digits", "refused") != 1 {
			b.t.Errorf("the log says %v", b.logs.All())
		}
		// Tried again after 1, 2, 4 … minutes, at the most an hour.
		time.Sleep(time.Minute)
		if got := b.metric("penstock_model_loads_total", "digits", "refused"); got != 2 {
			b.t.Errorf("a minute later it was tried %v times, want 2", got)
		}
		time.Sleep(24 * time.Hour)
		if got := b.metric("penstock_model_loads_total", "digits", "refused"); got < 28 || got > 31 {
			b.t.Errorf("a day later it was tried %v times", got)
		}
		if b.said("model refused") != 1 || b.said("model switched") != 0 {
			b.t.Errorf("the log says %v", b.logs.All())
		}
		// Another content is tried as soon as it is whole.
		b.set("2", "3=mended")
		b.polls(2)
		b.want("3")
	})
}

func TestABrokenContentThatIsMendedFromOutsideIsTakenUp(t *testing.T) {
	in(t, "latest", []string{"2"}, func(b *bench) {
		b.breaks("bad", errors.New("out of memory"))
		b.set("2", "3=bad")
		b.polls(2)
		b.want("2")
		b.edit(func() { delete(b.broken, "bad") })
		b.polls(4)
		b.want("3")
	})
}

func TestAtTheStartAnOlderVersionServesForABrokenOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := start(t, "latest", func(o *origin) {
			o.set("1", "2", "3=bad")
			o.broken["bad"] = errBroken
		})
		if err != nil {
			t.Fatal(err)
		}
		b.want("2")
		if b.said("model refused") != 1 || b.loaded() != "bad, content of 2" {
			t.Errorf("loaded were %s", b.loaded())
		}
		_, err = start(t, "latest", func(o *origin) {
			o.set("1=bad", "2=worse")
			o.broken["bad"], o.broken["worse"] = errBroken, errors.New("it has no graph")
		})
		if err == nil || !strings.Contains(err.Error(), "no signature") || !strings.Contains(err.Error(), "no graph") {
			t.Errorf("with none that loads: %v", err)
		}
		_, err = start(t, "latest", func(o *origin) {
			o.list = map[string]source.Version{"4": {Name: "4", ID: "x", Missing: "variables/variables.index"}}
		})
		if err == nil || !strings.Contains(err.Error(), "version 4 is incomplete: variables/variables.index is missing") {
			t.Errorf("with half a version: %v", err)
		}
	})
}

func TestAVersionIsTriedWhereSomethingElseCanBeServed(t *testing.T) {
	deadly := map[string]error{"bomb": errors.New("the process ended: signal: aborted")}
	in(t, "latest", []string{"1"}, func(b *bench) {
		if b.trials() != "" {
			b.t.Errorf("the only version there is was tried: %s", b.trials())
		}
		b.edit(func() { b.deadly = deadly })
		b.set("1", "2=bomb")
		b.polls(2)
		b.want("1")
		if b.trials() != "bomb" || b.loaded() != "content of 1" || b.said("model refused") != 1 {
			b.t.Errorf("tried were %s, loaded %s, the log says %v", b.trials(), b.loaded(), b.logs.All())
		}
		b.set("1", "2=mended")
		b.polls(2)
		b.want("2")
		if b.trials() != "bomb, mended" {
			b.t.Errorf("tried were %s", b.trials())
		}
	})
	synctest.Test(t, func(t *testing.T) { // the same at every start
		b, err := start(t, "latest", func(o *origin) { o.deadly = deadly; o.set("1", "2=bomb") })
		if err != nil {
			t.Fatal(err)
		}
		b.want("1")
		if b.trials() != "bomb, content of 1" || b.loaded() != "content of 1" {
			t.Errorf("tried were %s, loaded %s", b.trials(), b.loaded())
		}
	})
}

func TestASourceThatCanNotBeReachedIsAskedAgainAtTheStart(t *testing.T) {
	asked := 0
	away := func() error { asked++; return fmt.Errorf("list, request %d: %w", asked, source.ErrUnreachable) }
	synctest.Test(t, func(t *testing.T) {
		b, err := start(t, "latest", func(o *origin) {
			o.set("1")
			o.away = away
			time.AfterFunc(40*time.Second, func() { o.edit(func() { o.away = nil }) })
		})
		if err != nil {
			t.Fatal(err)
		}
		b.want("1")
		if b.said(string(unanswered)) != 1 {
			t.Errorf("the log says %v", b.logs.All())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := start(t, "latest", func(o *origin) { o.away = away })
		if took := time.Since(began); !errors.Is(err, source.ErrUnreachable) || took < 45*time.Second || took > time.Minute {
			t.Errorf("%v after %v, want a minute's patience", err, took)
		}
	})
	synctest.Test(t, func(t *testing.T) { // an answer is not waited for
		began := time.Now()
		if _, err := start(t, "latest", func(o *origin) { o.err = errBroken }); err == nil || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestAPanicInALoadIsARefusal(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), Config{Models: []Model{{
		Named:    source.Named{Name: "digits"},
		Versions: func(context.Context) ([]source.Version, error) { return []source.Version{{Name: "1"}}, nil },
		Load:     func(context.Context, source.Version) (model.Model, error) { panic("out of range") },
	}}})
	if err == nil || !strings.Contains(err.Error(), "load model digits: panic: out of range") {
		t.Errorf("got %v", err)
	}
}

func TestDeletingTheNewestVersionRollsBack(t *testing.T) {
	in(t, "latest", []string{"1"}, func(b *bench) {
		b.set("1", "2")
		b.polls(2)
		b.want("2")
		b.set("1")
		b.polls(1)
		b.want("1")
		if b.loaded() != "content of 1, content of 2, content of 1" || b.open() != "1" {
			b.t.Errorf("loaded were %s, open are %s", b.loaded(), b.open())
		}
		if b.said("model switched") != 2 {
			b.t.Errorf("the log says %v", b.logs.All())
		}
	})
}

func TestWhatIsLoadedIsServedOnWhenItsSourceIsGone(t *testing.T) {
	in(t, "latest", []string{"1"}, func(b *bench) {
		b.edit(func() { b.list, b.err = nil, errors.New("no saved_model.pb is there") })
		b.polls(5)
		b.want("1")
		if b.said(string(unreadable)) != 1 {
			b.t.Errorf("the log says %v", b.logs.All())
		}
		b.edit(func() { b.err = nil })
		b.set("1", "2")
		b.polls(2)
		b.want("2")
		// The only one that is there is broken: 2 is served on, though it is gone.
		b.breaks("bad", errBroken)
		b.set("1=bad")
		b.polls(5)
		b.want("2")
		if b.said(string(gone)) != 1 {
			b.t.Errorf("the log says %v", b.logs.All())
		}
	})
}

func TestAVersionThatIsBeingCopiedIsLeftAlone(t *testing.T) {
	in(t, "latest", []string{"1"}, func(b *bench) {
		for _, content := range []string{"graph", "graph, index", "graph, index, a shard"} {
			b.set("1", "2="+content)
			b.polls(1)
			b.want("1")
		}
		b.edit(func() { b.list["2"] = source.Version{Name: "2", ID: "less", Missing: "variables/variables.index"} })
		b.polls(5)
		b.want("1")
		if b.said(string(incomplete)) != 1 || b.said("model refused") != 0 || b.loaded() != "content of 1" {
			b.t.Errorf("loaded were %s, the log says %v", b.loaded(), b.logs.All())
		}
		b.set("1", "2=all of it")
		b.polls(1)
		b.want("1")
		b.polls(1)
		b.want("2")
		// What is one object in S3 is there or not.
		b.edit(func() { b.list["3"] = source.Version{Name: "3", ID: "archive", Atomic: true} })
		b.polls(1)
		b.want("3")
	})
}

func TestAVersionWhoseContentIsReplacedIsServedUntilTheNewOneLoads(t *testing.T) {
	in(t, "latest", []string{"1", "2=old"}, func(b *bench) {
		b.breaks("bad", errBroken)
		b.set("1", "2=bad")
		b.polls(4)
		b.want("2")
		if b.loaded() != "old, bad, bad" && b.loaded() != "old, bad" {
			b.t.Errorf("loaded were %s", b.loaded())
		}
		b.set("1", "2=new")
		b.polls(2)
		b.want("2")
		if !strings.HasSuffix(b.loaded(), "new") || b.open() != "2" || b.said("model retired") != 1 {
			b.t.Errorf("loaded were %s, open are %s", b.loaded(), b.open())
		}
	})
}

func TestAThirdVersionWaitsForTheFirstToBeReleased(t *testing.T) {
	in(t, "latest", []string{"1"}, func(b *bench) {
		_, release := b.use("digits")
		b.set("1", "2")
		b.polls(2)
		b.set("1", "2", "3")
		b.polls(10)
		if b.want("2"); b.open() != "1, 2" {
			b.t.Errorf("open are %s", b.open())
		}
		release()
		b.polls(1)
		if b.want("3"); b.open() != "3" {
			b.t.Errorf("open are %s", b.open())
		}
	})
}

func TestWithoutAPollNothingChanges(t *testing.T) {
	t.Parallel()
	o := &origin{name: "digits"}
	o.set("1")
	c, err := Open(t.Context(), Config{Models: []Model{{Named: source.Named{Name: "digits"}, Versions: o.versions, Load: o.load}}})
	if err != nil {
		t.Fatal(err)
	}
	c.Run(t.Context()) // returns at once
	if m, release, err := c.Use(""); err != nil || m.Version() != "1" {
		t.Errorf("got %v, %v", m, err)
	} else {
		release()
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheEndDoesNotWaitForALoad(t *testing.T) {
	in(t, "latest", []string{"1"}, func(b *bench) {
		b.edit(func() { b.took = time.Hour })
		b.set("1", "2")
		b.polls(2)
		began := time.Now()
		b.stop()
		if took := time.Since(began); took != 0 {
			b.t.Errorf("Run took %v to end", took)
		}
		b.want("1")
		if b.said("model refused") != 0 {
			b.t.Error("the end is taken for a refusal")
		}
	}) // which also checks that what comes of the load is closed
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		o := &origin{name: "digits", took: time.Hour}
		o.set("1", "2")
		_, err := Open(ctx, Config{Models: []Model{{Named: source.Named{Name: "digits"}, Versions: o.versions, Load: o.load}}})
		if !errors.Is(err, context.DeadlineExceeded) || o.loaded() != "content of 2" {
			t.Errorf("got %v after loading %s", err, o.loaded())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if o.open() != "" {
			t.Errorf("open are %s", o.open())
		}
	})
}

func TestAVersionThatIsLoadedAtTheVeryEndIsClosed(t *testing.T) {
	for range 2000 { // whether the load or the end is seen first is the scheduler's
		in(t, "latest", []string{"1"}, func(b *bench) { // which looks for versions that are still open
			b.edit(func() { b.took = time.Minute })
			b.set("1", "2")
			b.polls(2)
			time.Sleep(time.Minute - time.Second) // the load began at the poll
			b.stop()
		})
	}
}

func TestALoadThatMayHangIsTold(t *testing.T) {
	in(t, "latest", []string{"1"}, func(b *bench) {
		b.edit(func() { b.took = time.Hour })
		b.set("1", "2")
		time.Sleep(2 * time.Hour)
		if b.want("2"); b.said("model is still being loaded, and no other is meanwhile") != 1 {
			b.t.Errorf("the log says %v", b.logs.All())
		}
	})
}
