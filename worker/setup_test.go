package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/penstock/penstock/queue"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	smem "github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

// plant is all that a worker works on, in memory, and the workers themselves.
type plant struct {
	t        *testing.T
	queue    *qmem.Queue
	jobs     *qmem.Queue // of batch jobs, for workers that have it
	dead     *qmem.Queue
	store    *smem.Store
	recorder *fake.Recorder // of the runs of all workers
	released chan struct{}  // closed at the end of the test: what hangs goes on
}

// in runs a test in a bubble, so that hours pass in no time and nothing that
// was started may be left at the end.
func in(t *testing.T, test func(t *testing.T, p *plant)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &plant{
			t:        t,
			queue:    qmem.New(qmem.Options{Name: "requests"}),
			jobs:     qmem.New(qmem.Options{Name: "jobs"}),
			dead:     qmem.New(qmem.Options{Name: "dead"}),
			store:    smem.New("uploads", "results"),
			recorder: new(fake.Recorder),
			released: make(chan struct{}),
		}
		t.Cleanup(func() {
			close(p.released)
			time.Sleep(24 * time.Hour) // runs that were left behind end
		})
		test(t, p)
	})
}

var locations = func() request.Locations {
	l, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		panic(err)
	}
	return l
}()

// process is a running worker with its own way to the queue and the store.
type process struct {
	*Worker
	plant  *plant
	queue  *queueShim
	jobs   *queueShim
	store  *storeShim
	logs   *observer.ObservedLogs
	gather prometheus.Gatherer
	dead   atomic.Bool
	cancel context.CancelFunc
	ended  chan error // what Run returned
	over   bool
}

// option changes a worker's Config before it starts.
type option func(p *process, c *Config)

// hooked puts h before every call to the store, from the first one on.
func hooked(h storeHook) option {
	return func(p *process, _ *Config) { p.store.onCall(h) }
}

// runs sets the model to one that doubles rows of one number, with knobs.
func runs(knobs ...fake.Knob) option {
	return func(p *process, c *Config) {
		c.Models = model.Fixed(fake.Double(1, append([]fake.Knob{p.plant.recorder.Knob()}, knobs...)...))
	}
}

// kills is a model that ends its worker's process at a matching input.
func kills(match func([]model.Tensor) bool) option {
	return func(p *process, c *Config) {
		crash := func([]model.Tensor) bool { p.kill(); return true }
		runs(fake.HangWhen(func(part []model.Tensor) bool { return match(part) && crash(part) }, p.plant.released))(p, c)
	}
}

// with changes the Config as it likes.
func with(change func(c *Config)) option { return func(_ *process, c *Config) { change(c) } }

// start starts a worker, which ends with the test at the latest.
func (p *plant) start(options ...option) *process {
	p.t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	registry := prometheus.NewRegistry()
	w := &process{
		plant: p, queue: &queueShim{Queue: p.queue}, jobs: &queueShim{Queue: p.jobs},
		logs: logs, gather: registry, ended: make(chan error, 1),
	}
	w.jobs.dead = &w.dead
	w.queue.dead, w.store = &w.dead, newStoreShim(p.store, &w.dead)
	cfg := Config{
		Queue: w.queue, Requests: w.queue, DeadLetters: &deadShim{Queue: p.dead, dead: &w.dead}, Store: w.store,
		Locations: locations, Log: zap.New(core), Metrics: registry,
	}
	for _, o := range append([]option{runs()}, options...) {
		o(w, &cfg)
	}
	var err error
	if w.Worker, err = New(cfg); err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	w.cancel = cancel
	go func() { w.ended <- w.Run(ctx) }()
	p.t.Cleanup(func() {
		cancel()
		if !w.over {
			<-w.ended
		}
	})
	return w
}

// stop ends a worker as SIGTERM does, and gives what Run returned.
func (w *process) stop() error {
	w.plant.t.Helper()
	w.cancel()
	return w.wait()
}

// wait awaits the end of Run, at most a simulated day.
func (w *process) wait() error {
	w.plant.t.Helper()
	select {
	case err := <-w.ended:
		w.over = true
		return err
	case <-time.After(24 * time.Hour):
		w.plant.t.Fatal("Run has not returned after a day")
		return nil
	}
}

// kill makes the worker one whose process has died: nothing that it does
// reaches the queue or the store any more.
func (w *process) kill() { w.dead.Store(true) }

