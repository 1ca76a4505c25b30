package worker

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// near says whether a cost is that of a line, to a tenth, at the given rows.
func near(t *testing.T, c *cost, a, b float64, rows ...int64) {
	t.Helper()
	for _, n := range rows {
		if got, want := c.seconds(n), a*float64(n)+b; math.Abs(got-want) > want/10 {
			t.Errorf("%d rows are said to take %.4f s, want %.4f", n, got, want)
		}
	}
}

func TestTheCostOfARunIsLearned(t *testing.T) {
	const a, b = 0.002, 0.030
	for name, noise := range map[string]float64{"exact": 0, "noisy": 0.1} {
		t.Run(name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, 2))
			var c cost
			for range 60 {
				n := 1 + rnd.Int64N(32)
				c.add(n, (a*float64(n)+b)*(1+noise*rnd.NormFloat64()))
			}
			near(t, &c, a, b, 1, 8, 32, 64)
		})
	}
}

func TestNothingIsKnownBeforeTheFirstRun(t *testing.T) {
	var c cost
	if s := c.seconds(8); s != 0 {
		t.Errorf("8 rows are said to take %v", s)
	}
	c.add(0, 1)
	if s := c.seconds(0); s != 0 {
		t.Errorf("an empty run is said to take %v; rows tell nothing of it", s)
	}
}

func TestRunsThatAreNoMeasureDoNotSpoilTheCost(t *testing.T) {
	const a, b = 0.001, 0.010
	for story, slow := range map[string][]int{
		"the first":         {0},
		"the first two":     {0, 1},
		"one in the middle": {30},
		"one in ten":        {9, 19, 29, 39, 49},
	} {
		t.Run(story, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(3, 4))
			var c cost
			for i := range 60 {
				n := 1 + rnd.Int64N(32)
				y := a*float64(n) + b
				for _, s := range slow {
					if i == s {
						y += 5 // compiled, or the machine was busy
					}
				}
				c.add(n, y)
			}
			if got, want := c.seconds(16), a*16+b; got < want*0.9 || got > want*1.25 {
				t.Errorf("16 rows are said to take %.4f s, want about %.4f", got, want)
			}
		})
	}
}

func TestTheCostFollowsTheMachine(t *testing.T) {
	var c cost
	for i := range 300 {
		n := int64(1 + i%32)
		y := 0.001*float64(n) + 0.010
		if i >= 100 {
			y *= 5 // others came onto the machine, to stay
		}
		c.add(n, y)
	}
	near(t, &c, 0.005, 0.050, 1, 16, 32)
}

func TestACostIsNeverNegative(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		var c cost
		for range 1 + rnd.IntN(40) {
			c.add(rnd.Int64N(4), rnd.ExpFloat64())
			if a, b := c.line(); !(a >= 0 && b >= 0) {
				t.Fatalf("seed %d: a row takes %v s, a run %v", seed, a, b)
			}
		}
	}
}

func TestRunsOfOneSizeAreTheirRowsCost(t *testing.T) {
	var c cost
	for range 10 {
		c.add(8, 0.4)
	}
	near(t, &c, 0.05, 0, 1, 8, 16)
}

func TestWhatWasUsedLastIsKept(t *testing.T) {
	r := recent[int, string]{most: 3}
	for i := range 3 {
		r.put(i, fmt.Sprint(i))
	}
	r.get(0)
	r.put(3, "3")
	for i, want := range []bool{true, false, true, true} {
		if v, ok := r.get(i); ok != want || ok && v != fmt.Sprint(i) {
			t.Errorf("%d is %q, %t", i, v, ok)
		}
	}
	if len(r.byKey) != 3 || r.order.Len() != 3 {
		t.Errorf("%d and %d are left, want 3", len(r.byKey), r.order.Len())
	}
}
