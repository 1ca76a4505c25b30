package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func TestAnOutageOfTheStoreFailsNothingAndStopsReceiving(t *testing.T) {
	for name, match := range map[string]func(string, ref) bool{
		"of everything": on("", ""),
		"of results":    puts("out/"),
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				w := p.start()
				p.eventually("the worker is ready", func() bool { return w.Ready() == nil })
				w.store.onCall(always(match, cutOff))
				p.submitMany(5)
				p.eventually("the worker says that it is not ready", func() bool { return w.Ready() != nil && p.count(qmem.InFlight) == 5 })
				time.Sleep(11 * time.Second) // a poll under way ends
				for i := range 20 {
					p.submit(fmt.Sprint("later", i), row(float32(i)))
				}
				for range 50 {
					time.Sleep(7 * time.Second)
					if w.Ready() == nil {
						t.Fatal("the worker said that it is ready during the outage")
					}
				}
				// Ten can come with a poll that was under way when it was noticed.
				if got := p.count(qmem.Visible); got < 10 {
					t.Errorf("%d messages are left to others, want those that came in the outage", got)
				}
				for _, m := range p.queue.Snapshot() {
					if m.Message.ReceiveCount > 1 {
						t.Errorf("a lease was not kept: %+v", m)
					}
				}
				w.store.onCall(nil)
				p.settled()
				for i := range 5 {
					p.wantOutput(fmt.Sprint(i), float32(i))
				}
				if out, failed := p.list("out/"), p.list("failed/"); len(out) != 25 || len(failed) != 0 {
					t.Errorf("there are %d outputs and %q, want 25 and none", len(out), failed)
				}
			})
		})
	}
}

func TestResultsThatCanNotBeWrittenAreNobodysFault(t *testing.T) {
	for name, err := range map[string]error{"denied": storage.ErrForbidden, "no bucket": fs.ErrNotExist} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				w := p.start()
				w.store.onCall(always(on("put", ""), answer(err)))
				p.submit("a", row(1))
				p.submit("b", "no json") // its failure can't be written either
				p.eventually("the worker says so", func() bool { return w.Ready() != nil })
				time.Sleep(30 * time.Minute)
				if got := w.outcomes(); got[outcomeFailed]+got[outcomeSucceeded]+got[outcomeDuplicate] != 0 {
					t.Errorf("outcomes are %v", got)
				}
				w.store.onCall(nil)
				p.settled()
				p.wantOutput("a", 1)
				p.wantFailure("b", "MalformedInput")
				if n := p.dead.Len(); n != 0 {
					t.Errorf("%d dead letters", n)
				}
			})
		})
	}
}

// Without s3:ListBucket, S3 denies a look at an object that is not there.
func TestResultsThatCanNotBeLookedUpAreNobodysFault(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		w.store.onCall(always(on("head", "failed/"), answer(storage.ErrForbidden)))
		p.submitMany(3)
		p.eventually("the worker says so", func() bool { return w.Ready() != nil })
		time.Sleep(9 * time.Minute)
		if n := p.deliveries(); n > 1 {
			t.Errorf("a message was received %d times, want once: nobody else could do better", n)
		}
		w.store.onCall(nil)
		p.settled()
		p.wantOutputs(3)
	})
}

// Somebody's object that can't be read (its key is disabled, say) is not an
// outage for the others.
func TestOneObjectThatCanNotBeReadDoesNotStopTheRest(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		w.store.onCall(always(on("get", "in/locked"), cutOff))
		p.submit("locked", row(1))
		p.eventually("it is tried", func() bool { return w.Ready() != nil })
		began := time.Now()
		p.submitMany(30)
		p.eventually("the others are done", func() bool { return len(p.list("out/")) == 30 })
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("the others took %v", took)
		}
		w.store.onCall(nil)
		p.settled()
		p.wantOutput("locked", 1)
	})
}

