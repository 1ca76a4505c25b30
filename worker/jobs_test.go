package worker

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/job"
	"github.com/penstock/penstock/worker/model/fake"
)

// A job comes by a queue of its own or by that of the requests, in packs or one
// by one; every item has its terminal object, and the summary counts them.
func TestEveryItemOfAJobHasItsTerminalObjectAndIsCounted(t *testing.T) {
	for story, c := range map[string]struct {
		own  bool
		each int
	}{
		"in packs, by a queue of its own":  {true, 7},
		"in packs, by the requests' queue": {false, 7},
		"one by one":                       {true, 1},
		"all in one message":               {true, 1000},
	} {
		t.Run(story, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				p.uploadMany("many/", 50)
				p.upload("many/bad", "no json")
				p.upload("many/soft", row(666))
				q, options := p.queue, []option{runs(fake.FailWhen(first(666), errSoft))}
				if c.own {
					q, options = p.jobs, append(options, behindQueue())
				}
				p.submitJobTo(q, packs("many/", c.each))
				w := p.start(options...)
				p.wantCounts(p.summary("nightly"), 50, 2, 0)
				for i := range 50 {
					p.wantJobOutput(fmt.Sprintf("many/%04d", i), float32(i))
				}
				p.wantJobFailure("many/bad", "MalformedInput")
				p.wantJobFailure("many/soft", request.CodeModelError)
				if left := p.strikes(); len(left) != 0 {
					t.Errorf("strikes are left: %q", left)
				}
				if n := w.outcomes()[outcomeSucceeded]; n != 50 {
					t.Errorf("%d items succeeded", n)
				}
			})
		})
	}
}

// What lies in the queue of jobs does not keep a request waiting, and takes
// nothing from it that does not come back.
func TestARequestPassesAJobThatFillsItsWorker(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.uploadMany("many/", 400)
		p.submitJob(packs("many/", 100))
		w := p.start(runs(fake.Delay(time.Second)), behindQueue(), with(func(c *Config) { c.MaxBatchSize, c.MaxInFlight = 4, 64 }))
		time.Sleep(20*time.Second + 500*time.Millisecond)
		began := time.Now()
		p.submit("urgent", row(5))
		p.eventually("the request is done", func() bool { return len(p.list("out/urgent")) == 1 })
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v beside a job whose runs take a second", took)
		}
		p.wantCounts(p.summary("nightly"), 400, 0, 0)
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		b := w.behind
		if !b.places.TryAcquire(b.most) || !b.memory.part.TryAcquire(b.memory.most) || !b.decoding.part.TryAcquire(b.decoding.most) ||
			!w.memory.TryAcquire(w.cfg.MemoryLimit) || !w.decoding.TryAcquire(decoders()) || w.Worker.jobs.leases.count() != 0 || len(b.jobs) != 0 {
			t.Error("something was not given back")
		}
	})
}

// A pack of a thousand references takes a bounded part of the worker, and the
// next is not received before its items have all begun.
func TestAWorkerTakesNoMoreOfAJobThanItHasRoomFor(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.uploadMany("many/", 600)
		p.submitJob(packs("many/", 100))
		var reading throng
		w := p.start(runs(fake.Delay(time.Second)), behindQueue(), with(func(c *Config) { c.MaxBatchSize, c.MaxInFlight = 4, 40 }))
		w.store.onCall(func(_ context.Context, _ string, r storage.Ref, call func() error) error {
			if strings.HasPrefix(r.Key, "in/many/") {
				defer reading.enter()()
				time.Sleep(100 * time.Millisecond)
			}
			return call()
		})
		held := 0
		for range 100 {
			time.Sleep(time.Second)
			held = max(held, w.Worker.jobs.leases.count())
		}
		p.wantCounts(p.summary("nightly"), 600, 0, 0)
		if most := reading.most.Load(); most > 20 || most == 0 {
			t.Errorf("%d items were read at a time, want at most half of max-in-flight", most)
		}
		if held > 3 {
			t.Errorf("%d packs were held at a time", held)
		}
	})
}

