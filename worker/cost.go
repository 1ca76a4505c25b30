package worker

import "math"

// cost is what a run takes, learned from runs: a seconds a row and b seconds
// whatever the number of rows, by least squares that forget. It is for one
// goroutine at a time, and the zero value is ready.
//
// Runs are not alike: the first of a shape compiles or allocates something, and
// now and then the machine does something else. So the first run counts only
// until there is a second, one of the first few that takes less than half of
// what was expected shows that those before were no measure, and from then on
// a run tells at most a few times the usual deviation.
type cost struct {
	runs            int
	w, n, y, nn, ny float64 // sums of 1, n, y, n² and n·y, older runs weighing less
	spread          float64 // usual deviation from what was expected
}

const (
	forget   = 0.98 // of the weight of older runs is left after a run: some 50 count
	early    = 8    // runs that one which is much faster makes void
	wide     = 4    // deviations that a run tells at most
	ridge    = 1e-3 // of the mean number of rows, squared: below that variance, runs say little of the slope
	prudence = 0.05 // of what was expected: the least deviation that counts as usual
)

// add learns from a run of n rows that took y seconds.
func (c *cost) add(rows int64, y float64) {
	n := float64(rows)
	expected := c.seconds(rows)
	switch {
	case c.runs == 1, c.runs > 1 && c.runs < early && y < expected/2:
		*c = cost{runs: c.runs}
	case c.runs >= early:
		most := wide * max(c.spread, prudence*expected)
		off := max(-most, min(y-expected, most))
		c.spread += (math.Abs(off) - c.spread) / 10
		y = expected + off
	case c.runs > 1:
		c.spread += (math.Abs(y-expected) - c.spread) / float64(c.runs)
	}
	c.runs++
	c.w = c.w*forget + 1
	c.n = c.n*forget + n
	c.y = c.y*forget + y
	c.nn = c.nn*forget + n*n
	c.ny = c.ny*forget + n*y
}

// line gives the seconds of a row and those of a run. Where all runs had the
// same number of rows nothing tells one from the other: then all is taken to
// be the rows'.
func (c *cost) line() (a, b float64) {
	if c.w == 0 || c.n == 0 {
		return 0, 0
	}
	n, y := c.n/c.w, c.y/c.w
	doubt := ridge * n * n
	a = (c.ny/c.w - n*y + doubt*y/n) / (max(0, c.nn/c.w-n*n) + doubt)
	switch b = y - a*n; {
	case a < 0:
		return 0, y
	case b < 0:
		return c.ny / c.nn, 0
	}
	return a, b
}

// seconds is what a run of that many rows will take; 0 when nothing is known.
func (c *cost) seconds(rows int64) float64 {
	a, b := c.line()
	return a*float64(rows) + b
}
