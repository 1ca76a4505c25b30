package intake_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/queue"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	smem "github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/storage/storagetest"
)

var (
	errCut = errors.New("connection reset")
	noon   = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	input  = storage.Ref{Bucket: "uploads", Key: "in/x.json"}
)

// bundle is an intake on a store and a queue in memory.
type bundle struct {
	*intake.Intake
	t     *testing.T
	store *smem.Store
	shim  *storagetest.Hooked
	queue *sender
	now   time.Time
	calls []string // verbs of the store, and "send"
}

// sender notes and may fail.
type sender struct {
	*qmem.Queue
	mu     sync.Mutex
	bundle *bundle
	sent   []queue.Outgoing
	fail   int  // so many sends, from now on
	lose   bool // the reply, not the message
}

func (s *sender) Send(ctx context.Context, messages ...queue.Outgoing) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bundle.calls = append(s.bundle.calls, "send")
	if s.fail > 0 {
		s.fail--
		if s.lose {
			s.sent = append(s.sent, messages...)
		}
		return []error{errCut}
	}
	s.sent = append(s.sent, messages...)
	return s.Queue.Send(ctx, messages...)
}

func setup(t *testing.T) *bundle {
	t.Helper()
	locations, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle{t: t, store: smem.New("uploads", "results"), now: noon}
	b.queue = &sender{Queue: qmem.New(qmem.Options{}), bundle: b}
	b.shim = &storagetest.Hooked{Store: b.store}
	b.hook(nil)
	b.Intake = &intake.Intake{Store: b.shim, Queue: b.queue, Locations: locations, Now: func() time.Time { return b.now }}
	return b
}

// hook puts h before every call to the store, one at a time; all are noted.
func (b *bundle) hook(h storagetest.Hook) {
	var one sync.Mutex
	b.shim.OnCall(func(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
		b.queue.mu.Lock()
		b.calls = append(b.calls, verb)
		b.queue.mu.Unlock()
		if h != nil {
			one.Lock()
			defer one.Unlock()
			return h(ctx, verb, ref, call)
		}
		return call()
	})
}

