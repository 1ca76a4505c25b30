package worker

import (
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
)

// A message can come once more when its time to live is over: a lost
// acknowledgement, SQS's own duplicates, a sender who repeats it.
func TestADuplicateThatComesAfterTheTTLLeavesTheResultAlone(t *testing.T) {
	for name, r := range map[string]request.Request{
		"of an ID":            {ID: "x", TTL: time.Minute},
		"of an upload":        {TTL: time.Minute},
		"that knows its ETag": {ID: "x", TTL: time.Minute, ETag: "?"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				w := p.start()
				info := p.upload("x", row(1))
				r.Input, r.Enqueued = info.Ref, time.Now()
				if r.ETag != "" {
					r.ETag = info.ETag
				}
				p.api(r)
				p.settled()
				time.Sleep(time.Hour)
				p.api(r)
				p.settled()
				if _, _, ok := p.body(locations.OutputOf(r)); !ok || len(p.list("failed/")) != 0 {
					t.Errorf("there are %q and %q, want the output alone", p.list("out/"), p.list("failed/"))
				}
				w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1, outcomeDuplicate: 1})
			})
		})
	}
}
