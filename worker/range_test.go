package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/job"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

func TestAFileIsDividedAndPutTogetherInItsOrder(t *testing.T) {
	bad := []int{0, 77, 300, 301, 302, 1199}
	lines := numbered(1200, bad...)
	csv := numbered(1200)
	for i := range csv {
		csv[i] = strings.Trim(csv[i], "[]")
	}
	// Of objects whose beginning tells what they are: the second range's is a bad one.
	cutAtBad := ""
	for i := range 1200 {
		line := fmt.Sprintf(`{"x":[%d]}`, i)
		if i == 300 {
			line = "oops"
			cutAtBad += strings.Repeat(" ", leastPart-1-len(cutAtBad)) + "\n"
		}
		cutAtBad += line + strings.Repeat(" ", 200-len(line)) + "\n"
	}
	for story, c := range map[string]struct {
		key, contentType, body string
		bad                    []int
		parts                  int
	}{
		"JSON lines":                      {"f.jsonl", "application/jsonlines", padded(300, lines...), bad, 6},
		"JSON lines of any length":        {"f.jsonl", "", ragged(lines), bad, 6},
		"one line longer than a range":    {"f.jsonl", "", padded(300, lines[:600]...) + padded(200_000, lines[600]) + padded(300, lines[601:]...), bad, 9},
		"without a last line end":         {"f.jsonl", "", strings.TrimSpace(padded(300, numbered(1200)...)), nil, 6},
		"with a byte order mark":          {"f.jsonl", "", "\ufeff" + padded(300, lines...), bad, 6},
		"with blank lines":                {"f.jsonl", "", strings.ReplaceAll(padded(300, lines...), "\n", "\n\n\r\n"), bad, 6},
		"CSV":                             {"f.csv", "text/csv", padded(300, csv...), nil, 6},
		"CSV with a header":               {"f.csv", "text/csv", padded(300, slices.Concat([]string{"x"}, csv)...), nil, 6},
		"of no type, bad where it is cut": {"f", "", cutAtBad, []int{300}, 4},
		"JSON lines compressed":           {"f.jsonl.gz", "", gzipped(padded(300, lines...)), bad, 1},
		"a file no larger than one range": {"f.jsonl", "", padded(10, lines...), bad, 1},
	} {
		t.Run(story, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				p.file(c.key, c.contentType, c.body)
				spec := ranges(c.key)
				spec.Accept = "application/jsonlines"
				p.submitJob(spec)
				p.start(behindQueue(), runs(fake.Delay(time.Millisecond)))
				s := p.summary("nightly")
				p.wantCounts(s, 1, 0, 0)
				p.wantRecords(c.key, 1200, c.bad...)
				if want := (job.Records{Submitted: 1200, Good: int64(1200 - len(c.bad)), Bad: int64(len(c.bad))}); *s.Records != want {
					t.Errorf("the summary counts %+v, want %+v", *s.Records, want)
				}
				if s.Parts.Submitted < c.parts {
					t.Errorf("it was divided into %d parts, want %d", s.Parts.Submitted, c.parts)
				}
			})
		})
	}
}

// ragged are lines of lengths that share no divisor with that of a range.
func ragged(lines []string) string {
	var b strings.Builder
	for i, line := range lines {
		b.WriteString(padded(len(line)+1+(i*i)%601, line))
	}
	return b.String()
}

func TestResultsOfAFileMayBeCSV(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", padded(300, numbered(600, 7)...))
		spec := ranges("f.jsonl")
		spec.Accept = "text/csv;header=present"
		p.submitJob(spec)
		p.start(behindQueue())
		p.summary("nightly")
		body, info, _ := p.body(storage.Ref{Bucket: "results", Key: "out/jobs/nightly/f.jsonl.out"})
		lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
		if len(lines) != 601 || lines[0] != "y" && lines[0] != "y[0]" || lines[8] != "" || lines[600] != "1198.0" {
			t.Errorf("%d lines, %q first, %q for the bad one, %q last", len(lines), lines[0], lines[8], lines[len(lines)-1])
		}
		if info.ContentType != "text/csv; header=present" {
			t.Errorf("it is %s", info.ContentType)
		}
	})
}

// Two workers share a file: both do real work, and a worker works on several
// ranges at a time.
// Of a file that was no file of lines after all, each range is read, and only
// the first one's worker goes on to the end.
func TestALineOverManyRangesIsReadOnce(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", padded(1<<20, "[0]"))
		p.submitJob(ranges("f.jsonl"))
		w := p.start(behindQueue())
		var read atomic.Int64
		w.store.onCall(func(_ context.Context, verb string, ref storage.Ref, call func() error) error {
			if verb == "get" && ref.Bucket == "uploads" {
				read.Add(1)
			}
			return call()
		})
		s := p.summary("nightly")
		p.wantRecords("f.jsonl", 1)
		if n := int64(s.Parts.Submitted); n != 16 || read.Load() > 2*n {
			t.Errorf("%d ranges took %d reads", n, read.Load())
		}
	})
}

