package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/job"
	"github.com/penstock/penstock/worker/model/fake"
)

// beside is a job whose results stand beside their records.
func beside(key string) job.Spec {
	spec := ranges(key)
	spec.JoinSource = job.JoinInput
	return spec
}

// wantJoined checks the output of a file, line by line. An error is shortened to
// its code.
func (p *plant) wantJoined(key string, want []string) {
	p.t.Helper()
	body, _, ok := p.body(storage.Ref{Bucket: "results", Key: "out/jobs/nightly/" + key + ".out"})
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	if !ok || len(lines) != len(want) {
		p.t.Fatalf("the output of %s has %d lines (there: %t), want %d; there are %q", key, len(lines), ok, len(want), p.list("failed/"))
	}
	for i, line := range lines {
		if at := strings.Index(line, `","message"`); at > 0 {
			line = line[:at]
		}
		if line != want[i] {
			p.t.Fatalf("line %d of the output is\n%s, want\n%s", i+1, line, want[i])
		}
	}
}

// Each record has its result beside it, in its place, however the file is
// divided and however often a worker dies over it.
func TestResultsAreJoinedWithTheirRecords(t *testing.T) {
	const n = 1200
	bad := []int{0, 77, 300, 301, 302, 1199}
	list := func(i int) (in, out string) {
		if slices.Contains(bad, i) {
			return "{]", `{"SageMakerInput":"{]` + strings.Repeat(" ", 297) + `","SageMakerOutput":{"error":{"code":"MalformedInput`
		}
		return fmt.Sprintf("[%d]", i), fmt.Sprintf(`{"SageMakerInput":[%d],"SageMakerOutput":[%d.0]}`, i, 2*i)
	}
	object := func(i int) (in, out string) {
		if slices.Contains(bad, i) {
			return `{"x": "ten"}`, `{"x": "ten","SageMakerOutput":{"error":{"code":"InvalidDType`
		}
		return fmt.Sprintf(`{"x": [%d]}`, i), fmt.Sprintf(`{"x": [%d],"SageMakerOutput":[%d.0]}`, i, 2*i)
	}
	for story, c := range map[string]struct {
		key    string
		line   func(i int) (in, out string)
		packed bool
	}{
		"lists":               {"f.jsonl", list, false},
		"objects":             {"f.jsonl", object, false},
		"objects, compressed": {"f.jsonl.gz", object, true},
	} {
		t.Run(story, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				var lines, want []string
				for i := range n {
					in, out := c.line(i)
					lines, want = append(lines, in), append(want, out)
				}
				body := padded(300, lines...)
				if c.packed {
					body = gzipped(body)
				}
				p.file(c.key, "", body)
				p.submitJob(beside(c.key))
				s := p.killedOnTheWay()
				p.wantCounts(s, 1, 0, 0)
				if records := (job.Records{Submitted: n, Good: n - int64(len(bad)), Bad: int64(len(bad))}); *s.Records != records {
					t.Errorf("the summary counts %+v, want %+v", *s.Records, records)
				}
				p.wantJoined(c.key, want)
				errors, _, _ := p.body(storage.Ref{Bucket: "results", Key: "out/jobs/nightly/" + c.key + "-errors.jsonl"})
				if got := strings.Count(errors, "\n"); got != len(bad) {
					t.Errorf("the error file has %d lines", got)
				}
			})
		})
	}
}

// CSV keeps its quotes and its header, and gets the output's columns.
func TestCSVIsJoinedByColumns(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		lines, want := []string{`"the ""height"""`}, []string{`"the ""height""",y[0]`}
		for i := range 6000 {
			in, out := fmt.Sprintf(`"%d"`, i), fmt.Sprintf(`"%d",%d.0`, i, 2*i)
			if i%1000 == 0 {
				in, out = "bad,and more", "bad,and more,"
			}
			if i == 4321 {
				in, out = `"b"ad`, ""
			}
			lines, want = append(lines, in), append(want, out)
		}
		body := strings.Join(lines, "\r\n")
		p.file("f.csv", "text/csv", body+strings.Repeat("\r\n", 2*leastPart)) // blank lines are no records
		p.submitJob(beside("f.csv"))
		p.start(behindQueue())
		s := p.summary("nightly")
		p.wantCounts(s, 1, 0, 0)
		if s.Parts.Submitted < 2 || s.Records.Bad != 7 {
			t.Errorf("the summary counts %+v in %d parts", *s.Records, s.Parts.Submitted)
		}
		p.wantJoined("f.csv", want)
		if _, info, _ := p.body(storage.Ref{Bucket: "results", Key: "out/jobs/nightly/f.csv.out"}); info.ContentType != "text/csv; header=present" {
			t.Errorf("it is %s", info.ContentType)
		}
	})
}

