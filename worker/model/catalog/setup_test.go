package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
	"github.com/penstock/penstock/worker/model/source"
)

// poll is the pause between two looks in these tests.
const poll = 30 * time.Second

// origin is a source whose versions the test changes, and what was loaded of
// it.
type origin struct {
	name string

	mu     sync.Mutex
	list   map[string]source.Version
	broken map[string]error // by content
	deadly map[string]error // by content: found by a trial, and fatal to load
	tried  []string         // contents, in order
	err    error            // of the list
	away   func() error     // the same, each time another
	took   time.Duration    // by each load
	loads  []string         // contents, in order
	models []*fake.Model    // those that were loaded, in order
	knobs  []fake.Knob
}

// set has versions "1", or "1=content", be what is there.
func (o *origin) set(versions ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = make(map[string]source.Version)
	for _, v := range versions {
		name, id, ok := strings.Cut(v, "=")
		if !ok {
			id = "content of " + name
		}
		o.list[name] = source.Version{Name: name, ID: id}
	}
}

// breaks has a content be one that can't be loaded.
func (o *origin) breaks(content string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.broken[content] = err
}

// edit changes what it likes while nobody looks.
func (o *origin) edit(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (o *origin) versions(context.Context) ([]source.Version, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away != nil {
		return nil, o.away()
	}
	return slices.SortedFunc(maps.Values(o.list), func(a, b source.Version) int { return source.CompareVersions(a.Name, b.Name) }), o.err
}

func (o *origin) try(_ context.Context, v source.Version) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tried = append(o.tried, v.ID)
	return o.deadly[v.ID]
}

// trials is what was tried so far.
func (o *origin) trials() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.tried, ", ")
}

func (o *origin) load(_ context.Context, v source.Version) (model.Model, error) {
	o.mu.Lock()
	took, err := o.took, o.broken[v.ID]
	o.loads = append(o.loads, v.ID)
	o.mu.Unlock()
	time.Sleep(took)
	if err != nil {
		return nil, err
	}
	double := fake.Double(1)
	m := fake.New(o.name, v.Name, slices.Collect(maps.Values(double.Signatures())), double.Run, o.knobs...)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.models = append(o.models, m)
	return m, nil
}

// loaded is what was loaded so far.
func (o *origin) loaded() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.loads, ", ")
}

// open are the versions that are in memory.
func (o *origin) open() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var names []string
	for _, m := range o.models {
		if !m.Closed() {
			names = append(names, m.Version())
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// bench is a catalog of one model, "digits", in a bubble of its own time.
type bench struct {
	*Catalog
	*origin
	t        *testing.T
	logs     *observer.ObservedLogs
	registry *prometheus.Registry
	stop     func() // ends Run
}

// in runs a test on a running catalog of the model "digits" under a policy.
func in(t *testing.T, policy string, versions []string, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b, err := start(t, policy, func(o *origin) { o.set(versions...) })
		if err != nil {
			t.Fatal(err)
		}
		test(b)
	})
}

// start opens and runs a catalog, until the end of the test.
func start(t *testing.T, policy string, prepare func(o *origin)) (*bench, error) {
	t.Helper()
	p, err := source.ParsePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	b := &bench{t: t, logs: logs, registry: prometheus.NewRegistry(), origin: &origin{name: "digits", broken: map[string]error{}}}
	prepare(b.origin)
	b.Catalog, err = Open(t.Context(), Config{
		Models: []Model{{Named: source.Named{Name: "digits", URI: "s3://models/digits/", Versions: p}, Versions: b.versions, Try: b.try, Load: b.origin.load}},
		Poll:   poll, Log: zap.New(core), Metrics: b.registry,
	})
	if err != nil {
		return b, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { b.Run(ctx) })
	b.stop = func() { cancel(); running.Wait() }
	t.Cleanup(func() {
		b.stop()
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		time.Sleep(24 * time.Hour) // loads that were left behind end
		if left := b.open(); left != "" {
			t.Errorf("versions %s are still open", left)
		}
	})
	time.Sleep(time.Second) // so that looks and the test's changes don't fall together
	return b, nil
}

// polls waits for n looks at the source.
func (b *bench) polls(n int) {
	time.Sleep(time.Duration(n) * poll)
	synctest.Wait()
}

// use uses a model until the test calls release.
func (b *bench) use(name string) (m model.Model, release func()) {
	b.t.Helper()
	m, release, err := b.Use(name)
	if err != nil {
		b.t.Fatal(err)
	}
	return m, release
}

// current is the version that a name means, or what the error says.
func (b *bench) current(name string) string {
	m, release, err := b.Use(name)
	if err != nil {
		return err.Error()
	}
	defer release()
	return m.Version()
}

// want compares the version that "digits" means.
func (b *bench) want(version string) {
	b.t.Helper()
	if got := b.current("digits"); got != version {
		b.t.Errorf("digits is version %s, want %s; loaded were %s", got, version, b.loaded())
	}
}

// said counts log lines.
func (b *bench) said(message string) int { return b.logs.FilterMessage(message).Len() }

// metric reads a metric by its name and its labels' values.
func (b *bench) metric(name string, labels ...string) float64 {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(values, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return -1
}

var errBroken = errors.New("no signature can be served")

// run runs one row through a model.
func run(t *testing.T, m model.Model) error {
	t.Helper()
	sig := m.Signatures()["serving_default"]
	out, err := m.Run(t.Context(), sig, [][]model.Tensor{{{DType: model.Float32, Shape: []int64{1, 1}, Data: []byte{0, 0, 128, 63}}}})
	if err == nil && fmt.Sprint(out[0][0].Data) != "[0 0 0 64]" {
		err = fmt.Errorf("the result is %v", out[0][0].Data)
	}
	return err
}