func (b *bundle) accept(s intake.Submission) intake.Accepted {
	b.t.Helper()
	a, err := b.Accept(b.t.Context(), s)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// sentRequests are the requests of all messages.
func (b *bundle) sentRequests() (all []request.Request) {
	b.t.Helper()
	for _, m := range b.queue.sent {
		requests, err := request.Decode(m.Body)
		if err != nil || len(requests) != 1 {
			b.t.Fatalf("sent was %s: %v", m.Body, err)
		}
		all = append(all, requests[0])
	}
	return all
}

// end writes a terminal object of the request, as a worker does.
func (b *bundle) end(r request.Request, ref storage.Ref) {
	b.t.Helper()
	p := request.Provenance{Identity: r.IdentifyUnread(), InferenceID: r.ID, Input: r.Input}
	if _, err := b.store.Put(b.t.Context(), ref, []byte("{}"), storage.PutOptions{Metadata: p.Metadata(ref)}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) body(ref storage.Ref) (string, storage.Info) {
	b.t.Helper()
	o, err := b.store.Get(b.t.Context(), ref, storage.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	defer o.Body.Close()
	body, err := io.ReadAll(o.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(body), o.Info
}

// ofObject and ofBody are submissions under an id.
func ofObject(id string) intake.Submission {
	return intake.Submission{Request: request.Request{ID: id, Input: input, Accept: "text/csv", TTL: time.Hour}}
}

func ofBody(id, body string) intake.Submission {
	return intake.Submission{Request: request.Request{ID: id, ContentType: "application/json"}, Body: []byte(body)}
}

func TestARequestIsRecordedAndThenSent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.accept(ofObject("order 7"))
	if want := []string{"put", "send"}; !slices.Equal(b.calls, want) {
		t.Errorf("it took %q, want %q", b.calls, want)
	}
	want := ofObject("order 7").Request
	want.Enqueued = noon
	if a.Request != want || a.Repeated || a.Output.String() != "s3://results/out/requests/order%207.out" ||
		a.Failure.String() != "s3://results/failed/requests/order%207-error.out" {
		t.Errorf("accepted was %+v", a)
	}
	if got := b.sentRequests(); len(got) != 1 || got[0] != want {
		t.Errorf("sent was %+v", got)
	}
	rec, err := intake.ReadRecord(t.Context(), b.store, b.Locations.RecordOf("order 7"))
	if err != nil || rec.Request != want || rec.Inline {
		t.Errorf("the record is %+v, %v", rec, err)
	}
}

func TestAnInlineBodyIsItsOwnRecord(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := ofBody("", `{"instances":[1]}`)
	s.ContentEncoding = "identity"
	a := b.accept(s)
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(a.Request.ID) {
		t.Errorf("the id is %q, which is no UUID", a.Request.ID)
	}
	if a.Request.Input != b.Locations.RecordOf(a.Request.ID) {
		t.Errorf("the input is %s", a.Request.Input)
	}
	body, info := b.body(a.Request.Input)
	if body != `{"instances":[1]}` || info.ContentType != "application/json" || info.ContentEncoding != "identity" {
		t.Errorf("the record is %q, %+v", body, info)
	}
	if again := b.accept(s); again.Request.ID == a.Request.ID {
		t.Error("two requests without an id have the same")
	}
}

func TestARepetitionHasTheSameAnswer(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]intake.Submission{"object": ofObject("x"), "body": ofBody("x", "[1]")} {
		b := setup(t)
		first := b.accept(s)
		b.now = noon.Add(time.Minute)
		s.Request.ETag, s.Request.Size = "known by now", 3 // nothing that the caller chose
		again := b.accept(s)
		if !again.Repeated || first.Repeated {
			t.Errorf("%s: repeated is %t, then %t", name, first.Repeated, again.Repeated)
		}
		again.Repeated, again.Request.ETag, again.Request.Size = false, "", 0
		if again != first {
			t.Errorf("%s: answers differ:\n%+v\n%+v", name, first, again)
		}
		sent := b.sentRequests()
		if len(sent) != 2 || !sent[1].Enqueued.Equal(noon) {
			t.Errorf("%s: sent was %+v: its time to live must count from the first time", name, sent)
		}
	}
}

func TestARepetitionOfWhatHasEndedSendsNothing(t *testing.T) {
	t.Parallel()
	for _, failed := range []bool{false, true} {
		b := setup(t)
		first := b.accept(ofObject("x"))
		ref := first.Output
		if failed {
			ref = first.Failure
		}
		b.end(first.Request, ref)
		again := b.accept(ofObject("x"))
		if !again.Repeated || again.Request != first.Request || len(b.queue.sent) != 1 {
			t.Errorf("failed %t: %d were sent, the answer is %+v", failed, len(b.queue.sent), again)
		}
	}
}

func TestAStrangersObjectIsNotTakenForTheEndOfARequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := ofObject("x")
	s.Request.OutputPath = "shared.json"
	first := b.accept(s)
	other := first.Request
	other.ID = "y"
	b.end(other, first.Output)
	if b.accept(s); len(b.queue.sent) != 2 {
		t.Errorf("%d were sent, want 2", len(b.queue.sent))
	}
}

func TestAnotherRequestUnderAUsedIDIsAConflict(t *testing.T) {
	t.Parallel()
	for name, c := range map[string][2]intake.Submission{
		"parameters":      {ofObject("x"), {Request: request.Request{ID: "x", Input: input}}},
		"bodies":          {ofBody("x", "[1]"), ofBody("x", "[2]")},
		"body and object": {ofBody("x", "[1]"), ofObject("x")},
		"encoding":        {ofBody("x", "[1]"), {Request: ofBody("x", "").Request, Body: []byte("[1]"), ContentEncoding: "gzip"}},
	} {
		b := setup(t)
		b.accept(c[0])
		_, err := b.Accept(t.Context(), c[1])
		if conflict, ok := errors.AsType[*intake.ConflictError](err); !ok || conflict.ID != "x" || !strings.Contains(err.Error(), "under another id") {
			t.Errorf("%s: got %v", name, err)
		}
		if again := b.accept(c[0]); !again.Repeated || len(b.queue.sent) != 2 {
			t.Errorf("%s: the first request does not go its way", name)
		}
	}
}

func TestAForeignObjectAtTheRecordsKeyIsAConflict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, err := b.store.Put(t.Context(), b.Locations.RecordOf("x"), []byte("mine"), storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := b.Accept(t.Context(), ofObject("x"))
	if _, ok := errors.AsType[*intake.ConflictError](err); !ok || !strings.Contains(err.Error(), "is no record of a request") {
		t.Errorf("got %v", err)
	}
}

func TestALostReplyToTheRecordsWriteIsOurOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.hook(func(_ context.Context, verb string, _ storage.Ref, call func() error) error {
		err := call()
		if verb == "put" { // its reply is lost, and the call is tried again below
			err = call()
		}
		return err
	})
	a := b.accept(ofBody("x", "[1]"))
	if a.Repeated || len(b.queue.sent) != 1 {
		t.Errorf("%d were sent, the answer is %+v", len(b.queue.sent), a)
	}
}

func TestAWriteInTheWayIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := 0
	b.hook(func(_ context.Context, verb string, _ storage.Ref, call func() error) error {
		if n++; verb == "put" && n < 3 {
			return storage.ErrConflict
		}
		return call()
	})
	b.accept(ofObject("x"))
	if len(b.queue.sent) != 1 {
		t.Errorf("%d were sent", len(b.queue.sent))
	}
}

func TestARecordThatVanishesIsWrittenAnew(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.accept(ofObject("x"))
	b.hook(func(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
		if verb == "head" {
			if err := b.store.Delete(ctx, ref, storage.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}
		return call()
	})
	if a := b.accept(ofObject("x")); a.Repeated {
		t.Errorf("the answer is %+v", a)
	}
	b.body(b.Locations.RecordOf("x"))
}

// TestACutAtAnyCallIsMendedByARepetition also loses the reply of a call that
// took effect.
func TestACutAtAnyCallIsMendedByARepetition(t *testing.T) {
	t.Parallel()
	for _, s := range []intake.Submission{ofObject("x"), ofBody("x", "[1]")} {
		for cut := 1; cut <= 5; cut++ {
			for _, takesEffect := range []bool{false, true} {
				b := setup(t)
				b.queue.lose = takesEffect
				b.accept(s) // so that a repetition has all calls
				n := 0
				b.hook(func(_ context.Context, _ string, _ storage.Ref, call func() error) error {
					if n++; n != cut || cut == 5 { // the fifth is the send
						return call()
					}
					if takesEffect {
						_ = call()
					}
					return errCut
				})
				if cut == 5 {
					b.queue.fail = 1
				}
				a, err := b.Accept(t.Context(), s)
				if !errors.Is(err, errCut) || a.Request.ID != "x" {
					t.Fatalf("cut %d: got %+v, %v", cut, a, err)
				}
				if again := b.accept(s); !again.Request.Enqueued.Equal(noon) {
					t.Errorf("cut %d: the answer is %+v", cut, again)
				}
			}
		}
	}
}

func TestAFailedSendIsMendedByARepetition(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.queue.fail = 1
	a, err := b.Accept(t.Context(), ofBody("", "[1]"))
	if !errors.Is(err, errCut) || a.Request.ID == "" {
		t.Fatalf("got %+v, %v", a, err)
	}
	b.body(a.Request.Input) // somebody else may have been told that it is accepted
	b.now = noon.Add(time.Hour)
	again := b.accept(ofBody(a.Request.ID, "[1]"))
	if len(b.queue.sent) != 1 || !again.Request.Enqueued.Equal(noon) {
		t.Errorf("%d were sent, the answer is %+v", len(b.queue.sent), again)
	}
}

func TestACallerWhoGoesAwayLeavesNoRecordWithoutItsMessage(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]intake.Submission{"an object": ofObject("x"), "a body": ofBody("x", "[1]")} {
		b := setup(t)
		ctx, leave := context.WithCancel(t.Context())
		b.hook(func(ctx context.Context, _ string, _ storage.Ref, call func() error) error {
			leave()
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return call()
		})
		if _, err := b.Accept(ctx, s); err != nil || len(b.queue.sent) != 1 {
			t.Errorf("%s: %d messages were sent, want 1: %v", name, len(b.queue.sent), err)
		}
		b = setup(t)
		if _, err := b.Accept(ctx, s); !errors.Is(err, context.Canceled) || len(b.queue.sent) != 0 {
			t.Errorf("%s, of a caller who had gone before: %d messages were sent, want none: %v", name, len(b.queue.sent), err)
		}
	}
}