// row is the JSON body of a request of one row for each number.
func row(values ...float32) string {
	rows := make([]string, len(values))
	for i, v := range values {
		rows[i] = fmt.Sprintf("[%g]", v)
	}
	return `{"instances":[` + strings.Join(rows, ",") + `]}`
}

// first matches parts whose first number is v.
func first(v float32) func([]model.Tensor) bool {
	return func(part []model.Tensor) bool {
		d := part[0].Data
		return len(d) >= 4 && math.Float32frombits(uint32(d[0])|uint32(d[1])<<8|uint32(d[2])<<16|uint32(d[3])<<24) == v
	}
}

// upload puts an input in its place; meta are keys and values of metadata.
func (p *plant) upload(key, body string, meta ...string) storage.Info {
	p.t.Helper()
	opts := storage.PutOptions{ContentType: "application/json", Metadata: map[string]string{}}
	for i := 0; i < len(meta); i += 2 {
		opts.Metadata[meta[i]] = meta[i+1]
	}
	info, err := p.store.Put(p.t.Context(), storage.Ref{Bucket: "uploads", Key: "in/" + key}, []byte(body), opts)
	if err != nil {
		p.t.Fatal(err)
	}
	info.Size = int64(len(body))
	return info
}

// record is one of S3's event records for an object.
func record(info storage.Info) string {
	return fmt.Sprintf(`{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":%q},"object":{"key":%q,"size":%d,"eTag":%q}}}`,
		info.Ref.Bucket, url.QueryEscape(info.Ref.Key), info.Size, info.ETag)
}

// event is S3's notification of objects.
func event(infos ...storage.Info) string {
	records := make([]string, len(infos))
	for i, info := range infos {
		records[i] = record(info)
	}
	return `{"Records":[` + strings.Join(records, ",") + `]}`
}

// send puts a message into the queue.
func (p *plant) send(body string, attributes ...string) {
	p.t.Helper()
	o := queue.Outgoing{Body: body, Attributes: map[string]string{}}
	for i := 0; i < len(attributes); i += 2 {
		o.Attributes[attributes[i]] = attributes[i+1]
	}
	if err := p.queue.Send(p.t.Context(), o)[0]; err != nil {
		p.t.Fatal(err)
	}
}

// submit uploads an input and sends its event.
func (p *plant) submit(key, body string, meta ...string) storage.Info {
	p.t.Helper()
	info := p.upload(key, body, meta...)
	p.send(event(info))
	return info
}

// submitMany uploads inputs 0 to n-1 of one row, their own number, and sends
// an event for each.
func (p *plant) submitMany(n int) {
	p.t.Helper()
	for i := range n {
		p.submit(fmt.Sprint(i), row(float32(i)))
	}
}

// api sends a request with an ID on an object.
func (p *plant) api(r request.Request, attributes ...string) {
	p.t.Helper()
	body, err := request.Encode(r)
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(body, attributes...)
}

// settled waits until no message is left, at most a simulated day.
func (p *plant) settled() {
	p.t.Helper()
	for range 24 * 3600 {
		if p.queue.Len() == 0 {
			// Past the last acknowledgement the log line is written.
			time.Sleep(time.Second)
			synctest.Wait()
			return
		}
		time.Sleep(time.Second)
	}
	p.t.Fatalf("the queue is not empty after a day: %+v", p.queue.Snapshot())
}

