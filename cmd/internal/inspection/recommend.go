package inspection

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Recommendation is a batch size, and why.
type Recommendation struct {
	Rows   int    `json:"rows"`
	Reason string `json:"reason"` // what speaks for it, to be read behind the number
}

// Summarize makes a Run of the times that runs with a number of rows took.
// There is at least one.
func Summarize(rows int, times []time.Duration) Run {
	slices.Sort(times)
	n := len(times)
	at := func(quantile float64) float64 {
		i := int(math.Ceil(quantile*float64(n))) - 1
		return times[min(max(i, 0), n-1)].Seconds()
	}
	median := max(at(0.5), 1e-9) // a clock may stand still
	return Run{Rows: rows, Times: n, MedianSeconds: median, P99Seconds: at(0.99), RowsPerSecond: float64(rows) / median}
}

// enough is which part of the best throughput is enough, when a smaller batch
// gives it: what is left does not pay for the longer wait.
const enough = 0.9

// Recommend finds the smallest batch that has at least nine tenths of the best
// throughput. runs are in ascending order of rows; there is at least one.
func Recommend(runs []Run) Recommendation {
	best := slices.MaxFunc(runs, func(a, b Run) int {
		switch {
		case a.RowsPerSecond < b.RowsPerSecond:
			return -1
		case a.RowsPerSecond > b.RowsPerSecond:
			return 1
		}
		return 0
	})
	i := slices.IndexFunc(runs, func(r Run) bool { return r.RowsPerSecond >= enough*best.RowsPerSecond })
	pick, last := runs[i], runs[len(runs)-1]
	r := Recommendation{Rows: pick.Rows}
	switch {
	case len(runs) == 1:
		r.Reason = "the only one measured"
	case i == len(runs)-1:
		before := runs[i-1]
		r.Reason = fmt.Sprintf("%s the rows/s of %d; larger ones may give more still: try -batch-sizes %d,%d",
			times(pick.RowsPerSecond/before.RowsPerSecond), before.Rows, 2*pick.Rows, 4*pick.Rows)
	case best.Rows == pick.Rows && i == 0:
		r.Reason = "time grows with the rows: larger batches bring nothing but latency"
	case best.Rows == pick.Rows:
		r.Reason = fmt.Sprintf("the best rows/s; %d rows take %s instead of %s and bring no more",
			last.Rows, Duration(last.MedianSeconds), Duration(pick.MedianSeconds))
	default:
		r.Reason = fmt.Sprintf("%d %% of the rows/s of %d, in %s instead of %s",
			int(100*pick.RowsPerSecond/best.RowsPerSecond), best.Rows, Duration(pick.MedianSeconds), Duration(best.MedianSeconds))
	}
	return r
}

func times(ratio float64) string {
	if ratio < 9.95 {
		return fmt.Sprintf("%.1f times", ratio)
	}
	return fmt.Sprintf("%.0f times", ratio)
}

// Duration writes seconds with three digits: 0.21 ms, 17.4 ms, 1.32 s.
func Duration(seconds float64) string {
	value, unit := seconds, "s"
	switch {
	case seconds < 1e-3:
		value, unit = seconds*1e6, "µs"
	case seconds < 1:
		value, unit = seconds*1e3, "ms"
	}
	switch {
	case value >= 100:
		return fmt.Sprintf("%.0f %s", value, unit)
	case value >= 10:
		return fmt.Sprintf("%.1f %s", value, unit)
	}
	return fmt.Sprintf("%.2f %s", value, unit)
}

// Number writes a number with three digits at least and commas: 12,943.
func Number(n float64) string {
	if n < 100 {
		return strconv.FormatFloat(n, 'g', 3, 64)
	}
	s := strconv.FormatInt(int64(math.Round(n)), 10)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
