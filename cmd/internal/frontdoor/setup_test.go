package frontdoor_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/penstock/penstock/cmd/internal/frontdoor"
	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/status"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	smem "github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/storage/storagetest"
	"github.com/penstock/penstock/worker"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

var locations = func() request.Locations {
	l, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		panic(err)
	}
	return l
}()

// house is a front door with all that is behind it, in memory.
type house struct {
	*testing.T
	queue  *qmem.Queue
	store  *storagetest.Hooked
	config frontdoor.Config
	logs   *observer.ObservedLogs
	seen   seen
}

// in runs a test in a bubble, so that minutes pass in no time. The worker there
// is doubles numbers; without it nothing is done.
func in(t *testing.T, test func(h *house), options ...func(*frontdoor.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		h := &house{
			T: t, queue: qmem.New(qmem.Options{Name: "requests"}),
			store: &storagetest.Hooked{Store: smem.New("uploads", "results")}, logs: logs,
		}
		h.config = frontdoor.Config{
			Intake:    &intake.Intake{Store: h.store, Queue: h.queue, Locations: locations},
			Finder:    &status.Finder{Store: h.store, Locations: locations, Queue: h.queue},
			Store:     h.store,
			Locations: locations,
			Presign:   presigner{},
			Endpoints: map[string]string{"digits": "", "named": "double", "wrong": "nobody"},
			Log:       zap.New(core),
		}
		for _, o := range options {
			o(&h.config)
		}
		test(h)
	})
}

// presigner makes URLs that say what they are for.
type presigner struct{ err error }

func (p presigner) PresignPut(_ context.Context, ref storage.Ref, expires time.Duration) (string, error) {
	return "https://put/" + ref.Bucket + "/" + ref.Key + "?" + expires.String(), p.err
}

func (p presigner) PresignGet(_ context.Context, ref storage.Ref, expires time.Duration) (string, error) {
	return "https://get/" + ref.Bucket + "/" + ref.Key + "?" + expires.String(), p.err
}

// works starts a worker whose model doubles numbers; 13 it refuses, and over
// 14 it breaks.
func (h *house) works(knobs ...fake.Knob) {
	h.Helper()
	is := func(n byte) func([]model.Tensor) bool {
		return func(part []model.Tensor) bool { return len(part[0].Data) >= 4 && [4]byte(part[0].Data[:4]) == float(n) }
	}
	knobs = append(
		knobs,
		fake.FailWhen(is(13), &model.Error{Code: "INVALID_ARGUMENT", Message: "13 brings bad luck", Permanent: true}),
		fake.FailWhen(is(14), &model.Error{Code: "INTERNAL", Message: "out of order"}),
	)
	w, err := worker.New(worker.Config{
		Queue: h.queue, Requests: h.queue, Store: h.store, Locations: locations, MaxAttempts: 1,
		Models: model.Fixed(fake.Double(1, knobs...)),
	})
	if err != nil {
		h.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Run(ctx); err != nil {
			h.Error(err)
		}
	})
	h.Cleanup(func() { cancel(); wg.Wait() })
}

// float is a small number as a float32 has it, in little endian.
func float(n byte) [4]byte {
	return map[byte][4]byte{13: {0, 0, 0x50, 0x41}, 14: {0, 0, 0x60, 0x41}}[n]
}

// reply is an answer, read.
type reply struct {
	*testing.T
	code   int
	header http.Header
	body   string
}

// call calls the front door. headers are names and values.
func (h *house) call(method, target, body string, headers ...string) reply {
	h.Helper()
	return h.do(h.Context(), method, target, body, headers...)
}

func (h *house) do(ctx context.Context, method, target, body string, headers ...string) reply {
	h.Helper()
	r := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
		if http.CanonicalHeaderKey(headers[i]) != headers[i] {
			delete(r.Header, headers[i])
			r.Header.Add(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	config := h.config
	config.Seen = func(route string, status int, _ time.Duration) { h.seen.add(method, route, status) }
	frontdoor.New(config).ServeHTTP(w, r)
	reply := reply{h.T, w.Code, w.Result().Header, w.Body.String()}
	h.seen.check(h.T, method, reply)
	return reply
}

// want checks the status, and gives the reply back.
func (r reply) want(code int) reply {
	r.Helper()
	if r.code != code {
		r.Errorf("status %d, want %d:\n%s", r.code, code, r.body)
	}
	return r
}

// says checks that the body has each of these texts in it.
func (r reply) says(texts ...string) reply {
	r.Helper()
	for _, text := range texts {
		if !strings.Contains(r.body, text) {
			r.Errorf("the answer does not say %q:\n%s", text, r.body)
		}
	}
	return r
}

// has checks a header.
func (r reply) has(name, value string) reply {
	r.Helper()
	if got := r.values(name); strings.Join(got, "|") != value {
		r.Errorf("header %s is %q, want %q", name, got, value)
	}
	return r
}

// values are those of a header, which may have a spelling of its own, as some
// of SageMaker's have.
func (r reply) values(name string) []string {
	if own, ok := r.header[name]; ok {
		return own
	}
	return r.header.Values(name)
}

// member is a member of a JSON body, by its path.
func (r reply) member(path ...string) any {
	r.Helper()
	var v any
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		r.Fatalf("the answer is no JSON: %v\n%s", err, r.body)
	}
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func (r reply) text(path ...string) string {
	r.Helper()
	s, ok := r.member(path...).(string)
	if !ok {
		r.Errorf("there is no text at %q:\n%s", path, r.body)
	}
	return s
}

// put uploads an object.
func (h *house) put(uri, body, contentType string) {
	h.Helper()
	ref, err := storage.ParseRef(uri)
	if err != nil {
		h.Fatal(err)
	}
	if _, err := h.store.Put(h.Context(), ref, []byte(body), storage.PutOptions{ContentType: contentType}); err != nil {
		h.Fatal(err)
	}
}

// breaks makes the store fail from now on.
func (h *house) breaks() {
	h.store.OnCall(func(context.Context, string, storage.Ref, func() error) error {
		return errBroken
	})
}

func (h *house) heals() { h.store.OnCall(nil) }

// waiting is how many messages are in the queue.
func (h *house) waiting() int {
	h.Helper()
	a, err := h.queue.Attributes(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	return a.Visible + a.InFlight + a.Delayed
}

// prefer is the header that asks for a wait.
const prefer = "Prefer"

func (h *house) sleep(seconds int) { time.Sleep(time.Duration(seconds) * time.Second) }

var errBroken = errors.New("the store is on fire, says 10.1.2.3")