func TestWhileRequestsComeAJobTakesAnEighthOfItsRoom(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.uploadMany("many/", 300)
		var reading throng
		w := p.start(runs(), behindQueue(), with(func(c *Config) { c.MaxBatchSize, c.MaxInFlight = 4, 64 }))
		w.store.onCall(func(_ context.Context, _ string, r storage.Ref, call func() error) error {
			if strings.HasPrefix(r.Key, "in/many/") {
				defer reading.enter()()
				time.Sleep(100 * time.Millisecond)
			}
			return call()
		})
		p.submit("live-0", row(1))
		time.Sleep(time.Second)
		p.submitJob(packs("many/", 100))
		for i := range 4 {
			p.submit(fmt.Sprint("live-", i+1), row(1))
			time.Sleep(time.Second)
		}
		if most := reading.most.Load(); most > 4 || most == 0 {
			t.Errorf("%d items were read at a time beside requests, want an eighth of half of max-in-flight", most)
		}
		p.wantCounts(p.summary("nightly"), 300, 0, 0)
		if most := reading.most.Load(); most <= 4 {
			t.Errorf("%d items were read at a time when no request came any more", most)
		}
	})
}

func TestAJobsOwnLimitOfPartsIsKept(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.uploadMany("many/", 30)
		spec := packs("many/", 3)
		spec.MaxConcurrency = 2
		p.submitJob(spec)
		p.start(runs(fake.Delay(time.Second)), behindQueue(), with(func(c *Config) { c.MaxBatchSize = 32 }))
		p.wantCounts(p.summary("nightly"), 30, 0, 0)
		for _, b := range p.recorder.Batches() {
			if b.Parts > 6 {
				t.Errorf("a run of %d items, of which two parts have six", b.Parts)
			}
		}
	})
}

// A job with a limit of its own lies before another in their queue: the worker
// has one of its parts wait, and goes on with the other's.
func TestAJobsOwnLimitHoldsUpNoOtherJob(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.uploadMany("many/", 200)
		p.uploadMany("other/", 20)
		limited := packs("many/", 4)
		limited.MaxConcurrency = 1
		p.submitJob(limited)
		other := packs("other/", 4)
		other.ID = "other"
		p.submitJob(other)
		began := time.Now()
		w := p.start(runs(fake.Delay(time.Second)), behindQueue(), with(func(c *Config) { c.MaxBatchSize = 4 }))
		p.eventually("the other job has ended", func() bool { return !p.missing(job.CopyOf(locations, "other")) })
		passed := time.Now()
		if took := passed.Sub(began); took > time.Minute {
			t.Errorf("it took %v behind 50 parts that take two seconds each, one after the other", took)
		}
		p.wantCounts(p.summary("nightly"), 200, 0, 0)
		if took := time.Since(began); took > 150*time.Second {
			t.Errorf("the job itself took %v, of which its 50 turns are 100 s", took)
		}
		for _, b := range p.recorder.Batches() {
			if b.Parts > 4 && b.Start.After(passed) {
				t.Errorf("a run of %d items, of which a part has four", b.Parts)
			}
		}
		if n := p.dead.Len(); n != 0 || len(w.behind.jobs) != 0 {
			t.Errorf("there are %d dead letters, and limits of %d jobs", n, len(w.behind.jobs))
		}
	})
}

// Of a pack that comes back, what is done is found by two listings, and not by
// asking for every item.
func TestOfAPackThatComesBackWhatIsDoneIsListed(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.uploadMany("many/", 300)
		p.submitJob(packs("many/", 300))
		w := p.start(runs(fake.Delay(time.Second)), behindQueue(), with(func(c *Config) { c.MaxBatchSize = 10 }))
		p.eventually("most of it is done", func() bool { return len(p.list("out/jobs/")) > 250 })
		w.kill()
		done := len(p.list("out/jobs/"))
		var heads atomic.Int64
		p.start(behindQueue(), hooked(func(_ context.Context, verb string, _ storage.Ref, call func() error) error {
			if verb == "head" {
				heads.Add(1)
			}
			return call()
		}))
		p.wantCounts(p.summary("nightly"), 300, 0, 0)
		if n := int(heads.Load()); n > 10*(300-done) {
			t.Errorf("%d items were asked for one by one, though only %d were not done", n, 300-done)
		}
		if n := len(p.recorder.Batches()); n == 0 {
			t.Error("nothing was run")
		}
	})
}

