package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/penstock/penstock/cmd/internal/fleet"
)

// lease is that of a worker that was told no other.
const lease = time.Minute

// workers looks for signs of life: the snapshots that workers write while they
// have something in flight.
func (d *Doctor) workers(ctx context.Context) ([]Finding, error) {
	f, err := fleet.Read(ctx, d.Store, d.Locations, d.Now())
	if err != nil {
		return nil, err
	}
	a, err := d.Queue.Attributes(ctx)
	backlog := err == nil && a.Visible > 0
	if len(f.Live) == 0 {
		last := "none has ever written a snapshot"
		if !f.Latest.Time.IsZero() {
			last = fmt.Sprintf("the last sign of one was %v ago", d.Now().Sub(f.Latest.Time).Round(time.Second))
		}
		switch {
		case backlog && a.InFlight == 0:
			return []Finding{bad(Fault, "start workers, and look at the log of one that ends; is it given this queue and this state location?", "%d messages wait, none is in flight, and no worker gives a sign of life: %s", a.Visible, last)}, nil
		case backlog:
			return []Finding{bad(Warning, "look at a worker's log: is it given this state location, and may it write there?", "messages are in flight, but no worker has written what it has to %s; %s", d.Locations.Snapshots(), last)}, nil
		}
		return []Finding{unknown("no request waits, and workers that are idle, or have parts of batch jobs alone, give no sign of life (%s); -addr asks one whether it is ready", last)}, nil
	}
	inFlight, slowest := 0, 0.0
	for _, s := range f.Live {
		inFlight += len(s.InFlight)
		slowest = max(slowest, s.SecondsPerRequest)
	}
	list := []Finding{fine("%d at work, with %d requests in flight", len(f.Live), inFlight)}
	if slowest == 0 {
		return list, nil
	}
	cost := time.Duration(slowest * float64(time.Second)).Round(10 * time.Microsecond)
	if cost > lease {
		list = append(list, bad(Warning, "this is no fault where requests are that large; else look at the model with penstock model inspect, and at -intra-op-threads", "a request takes %v, which is more than a lease of %v; leases are extended, but a killed worker's work comes back only after that", cost, lease))
	}
	if !backlog {
		return list, nil
	}
	wait := time.Duration(float64(a.Visible) * slowest / float64(len(f.Live)) * float64(time.Second)).Round(time.Second)
	if wait > time.Hour {
		return append(list, bad(Warning, "run more workers", "what waits needs about %v: %d requests at %v each over %d", wait, a.Visible, cost, len(f.Live))), nil
	}
	return append(list, fine("what waits needs about %v: %d requests at %v each", wait, a.Visible, cost)), nil
}