func TestTwoWorkersShareAFile(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", padded(300, numbered(4000)...))
		p.submitJob(ranges("f.jsonl"))
		slow := []option{behindQueue(), runs(fake.Delay(100 * time.Millisecond))}
		a, b := p.start(slow...), p.start(slow...)
		p.summary("nightly")
		p.wantRecords("f.jsonl", 4000)
		for _, w := range []*process{a, b} {
			if n := w.counter("penstock_records_total", "good"); n < 1200 {
				t.Errorf("a worker did %v of 4,000 records", n)
			}
		}
	})
}

// A crash costs what was done since the last chunk: the records before it are
// not run again.
func TestAfterACrashARangeGoesOnBehindItsLastChunk(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", padded(100, numbered(600)...))
		spec := ranges("f.jsonl")
		p.submitJob(spec)
		slow := runs(fake.Delay(500 * time.Millisecond))
		w := p.start(slow, behindQueue(), with(func(c *Config) { c.MaxBatchSize = 8 })) // 16 records a second
		p.eventually("two chunks are there", func() bool { return len(p.jobsState("chunks/")) >= 2 })
		w.kill()
		before := int64(0)
		for _, b := range p.recorder.Batches() {
			before += b.Rows
		}
		p.start(slow, behindQueue(), with(func(c *Config) { c.MaxBatchSize = 8 }))
		p.summary("nightly")
		p.wantRecords("f.jsonl", 600)
		all := int64(0)
		for _, b := range p.recorder.Batches() {
			all += b.Rows
		}
		if again := all - 600; again > 6*16+16 {
			t.Errorf("%d records were run twice, after %d when the worker died", again, before)
		}
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

// A worker that is shut down ends its piece, and hands the range on as what it
// is: not begun.
func TestADrainedRangeIsNoSuspect(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", padded(100, numbered(600)...))
		p.submitJob(ranges("f.jsonl"))
		slow := []option{runs(fake.Delay(500 * time.Millisecond)), behindQueue(), with(func(c *Config) { c.MaxBatchSize = 8 })}
		w := p.start(slow...)
		p.eventually("some runs were made", func() bool { return len(p.recorder.Batches()) == 5 })
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		if n := suspected(p.jobs); n != 0 || p.jobs.Len() != 1 {
			t.Errorf("%d of %d messages are suspects", n, p.jobs.Len())
		}
		p.start(slow...)
		p.summary("nightly")
		p.wantRecords("f.jsonl", 600)
		all := int64(0)
		for _, b := range p.recorder.Batches() {
			all += b.Rows
		}
		if all != 600 {
			t.Errorf("%d records were run, want each once", all)
		}
	})
}

// A record that ends the process costs neither its file nor its neighbours.
func TestARecordThatKillsIsPoisonInItsPlace(t *testing.T) {
	for _, killer := range []int{0, 63, 64, 500, 1199} {
		t.Run(fmt.Sprint(killer), func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				p.file("f.jsonl", "", padded(50, numbered(1200)...))
				p.submitJob(ranges("f.jsonl"))
				for crashes := 0; ; crashes++ {
					if crashes > 5 {
						t.Fatal("the sixth process died")
					}
					w := p.start(kills(has(float32(killer))), behindQueue())
					p.eventually("the process is dead or done", func() bool { return w.dead.Load() || !p.missing(job.CopyOf(locations, "nightly")) })
					if !w.dead.Load() {
						break
					}
				}
				s := p.summary("nightly")
				p.wantCounts(s, 1, 0, 0)
				p.wantRecords("f.jsonl", 1200, killer)
				errors, _, _ := p.body(storage.Ref{Bucket: "results", Key: "out/jobs/nightly/f.jsonl-errors.jsonl"})
				if !strings.Contains(errors, request.CodePoison) {
					t.Errorf("the error is %s", errors)
				}
				if left := p.strikes(); len(left) != 0 {
					t.Errorf("strikes are left: %q", left)
				}
			})
		})
	}
}

// has matches parts with a row of that number.
func has(v float32) func([]model.Tensor) bool {
	return func(part []model.Tensor) bool { return slices.Contains(values(part[0]), v) }
}

