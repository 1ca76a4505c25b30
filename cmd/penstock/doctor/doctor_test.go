package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"

	"github.com/penstock/penstock/queue"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/storage/s3"
	"github.com/penstock/penstock/storage/storagetest"
)

// ward is an installation in memory that has no fault, until a test gives it
// one.
type ward struct {
	*Doctor
	store   *faulty
	buckets *buckets
	live    *attributes
	dead    *attributes
	missing bool // the dead-letter queue
}

// attributes is a queue that says what a test wants of itself.
type attributes struct {
	*qmem.Queue
	change func(*queue.Attributes)
	err    error
}

func (a *attributes) Attributes(ctx context.Context) (queue.Attributes, error) {
	got, err := a.Queue.Attributes(ctx)
	if a.change != nil {
		a.change(&got)
	}
	return got, errors.Join(err, a.err)
}

// faulty is a store in which calls fail as a test wants it.
type faulty struct {
	*mem.Store
	deny   string        // verbs that are denied, such as "put delete"
	always string        // conditions that are not looked at: "put upload delete"
	plain  bool          // deletions on a condition are not supported
	none   error         // of a HEAD of what is not there
	slow   time.Duration // of each call
	broken error         // of each call
}

func (f *faulty) denied(verb string) error {
	if f.broken != nil {
		return f.broken
	}
	if strings.Contains(f.deny, verb) {
		return fmt.Errorf("%s: %w", verb, storage.ErrForbidden)
	}
	return nil
}

func (f *faulty) Head(ctx context.Context, ref storage.Ref) (storage.Info, error) {
	if f.slow > 0 {
		select {
		case <-ctx.Done():
			return storage.Info{}, ctx.Err()
		case <-time.After(f.slow):
		}
	}
	if f.broken != nil {
		return storage.Info{}, f.broken
	}
	info, err := f.Store.Head(ctx, ref)
	if errors.Is(err, fs.ErrNotExist) && f.none != nil {
		return info, f.none
	}
	return info, errors.Join(err, f.denied("head"))
}

func (f *faulty) Get(ctx context.Context, ref storage.Ref, o storage.GetOptions) (*storage.Object, error) {
	if err := f.denied("get"); err != nil {
		return nil, err
	}
	return f.Store.Get(ctx, ref, o)
}

func (f *faulty) List(ctx context.Context, ref storage.Ref, after string) iter.Seq2[storage.Info, error] {
	if err := f.denied("list"); err != nil {
		return func(yield func(storage.Info, error) bool) { yield(storage.Info{}, err) }
	}
	return f.Store.List(ctx, ref, after)
}

func (f *faulty) Put(ctx context.Context, ref storage.Ref, body []byte, o storage.PutOptions) (storage.Info, error) {
	if err := f.denied("put"); err != nil {
		return storage.Info{}, err
	}
	if strings.Contains(f.always, "put") {
		o.IfMatch, o.IfNoneMatch = "", false
	}
	return f.Store.Put(ctx, ref, body, o)
}

func (f *faulty) Upload(ctx context.Context, ref storage.Ref, o storage.PutOptions) (storage.Upload, error) {
	if err := f.denied("upload"); err != nil {
		return nil, err
	}
	if strings.Contains(f.always, "upload") {
		o.IfMatch, o.IfNoneMatch = "", false
	}
	return f.Store.Upload(ctx, ref, o)
}

func (f *faulty) Delete(ctx context.Context, ref storage.Ref, o storage.DeleteOptions) error {
	if err := f.denied("delete"); err != nil {
		return err
	}
	if strings.Contains(f.always, "delete") {
		o = storage.DeleteOptions{}
	}
	if f.plain {
		return storagetest.Unconditional{Store: f.Store}.Delete(ctx, ref, o)
	}
	return f.Store.Delete(ctx, ref, o)
}

// buckets say what a test wants.
type buckets struct {
	region        string
	notifications []s3.Notification
	rules         []s3.LifecycleRule
	err           error
}

