package worker

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/penstock/penstock/worker/job"
	"github.com/penstock/penstock/worker/model/fake"
)

// bothKinds is a story with both kinds of parts; wantBothKinds checks its end.
func (p *plant) bothKinds() {
	p.t.Helper()
	p.uploadMany("many/", 9)
	p.upload("many/bad", "no json")
	p.file("lines/f.jsonl", "", padded(400, numbered(400, 17, 399)...))
	p.submitJob(packs("many/", 4))
	spec := ranges("lines/")
	spec.ID = "lines"
	p.submitJob(spec)
}

func (p *plant) wantBothKinds() {
	p.t.Helper()
	p.wantCounts(p.summary("nightly"), 9, 1, 0)
	for i := range 9 {
		p.wantJobOutput(fmt.Sprintf("many/%04d", i), float32(i))
	}
	p.wantJobFailure("many/bad", "MalformedInput")
	s := p.summary("lines")
	p.wantCounts(s, 1, 0, 0)
	if want := (job.Records{Submitted: 400, Good: 398, Bad: 2}); *s.Records != want {
		p.t.Errorf("the summary counts %+v, want %+v", *s.Records, want)
	}
	p.wantRecordsOf("lines", "lines/f.jsonl", 400, 17, 399)
	if n := p.dead.Len(); n != 0 {
		p.t.Errorf("%d dead letters, want none", n)
	}
}

// Every call of a worker at work on jobs is cut once, in each way that it can
// be: nothing is lost, nothing is doubled, and the counts are exact.
func TestACutAtAnyCallOfAJobLosesAndDoublesNothing(t *testing.T) {
	everyCallIsCut(t, 50, cutStory{
		options: []option{runs(fake.Delay(100 * time.Millisecond)), behindQueue()},
		begin:   (*plant).bothKinds,
		done:    func(p *plant) bool { return p.jobs.Len() == 0 },
		check:   (*plant).wantBothKinds,
	})
}

// Many workers at a time, with faults, drains, crashes and leases that are lost,
// beside requests: the jobs end with what was asked for.
func TestNoStormMakesALieOfAJobsCounts(t *testing.T) {
	for seed := range storms() {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T, p *plant) {
				rnd := rand.New(rand.NewPCG(seed, 11))
				p.bothKinds()
				p.submitMany(20)
				for range 12 {
					cuts := faulty(rnd, 20)
					w := p.start(runs(fake.Delay(time.Duration(rnd.IntN(1000))*time.Millisecond)), behindQueue(), with(func(c *Config) {
						c.MaxBatchSize, c.Runners, c.MaxInFlight = 1+rnd.IntN(40), 1+rnd.IntN(2), 1+rnd.IntN(20)
						c.VisibilityTimeout = time.Duration(3+rnd.IntN(20)) * time.Second
						c.DrainTimeout = time.Duration(1+rnd.IntN(5000)) * time.Millisecond
					}))
					w.cutting(cuts)
					time.Sleep(time.Duration(rnd.IntN(20_000)) * time.Millisecond)
					switch rnd.IntN(4) {
					case 0:
						w.kill()
					case 1, 2:
						w.cancel() // others go on beside it
					}
				}
				p.start(behindQueue())
				p.wantBothKinds()
				time.Sleep(2 * time.Hour) // writers that hold nothing any more end too
				p.wantBothKinds()
				p.wantOutputsOf(20)
			})
		})
	}
}