func TestAFileThatIsOverwrittenFailsAsChanged(t *testing.T) {
	for story, when := range map[string]int{"before it is read": 0, "while it is read": 3} {
		t.Run(story, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				p.file("f.jsonl", "", padded(300, numbered(1200)...))
				p.file("g.jsonl", "", padded(300, numbered(10)...))
				spec := ranges("")
				p.submitJob(spec)
				if when == 0 {
					p.file("f.jsonl", "", padded(300, numbered(1201)...))
				}
				w := p.start(behindQueue(), runs(fake.Delay(200*time.Millisecond)), with(func(c *Config) { c.MaxBatchSize = 4 }))
				if when > 0 {
					p.eventually("some of it is done", func() bool { return len(p.jobsState("chunks/")) >= when })
					w.kill()
					p.file("f.jsonl", "", padded(300, numbered(1201)...))
					p.start(behindQueue())
				}
				p.wantCounts(p.summary("nightly"), 1, 1, 0)
				p.wantJobFailure("f.jsonl", request.CodeChanged)
				p.wantRecords("g.jsonl", 10)
			})
		})
	}
}

func TestOfACancelledFileWhatIsDoneIsKept(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", padded(300, numbered(1200)...))
		p.submitJob(ranges("f.jsonl"))
		p.start(behindQueue(), runs(fake.Delay(time.Second)), with(func(c *Config) { c.MaxBatchSize = 8 }))
		p.eventually("some of it is done", func() bool { return len(p.jobsState("chunks/")) >= 6 })
		if err := p.planner(p.jobs).Cancel(t.Context(), "nightly"); err != nil {
			t.Fatal(err)
		}
		cancelled := time.Now()
		p.wantCounts(p.summary("nightly"), 0, 0, 1)
		if took := time.Since(cancelled); took > time.Minute {
			t.Errorf("it took %v to end", took)
		}
		body, _, _ := p.body(storage.Ref{Bucket: "results", Key: "out/jobs/nightly/f.jsonl.partial"})
		if !strings.HasPrefix(body, "[0.0]\n[2.0]\n") {
			t.Errorf("it kept %.30q", body)
		}
	})
}

// A worker that was thought dead writes chunks beside the one that has taken
// its range over: no line is there twice, and none is missing.
func TestAZombieAndItsSuccessorWriteEachRecordOnce(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", padded(100, numbered(600)...))
		p.submitJob(ranges("f.jsonl"))
		slow := func(d time.Duration) []option {
			return []option{runs(fake.Delay(d)), behindQueue(), with(func(c *Config) { c.MaxBatchSize = 8 })}
		}
		var cutOff atomic.Bool // the zombie, from all that is received
		zombie := p.start(append(slow(900*time.Millisecond), func(pr *process, _ *Config) {
			pr.jobs.receive = func(ctx context.Context, call func() ([]*queue.Message, error)) ([]*queue.Message, error) {
				m, err := call()
				if cutOff.Load() && len(m) > 0 {
					p.jobs.ChangeVisibility(ctx, 0, m...)
					m = nil
				}
				if cutOff.Load() {
					time.Sleep(time.Minute)
				}
				return m, err
			}
		})...)
		// Its leases run out unseen: it goes on as long as its clock lets it,
		// while its messages are received by others at once.
		p.eventually("a chunk is there", func() bool { return len(p.jobsState("chunks/")) >= 1 })
		cutOff.Store(true)
		for _, s := range p.jobs.Snapshot() {
			p.jobs.ChangeVisibility(t.Context(), 0, &s.Message)
		}
		winner := p.start(slow(400 * time.Millisecond)...)
		p.summary("nightly")
		p.wantRecords("f.jsonl", 600)
		a, b := zombie.counter("penstock_records_total", "good"), winner.counter("penstock_records_total", "good")
		if a+b != 600 || a == 0 || b == 0 {
			t.Errorf("they counted %v and %v records, want 600 in all", a, b)
		}
	})
}

// Bytes that can't be told apart any more end the file, with its failure.
func TestARangeThatCannotBeReadFailsItsFile(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		body := []byte(padded(300, numbered(1200)...))
		p.file("f.jsonl.gz", "", "\x1f\x8b\x08"+string(body[:1000]))
		p.submitJob(ranges("f.jsonl.gz"))
		p.start(behindQueue())
		p.wantCounts(p.summary("nightly"), 0, 1, 0)
		p.wantJobFailure("f.jsonl.gz", "MalformedInput")
	})
}

// Where the worker's settings are not the planner's, the job says what is wrong.
func TestAFileOutsideTheWorkersLocationsHasItsFailureInTheJob(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("lines/f.jsonl", "", padded(400, numbered(40)...))
		p.submitJob(ranges("lines/"))
		p.start(behindQueue(), with(func(c *Config) { c.Locations.Inputs = []storage.Ref{{Bucket: "uploads", Key: "elsewhere/"}} }))
		s := p.summary("nightly")
		p.wantCounts(s, 0, 1, 0)
		if len(s.Failures) != 1 || s.Failures[0].Code != request.CodeForbidden || s.Failures[0].Input != "s3://uploads/in/lines/f.jsonl" {
			t.Errorf("the failures are %+v", s.Failures)
		}
	})
}