// A worker that is shut down hands a pack back as what it is: not begun.
func TestADrainedPackIsNoSuspect(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.uploadMany("many/", 100)
		p.submitJob(packs("many/", 100))
		w := p.start(runs(fake.Delay(5*time.Second)), behindQueue(), with(func(c *Config) { c.MaxBatchSize = 2; c.MaxInFlight = 20 }))
		p.eventually("some runs were made", func() bool { return len(p.recorder.Batches()) == 4 })
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		if n := suspected(p.jobs); n != 0 || p.jobs.Len() != 1 {
			t.Errorf("%d of %d messages are suspects", n, p.jobs.Len())
		}
		var strikes atomic.Int64
		p.start(behindQueue(), hooked(always(puts("strikes/"), func(_ context.Context, _ string, _ storage.Ref, call func() error) error {
			strikes.Add(1)
			return call()
		})))
		p.wantCounts(p.summary("nightly"), 100, 0, 0)
		if n := strikes.Load(); n > 0 {
			t.Errorf("%d strikes were left", n)
		}
	})
}

func TestOfACancelledJobNothingMoreIsStarted(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.uploadMany("many/", 100)
		p.submitJob(packs("many/", 20))
		w := p.start(runs(fake.Delay(2*time.Second)), behindQueue(), with(func(c *Config) { c.MaxBatchSize = 2; c.MaxInFlight = 20 }))
		p.eventually("some runs were made", func() bool { return len(p.recorder.Batches()) == 4 })
		if err := p.planner(p.jobs).Cancel(t.Context(), "nightly"); err != nil {
			t.Fatal(err)
		}
		cancelled := time.Now()
		s := p.summary("nightly")
		for _, b := range p.recorder.Batches() {
			if b.Start.After(cancelled.Add(20 * time.Second)) {
				t.Errorf("a run began %v after the cancel", b.Start.Sub(cancelled))
			}
		}
		done := len(p.list("out/jobs/nightly/many/"))
		p.wantCounts(s, done, 0, 100-done)
		if done < 4 || done > 60 || len(p.list("failed/")) > 0 {
			t.Errorf("%d are done, and there are failures %q", done, p.list("failed/"))
		}
		if n := w.outcomes()[outcomeCancelled]; n != 100-done {
			t.Errorf("%d items ended as cancelled, want %d", n, 100-done)
		}
	})
}

// What was done before the cancel stays done, though its worker died before it
// could say so.
func TestACancelDoesNotHideWhatIsDone(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.uploadMany("many/", 20)
		p.submitJob(packs("many/", 1))
		w := p.start(runs(fake.Delay(time.Second)), behindQueue(), with(func(c *Config) { c.MaxBatchSize = 8 }))
		p.eventually("some are done", func() bool { return len(p.list("out/jobs/nightly/many/")) > 0 })
		w.kill()
		if err := p.planner(p.jobs).Cancel(t.Context(), "nightly"); err != nil {
			t.Fatal(err)
		}
		done := len(p.list("out/jobs/nightly/many/"))
		p.start(behindQueue())
		p.wantCounts(p.summary("nightly"), done, 0, 20-done)
	})
}

func TestAKillerInAPackOfAJobEndsAsPoison(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.uploadMany("many/", 20)
		p.submitJob(packs("many/", 20))
		for crashes := 0; ; crashes++ {
			if crashes > 4 {
				t.Fatal("the fifth process died")
			}
			w := p.start(kills(first(13)), behindQueue())
			p.eventually("the process is dead or done", func() bool { return w.dead.Load() || !p.missing(job.CopyOf(locations, "nightly")) })
			if !w.dead.Load() {
				break
			}
		}
		p.wantCounts(p.summary("nightly"), 19, 1, 0)
		p.wantJobFailure("many/0013", request.CodePoison)
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
		for _, m := range p.letters() {
			if m.Attributes[attrCode] != request.CodePoison {
				t.Errorf("a dead letter is of %s", m.Attributes[attrCode])
			}
		}
	})
}

// An object that a job names twice has one result, and both items their count.
// (It may be run twice, where the second is fetched after the first has ended:
// a first delivery is not looked up.)
func TestAnObjectThatAJobNamesTwiceHasOneResult(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.uploadMany("", 3)
		p.file("list.txt", "text/plain", "s3://uploads/in/0000\ns3://uploads/in/0001\ns3://uploads/in/0000\n")
		p.submitJob(job.Spec{ID: "nightly", Manifest: "s3://uploads/in/list.txt", ManifestFormat: "list"})
		p.start(behindQueue())
		p.wantCounts(p.summary("nightly"), 3, 0, 0)
		if n := len(p.list("out/jobs/nightly/0")); n != 2 {
			t.Errorf("there are %d outputs", n)
		}
	})
}