func (b *buckets) Region(context.Context, string) (string, error) { return b.region, b.err }
func (b *buckets) Notifications(_ context.Context, bucket string) ([]s3.Notification, error) {
	if bucket != "uploads" && len(b.notifications) == 1 {
		return nil, b.err
	}
	return b.notifications, b.err
}

func (b *buckets) Lifecycle(context.Context, string) ([]s3.LifecycleRule, error) {
	return b.rules, b.err
}

const queueARN = "arn:aws:sqs:mem:000000000000:live"

func newWard(t *testing.T) *ward {
	t.Helper()
	l, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		t.Fatal(err)
	}
	dead := qmem.New(qmem.Options{Name: "dead", RetentionPeriod: wantRetention})
	live := qmem.New(qmem.Options{Name: "live", RetentionPeriod: wantRetention, DeadLetter: dead, MaxReceiveCount: wantReceives})
	w := &ward{
		store: &faulty{Store: mem.New("uploads", "results")}, live: &attributes{Queue: live}, dead: &attributes{Queue: dead},
		buckets: &buckets{
			region:        "eu-west-1",
			notifications: []s3.Notification{{ID: "up", Target: queueARN, Events: []string{"s3:ObjectCreated:*"}, Prefix: "in/"}},
			rules:         []s3.LifecycleRule{{AbortUploads: 1}, {Prefix: ".penstock/requests/", Expires: true, ExpireDays: 7}},
		},
	}
	w.Doctor = &Doctor{
		Locations: l, Store: w.store, Buckets: w.buckets, Queue: w.live, QueueURL: "http://sqs/live", Region: "eu-west-1",
		Now: time.Now, Skew: func() time.Duration { return 0 }, Limit: 5 * time.Second,
		DeadLetters: func(context.Context) (Queue, error) {
			if w.missing {
				return nil, fs.ErrNotExist
			}
			return w.dead, nil
		},
	}
	w.put(t, "s3://uploads/in/a.png", "7")
	return w
}

func (w *ward) put(t *testing.T, uri, body string) {
	t.Helper()
	ref, err := storage.ParseRef(uri)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Store.Put(t.Context(), ref, []byte(body), storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// snapshot is a worker's sign of life.
func (w *ward) snapshot(t *testing.T, s request.Snapshot) {
	t.Helper()
	if _, err := w.store.Store.Put(t.Context(), w.Locations.SnapshotOf(s.Worker), s.JSON(), storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (w *ward) send(t *testing.T, q *attributes, messages ...queue.Outgoing) {
	t.Helper()
	if err := errors.Join(q.Send(t.Context(), messages...)...); err != nil {
		t.Fatal(err)
	}
}

// examine gives all findings.
func (w *ward) examine(t *testing.T) (list []Finding) {
	t.Helper()
	w.Examine(t.Context(), func(f Finding) { list = append(list, f) })
	return list
}

func TestAGoodInstallationHasNoFaultAndStaysAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t)
		w.snapshot(t, request.Snapshot{Worker: "w1", Time: time.Now(), InFlight: []string{"a"}, SecondsPerRequest: 0.01})
		before := w.keys(t)
		for _, f := range w.examine(t) {
			if f.Level != Fine {
				t.Errorf("%s is %s: %s; %s", f.About, f.Level, f.Found, f.Remedy)
			}
		}
		if after := w.keys(t); !slices.Equal(before, after) {
			t.Errorf("the objects were %q and are %q", before, after)
		}
		if n := w.live.Len() + w.dead.Len(); n != 0 {
			t.Errorf("%d messages are in the queues", n)
		}
	})
}

// keys are those of all objects.
func (w *ward) keys(t *testing.T) (keys []string) {
	t.Helper()
	for _, b := range []string{"uploads", "results"} {
		for info, err := range w.store.Store.List(t.Context(), storage.Ref{Bucket: b}, "") {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, info.Ref.String())
		}
	}
	return keys
}