func TestAnOutageOfTheQueueIsToldAndSurvived(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		p.submit("before", row(1))
		p.settled()
		w.queue.set(func(q *queueShim) {
			q.receive = func(context.Context, func() ([]*queue.Message, error)) ([]*queue.Message, error) { return nil, errCut }
		})
		p.eventually("the worker is not ready", func() bool { return w.Ready() != nil })
		p.submit("during", row(2))
		time.Sleep(time.Hour)
		if n := w.logs.FilterMessage("receive").Len(); n < 10 || n > 4000 {
			t.Errorf("%d receives were tried in an hour", n)
		}
		w.queue.set(func(q *queueShim) { q.receive = nil })
		p.settled()
		p.wantOutput("during", 2)
		if err := w.Ready(); err != nil {
			t.Errorf("not ready after the outage: %v", err)
		}
	})
}

func TestNotReadyBeforeTheQueueAnswers(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		cut := func(pr *process, _ *Config) {
			pr.queue.receive = func(ctx context.Context, _ func() ([]*queue.Message, error)) ([]*queue.Message, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}
		w := p.start(cut)
		time.Sleep(time.Second)
		if w.Ready() == nil {
			t.Error("ready before the queue has answered")
		}
		if w.counter("penstock_ready") != 0 {
			t.Error("the metric says ready")
		}
		w.queue.set(func(q *queueShim) { q.receive = nil })
		p.eventually("the worker is ready", func() bool { return w.Ready() == nil })
		if w.counter("penstock_ready") != 1 {
			t.Error("the metric does not say ready")
		}
	})
}

func TestAnOutageLongerThanThePatienceHandsBackWithoutHarm(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		w.store.onCall(always(on("", ""), cutOff))
		p.submitMany(3)
		time.Sleep(3 * time.Hour)
		w.store.onCall(nil)
		p.settled()
		p.wantOutputs(3)
		if len(p.list("failed/")) != 0 || p.dead.Len() != 0 || len(p.strikes()) != 0 {
			t.Errorf("the outage left %q, %d dead letters and %q", p.list("failed/"), p.dead.Len(), p.strikes())
		}
	})
}

func TestNotReadyWhileAPlaceToWriteToIsMissing(t *testing.T) {
	for name, places := range map[string][3]string{
		"output":  {"s3://nowhere/out/", "s3://results/failed/", "s3://results/.penstock/"},
		"failure": {"s3://results/out/", "s3://nowhere/failed/", "s3://results/.penstock/"},
		"state":   {"s3://results/out/", "s3://results/failed/", "s3://nowhere/.penstock/"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				w := p.start(with(func(c *Config) {
					var err error
					if c.Locations, err = request.ParseLocations("s3://uploads/in/", places[0], places[1], places[2]); err != nil {
						t.Fatal(err)
					}
				}))
				p.submit("a", row(1))
				time.Sleep(time.Minute)
				if err := w.Ready(); err == nil || !strings.Contains(err.Error(), "s3://nowhere/") {
					t.Errorf("without it the worker is ready: %v", err)
				}
				if n := p.count(qmem.InFlight); n != 0 {
					t.Errorf("%d messages were received, with no place for what becomes of them", n)
				}
			})
		})
	}
}

func TestNotReadyBeforeTheStoreAnswers(t *testing.T) {
	for name, err := range map[string]error{"cut off": errCut, "no bucket": fs.ErrNotExist, "denied": storage.ErrForbidden} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				p.submitMany(3)
				w := p.start(hooked(always(on("list", ""), answer(err))))
				time.Sleep(time.Minute)
				if got := w.Ready(); !errors.Is(got, err) {
					t.Errorf("Ready says %v, want %v", got, err)
				}
				if got := p.count(qmem.InFlight); got != 0 {
					t.Errorf("%d messages are held", got)
				}
				w.store.onCall(nil)
				p.settled()
				p.wantOutputs(3)
			})
		})
	}
}