func TestAMessageWhoseJobIsGoneGoesToTheDeadLettersWithItsReason(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		body, err := request.Encode(request.Request{Input: p.upload("x", row(1)).Ref, Job: &request.JobItem{ID: "gone", Items: 1}})
		if err != nil {
			t.Fatal(err)
		}
		p.send(body)
		p.start()
		p.settled()
		if len(p.recorder.Batches()) > 0 {
			t.Error("it was run")
		}
		letters, err := p.dead.Receive(t.Context(), queue.MaxBatch, time.Minute, 0)
		if err != nil || len(letters) != 1 {
			t.Fatalf("%d dead letters, error %v", len(letters), err)
		}
		if reason := letters[0].Attributes[attrReason]; !strings.Contains(reason, "its job is not known") || letters[0].Body != body {
			t.Errorf("the letter %s says %q", letters[0].Body, reason)
		}
	})
}

func TestAMessageWhoseJobCanNotBeReadIsNotLost(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		body, err := request.Encode(request.Request{Input: p.upload("x", row(1)).Ref, Job: &request.JobItem{ID: "gone", Items: 1}})
		if err != nil {
			t.Fatal(err)
		}
		w := p.start()
		p.eventually("the worker is ready", func() bool { return w.Ready() == nil })
		w.store.onCall(always(on("list", ""), answer(fs.ErrNotExist))) // as with its bucket
		p.send(body)
		time.Sleep(40 * time.Minute)
		if p.queue.Len() != 1 || p.dead.Len() != 0 || len(p.recorder.Batches()) > 0 {
			t.Errorf("%d messages and %d dead letters are left, %d runs were made", p.queue.Len(), p.dead.Len(), len(p.recorder.Batches()))
		}
		if n := w.outcomes()[outcomeRetried]; n < 1 {
			t.Errorf("it was tried %d times", n)
		}
	})
}

// The dead letters of a job go where its queue's go.
func TestDeadLettersOfAJobAreItsQueues(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		own := qmem.New(qmem.Options{Name: "dead jobs"})
		w := p.start(behindQueue(), with(func(c *Config) { c.BatchDeadLetters = own }))
		if err := p.jobs.Send(t.Context(), outgoing("no request"))[0]; err != nil {
			t.Fatal(err)
		}
		p.eventually("it is buried", func() bool { return own.Len() == 1 })
		if p.dead.Len() != 0 {
			t.Error("it went to the requests' dead letters")
		}
		if err := w.stop(); err != nil {
			t.Error(err)
		}
	})
}

// What is wrong with the books of one job is no fault of the store: requests, and
// other jobs, go on.
func TestBooksThatCanNotBeReadHoldUpTheirOwnJobAlone(t *testing.T) {
	for story, c := range map[string]struct{ key, body string }{
		"a foreign object":     {"done/000000/read me", ""},
		"a broken spec":        {"job.json", "{"},
		"a spec of the future": {"job.json", `{"version":99,"id":"nightly"}`},
	} {
		t.Run(story, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				p.uploadMany("many/", 3)
				p.uploadMany("other/", 3)
				p.submitJob(packs("many/", 1))
				other := packs("other/", 1)
				other.ID = "other"
				p.submitJob(other)
				ref := storage.Ref{Bucket: "results", Key: ".penstock/jobs/nightly/" + c.key}
				if _, err := p.store.Put(t.Context(), ref, []byte(c.body), storage.PutOptions{}); err != nil {
					t.Fatal(err)
				}
				w := p.start(behindQueue())
				for i := range 60 {
					p.submit(fmt.Sprint(i), row(float32(i)))
					time.Sleep(time.Second)
					if err := w.Ready(); err != nil {
						t.Fatalf("after %d s it is not ready: %v", i, err)
					}
				}
				p.wantOutputsOf(60)
				if p.missing(job.CopyOf(locations, "other")) {
					t.Error("the other job has not ended")
				}
			})
		})
	}
}