func TestEachClassicFaultIsNamedWithItsRemedy(t *testing.T) {
	letter := func(code string) queue.Outgoing {
		return queue.Outgoing{Body: "x", Attributes: map[string]string{request.LetterReason: "why", request.LetterCode: code}}
	}
	for name, test := range map[string]struct {
		inflict func(t *testing.T, w *ward)
		about   string
		level   Level
		found   string
		remedy  string
	}{
		"no queue": {func(_ *testing.T, w *ward) { w.live.err = fs.ErrNotExist }, "queue", Fault, "there is no queue http://sqs/live", "-queue-url"},
		"no batch queue": {func(_ *testing.T, w *ward) {
			w.Batch, w.BatchURL = &attributes{Queue: w.live.Queue, err: fs.ErrNotExist}, "http://sqs/batch"
		}, "batch queue", Fault, "there is no queue http://sqs/batch", "-batch-queue-url"},
		"short retention": {func(_ *testing.T, w *ward) {
			w.live.change = func(a *queue.Attributes) { a.RetentionPeriod = 4 * 24 * time.Hour }
		}, "queue", Warning, "vanish after 96h", "1209600"},
		"very short retention": {func(_ *testing.T, w *ward) {
			w.live.change = func(a *queue.Attributes) { a.RetentionPeriod = time.Hour }
		}, "queue", Fault, "vanish after 1h", "1209600"},
		"small messages": {func(_ *testing.T, w *ward) {
			w.live.change = func(a *queue.Attributes) { a.MaximumMessage = 64 << 10 }
		}, "queue", Fault, "65536 bytes", "MaximumMessageSize"},
		"the old maximum of messages": {func(_ *testing.T, w *ward) {
			w.live.change = func(a *queue.Attributes) { a.MaximumMessage = 256 << 10 }
		}, "queue", Warning, "262144 bytes", "MaximumMessageSize"},
		"no visibility": {func(_ *testing.T, w *ward) {
			w.live.change = func(a *queue.Attributes) { a.VisibilityTimeout = 0 }
		}, "queue", Fault, "visibility timeout is 0s", "VisibilityTimeout"},
		"a FIFO queue": {func(_ *testing.T, w *ward) {
			w.live.change = func(a *queue.Attributes) { a.ARN += ".fifo" }
		}, "queue", Warning, "S3 sends no events", "standard queue"},
		"no redrive": {func(_ *testing.T, w *ward) {
			w.live.change = func(a *queue.Attributes) { a.DeadLetterARN, a.MaxReceiveCount = "", 0 }
		}, "queue", Fault, "no dead-letter queue", "RedrivePolicy"},
		"a low maxReceiveCount": {func(_ *testing.T, w *ward) {
			w.live.change = func(a *queue.Attributes) { a.MaxReceiveCount = 3 }
		}, "queue", Fault, "maxReceiveCount is 3", "100"},
		"a middling maxReceiveCount": {func(_ *testing.T, w *ward) {
			w.live.change = func(a *queue.Attributes) { a.MaxReceiveCount = 20 }
		}, "queue", Warning, "maxReceiveCount is 20", "100"},
		"no dead-letter queue behind the redrive": {func(_ *testing.T, w *ward) { w.missing = true }, "dead letters", Fault, "is not there", "make it again"},
		"a dead-letter queue that is gone":        {func(_ *testing.T, w *ward) { w.dead.err = fs.ErrNotExist }, "dead letters", Fault, "is not there", "make it"},
		"the queue as its own dead-letter queue": {func(_ *testing.T, w *ward) {
			w.dead.change = func(a *queue.Attributes) { a.ARN = queueARN }
		}, "dead letters", Fault, "the queue itself", "another"},
		"dead letters that vanish": {func(_ *testing.T, w *ward) {
			w.dead.change = func(a *queue.Attributes) { a.RetentionPeriod = 24 * time.Hour }
		}, "dead letters", Fault, "keeps its age", "1209600"},
		"dead letters that go on": {func(_ *testing.T, w *ward) {
			w.dead.change = func(a *queue.Attributes) { a.DeadLetterARN = "arn:x" }
		}, "dead letters", Warning, "redrive policy of its own", "RedrivePolicy"},
		"dead letters": {func(t *testing.T, w *ward) {
			w.send(t, w.dead, letter(request.CodePoison), letter(request.CodePoison), letter(request.CodeUnreadable), queue.Outgoing{Body: "moved"})
		}, "dead letters", Warning, "2 Poison, 1 ReceivedTooOften, 1 UnreadableMessage", "penstock dead-letter list"},
		"no bucket":                    {func(_ *testing.T, w *ward) { w.Locations.Inputs[0].Bucket = "nobucket" }, "bucket", Fault, "no bucket s3://nobucket", "make it"},
		"a bucket elsewhere":           {func(_ *testing.T, w *ward) { w.buckets.region = "us-west-2" }, "bucket", Warning, "is in us-west-2, the settings say eu-west-1", "AWS_REGION"},
		"no right to list":             {func(_ *testing.T, w *ward) { w.store.deny = "list" }, "bucket", Fault, "may not be listed", "s3:ListBucket"},
		"403 for what is not there":    {func(_ *testing.T, w *ward) { w.store.none = storage.ErrForbidden }, "output", Fault, "403, not 404", "s3:ListBucket"},
		"403 for inputs":               {func(_ *testing.T, w *ward) { w.store.none = storage.ErrForbidden }, "input", Fault, "403, not 404", "s3:ListBucket"},
		"no right to read inputs":      {func(_ *testing.T, w *ward) { w.store.deny = "get" }, "input", Fault, "may not be read", "s3:GetObject"},
		"no right to upload":           {func(_ *testing.T, w *ward) { w.store.deny = "upload" }, "input", Warning, "may not write", "s3:PutObject"},
		"no right to write":            {func(_ *testing.T, w *ward) { w.store.deny = "put" }, "failure", Fault, "s3:PutObject is denied", "s3:PutObject"},
		"no right to read":             {func(_ *testing.T, w *ward) { w.store.deny = "get" }, "state", Fault, "s3:GetObject is denied", "s3:GetObject"},
		"no right to delete":           {func(_ *testing.T, w *ward) { w.store.deny = "delete" }, "output", Fault, "denied", "allow s3:"},
		"writes without conditions":    {func(_ *testing.T, w *ward) { w.store.always = "put" }, "output", Fault, "If-None-Match: * over an object that is there was not refused", "two workers"},
		"deletions without conditions": {func(_ *testing.T, w *ward) { w.store.always = "delete" }, "state", Warning, "a deletion with If-Match of another ETag was not refused", "can be lost"},
		"no deletions on a condition":  {func(_ *testing.T, w *ward) { w.store.plain = true }, "failure", Warning, "a deletion with If-Match of another ETag is refused as not implemented", "can be lost"},
		"uploads without conditions":   {func(_ *testing.T, w *ward) { w.store.always = "upload" }, "output", Fault, "an upload in parts with If-None-Match: * over an object that is there was not refused", "two workers"},
		"no notification":              {func(_ *testing.T, w *ward) { w.buckets.notifications = nil }, "events", Fault, "nobody is told of uploads to s3://uploads/in/", "s3:ObjectCreated:*"},
		"no notification beside one": {func(_ *testing.T, w *ward) {
			w.Locations.Inputs = append(w.Locations.Inputs, storage.Ref{Bucket: "uploads", Key: "jobs/"})
		}, "events", Warning, "nobody is told of uploads to s3://uploads/jobs/", "batch jobs"},
		"a notification for other keys":  {func(_ *testing.T, w *ward) { w.buckets.notifications[0].Prefix = "elsewhere/" }, "events", Fault, "nobody is told", "prefix"},
		"a notification for deletions":   {func(_ *testing.T, w *ward) { w.buckets.notifications[0].Events = []string{"s3:ObjectRemoved:*"} }, "events", Fault, "nobody is told", "prefix"},
		"a notification for small files": {func(_ *testing.T, w *ward) { w.buckets.notifications[0].Events = []string{"s3:ObjectCreated:Put"} }, "events", Fault, "Post, Copy, CompleteMultipartUpload", "large files"},
		"a notification for some files":  {func(_ *testing.T, w *ward) { w.buckets.notifications[0].Suffix = ".png" }, "events", Warning, "only keys in/….png", "filter"},
		"a loop": {func(_ *testing.T, w *ward) {
			w.buckets.notifications = append(w.buckets.notifications, s3.Notification{ID: "all", Target: queueARN, Events: []string{"s3:ObjectCreated:*"}})
		}, "events", Fault, `"all" tells of what is written to the output location s3://results/out/`, "prefix"},
		"unfinished uploads for ever": {func(_ *testing.T, w *ward) { w.buckets.rules = w.buckets.rules[1:] }, "lifecycle", Warning, "nothing ends the parts", "AbortIncompleteMultipartUpload"},
		"records for ever":            {func(_ *testing.T, w *ward) { w.buckets.rules = w.buckets.rules[:1] }, "lifecycle", Warning, "nothing removes the records", "7 days"},
		"records that vanish":         {func(_ *testing.T, w *ward) { w.buckets.rules[1].ExpireDays = 1 }, "lifecycle", Warning, "expire after 1 day", "7 days"},
		"results that vanish": {func(_ *testing.T, w *ward) {
			w.buckets.rules = append(w.buckets.rules, s3.LifecycleRule{Expires: true, ExpireDays: 1})
		}, "lifecycle", Warning, "is deleted after 1 day", "longer"},
		"a backlog without workers": {func(t *testing.T, w *ward) { w.send(t, w.live, queue.Outgoing{Body: "x"}) }, "workers", Fault, "1 messages wait, none is in flight, and no worker gives a sign of life", "start workers"},
		"workers with another state": {func(t *testing.T, w *ward) {
			w.send(t, w.live, queue.Outgoing{Body: "x"}, queue.Outgoing{Body: "y"})
			if _, err := w.live.Receive(t.Context(), 1, time.Minute, 0); err != nil {
				t.Fatal(err)
			}
		}, "workers", Warning, "messages are in flight, but no worker", "state location"},
		"a dead worker": {func(t *testing.T, w *ward) {
			w.snapshot(t, request.Snapshot{Worker: "w1", Time: time.Now()})
			time.Sleep(time.Hour)
			w.send(t, w.live, queue.Outgoing{Body: "x"})
		}, "workers", Fault, "the last sign of one was 1h0m0s ago", "start workers"},
		"requests longer than a lease": {func(t *testing.T, w *ward) {
			w.snapshot(t, request.Snapshot{Worker: "w1", Time: time.Now(), SecondsPerRequest: 90})
		}, "workers", Warning, "a request takes 1m30s", "penstock model inspect"},
		"too few workers": {func(t *testing.T, w *ward) {
			w.snapshot(t, request.Snapshot{Worker: "w1", Time: time.Now(), SecondsPerRequest: 30})
			for range 200 {
				w.send(t, w.live, queue.Outgoing{Body: "x"})
			}
		}, "workers", Warning, "what waits needs about 1h40m", "more workers"},
		"a clock that is behind":     {func(_ *testing.T, w *ward) { w.Skew = func() time.Duration { return 20 * time.Second } }, "clock", Warning, "20s behind the servers'", "NTP"},
		"a clock that is far behind": {func(_ *testing.T, w *ward) { w.Skew = func() time.Duration { return -10 * time.Minute } }, "clock", Fault, "10m0s ahead of the servers'", "NTP"},
		"an S3 that doesn't answer":  {func(_ *testing.T, w *ward) { w.store.slow = time.Hour }, "output", Unknown, "no answer within 5s", "VPC endpoints"},
		"a model that is none": {func(_ *testing.T, w *ward) {
			w.Model = func(context.Context) (Finding, error) {
				return Finding{Level: Fault, Found: "no SavedModel", Remedy: "inspect"}, nil
			}
		}, "model", Fault, "no SavedModel", "inspect"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWard(t)
				test.inflict(t, w)
				list := w.examine(t)
				if !slices.ContainsFunc(list, func(f Finding) bool {
					return f.About == test.about && f.Level == test.level && strings.Contains(f.Found, test.found) && strings.Contains(f.Remedy, test.remedy)
				}) {
					for _, f := range list {
						t.Logf("%s %s: %s -> %s", f.Level, f.About, f.Found, f.Remedy)
					}
					t.Errorf("no finding of %s is a %s that says %q with the remedy %q", test.about, test.level, test.found, test.remedy)
				}
				for _, f := range list {
					if (f.Level == Fault || f.Level == Warning) && f.Remedy == "" {
						t.Errorf("%s has no remedy: %s", f.About, f.Found)
					}
				}
			})
		})
	}
}

