package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

// Whatever is wrong with one input is told in its failure object, and its
// neighbours in the batch do not notice.
func TestABadInputHurtsOnlyItself(t *testing.T) {
	for name, c := range map[string]struct {
		send        func(p *plant)
		code, stage string
	}{
		"no JSON":                 {func(p *plant) { p.submit("bad", "{") }, "MalformedInput", request.StageDecode},
		"empty":                   {func(p *plant) { p.submit("bad", "") }, "EmptyInput", request.StageDecode},
		"wrong shape":             {func(p *plant) { p.submit("bad", `{"instances":[[1,2]]}`) }, "InvalidShape", request.StageDecode},
		"wrong type":              {func(p *plant) { p.submit("bad", `{"instances":[["a"]]}`) }, "InvalidDType", request.StageDecode},
		"unknown signature":       {func(p *plant) { p.submit("bad", row(1), request.UploadSignature, "none") }, "UnknownSignature", request.StageDecode},
		"unknown model":           {func(p *plant) { p.submit("bad", row(1), request.UploadModel, "none") }, request.CodeUnknownModel, request.StageAccept},
		"unknown format":          {func(p *plant) { p.submit("bad", row(1), request.UploadAccept, "text/html") }, "NotAcceptable", request.StageEncode},
		"bad metadata":            {func(p *plant) { p.submit("bad", row(1), request.UploadTTL, "soon") }, request.CodeInvalid, request.StageFetch},
		"misspelt metadata":       {func(p *plant) { p.submit("bad", row(1), "penstock-modle", "other") }, request.CodeInvalid, request.StageFetch},
		"expired metadata":        {func(p *plant) { p.submit("bad", row(1), request.UploadTTL, "0.001") }, request.CodeExpired, request.StageAccept},
		"too large":               {func(p *plant) { p.submit("bad", strings.Repeat(" ", 200<<10)) }, request.CodeTooLarge, request.StageFetch},
		"not there":               {func(p *plant) { p.send(event(storage.Info{Ref: ref{Bucket: "uploads", Key: "in/bad"}})) }, request.CodeNotFound, request.StageFetch},
		"a permanent model error": {func(p *plant) { p.submit("bad", row(666)) }, request.CodeModelError, request.StagePredict},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				p.submitMany(4)
				c.send(p)
				time.Sleep(time.Second)
				w := p.start(runs(fake.FailWhen(first(666), errPermanent)), with(func(c *Config) {
					c.MemoryLimit = 1 << 20
					c.BatchTimeout = time.Second
				}))
				p.settled()
				p.wantOutputs(4)
				f := p.wantFailure("bad", c.code)
				if f.Error.Stage != c.stage {
					t.Errorf("the stage is %s, want %s", f.Error.Stage, c.stage)
				}
				if f.Error.Hint == "" {
					t.Errorf("there is no hint what to do: %+v", f.Error)
				}
				if n := p.dead.Len(); n != 0 {
					t.Errorf("%d dead letters, want none: nobody has to look at a bad input", n)
				}
				if left := p.strikes(); len(left) != 0 {
					t.Errorf("strikes are left: %q", left)
				}
				w.wantOutcomes(map[outcome]int{outcomeSucceeded: 4, outcomeFailed: 1})
			})
		})
	}
}

// failureOf is the code in the failure object of a request, at its own place.
func (p *plant) failureOf(r request.Request) string {
	p.t.Helper()
	body, _, ok := p.body(locations.FailureOf(r))
	if !ok {
		p.t.Fatalf("%+v has no failure; there is %q", r, p.list(""))
	}
	_, rest, _ := strings.Cut(body, `"code": "`)
	code, _, _ := strings.Cut(rest, `"`)
	return code
}

func TestAForbiddenLocationIsNeverRead(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		secret := func(_ string, r ref) bool { return r.Bucket == "uploads" && strings.HasSuffix(r.Key, "secret") }
		w.store.onCall(always(secret, func(_ context.Context, verb string, r ref, call func() error) error {
			t.Errorf("%s of %s", verb, r)
			return call()
		}))
		if _, err := p.store.Put(t.Context(), ref{Bucket: "uploads", Key: "secret"}, []byte(row(1)), storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		r := request.Request{ID: "spy", Input: ref{Bucket: "uploads", Key: "secret"}}
		p.api(r)
		p.settled()
		if got := p.failureOf(r); got != request.CodeForbidden {
			t.Errorf("the failure's code is %s", got)
		}
		// On a server that keeps objects in files this is the same object.
		r = request.Request{ID: "spy3", Input: ref{Bucket: "uploads", Key: "in/../secret"}}
		p.api(r)
		p.settled()
		if got := p.failureOf(r); got != request.CodeForbidden {
			t.Errorf("the failure's code is %s", got)
		}
		// The worker's own strikes and markers are no inputs either.
		r = request.Request{ID: "spy2", Input: ref{Bucket: "results", Key: ".penstock/strikes/x"}}
		p.api(r)
		p.settled()
		if got := p.failureOf(r); got != request.CodeForbidden {
			t.Errorf("the failure's code is %s", got)
		}
	})
}