// Large records make large results: chunks are bounded by them too.
func TestAChunkOfJoinedResultsIsBounded(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		lines := numbered(100)
		for i, line := range lines {
			lines[i] = strings.Replace(line, "]", strings.Repeat(" ", 500<<10)+"]", 1)
		}
		p.file("f.jsonl", "", strings.Join(lines, "\n"))
		spec := beside("f.jsonl")
		spec.PartBytes = 128 << 20
		p.submitJob(spec)
		p.start(behindQueue())
		p.wantCounts(p.summary("nightly"), 1, 0, 0)
		chunks := 0
		for info, err := range p.store.List(context.Background(), storage.Ref{Bucket: "results", Key: ".penstock/jobs/nightly/chunks/"}, "") {
			if chunks++; err != nil || info.Size > 2*pieceSize+pieceSize/2 {
				t.Errorf("%s has %d bytes (%v)", info.Ref, info.Size, err)
			}
		}
		if chunks < 4 {
			t.Errorf("there are %d chunks", chunks)
		}
		body, _, _ := p.body(storage.Ref{Bucket: "results", Key: "out/jobs/nightly/f.jsonl.out"})
		i := 0
		for line := range strings.Lines(body) {
			var got struct{ SageMakerInput, SageMakerOutput []int }
			if err := json.Unmarshal([]byte(strings.ReplaceAll(line, ".0", "")), &got); err != nil || got.SageMakerInput[0] != i || got.SageMakerOutput[0] != 2*i {
				t.Fatalf("line %d: %v", i, err)
			}
			i++
		}
		if i != 100 {
			t.Errorf("the output has %d lines", i)
		}
	})
}

func TestAJoinThatCanNotBeFailsItsFile(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		p.file("f.jsonl", "", padded(300, numbered(600)...))
		spec := beside("f.jsonl")
		spec.Accept = "text/csv"
		p.submitJob(spec)
		p.start(behindQueue())
		p.wantCounts(p.summary("nightly"), 0, 1, 0)
		p.wantJobFailure("f.jsonl", "joined with its input, which is JSON lines")
		p.wantJobFailure("f.jsonl", codec.CodeNotAcceptable)
	})
}

// With the strategy SingleRecord nothing meets anything in a run: not the
// records of a file, nor objects, nor what else the worker does, and not after
// a crash.
func TestASingleRecordHasARunOfItsOwn(t *testing.T) {
	t.Run("of a file", func(t *testing.T) {
		in(t, func(t *testing.T, p *plant) {
			p.file("f.jsonl", "", padded(300, numbered(600, 7)...))
			spec := ranges("f.jsonl")
			spec.BatchStrategy = job.SingleRecord
			p.submitJob(spec)
			w := p.start(behindQueue(), runs(fake.Delay(100*time.Millisecond)))
			p.eventually("it is under way", func() bool { return len(p.recorder.Batches()) > 20 })
			w.kill()
			p.start(behindQueue(), runs(fake.Delay(10*time.Millisecond)))
			p.wantCounts(p.summary("nightly"), 1, 0, 0)
			p.wantRecords("f.jsonl", 600, 7)
			p.wantRunsOfOne(599)
		})
	})
	t.Run("of objects, beside requests", func(t *testing.T) {
		in(t, func(t *testing.T, p *plant) {
			p.uploadMany("many/", 100)
			spec := packs("many/", 10)
			spec.BatchStrategy = job.SingleRecord
			p.submitJob(spec)
			w := p.start(behindQueue(), runs(fake.Delay(100*time.Millisecond)))
			p.eventually("it is under way", func() bool { return len(p.recorder.Batches()) > 20 })
			w.kill()
			p.start(behindQueue(), runs(fake.Delay(100*time.Millisecond)))
			p.submit("single", row(5))
			p.wantCounts(p.summary("nightly"), 100, 0, 0)
			for i := range 100 {
				p.wantJobOutput(fmt.Sprintf("many/%04d", i), float32(i))
			}
			p.wantRunsOfOne(101)
		})
	})
}

// wantRunsOfOne checks that there were at least so many runs, each of one row.
func (p *plant) wantRunsOfOne(least int) {
	p.t.Helper()
	batches := p.recorder.Batches()
	for _, b := range batches {
		if b.Rows != 1 {
			p.t.Fatalf("a run had %d rows", b.Rows)
		}
	}
	if len(batches) < least {
		p.t.Errorf("there were %d runs, want %d at least", len(batches), least)
	}
}