func TestWhatTheServerDoesNotTellIsNotCalledFine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t)
		w.buckets.err = errors.ErrUnsupported
		for _, f := range w.examine(t) {
			if (f.About == "events" || f.About == "lifecycle") && f.Level != Unknown {
				t.Errorf("%s is %s: %s", f.About, f.Level, f.Found)
			}
		}
		w.buckets.err = storage.ErrForbidden
		for _, f := range w.examine(t) {
			if (f.About == "events" || f.About == "lifecycle") && f.Level != Unknown {
				t.Errorf("without the right to ask, %s is %s: %s", f.About, f.Level, f.Found)
			}
		}
	})
}

func TestAFaultThatAllCallsHaveIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t)
		w.store.broken = fmt.Errorf("head x: %w", &smithy.OperationError{Err: &smithy.GenericAPIError{Code: "SignatureDoesNotMatch", Message: "check your key"}})
		w.buckets.err = w.store.broken
		var faults []Finding
		for _, f := range w.examine(t) {
			if f.Level == Fault {
				faults = append(faults, f)
			}
		}
		if len(faults) != 1 || !strings.Contains(faults[0].Found, "SignatureDoesNotMatch") || !strings.Contains(faults[0].Remedy, "AWS_PROFILE") {
			t.Errorf("the faults are %+v", faults)
		}
	})
}