// An object that nobody can read as it is fails by itself: the store is not at
// fault, and others go on.
func TestALockedInputFailsAloneAndSaysWhatToDo(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(hooked(always(on("get", "in/locked"), answer(fmt.Errorf("get: %w", &storage.LockedError{Why: "it is archived", Remedy: "restore it"})))))
		p.submit("locked", row(1))
		p.submitMany(3)
		p.eventually("the others have results", func() bool { return len(p.list("out/")) == 3 })
		if err := w.Ready(); err != nil {
			t.Errorf("the worker says that it is not ready: %v", err)
		}
		p.settled()
		f := p.wantFailure("locked", request.CodeForbidden)
		if !strings.Contains(f.Error.Message, "can't be read: it is archived") || f.Error.Hint != "restore it" {
			t.Errorf("the failure is %+v", f.Error)
		}
	})
}

func TestAnUploadBelowRequestsIsRefused(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start()
		info := p.submit("requests/order", row(1))
		p.settled()
		if got := p.failureOf(request.Request{Input: info.Ref}); got != request.CodeReservedKey {
			t.Errorf("the failure's code is %s", got)
		}
		if n := len(p.list("out/")); n != 0 {
			t.Errorf("there are %d outputs", n)
		}
	})
}

func TestAVersionThatIsGoneIsToldAsChanged(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start()
		info := p.upload("x", row(1))
		info.Ref.Version = "gone"
		r := request.Request{ID: "v", Input: info.Ref}
		p.api(r)
		p.settled()
		if got := p.failureOf(r); got != request.CodeChanged {
			t.Errorf("the failure's code is %s", got)
		}
	})
}

func TestAKeyThatTheStoreCanNotHaveFails(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		w.store.onCall(always(on("get", ""), answer(fs.ErrInvalid)))
		p.submit("x", row(1))
		p.settled()
		p.wantFailure("x", request.CodeInvalid)
	})
}

func TestAFailureThatTheStoreCanNotNameKeepsNoResultFromBeingDelivered(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		// As with a name of 250 bytes on a server whose file system has 255 at most.
		w.store.onCall(always(on("head", "failed/"), answer(fs.ErrInvalid)))
		p.submit("x", row(1))
		p.settled()
		p.wantOutput("x", 1)
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1})
		if letters := p.letters(); len(letters) > 0 {
			t.Errorf("%d dead letters, want none", len(letters))
		}
	})
}

func TestAFailureThatCanNotBeWrittenUnderItsNameGoesToTheDeadLetters(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		w.store.onCall(always(on("", "failed/"), answer(fs.ErrInvalid)))
		p.submit("x", "no row")
		p.settled()
		letters := p.letters()
		if len(letters) != 1 {
			t.Fatalf("%d dead letters, want 1", len(letters))
		}
		a := letters[0].Attributes
		if a[attrCode] == "" || !strings.Contains(a[attrReason], "refuses the key of its failure object") {
			t.Errorf("the letter's attributes are %v", a)
		}
	})
}

func TestDeniedCredentialsAreTriedAgainThenTold(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		w.store.onCall(times(2, on("get", "in/twice"), answer(storage.ErrForbidden)))
		p.submit("twice", row(1))
		p.settled()
		p.wantOutput("twice", 1)
		w.store.onCall(always(on("get", "in/denied"), answer(storage.ErrForbidden)))
		p.submit("denied", row(1))
		p.settled()
		p.wantFailure("denied", request.CodeForbidden)
		if n := len(p.recorder.Batches()); n != 1 {
			t.Errorf("%d runs, want 1", n)
		}
	})
}

func TestTheTTLEndsWhileTheRequestWaits(t *testing.T) {
	for name, wait := range map[string]func(p *plant, w *process){
		"for a batch": func(*plant, *process) {},
		"for the store": func(_ *plant, w *process) {
			w.store.onCall(always(on("get", "in/late"), cutOff))
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				w := p.start(runs(fake.Delay(time.Minute)))
				p.submit("first", row(1))
				p.eventually("the model is busy", func() bool { return len(p.recorder.Batches()) == 1 })
				wait(p, w)
				late := p.upload("late", row(2))
				r := request.Request{ID: "late", Input: late.Ref, TTL: 20 * time.Second}
				p.api(r)
				began := time.Now()
				p.eventually("the failure is there", func() bool { return len(p.list("failed/")) == 1 })
				if took := time.Since(began); took < 20*time.Second || took > 22*time.Second {
					t.Errorf("it expired after %v, want 20s", took)
				}
				if got := p.failureOf(r); got != request.CodeExpired {
					t.Errorf("the failure's code is %s", got)
				}
				p.settled()
				p.wantOutput("first", 1)
				if n := len(p.recorder.Batches()); n != 1 {
					t.Errorf("%d runs, want 1: the expired request is not to run", n)
				}
			})
		})
	}
}

