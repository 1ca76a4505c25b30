package worker

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model/fake"
)

// snapshots are those in the state location, by worker.
func (p *plant) snapshots() map[string]request.Snapshot {
	p.t.Helper()
	all := make(map[string]request.Snapshot)
	for _, key := range p.list(".penstock/workers/") {
		body, _, ok := p.body(storage.Ref{Bucket: "results", Key: key})
		if !ok {
			continue // a worker has ended
		}
		s, err := request.ParseSnapshot([]byte(body))
		if err != nil {
			p.t.Fatal(err)
		}
		all[s.Worker] = s
	}
	return all
}

// calledWorker gives the worker a name.
func calledWorker(name string) option { return with(func(c *Config) { c.Name = name }) }

// ofSnapshots matches calls about snapshots.
func ofSnapshots(_ string, ref storage.Ref) bool { return strings.Contains(ref.Key, "/workers/") }

func TestASnapshotTellsWhatIsInFlight(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(calledWorker("w 1"), runs(fake.Delay(time.Minute)))
		upload := p.submit("x", row(1))
		info := p.upload("y", row(2))
		p.api(request.Request{ID: "order 7", Input: info.Ref})
		time.Sleep(request.SnapshotPeriod + time.Second)
		s := p.snapshots()["w 1"]
		u := request.Request{Input: upload.Ref}
		head, err := p.store.Head(t.Context(), upload.Ref)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{u.InferenceID(u.Identify(head)), "order 7"}
		slices.Sort(want)
		if !slices.Equal(s.InFlight, want) || s.More || time.Since(s.Time) > time.Minute {
			t.Errorf("got %+v, want %q in flight", s, want)
		}
		p.settled()
		time.Sleep(request.SnapshotPeriod)
		if s := p.snapshots()["w 1"]; len(s.InFlight) != 0 || s.SecondsPerRequest < 29 || s.SecondsPerRequest > 61 {
			t.Errorf("when all is done: %+v", s)
		}
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		if left := p.snapshots(); len(left) != 0 {
			t.Errorf("after a clean end: %+v", left)
		}
	})
}

func TestASnapshotIsRefreshedWhileSomethingRunsAndNotWhileNothingDoes(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		var writes atomic.Int64
		p.start(runs(fake.Delay(10*time.Minute)), hooked(func(_ context.Context, verb string, ref storage.Ref, call func() error) error {
			if verb == "put" && ofSnapshots(verb, ref) {
				writes.Add(1)
			}
			return call()
		}))
		time.Sleep(time.Hour)
		if n := writes.Load(); n != 0 {
			t.Errorf("a worker that never had anything wrote %d snapshots", n)
		}
		p.submit("x", row(1))
		for range 9 {
			time.Sleep(time.Minute)
			for name, s := range p.snapshots() {
				if !s.Live(time.Now()) || time.Since(s.Time) > request.SnapshotRefresh+request.SnapshotPeriod {
					t.Errorf("%s is %v old", name, time.Since(s.Time))
				}
			}
		}
		if n := writes.Load(); n < 9 || n > 11 {
			t.Errorf("%d snapshots in 9 minutes", n)
		}
		p.settled()
		time.Sleep(time.Minute)
		n := writes.Load()
		time.Sleep(time.Hour)
		if writes.Load() != n {
			t.Errorf("an idle worker wrote %d snapshots", writes.Load()-n)
		}
	})
}

func TestASnapshotThatCanNotBeWrittenHarmsNothing(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		hang := func(ctx context.Context, _ string, _ storage.Ref, _ func() error) error {
			<-ctx.Done()
			return ctx.Err()
		}
		for name, fault := range map[string]storeHook{"cut": cutOff, "dropped": dropReply, "forbidden": answer(storage.ErrForbidden), "hung": hang} {
			w := p.start(runs(fake.Delay(30*time.Second)), hooked(always(ofSnapshots, fault)))
			p.submit(name, row(1))
			p.settled()
			p.wantOutput(name, 1)
			if err := w.Ready(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			began := time.Now()
			if err := w.stop(); err != nil || time.Since(began) > 20*time.Second {
				t.Errorf("%s: it ended with %v after %v", name, err, time.Since(began))
			}
			w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1})
		}
	})
}

func TestTheCostOfARequestIsLearned(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(calledWorker("w"), runs(fake.Delay(2*time.Second)), with(func(c *Config) { c.MaxBatchSize = 4 }))
		p.submitMany(400)
		p.settled()
		time.Sleep(request.SnapshotPeriod)
		if s := p.snapshots()["w"]; s.SecondsPerRequest < 0.4 || s.SecondsPerRequest > 0.6 {
			t.Errorf("a run of 4 takes 2 s, a request %v", s.SecondsPerRequest)
		}
	})
}

func TestARunThatEndsBeforeALookAndItsItemsBehindItChangeTheCostLittle(t *testing.T) {
	var a aboard
	round := func(items int, busy time.Duration) (cost float64) {
		a.ran(busy)
		for range items {
			a.leave(&item{ran: true})
		}
		_, cost = a.look(1)
		return cost
	}
	for range 10 {
		round(20, 10*time.Second)
	}
	if cost := round(4, 0); cost < 0.4 {
		t.Errorf("a request takes half a second; learned were %v", cost)
	}
	if cost := round(16, 10*time.Second); cost > 0.6 {
		t.Errorf("a request takes half a second; learned were %v", cost)
	}
	for range 20 {
		round(20, 20*time.Second)
	}
	if cost := round(20, 20*time.Second); cost < 0.95 {
		t.Errorf("a request takes a second now; learned are %v", cost)
	}
}

func TestASnapshotNamesSoManyAndNoMore(t *testing.T) {
	t.Parallel()
	w := &Worker{batcher: newBatcher(1, 1, 0, time.Minute), cfg: Config{Runners: 1}.withDefaults()}
	var items []*item
	for range request.MaxInFlightIDs + 1 {
		it := &item{request: request.Request{ID: time.Duration(len(items)).String()}}
		w.aboard.enter(it)
		items = append(items, it)
	}
	w.aboard.enter(&item{request: request.Request{Job: &request.JobItem{}}})
	if s := w.snapshot(); len(s.InFlight) != request.MaxInFlightIDs || !s.More || !json.Valid(s.JSON()) {
		t.Errorf("%d are named, more: %t", len(s.InFlight), s.More)
	}
	w.aboard.leave(items[0])
	if s := w.snapshot(); len(s.InFlight) != request.MaxInFlightIDs || s.More {
		t.Errorf("%d are named, more: %t", len(s.InFlight), s.More)
	}
}