func TestAnInterruptedExaminationRemovesWhatItHasPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t)
		before := w.keys(t)
		ctx, cancel := context.WithCancel(t.Context())
		w.Doctor.Store = &cutAfterPut{w.store, cancel}
		w.Examine(ctx, func(Finding) {})
		if after := w.keys(t); !slices.Equal(before, after) {
			t.Errorf("the objects were %q and are %q", before, after)
		}
	})
}

// cutAfterPut ends a context with the first write.
type cutAfterPut struct {
	*faulty
	cut func()
}

func (c *cutAfterPut) Put(ctx context.Context, ref storage.Ref, body []byte, o storage.PutOptions) (storage.Info, error) {
	info, err := c.faulty.Put(ctx, ref, body, o)
	c.cut()
	return info, err
}

func TestAWorkerIsAskedWhetherItIsReady(t *testing.T) {
	t.Parallel()
	ready := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("%s was asked for", r.URL.Path)
		}
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "the model is being loaded")
		}
	}))
	defer server.Close()
	w := newWard(t)
	w.Addr = strings.TrimPrefix(server.URL, "http://")
	check := func(level Level, found string) {
		t.Helper()
		list, err := w.readiness(t.Context())
		if err != nil || list[0].Level != level || !strings.Contains(list[0].Found, found) {
			t.Errorf("it is %+v, %v; want %s and %q", list, err, level, found)
		}
	}
	check(Fine, "200")
	ready = false
	check(Fault, "the model is being loaded")
	server.Close()
	check(Fault, "connection refused")
}
