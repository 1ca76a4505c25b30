package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

// lines is a JSON-lines file of n records, the numbers from 0.
func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[%d]\n", i)
	}
	return b.String()
}

// uploadLines uploads JSON lines whose results are to be JSON lines too.
func (p *plant) uploadLines(key, body string, meta ...string) storage.Info {
	p.t.Helper()
	opts := storage.PutOptions{ContentType: "application/jsonlines", Metadata: map[string]string{request.UploadAccept: "application/jsonlines"}}
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

// submitLines uploads JSON lines and sends their event.
func (p *plant) submitLines(key, body string, meta ...string) {
	p.t.Helper()
	p.send(event(p.uploadLines(key, body, meta...)))
}

// wantLines checks that each line of a result is twice its number, or for those
// in bad an error with that code, and that nothing of an upload is left.
func (p *plant) wantLines(key string, n int, bad map[int]string) storage.Info {
	p.t.Helper()
	body, info, ok := p.body(storage.Ref{Bucket: "results", Key: "out/" + key + ".out"})
	if !ok {
		p.t.Fatalf("%s has no output; there are %q and %q", key, p.list("out/"), p.list("failed/"))
	}
	got := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	if len(got) != n {
		p.t.Fatalf("%d lines of results, want %d", len(got), n)
	}
	for i, line := range got {
		if code, isBad := bad[i]; isBad {
			var said struct {
				Error struct {
					Code, Message string
					Record        int
				}
			}
			if err := json.Unmarshal([]byte(line), &said); err != nil || said.Error.Code != code || said.Error.Message == "" || said.Error.Record != i+1 {
				p.t.Errorf("line %d is %s, want the error %s of record %d", i, line, code, i+1)
			}
			continue
		}
		if got, err := strconv.ParseFloat(strings.Trim(line, "[]"), 64); err != nil || got != 2*float64(i) {
			p.t.Fatalf("line %d is %s, want [%d]", i, line, 2*i)
		}
	}
	return info
}

// refuses is a model that permanently refuses a number.
func refuses(v float32) fake.Knob {
	return fake.FailWhen(func(part []model.Tensor) bool { return slices.Contains(values(part[0]), v) },
		&model.Error{Code: "INVALID_ARGUMENT", Message: "not this one", Permanent: true})
}

func TestRecordsAreAnsweredInTheirOrder(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		p.submitLines("many.jsonl", lines(1000))
		p.settled()
		info := p.wantLines("many.jsonl", 1000, nil)
		prov, _ := request.ParseProvenance(info.Metadata)
		if prov.Records != 1000 || prov.BadRecords != 0 || prov.Model != "double" {
			t.Errorf("the metadata tells %+v", prov)
		}
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1})
	})
}

func TestABadRecordIsReportedInItsPlaceAndHurtsNoOther(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(refuses(77)))
		body := strings.Replace(strings.Replace(lines(100), "[13]", "[1,3]", 1), "[50]", "what", 1)
		p.submitLines("some.jsonl", body)
		p.submit("other", row(1))
		p.settled()
		info := p.wantLines("some.jsonl", 100, map[int]string{13: "InvalidShape", 50: "MalformedInput", 77: request.CodeModelError})
		if prov, _ := request.ParseProvenance(info.Metadata); prov.Records != 100 || prov.BadRecords != 3 {
			t.Errorf("the metadata tells of %d records, %d of them bad", prov.Records, prov.BadRecords)
		}
		p.wantOutput("other", 1)
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 2})
		if good, bad := w.counter("penstock_records_total", "good"), w.counter("penstock_records_total", "bad"); good != 97 || bad != 3 {
			t.Errorf("%v good records and %v bad ones are counted", good, bad)
		}
	})
}

func TestABadRecordFailsTheInputWhereTheRequestAsksForIt(t *testing.T) {
	strictModel := with(func(c *Config) {
		c.Models = model.Fixed(fake.Double(1).WithConfig(&model.Config{RecordErrors: request.FailOnRecord}))
	})
	for _, c := range []struct {
		who    string
		worker []option
		upload []string
	}{
		{"the request", nil, []string{request.UploadRecordErrors, request.FailOnRecord}},
		{"the model file", []option{strictModel}, nil},
	} {
		t.Run(c.who, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				p.start(c.worker...)
				p.submitLines("strict.jsonl", strings.Replace(lines(100), "[50]", "what", 1), c.upload...)
				p.settled()
				f := p.wantFailure("strict.jsonl", "MalformedInput")
				if !strings.Contains(f.Error.Message, "record 51") || !strings.Contains(f.Error.Message, "byte") || !strings.Contains(f.Error.Message, c.who+" asks") {
					t.Errorf("the failure does not say where, or who asks for it: %s", f.Error.Message)
				}
			})
		})
	}
}

