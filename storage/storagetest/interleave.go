package storagetest

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/penstock/penstock/storage"
)

// Actor is one writer of a story: what it does is cut into its calls to the
// store, and the schedule says whose call is next. It makes one call at a time.
type Actor struct {
	Name string
	Act  func(s storage.Store)
}

// Interleave runs the story once for every order in which the actors' calls to
// the store can follow each other, or for so many random ones when sample is
// not 0. It gives the number of orders.
func Interleave(t *testing.T, sample int, story func() (store storage.Store, actors []Actor, check func(t *testing.T, order string))) int {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	var choices []int // taken at each point where there was a choice
	for runs := 1; ; runs++ {
		store, actors, check := story()
		var widths []int
		var order []string
		schedule(store, actors, func(ready []int) int {
			if len(ready) == 1 {
				order = append(order, actors[ready[0]].Name)
				return ready[0]
			}
			n := len(widths)
			if n == len(choices) {
				choices = append(choices, 0)
			}
			if sample > 0 {
				choices[n] = random.IntN(len(ready))
			}
			widths = append(widths, len(ready))
			next := ready[choices[n]]
			order = append(order, actors[next].Name)
			return next
		})
		check(t, strings.Join(order, " "))
		if t.Failed() || runs == sample {
			return runs
		}
		if sample > 0 {
			continue
		}
		// The next order: the last point that has another choice takes it.
		n := len(choices)
		for n > 0 && choices[n-1] == widths[n-1]-1 {
			n--
		}
		if n == 0 {
			return runs
		}
		choices = choices[:n]
		choices[n-1]++
	}
}

// schedule runs actors a call at a time; pick says who of the ready is next.
func schedule(store storage.Store, actors []Actor, pick func(ready []int) int) {
	type lane struct {
		at, proceed chan struct{} // it stands before a call; it may make it
		ended       chan struct{}
	}
	lanes := make([]lane, len(actors))
	for i, a := range actors {
		l := lane{make(chan struct{}), make(chan struct{}), make(chan struct{})}
		lanes[i] = l
		shim := &Hooked{Store: store}
		shim.OnCall(func(_ context.Context, _ string, _ storage.Ref, call func() error) error {
			l.at <- struct{}{}
			<-l.proceed
			return call()
		})
		go func() {
			defer close(l.ended)
			a.Act(shim)
		}()
	}
	live := make(map[int]bool)
	advance := func(i int) { // until it stands before its next call, or has ended
		select {
		case <-lanes[i].at:
			live[i] = true
		case <-lanes[i].ended:
			delete(live, i)
		}
	}
	for i := range lanes {
		advance(i)
	}
	for len(live) > 0 {
		var ready []int
		for i := range lanes {
			if live[i] {
				ready = append(ready, i)
			}
		}
		next := pick(ready)
		lanes[next].proceed <- struct{}{}
		advance(next)
	}
}
