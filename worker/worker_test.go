package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model/fake"
)

func TestAnUploadGetsExactlyOneOutput(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		input := p.submit("a b/é+.json", row(1, 2))
		p.settled()
		info := p.wantOutput("a b/é+.json", 1, 2)
		if info.ContentType != "application/json" {
			t.Errorf("the content type is %q, want application/json", info.ContentType)
		}
		prov, ok := request.ParseProvenance(info.Metadata)
		if !ok || prov.Input.Key != input.Ref.Key || prov.InputETag != input.ETag || prov.Model != "double" || prov.ModelVersion != "1" || prov.Attempts != 1 || prov.InferenceID == "" {
			t.Errorf("the metadata tells %+v", prov)
		}
		if got := slices.Concat(p.list(""), nil); len(got) != 1 {
			t.Errorf("the results bucket holds %q, want the output alone", got)
		}
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1})
		if n := p.dead.Len(); n != 0 {
			t.Errorf("%d dead letters, want none", n)
		}
	})
}

func TestARequestWithAnIDWritesBelowRequests(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start()
		info := p.upload("x.json", row(3))
		p.api(request.Request{ID: "order 7", Input: info.Ref, Accept: "application/x-npy"})
		p.settled()
		if got, want := p.list(""), []string{"out/requests/order%207.out"}; !slices.Equal(got, want) {
			t.Fatalf("the results are %q, want %q", got, want)
		}
		_, out, _ := p.body(storage.Ref{Bucket: "results", Key: "out/requests/order%207.out"})
		if prov, _ := request.ParseProvenance(out.Metadata); prov.InferenceID != "order 7" || out.ContentType != "application/x-npy" {
			t.Errorf("the result is %q of %q", out.ContentType, prov.InferenceID)
		}
	})
}

func TestWhatAsksForNothingIsAcknowledgedAndWritesNothing(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		p.send(`{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"uploads"}`)
		p.send(strings.Replace(event(storage.Info{Ref: storage.Ref{Bucket: "uploads", Key: "in/gone"}}), "ObjectCreated:Put", "ObjectRemoved:Delete", 1))
		p.send(event(storage.Info{Ref: storage.Ref{Bucket: "uploads", Key: "in/.penstock/requests/x"}, Size: 3}))
		p.send(event(storage.Info{Ref: storage.Ref{Bucket: "uploads", Key: "in/folder/"}}))
		p.settled()
		if got := p.list(""); len(got) != 0 {
			t.Errorf("the results bucket holds %q, want nothing", got)
		}
		if p.dead.Len() != 0 || len(p.recorder.Batches()) != 0 {
			t.Error("something was run or buried")
		}
		w.wantOutcomes(map[outcome]int{outcomeIgnored: 4})
	})
}

func TestAnOwnResultIsNoInputWhereItLiesButElsewhere(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		p.submit("a", row(1))
		p.settled()
		_, out, _ := p.body(storage.Ref{Bucket: "results", Key: "out/a.out"})

		// A result that lies where the worker reads, and where it was written.
		self := request.Provenance{Identity: "x"}.Metadata(storage.Ref{Bucket: "uploads", Key: "in/loop"})
		p.submit("loop", row(2), flat(self)...)
		p.settled()
		if got := p.list("out/"); len(got) != 1 {
			t.Errorf("the outputs are %q, want the first one alone", got)
		}
		// A copy of a result elsewhere is the next model's input.
		p.submit("copy", row(2), flat(out.Metadata)...)
		p.settled()
		p.wantOutput("copy", 2)
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 2, outcomeIgnored: 1})
	})
}

// flat lists the keys and values of a map.
func flat(m map[string]string) (list []string) {
	for k, v := range m {
		list = append(list, k, v)
	}
	return list
}

func TestEachItemHasOneOutcomeLineWithItsIDs(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		p.submit("good", row(1), request.UploadID, "my name")
		p.submit("bad", "no json")
		p.settled()
		lines := w.logs.FilterMessage("done").All()
		if len(lines) != 2 {
			t.Fatalf("%d outcome lines, want 2", len(lines))
		}
		for _, l := range lines {
			fields := l.ContextMap()
			item := fmt.Sprint(fields[keyItem])
			if !strings.Contains(item, "message:mem-") || !strings.Contains(item, "input:s3://uploads/in/") || !strings.Contains(item, "id:") {
				t.Errorf("the line lacks ids: %s", item)
			}
			if strings.Contains(item, "in/good") && !strings.Contains(item, "id:my name") {
				t.Errorf("the uploader's own name is not in the line: %s", item)
			}
		}
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1, outcomeFailed: 1})
	})
}

func TestTheTimesOfARequestAreTold(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.submit("a", row(1))
		time.Sleep(4 * time.Second)
		slow := func(d time.Duration) storeHook {
			return func(_ context.Context, _ string, _ ref, call func() error) error { time.Sleep(d); return call() }
		}
		w := p.start(runs(fake.Delay(2*time.Second)), hooked(func(ctx context.Context, verb string, r ref, call func() error) error {
			switch {
			case on("get", "in/")(verb, r):
				return slow(3*time.Second)(ctx, verb, r, call)
			case puts("out/")(verb, r):
				return slow(time.Second)(ctx, verb, r, call)
			}
			return call()
		}))
		p.settled()
		item := w.logs.FilterMessage("done").All()[0].ContextMap()[keyItem].(map[string]any)
		for name, want := range map[string]time.Duration{
			"queued": 4 * time.Second, "fetch": 3 * time.Second, "wait": 0, "predict": 2 * time.Second, "store": time.Second,
		} {
			if item[name] != want {
				t.Errorf("the log tells %s: %v, want %v", name, item[name], want)
			}
		}
		info := p.wantOutput("a", 1)
		for name, want := range map[string]string{"queued": "4000.000", "fetch": "3000.000", "wait": "0.000", "predict": "2000.000", "store": "0.000"} {
			if got := info.Metadata["penstock-"+name+"-ms"]; got != want { // of storing, the making of the result alone
				t.Errorf("the metadata tells %s: %q, want %q", name, got, want)
			}
		}
	})
}

func TestConfigurationFaultsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := New(Config{MaxBatchSize: -1, Runners: -1, MaxInFlight: -1, MemoryLimit: 1, VisibilityTimeout: 1, MaxAttempts: -1, RunTimeout: -1, DrainTimeout: -1, BatchTimeout: -1})
	if err == nil {
		t.Fatal("an impossible configuration was taken")
	}
	for _, want := range []string{
		"no queue", "no object store", "no model", "input:", "max-batch-size", "runners", "max-in-flight", "memory-limit",
		"visibility-timeout", "max-attempts", "run-timeout", "drain-timeout", "batch-timeout",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported in: %v", want, err)
		}
	}
}