func TestARequestThatIsOverItsTTLIsNotRead(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		w.store.onCall(always(on("get", "in/"), func(_ context.Context, _ string, r ref, call func() error) error {
			t.Errorf("%s was read", r)
			return call()
		}))
		r := request.Request{ID: "late", Input: p.upload("late", row(1)).Ref, TTL: time.Second, Enqueued: time.Now().Add(-2 * time.Second)}
		p.api(r)
		p.settled()
		if got := p.failureOf(r); got != request.CodeExpired {
			t.Errorf("the failure's code is %s", got)
		}
	})
}

func TestTheUploadersTTLEndsWhileTheUploadWaits(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(runs(fake.Delay(time.Minute)))
		p.submit("first", row(1))
		p.eventually("the model is busy", func() bool { return len(p.recorder.Batches()) == 1 })
		p.submit("late", row(2), request.UploadTTL, "20")
		p.settled()
		p.wantFailure("late", request.CodeExpired)
		p.wantOutput("first", 1)
	})
}

func TestARunThatHasBegunDoesNotExpire(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(runs(fake.Delay(time.Minute)))
		p.submit("slow", row(1), request.UploadTTL, "30s")
		p.settled()
		p.wantOutput("slow", 1)
	})
}

// Nor does one that needs several runs, between them; and a cancel is as late.
func TestARequestOfManyRunsThatHasBegunIsFinished(t *testing.T) {
	rows := make([]float32, 40)
	for i := range rows {
		rows[i] = float32(i)
	}
	slow := []option{runs(fake.Delay(10 * time.Second)), with(func(c *Config) { c.MaxBatchSize = 4 })}
	in(t, func(t *testing.T, p *plant) {
		p.start(slow...)
		p.submit("x", row(rows...), request.UploadTTL, "30")
		p.settled()
		p.wantOutput("x", rows...)
	})
	in(t, func(t *testing.T, p *plant) {
		p.start(slow...)
		r := request.Request{ID: "late", Input: p.upload("late", row(rows...)).Ref}
		p.api(r)
		p.eventually("it runs", func() bool { return len(p.recorder.Batches()) > 1 })
		if _, err := p.store.Put(t.Context(), locations.CancelOf(r.ID), nil, storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		p.settled()
		if got := p.list("out/"); len(got) != 1 || len(p.list("failed/")) != 0 {
			t.Errorf("there is %q and %q, want the output", got, p.list("failed/"))
		}
	})
}

func TestTheClockOfAWorkerIsCorrectedByTheSkew(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(with(func(c *Config) { c.Skew = func() time.Duration { return time.Hour } }))
		r := request.Request{ID: "old", Input: p.upload("x", row(1)).Ref, TTL: time.Minute, Enqueued: time.Now().Add(59 * time.Minute)}
		p.api(r)
		r.ID, r.Enqueued = "older", time.Now().Add(58*time.Minute)
		p.api(r)
		p.settled()
		if got := p.failureOf(r); got != request.CodeExpired {
			t.Errorf("the failure's code is %s", got)
		}
		if got := p.list("out/"); len(got) != 0 {
			t.Errorf("there is %q", got)
		}
	})
}

func TestAModelThatAnswersNonsenseFailsTheRequestInTheEnd(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(runs(fake.FailWhen(first(7), errors.New("not in the contract's words"))))
		p.submit("x", row(7))
		p.submit("y", row(1))
		p.settled()
		p.wantFailure("x", request.CodeModelError)
		p.wantOutput("y", 1)
	})
}

func TestAPanicOverAnInputIsThatInputsFailure(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(with(func(c *Config) {
			m, _, err := c.Models.Use("")
			if err != nil {
				t.Fatal(err)
			}
			c.Models = model.Fixed(panics{m})
		}))
		p.submit("x", row(3))
		p.settled()
		p.wantFailure("x", request.CodeInternal)
		if p.dead.Len() != 1 {
			t.Errorf("%d dead letters, want 1: a person should see it", p.dead.Len())
		}
	})
}

// panics is a model over which the codec stumbles.
type panics struct{ model.Model }

func (panics) Signatures() map[string]*model.Signature { panic("no signature") }