func TestOfManyAtTheSameTimeOneIsTheFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const callers = 40
	answers, errs := make([]intake.Accepted, callers), make([]error, callers)
	var all sync.WaitGroup
	for n := range callers { // two requests fight for an id
		all.Go(func() { answers[n], errs[n] = b.Accept(t.Context(), ofBody("x", fmt.Sprint(n%2))) })
	}
	all.Wait()
	first, accepted := 0, 0
	body, _ := b.body(b.Locations.RecordOf("x"))
	for n, err := range errs {
		_, conflict := errors.AsType[*intake.ConflictError](err)
		switch won := body == fmt.Sprint(n%2); {
		case won && err != nil, !won && !conflict:
			t.Errorf("caller %d, whose body won: %t, got %v", n, won, err)
		case won && !answers[n].Repeated:
			first++
		}
		if err == nil {
			accepted++
		}
	}
	if first != 1 || accepted != callers/2 || len(b.queue.sent) != callers/2 {
		t.Errorf("%d were the first, %d accepted, %d sent", first, accepted, len(b.queue.sent))
	}
	for _, r := range b.sentRequests() {
		if !reflect.DeepEqual(r, b.sentRequests()[0]) {
			t.Errorf("different requests were sent: %+v", r)
		}
	}
}

func TestWhatIsInvalidIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1025)
	object := func(uri string) intake.Submission {
		ref, err := storage.ParseRef(uri)
		if err != nil {
			t.Fatal(err)
		}
		return intake.Submission{Request: request.Request{ID: "x", Input: ref}}
	}
	inline := func(change func(*request.Request)) intake.Submission {
		s := ofBody("x", "[1]")
		change(&s.Request)
		return s
	}
	for want, s := range map[string]intake.Submission{
		"there is no input":             {Request: request.Request{ID: "x"}},
		"there are two inputs":          {Request: request.Request{ID: "x", Input: input}, Body: []byte("[1]")},
		"the body is empty":             {Request: request.Request{ID: "x"}, Body: []byte{}},
		"put it below s3://uploads/in/": object("s3://uploads/elsewhere/x"),
		"lies outside the locations":    object("s3://results/.penstock/requests/another"),
		"names a bucket":                object("s3://uploads/"),
		"without spaces around it":      inline(func(r *request.Request) { r.ID = " x" }),
		"accept must be at most":        inline(func(r *request.Request) { r.Accept = long }),
		"outputPath":                    inline(func(r *request.Request) { r.OutputPath = "../x" }),
		"ttlSeconds":                    inline(func(r *request.Request) { r.TTL = -1 }),
		"content type":                  inline(func(r *request.Request) { r.ContentType = "é" }),
		"shorten them":                  inline(func(r *request.Request) { r.Accept, r.Signature = long[1:], long[1:] }),
	} {
		b := setup(t)
		_, err := b.Accept(t.Context(), s)
		if _, ok := errors.AsType[*intake.InvalidError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		if len(b.calls) != 0 {
			t.Errorf("%s: it took %q", want, b.calls)
		}
	}
	b := setup(t)
	b.Group = func(request.Request) string { return "a group with spaces" }
	if _, err := b.Accept(t.Context(), ofObject("x")); !strings.Contains(fmt.Sprint(err), "group") || len(b.calls) != 0 {
		t.Errorf("a group that SQS does not take: %v after %q", err, b.calls)
	}
}

func TestAnUploadByURLIsAnInput(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.accept(intake.Submission{Request: request.Request{ID: "x", Input: b.Locations.UploadOf("x")}})
}

func TestIDsAreUUIDs(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if a, b := intake.NewID(), intake.NewID(); !form.MatchString(a) || a == b {
		t.Errorf("got %s and %s", a, b)
	}
}
