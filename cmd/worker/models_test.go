//go:build cgo

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	memstore "github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/worker"
)

// plant is a worker with TensorFlow in it, on a queue and a store in memory.
type plant struct {
	*worker.Worker
	t        *testing.T
	cfg      worker.Config
	store    *memstore.Store
	logs     *observer.ObservedLogs
	registry *prometheus.Registry
	sent     int
}

// brisk is a queue whose polls are short, so that a worker's last one ends soon. A
// short lease would have that too, and a worker that is not ready when a call
// takes a second.
type brisk struct{ *mem.Queue }

func (b brisk) Receive(ctx context.Context, n int, visibility, wait time.Duration) ([]*queue.Message, error) {
	return b.Queue.Receive(ctx, n, visibility, min(wait, 500*time.Millisecond))
}

func testdata(name string) string {
	return filepath.Join("..", "..", "worker", "model", "testdata", filepath.FromSlash(name))
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	locations, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	q := brisk{mem.New(mem.Options{})}
	p := &plant{t: t, store: memstore.New("models", "uploads", "results"), logs: logs, registry: prometheus.NewRegistry()}
	p.cfg = worker.Config{
		Queue: q, Requests: q, Store: p.store, Locations: locations, Log: zap.New(core), Metrics: p.registry,
	}
	return p
}

// start opens the models of a setting and runs the worker until the test ends.
func (p *plant) start(setting string) {
	p.t.Helper()
	s := &settings{model: setting, modelCache: p.t.TempDir(), modelCacheBytes: 1 << 30, modelPoll: 50 * time.Millisecond, maxBatchSize: 8}
	models, err := openModels(p.t.Context(), s, p.cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	p.cfg.Models = models
	if p.Worker, err = worker.New(p.cfg); err != nil {
		p.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(p.t.Context()))
	var working sync.WaitGroup
	working.Go(func() {
		if err := work(ctx, p.Worker, models, p.cfg.Log); err != nil {
			p.t.Errorf("work: %v", err)
		}
	})
	p.t.Cleanup(func() {
		stop()
		working.Wait()
		if n := p.logs.FilterMessage("close the models").Len(); n > 0 {
			p.t.Error("a model was still in use at the end")
		}
	})
}

// upload puts the files of a SavedModel into S3 as the documentation says, with
// the graph last: a version that is looked at meanwhile is not there yet.
func (p *plant) upload(dir, prefix string) {
	p.t.Helper()
	graph, rest := p.files(dir)
	p.uploadAll(dir, prefix, append(rest, graph...), 0)
}

// uploadSlowly puts them there one after the other as slow as networks are, with
// the graph first.
func (p *plant) uploadSlowly(dir, prefix string) {
	p.t.Helper()
	graph, rest := p.files(dir)
	p.uploadAll(dir, prefix, append(graph, rest...), 120*time.Millisecond)
}

// files are the graph of a SavedModel and its other files.
func (p *plant) files(dir string) (graph, rest []string) {
	p.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
		case d.Name() == "saved_model.pb":
			graph = append(graph, path)
		default:
			rest = append(rest, path)
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return graph, rest
}

func (p *plant) uploadAll(dir, prefix string, files []string, pause time.Duration) {
	p.t.Helper()
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			p.t.Fatal(err)
		}
		rel, _ := filepath.Rel(dir, f)
		p.put(storage.Ref{Bucket: "models", Key: prefix + filepath.ToSlash(rel)}, b)
		time.Sleep(pause)
	}
}

func (p *plant) put(ref storage.Ref, b []byte) {
	p.t.Helper()
	if _, err := p.store.Put(p.t.Context(), ref, b, storage.PutOptions{ContentType: "application/json"}); err != nil {
		p.t.Fatal(err)
	}
}

