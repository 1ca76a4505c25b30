package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/internal/sweep"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/storagetest"
)

// sweeping is a sweep as one of those who write at the same time. It dies
// before its call of the number dies, unless that is 0.
func sweeping(t *testing.T, name string, dies int) storagetest.Actor {
	return storagetest.Actor{Name: name, Act: func(s storage.Store) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		mortal, calls := &storagetest.Hooked{Store: s}, 0
		mortal.OnCall(func(_ context.Context, _ string, _ storage.Ref, call func() error) error {
			if calls++; dies > 0 && calls >= dies {
				cancel()
				return errCut
			}
			return call()
		})
		sweeper := sweep.Sweeper{Store: mortal, Locations: locations}
		if _, err := sweeper.Run(ctx); err != nil && dies == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}}
}

// succeeding is a worker that started the request before its time was over.
func succeeding(t *testing.T, r request.Request) storagetest.Actor {
	return storagetest.Actor{Name: "S", Act: func(s storage.Store) { succeed(t, s, r) }}
}

// due is an installation with a request that is past its time.
func due(t *testing.T) (*bundle, request.Request) {
	b := setup(t)
	r := b.accept("x", time.Minute)
	time.Sleep(10 * time.Minute)
	return b, r
}

// wantOutputAlone checks it when the sweeps that follow have been made, too.
func (b *bundle) wantOutputAlone(t *testing.T, r request.Request, order string) {
	t.Helper()
	want := []string{locations.OutputOf(r).Key}
	for n := range 3 {
		if got := ends(t, b.store); n > 0 && !slices.Equal(got, want) {
			t.Fatalf("in the order %s there is %q after %d more sweeps, want the output alone", order, got, n)
		}
		time.Sleep(sweep.Every)
		sweeping(t, "later", 0).Act(b.store)
	}
}

func TestAnOutputBeatsTheSweepInEveryOrderOfTheirCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := storagetest.Interleave(t, 0, func() (storage.Store, []storagetest.Actor, func(*testing.T, string)) {
			b, r := due(t)
			return b.store, []storagetest.Actor{sweeping(t, "E", 0), succeeding(t, r)}, func(t *testing.T, order string) {
				if got, want := ends(t, b.store), []string{locations.OutputOf(r).Key}; !slices.Equal(got, want) {
					t.Errorf("in the order %s there is %q, want the output alone", order, got)
				}
			}
		})
		if n < 50 {
			t.Errorf("only %d orders were tried", n)
		}
	})
}

func TestAnOutputBeatsTwoSweepsInAnyOrderOfTheirCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storagetest.Interleave(t, 1500, func() (storage.Store, []storagetest.Actor, func(*testing.T, string)) {
			b, r := due(t)
			return b.store, []storagetest.Actor{sweeping(t, "E1", 0), sweeping(t, "E2", 0), succeeding(t, r)}, func(t *testing.T, order string) {
				if got, want := ends(t, b.store), []string{locations.OutputOf(r).Key}; !slices.Equal(got, want) {
					t.Errorf("in the order %s there is %q, want the output alone", order, got)
				}
			}
		})
	})
}

func TestASweepThatDiesAnywhereLeavesOneTerminalObject(t *testing.T) {
	for dies := 1; dies <= 12; dies++ {
		t.Run(fmt.Sprintf("before call %d", dies), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				storagetest.Interleave(t, 0, func() (storage.Store, []storagetest.Actor, func(*testing.T, string)) {
					b, r := due(t)
					return b.store, []storagetest.Actor{sweeping(t, "E", dies), succeeding(t, r)}, func(t *testing.T, order string) { b.wantOutputAlone(t, r, order) }
				})
				// And with another at the same time, which may go on to forget
				// the request while the first one is about to die.
				storagetest.Interleave(t, 250, func() (storage.Store, []storagetest.Actor, func(*testing.T, string)) {
					b, r := due(t)
					return b.store, []storagetest.Actor{sweeping(t, "E1", dies), sweeping(t, "E2", 0), succeeding(t, r)}, func(t *testing.T, order string) { b.wantOutputAlone(t, r, order) }
				})
				b, r := due(t) // no worker at all
				sweeping(t, "E", dies).Act(b.store)
				b.runs(20 * time.Minute)
				if got, want := ends(t, b.store), []string{locations.FailureOf(r).Key}; !slices.Equal(got, want) {
					t.Errorf("there is %q, want the failure alone", got)
				}
			})
		})
	}
}

func TestASweepThatSleptWritesNothing(t *testing.T) {
	in(t, func(t *testing.T, b *bundle) {
		r := b.accept("x", time.Minute)
		time.Sleep(10 * time.Minute)
		slept := false
		b.shim.OnCall(func(_ context.Context, verb string, ref storage.Ref, call func() error) error {
			err := call()
			if verb == "head" && ref == locations.FailureOf(r) && !slept { // between its look and its write
				slept = true
				time.Sleep(5 * time.Minute)
			}
			return err
		})
		if _, err := b.Run(t.Context()); err == nil || errors.Is(err, errCut) {
			t.Errorf("got %v", err)
		}
		if got := ends(t, b.store); len(got) != 0 || !slept {
			t.Errorf("it wrote %q", got)
		}
		if c := b.run(); c.Expired != 1 {
			t.Errorf("the next: %+v", c)
		}
	})
}