// eventually waits until cond holds, at most a simulated day.
func (p *plant) eventually(what string, cond func() bool) {
	p.t.Helper()
	for range 24 * 36000 {
		synctest.Wait()
		if cond() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.t.Fatalf("not so after a day: %s", what)
}

// body is an object's content, with ok false when it is not there.
func (p *plant) body(ref storage.Ref) (body string, info storage.Info, ok bool) {
	p.t.Helper()
	o, err := p.store.Get(p.t.Context(), ref, storage.GetOptions{})
	if errors.Is(err, fs.ErrNotExist) {
		return "", storage.Info{}, false
	}
	if err != nil {
		p.t.Fatal(err)
	}
	defer o.Body.Close()
	b, err := io.ReadAll(o.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b), o.Info, true
}

// list is the keys below a folder of the results bucket.
func (p *plant) list(folder string) []string {
	p.t.Helper()
	var keys []string
	for info, err := range p.store.List(p.t.Context(), storage.Ref{Bucket: "results", Key: folder}, "") {
		if err != nil {
			p.t.Fatal(err)
		}
		keys = append(keys, info.Ref.Key)
	}
	return keys
}

func (p *plant) strikes() []string { p.t.Helper(); return p.list(".penstock/strikes/") }

// wantOutput checks that an upload has its output, and no failure.
func (p *plant) wantOutput(key string, values ...float32) storage.Info {
	p.t.Helper()
	body, info, ok := p.body(storage.Ref{Bucket: "results", Key: "out/" + key + ".out"})
	if !ok {
		p.t.Fatalf("%s has no output; there are %q and %q", key, p.list("out/"), p.list("failed/"))
	}
	var got struct{ Predictions [][]float32 }
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		p.t.Fatalf("the output of %s is %q: %v", key, body, err)
	}
	want := make([][]float32, len(values))
	for i, v := range values {
		want[i] = []float32{2 * v}
	}
	if fmt.Sprint(got.Predictions) != fmt.Sprint(want) {
		p.t.Errorf("the output of %s is %v, want %v", key, got.Predictions, want)
	}
	if _, _, both := p.body(storage.Ref{Bucket: "results", Key: "failed/" + key + "-error.out"}); both {
		p.t.Errorf("%s has a failure beside its output", key)
	}
	return info
}

// wantOutputs checks the outputs of submitMany's uploads, but for some.
func (p *plant) wantOutputs(n int, but ...int) {
	p.t.Helper()
	skip := make(map[int]bool)
	for _, i := range but {
		skip[i] = true
	}
	for i := range n {
		if !skip[i] {
			p.wantOutput(fmt.Sprint(i), float32(i))
		}
	}
	if got, want := len(p.list("out/")), n-len(but); got != want {
		p.t.Errorf("there are %d outputs, want %d", got, want)
	}
}

// wantFailure checks that an upload has its failure object, and no output.
func (p *plant) wantFailure(key, code string) request.Failure {
	p.t.Helper()
	body, info, ok := p.body(storage.Ref{Bucket: "results", Key: "failed/" + key + "-error.out"})
	if !ok {
		p.t.Fatalf("%s has no failure; there are %q and %q", key, p.list("out/"), p.list("failed/"))
	}
	var f request.Failure
	if err := json.Unmarshal([]byte(body), &f); err != nil {
		p.t.Fatalf("the failure of %s is %q: %v", key, body, err)
	}
	if f.Error.Code != code {
		p.t.Errorf("the failure of %s has code %s, want %s: %s", key, f.Error.Code, code, f.Error.Message)
	}
	if f.Error.Message == "" || f.Error.Stage == "" || f.InferenceID == "" || f.Input == "" || f.Time.IsZero() {
		p.t.Errorf("the failure of %s lacks something: %+v", key, f)
	}
	if info.ContentType != "application/json" {
		p.t.Errorf("the failure of %s is %q, want application/json", key, info.ContentType)
	}
	if _, _, both := p.body(storage.Ref{Bucket: "results", Key: "out/" + key + ".out"}); both {
		p.t.Errorf("%s has an output beside its failure", key)
	}
	return f
}

// outcomes counts what the worker's outcome lines say.
func (w *process) outcomes() map[outcome]int {
	n := make(map[outcome]int)
	for _, e := range w.logs.FilterMessage("done").All() {
		n[outcome(e.ContextMap()[keyOutcome].(string))]++
	}
	return n
}

// wantOutcomes compares the outcome lines and the counters with want.
func (w *process) wantOutcomes(want map[outcome]int) {
	w.plant.t.Helper()
	if got := w.outcomes(); fmt.Sprint(got) != fmt.Sprint(want) {
		w.plant.t.Errorf("outcome lines are %v, want %v", got, want)
	}
	for _, o := range outcomes {
		if got := w.counter("penstock_requests_total", string(o)); got != float64(want[o]) {
			w.plant.t.Errorf("the counter of %s is %v, want %d", o, got, want[o])
		}
	}
}

// counter reads a counter or gauge, of the given label value if any.
func (w *process) counter(name string, label ...string) float64 {
	w.plant.t.Helper()
	families, err := w.gather.Gather()
	if err != nil {
		w.plant.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (len(label) == 0 || m.GetLabel()[0].GetValue() == label[0]) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	w.plant.t.Fatalf("no metric %s%v", name, label)
	return 0
}