// remove deletes a folder in S3.
func (p *plant) remove(prefix string) {
	p.t.Helper()
	for info, err := range p.store.List(p.t.Context(), storage.Ref{Bucket: "models", Key: prefix}, "") {
		if err == nil {
			err = p.store.Delete(p.t.Context(), info.Ref, storage.DeleteOptions{})
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

// patience is how long a test waits for what must come. It is no promise:
// TensorFlow is loaded by several processes at a time, on whatever machine.
const patience = 4 * time.Minute

// answer sends one request for x, and gives the result and the model's version
// in its metadata. A failure object ends the test.
func (p *plant) answer(x float64) (y float64, version string) {
	p.t.Helper()
	p.sent++
	r := request.Request{Input: storage.Ref{Bucket: "uploads", Key: fmt.Sprintf("in/%d.json", p.sent)}}
	p.put(r.Input, fmt.Appendf(nil, `{"instances":[%g]}`, x))
	message, err := request.Encode(r)
	if err == nil {
		err = errors.Join(p.cfg.Requests.Send(p.t.Context(), queue.Outgoing{Body: message})...)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < patience; time.Sleep(time.Millisecond) {
		o, err := p.store.Get(p.t.Context(), p.cfg.Locations.OutputOf(r), storage.GetOptions{})
		if err == nil {
			var result struct{ Predictions []float64 }
			if err := json.NewDecoder(o.Body).Decode(&result); err != nil || len(result.Predictions) != 1 {
				p.t.Fatalf("the result is %+v, %v", result, err)
			}
			return result.Predictions[0], o.Metadata["penstock-model-version"]
		}
		for info := range p.store.List(p.t.Context(), p.cfg.Locations.Failure, "") {
			p.t.Fatalf("a request failed: %s", info.Ref)
		}
	}
	p.t.Fatalf("no result within %v", patience)
	return 0, ""
}

// until asks again and again, until what is asked for is so. Meanwhile every
// answer has to be the one of its version: the models tell themselves apart.
func (p *plant) until(what string, so func(version string) bool) {
	p.t.Helper()
	for began := time.Now(); time.Since(began) < patience; {
		y, version := p.answer(4)
		if want := map[string]float64{"1": 4, "2": 5}[version]; y != want {
			p.t.Fatalf("version %q answered %v, want %v", version, y, want)
		}
		if err := p.Ready(); err != nil && p.sent > 1 {
			p.t.Fatalf("not ready: %v", err)
		}
		if so(version) {
			return
		}
	}
	p.t.Fatalf("after %v it is not so that %s; the log says %v", patience, what, p.logs.All())
}

func (p *plant) said(message, version string) int {
	return p.logs.FilterMessage(message).FilterField(zap.String("version", version)).Len()
}

// served are the versions in the metrics.
func (p *plant) served() string {
	p.t.Helper()
	families, err := p.registry.Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	var versions []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "penstock_model_info" {
				versions = append(versions, m.GetLabel()[1].GetValue())
			}
		}
	}
	return strings.Join(versions, " ")
}

// Version 1 is 0.5·x + 2, version 2 is 0.5·x + 3.
func TestVersionsComeAndGoWhileRequestsFlow(t *testing.T) {
	p := newPlant(t)
	p.upload(testdata("halfplustwo"), "half/1/")
	p.start("s3://models/half/")
	p.until("version 1 answers", func(v string) bool { return v == "1" })

	var uploading sync.WaitGroup
	uploading.Go(func() { p.uploadSlowly(testdata("warmed/1"), "half/2/") })
	p.until("version 2 answers", func(v string) bool { return v == "2" })
	uploading.Wait()
	p.until("version 1 is closed", func(v string) bool { return v == "2" && p.said("model retired", "1") == 1 })
	if p.served() != "2" {
		t.Errorf("served are %s", p.served())
	}

	p.upload(testdata("keras3_trap"), "half/3/")
	p.put(storage.Ref{Bucket: "models", Key: "half/4/saved_model.pb"}, []byte("no graph"))
	p.until("both are refused", func(v string) bool {
		return v == "2" && p.said("model refused", "3") == 1 && p.said("model refused", "4") == 1
	})
	if errs := fmt.Sprint(p.logs.FilterMessage("model refused").All()); !strings.Contains(errs, `model.export("DIR")`) {
		t.Errorf("the trap's remedy is not in %s", errs)
	}

	p.remove("half/2/")
	p.until("version 1 is back", func(v string) bool { return v == "1" })
	p.remove("half/")
	for range 50 {
		if _, version := p.answer(4); version != "1" {
			t.Fatalf("with nothing left, version %q answers", version)
		}
	}
}

func TestAModelThatCanNotBeLoadedEndsTheStart(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		testdata("keras3_trap"):   `model.export("DIR")`,
		"s3://models/none/":       "no saved_model.pb is there",
		"/no/such/directory":      "no such file",
		testdata("make.py"):       "it is a file",
		"a=/x,b=/y":               "/y: there is no such file",
		"s3://models/none.tar.gz": "none.tar.gz",
	} {
		p := newPlant(t)
		_, err := openModels(t.Context(), &settings{model: setting, modelCache: t.TempDir()}, p.cfg)
		if _, ok := errors.AsType[settingsError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a fault of the settings with %q", setting, err, want)
		}
	}
}
