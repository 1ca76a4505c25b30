package clients

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// samples is how many of the latest replies the skew is taken from.
const samples = 15

// clock learns how the servers' clock differs from ours. The zero value knows
// nothing. It may be used by many goroutines.
type clock struct {
	mu    sync.Mutex
	seen  [samples]time.Duration // a ring of the latest differences
	count int                    // of all that were ever seen
}

// observe takes in the Date of a reply that came at now. A reply that is not
// from AWS's servers themselves (a proxy's error, a cache's copy) says nothing.
func (c *clock) observe(header http.Header, now time.Time) {
	if header.Get("x-amz-request-id") == "" && header.Get("x-amzn-requestid") == "" || header.Get("Age") != "" {
		return
	}
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return
	}
	// Date has whole seconds, cut off: on average it is half a second old.
	difference := date.Add(time.Second / 2).Sub(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[c.count%samples] = difference
	c.count++
}

// resolution is what a Date of whole seconds can't tell from no difference.
const resolution = 2 * time.Second

// skew is the median, which a few replies that are far off do not move. A
// small one counts as none: two clocks that agree would otherwise be told
// apart by where in a second the replies happened to fall.
func (c *clock) skew() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == 0 {
		return 0
	}
	sorted := slices.Clone(c.seen[:min(c.count, samples)])
	slices.Sort(sorted)
	if median := sorted[len(sorted)/2]; median.Abs() >= resolution {
		return median
	}
	return 0
}

// observedClient is an HTTP client that shows each reply to a clock.
type observedClient struct {
	next  aws.HTTPClient
	clock *clock
}

// Do implements aws.HTTPClient.
func (o observedClient) Do(request *http.Request) (*http.Response, error) {
	reply, err := o.next.Do(request)
	if err == nil {
		o.clock.observe(reply.Header, time.Now())
	}
	return reply, err
}