func TestABadRecordFailsItsFileWhereTheJobAsksForIt(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", padded(300, numbered(600, 555)...))
		spec := ranges("f.jsonl")
		spec.RecordErrors = request.FailOnRecord
		p.submitJob(spec)
		p.start(behindQueue())
		p.wantCounts(p.summary("nightly"), 0, 1, 0)
		p.wantJobFailure("f.jsonl", "the request asks that one fails all: line at byte 166500: ")
	})
}

// A record that the model fails on for a reason that may pass is tried again
// with its range, and has its error in its place at the last attempt.
func TestARecordThatFailsEveryTimeHasItsErrorInItsPlace(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", padded(100, numbered(600)...))
		p.submitJob(ranges("f.jsonl"))
		p.start(behindQueue(), runs(fake.FailWhen(has(2*123), errSoft)))
		p.wantCounts(p.summary("nightly"), 1, 0, 0)
		p.wantRecords("f.jsonl", 600, 123*2)
		if left := p.strikes(); len(left) != 0 {
			t.Errorf("strikes are left: %q", left)
		}
	})
}

// Chunks are no larger than they are said to be, however fast the model is.
func TestAChunkIsBounded(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		wide := make([]string, 2000)
		for i := range wide {
			wide[i] = "[" + strings.Repeat("1.234567,", 999) + fmt.Sprint(i) + "]"
		}
		p.file("f.jsonl", "", strings.Join(wide, "\n"))
		spec := ranges("f.jsonl")
		spec.PartBytes = 64 << 20
		p.submitJob(spec)
		sig := &model.Signature{
			Name:    "serving_default",
			Inputs:  []model.TensorInfo{{Name: "x", DType: model.Float32, Shape: []int64{-1, 1000}}},
			Outputs: []model.TensorInfo{{Name: "y", DType: model.Float32, Shape: []int64{-1, 1000}}},
		}
		p.start(behindQueue(), with(func(c *Config) {
			c.Models = model.Fixed(fake.New("wide", "1", []*model.Signature{sig}, fake.Each(twice)))
		}))
		p.wantCounts(p.summary("nightly"), 1, 0, 0)
		for info, err := range p.store.List(context.Background(), storage.Ref{Bucket: "results", Key: ".penstock/jobs/nightly/chunks/"}, "") {
			if err != nil || info.Size > 3*pieceSize/2 {
				t.Errorf("%s has %d bytes (%v)", info.Ref, info.Size, err)
			}
		}
	})
}

func TestAFileIsPutTogetherInTheWorkersMemory(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", padded(300, numbered(1200)...))
		p.submitJob(ranges("f.jsonl"))
		w := p.start(behindQueue(), with(func(c *Config) { c.MemoryLimit = 1 << 20 }))
		var looks atomic.Int64
		w.store.onCall(func(_ context.Context, verb string, r storage.Ref, call func() error) error {
			if verb == "put" && strings.HasSuffix(r.Key, "f.jsonl.out") {
				looks.Add(1)
				if all := w.behind.memory.most; w.behind.memory.part.TryAcquire(all) {
					w.behind.memory.part.Release(all)
					t.Error("no memory is taken")
				}
			}
			return call()
		})
		p.wantCounts(p.summary("nightly"), 1, 0, 0)
		p.wantRecords("f.jsonl", 1200)
		if looks.Load() == 0 || !w.memory.TryAcquire(w.cfg.MemoryLimit) {
			t.Error("it was not put together, or its memory not given back")
		}
	})
}

// A second copy of a part's message is worked on when its file is put together
// already, and fails: an output beats a failure, of a file as of any request.
func TestAFilesOutputStaysWhenACopyOfARangeFailsLater(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", padded(300, numbered(100)...))
		spec := ranges("f.jsonl")
		spec.RecordErrors = request.FailOnRecord
		p.submitJob(spec)
		again := p.jobs.Snapshot()[0].Message.Body
		w := p.start(behindQueue())
		p.wantCounts(p.summary("nightly"), 1, 0, 0)
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		for _, key := range p.jobsState("chunks/") { // the copy has not seen them
			if err := p.store.Delete(t.Context(), storage.Ref{Bucket: "results", Key: key}, storage.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.jobs.Send(t.Context(), outgoing(again))[0]; err != nil {
			t.Fatal(err)
		}
		p.start(behindQueue(), runs(fake.FailWhen(has(50), &model.Error{Code: "INVALID_ARGUMENT", Permanent: true})))
		p.eventually("the copy is done with", func() bool { return p.jobs.Len() == 0 })
		p.wantRecords("f.jsonl", 100)
		if left := p.list("failed/"); len(left) > 0 {
			t.Errorf("there are failures %q", left)
		}
	})
}