func TestAnInputOfBadRecordsOnlyIsAFailure(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start()
		p.submitLines("bad.jsonl", strings.Repeat("what\n", 40))
		p.submitLines("blank.jsonl", "\n\n\n")
		p.settled()
		if f := p.wantFailure("bad.jsonl", "MalformedInput"); !strings.Contains(f.Error.Message, "all of the 40 records") {
			t.Errorf("the failure says %q", f.Error.Message)
		}
		p.wantFailure("blank.jsonl", "EmptyInput")
	})
}

func TestRecordsWhoseResultIsAnArrayAreRunWhole(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start()
		info := p.uploadLines("x.jsonl", lines(100))
		p.api(request.Request{ID: "array", Input: info.Ref, Accept: "application/x-npy"})
		p.settled()
		body, out, ok := p.body(storage.Ref{Bucket: "results", Key: "out/requests/array.out"})
		if !ok || out.ContentType != "application/x-npy" || !strings.HasPrefix(body, "\x93NUMPY") {
			t.Errorf("the result is %q of %d bytes; there is %q", out.ContentType, len(body), p.list("failed/"))
		}
	})
}

// What may pass is tried again before it is taken for the record's fault.
func TestARecordThatFailsForAReasonThatMayPassIsTriedAgain(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.FailWhen(func(part []model.Tensor) bool { return slices.Contains(values(part[0]), 7) },
			&model.Error{Code: "UNKNOWN", Message: "who knows"})))
		p.submitLines("odd.jsonl", lines(20))
		p.settled()
		p.wantLines("odd.jsonl", 20, map[int]string{7: request.CodeModelError})
		w.wantOutcomes(map[outcome]int{outcomeRetried: 2, outcomeSucceeded: 1})
	})
}

// Nothing may be written of a chunk whose run has failed, not in the moment before
// the whole input is told of it either: its records would be taken for ones that
// the model has no answer to, and the request would fail for good. The moment is
// short, and so there are many.
func TestAChunkThatIsToBeTriedAgainIsNotWritten(t *testing.T) {
	const attempts = 500
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.FailWhen(first(7), errSoft)), with(func(c *Config) { c.MaxAttempts, c.MaxBatchSize = attempts, 4 }))
		p.submitLines("odd.jsonl", lines(8))
		p.settled()
		p.wantLines("odd.jsonl", 8, map[int]string{7: request.CodeModelError})
		w.wantOutcomes(map[outcome]int{outcomeRetried: attempts - 1, outcomeSucceeded: 1})
	})
}

func TestRecordsShareBatchesWithOtherMessages(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.start(runs(fake.Delay(time.Second)))
		p.submitLines("many.jsonl", lines(2000))
		time.Sleep(10 * time.Second)
		before := len(p.recorder.Batches())
		p.submit("single", row(5))
		sent := time.Now()
		p.eventually("the single request has its output", func() bool { return slices.Contains(p.list("out/"), "out/single.out") })
		if waited := time.Since(sent); waited > 5*time.Second {
			t.Errorf("a single row waited %v behind records whose batches take a second", waited)
		}
		shared := slices.ContainsFunc(p.recorder.Batches()[before:], func(b fake.Batch) bool { return b.Parts > 1 && b.Rows%2 == 1 })
		if !shared {
			t.Error("the single row had a batch of its own")
		}
		p.settled()
		p.wantLines("many.jsonl", 2000, nil)
	})
}

// large is an input of several segments, whose result has several parts.
const large = 1_200_000

var largeInput = sync.OnceValue(func() string { return lines(large) })

// roomy takes large batches, so that a large input takes few of them.
var roomy = with(func(c *Config) { c.MaxBatchSize, c.MaxObjectSize = 8192, 1<<20 })

