package clients

import (
	"net/http"
	"sync"
	"testing"
	"time"
)

// header is of a reply by a server whose clock shows date.
func header(date time.Time) http.Header {
	return http.Header{
		"Date":             {date.UTC().Format(http.TimeFormat)},
		"X-Amz-Request-Id": {"1"},
	}
}

func TestClocksThatAgreeHaveNoSkew(t *testing.T) {
	t.Parallel()
	var c clock
	now := time.Date(2026, 1, 2, 3, 4, 5, int(900*time.Millisecond), time.UTC)
	for range samples {
		c.observe(header(now), now)
		if got := c.skew(); got != 0 {
			t.Fatalf("skew %v of a Date cut to seconds", got)
		}
	}
}

func TestSkewIsNotMovedByAFewOddReplies(t *testing.T) {
	var c clock
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range samples {
		ahead := 90 * time.Second
		if i%4 == 0 {
			ahead = -24 * time.Hour
		}
		c.observe(header(now.Add(ahead)), now)
	}
	if got, want := c.skew(), 90*time.Second+time.Second/2; got != want {
		t.Errorf("the skew is %v, want %v", got, want)
	}
}

func TestSkewFollowsAClockThatIsSet(t *testing.T) {
	var c clock
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for range 10 * samples {
		c.observe(header(now.Add(time.Hour)), now)
	}
	for range samples {
		c.observe(header(now), now)
	}
	if got := c.skew(); got.Abs() > time.Second {
		t.Errorf("the skew is %v, want less than a second", got)
	}
}

func TestSkewIgnoresRepliesThatAreNotAServersOwn(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, h := range map[string]http.Header{
		"a proxy's":            {"Date": {now.Add(time.Hour).Format(http.TimeFormat)}},
		"a cache's":            {"Date": {now.Add(time.Hour).Format(http.TimeFormat)}, "X-Amz-Request-Id": {"1"}, "Age": {"3600"}},
		"one without a date":   {"X-Amz-Request-Id": {"1"}},
		"one with a bad date":  {"X-Amzn-Requestid": {"1"}, "Date": {"yesterday"}},
		"one without anything": {},
	} {
		var c clock
		c.observe(h, now)
		if got := c.skew(); got != 0 {
			t.Errorf("%s reply made the skew %v, want 0", name, got)
		}
	}
}

func TestSkewMayBeLearnedAndReadAtOnce(t *testing.T) {
	var c clock
	var wg sync.WaitGroup
	now := time.Now()
	for range 4 {
		wg.Go(func() {
			for range 100 {
				c.observe(header(now), now)
				c.skew()
			}
		})
	}
	wg.Wait()
	if c.count != 400 {
		t.Errorf("%d replies were seen, want 400", c.count)
	}
}