func TestALargeInputIsReadAndWrittenInPieces(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		var mu sync.Mutex
		calls := map[string]int{}
		p.start(roomy, hooked(func(_ context.Context, verb string, r ref, call func() error) error {
			mu.Lock()
			calls[verb+" "+r.Key]++
			mu.Unlock()
			return call()
		}))
		p.submitLines("large.jsonl", largeInput())
		p.settled()
		p.wantLines("large.jsonl", large, nil)
		if gets, most := calls["get in/large.jsonl"], len(largeInput())/segmentSize+2; gets < 2 || gets > most {
			t.Errorf("the input was read by %d calls, want 2 to %d", gets, most)
		}
		if parts := calls["part out/large.jsonl.out"]; parts < 2 || calls["complete out/large.jsonl.out"] != 1 {
			t.Errorf("the result was written in %d parts: %v", parts, calls)
		}
	})
}

func TestALargeInputOutlivesFaultsOfTheStore(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		var n int
		var mu sync.Mutex
		w := p.start(roomy, hooked(func(_ context.Context, verb string, r ref, call func() error) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; verb != "complete" && n%3 == 0 {
				return errors.New("no answer")
			}
			err := call()
			if verb == "complete" && n%2 == 0 {
				return errors.New("the answer was lost")
			}
			return err
		}))
		p.submitLines("large.jsonl", largeInput())
		p.settled()
		p.wantLines("large.jsonl", large, nil)
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1})
	})
}

func TestAnAnswerThatWasLostToTheLastCallOfAnUploadIsNoFailure(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(roomy, hooked(times(1, func(verb string, _ ref) bool { return verb == "complete" },
			func(_ context.Context, _ string, _ ref, call func() error) error {
				return errors.Join(call(), errors.New("the answer was lost"))
			})))
		p.submitLines("large.jsonl", largeInput())
		p.settled()
		p.wantLines("large.jsonl", large, nil)
		w.wantOutcomes(map[outcome]int{outcomeSucceeded: 1})
	})
}

func TestAnInputThatIsOverwrittenWhileItIsReadIsRunAnew(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		var gets atomic.Int64
		w := p.start(roomy, hooked(func(_ context.Context, verb string, r ref, call func() error) error {
			if verb == "get" && gets.Add(1) == 2 {
				p.uploadLines("large.jsonl", largeInput())
			}
			return call()
		}))
		// Of the same length, so that nothing but a condition tells them apart.
		p.submitLines("large.jsonl", strings.NewReplacer("1", "2", "2", "1").Replace(largeInput()))
		p.settled()
		p.wantLines("large.jsonl", large, nil)
		if n := w.outcomes()[outcomeSucceeded]; n != 1 {
			t.Errorf("%d successes, want 1", n)
		}
	})
}

func TestAWorkerThatDiesOverALargeInputLeavesItToAnother(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		first := p.start(roomy)
		first.store.onCall(times(1, func(verb string, _ ref) bool { return verb == "part" },
			func(context.Context, string, ref, func() error) error {
				first.kill()
				return errDead
			}))
		p.submitLines("large.jsonl", largeInput())
		time.Sleep(10 * time.Second)
		if got := p.list("out/"); len(got) != 0 {
			t.Fatalf("there is %q before the end", got)
		}
		p.start(roomy)
		p.settled()
		p.wantLines("large.jsonl", large, nil)
	})
}

func TestADrainEndsALargeInputAfterItsTimeoutAndUnharmed(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		first := p.start(runs(fake.Delay(time.Second)))
		p.submitLines("long.jsonl", lines(4000))
		time.Sleep(20 * time.Second)
		if err := first.stop(); err != nil && !errors.Is(err, ErrRunLeft) {
			t.Fatal(err)
		}
		first.wantOutcomes(map[outcome]int{outcomeReleased: 1})
		p.start()
		p.settled()
		p.wantLines("long.jsonl", 4000, nil)
	})
}

func TestMemoryForALargeInputIsBoundedAndGivenBack(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(roomy, with(func(c *Config) { c.MemoryLimit, c.MaxObjectSize = 2*streamWeight, 1<<20 }))
		for i := range 2 {
			p.submitLines(fmt.Sprint(i, ".jsonl"), largeInput())
		}
		p.settled()
		for i := range 2 {
			p.wantLines(fmt.Sprint(i, ".jsonl"), large, nil)
		}
		if !w.memory.TryAcquire(w.cfg.MemoryLimit) {
			t.Error("memory is still reserved when nothing is in flight")
		}
	})
}
