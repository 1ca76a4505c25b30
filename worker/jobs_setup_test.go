package worker

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/queue"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/job"
	"github.com/penstock/penstock/worker/model/fake"
)

// behindQueue gives the worker the queue of batch jobs.
func behindQueue() option {
	return func(p *process, c *Config) {
		c.BatchQueue, c.BatchRequests, c.BatchDeadLetters = p.jobs, p.jobs, &deadShim{Queue: p.plant.dead, dead: &p.dead}
	}
}

// planner sends jobs into a queue.
func (p *plant) planner(q *qmem.Queue) *job.Planner {
	return &job.Planner{Books: &job.Books{Store: p.store, Locations: locations}, Queue: q}
}

// submitJob plans a job and sends it to the queue of jobs.
func (p *plant) submitJob(spec job.Spec) {
	p.t.Helper()
	p.submitJobTo(p.jobs, spec)
}

func (p *plant) submitJobTo(q *qmem.Queue, spec job.Spec) {
	p.t.Helper()
	if _, err := p.planner(q).Submit(p.t.Context(), spec); err != nil {
		p.t.Fatal(err)
	}
}

// packs is a job over all uploads below a folder.
func packs(folder string, each int) job.Spec {
	return job.Spec{ID: "nightly", Sources: []string{"s3://uploads/in/" + folder}, ReferencesPerMessage: each}
}

// uploadMany uploads inputs 0 to n-1 of one row, their own number, in a folder.
func (p *plant) uploadMany(folder string, n int) {
	p.t.Helper()
	for i := range n {
		p.upload(fmt.Sprintf("%s%04d", folder, i), row(float32(i)))
	}
}

// summary waits for the end of a job, and until its messages are gone.
func (p *plant) summary(id string) job.Summary {
	p.t.Helper()
	for range 24 * 3600 {
		body, _, ok := p.body(job.CopyOf(locations, id))
		if ok && p.jobs.Len()+p.queue.Len() == 0 {
			time.Sleep(time.Second)
			synctest.Wait()
			var s job.Summary
			if err := json.Unmarshal([]byte(body), &s); err != nil {
				p.t.Fatal(err)
			}
			return s
		}
		time.Sleep(time.Second)
	}
	p.t.Fatalf("the job has not ended after a day: %+v", p.jobs.Snapshot())
	return job.Summary{}
}

// wantCounts checks how the objects of a job ended.
func (p *plant) wantCounts(s job.Summary, succeeded, failed, cancelled int) {
	p.t.Helper()
	want := job.Account{Submitted: succeeded + failed + cancelled, Counts: job.Counts{Succeeded: succeeded, Failed: failed, Cancelled: cancelled}}
	if s.Objects != want {
		p.t.Errorf("the summary counts %+v, want %+v", s.Objects, want)
	}
}

// wantJobOutput checks an item's output, and that it has no failure.
func (p *plant) wantJobOutput(key string, value float32) {
	p.t.Helper()
	body, _, ok := p.body(storage.Ref{Bucket: "results", Key: "out/jobs/nightly/" + key + ".out"})
	if want := fmt.Sprintf("%.1f", 2*value); !ok || !strings.Contains(body, want) {
		p.t.Errorf("the output of %s is %q (there: %t), want %s in it", key, body, ok, want)
	}
	if _, _, both := p.body(storage.Ref{Bucket: "results", Key: "failed/jobs/nightly/" + key + "-error.out"}); both {
		p.t.Errorf("%s has a failure beside its output", key)
	}
}

// wantJobFailure checks an item's failure, and that it has no output.
func (p *plant) wantJobFailure(key, code string) {
	p.t.Helper()
	body, _, ok := p.body(storage.Ref{Bucket: "results", Key: "failed/jobs/nightly/" + key + "-error.out"})
	if !ok || !strings.Contains(body, code) {
		p.t.Errorf("the failure of %s is %q (there: %t), want %s in it", key, body, ok, code)
	}
	if _, _, both := p.body(storage.Ref{Bucket: "results", Key: "out/jobs/nightly/" + key + ".out"}); both {
		p.t.Errorf("%s has an output beside its failure", key)
	}
}

// killedOnTheWay has a job of ranges worked on by a worker that is killed in the
// middle, and by another that goes on.
func (p *plant) killedOnTheWay() job.Summary {
	p.t.Helper()
	slow := []option{behindQueue(), runs(fake.Delay(500 * time.Millisecond)), with(func(c *Config) { c.MaxBatchSize = 16 })}
	w := p.start(slow...)
	p.eventually("some of it is done", func() bool { return len(p.jobsState("chunks/")) >= 2 })
	w.kill()
	p.start(slow...)
	return p.summary("nightly")
}

// gzipped is a text as gzip.
func gzipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.String()
}

// padded are lines of which each has about that many bytes, so that a few make
// a range.
func padded(bytes int, lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(line + strings.Repeat(" ", max(0, bytes-len(line)-1)) + "\n")
	}
	return b.String()
}

// numbered are the lines [0] to [n-1], but for some that are bad.
func numbered(n int, bad ...int) []string {
	lines := make([]string, n)
	for i := range lines {
		if lines[i] = fmt.Sprintf("[%d]", i); slices.Contains(bad, i) {
			lines[i] = "{]"
		}
	}
	return lines
}

// file uploads a record file.
func (p *plant) file(key, contentType, body string) {
	p.t.Helper()
	ref := storage.Ref{Bucket: "uploads", Key: "in/" + key}
	if _, err := p.store.Put(p.t.Context(), ref, []byte(body), storage.PutOptions{ContentType: contentType}); err != nil {
		p.t.Fatal(err)
	}
}

// leastPart is the smallest range that a job may have, in bytes.
const leastPart = 64 << 10

// ranges is a job over one record file in the smallest ranges.
func ranges(key string) job.Spec {
	return job.Spec{ID: "nightly", Sources: []string{"s3://uploads/in/" + key}, SplitType: job.SplitLine, PartBytes: leastPart}
}

// wantRecords checks that the file's output has the line of each record in its
// place, and its error file a line for each bad one.
func (p *plant) wantRecords(key string, n int, bad ...int) {
	p.t.Helper()
	p.wantRecordsOf("nightly", key, n, bad...)
}

func (p *plant) wantRecordsOf(id, key string, n int, bad ...int) {
	p.t.Helper()
	body, _, ok := p.body(storage.Ref{Bucket: "results", Key: "out/jobs/" + id + "/" + key + ".out"})
	if !ok {
		p.t.Fatalf("there is no output of %s; there are %q and %q", key, p.list("out/"), p.list("failed/"))
	}
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	if len(lines) != n {
		p.t.Fatalf("the output has %d lines, want %d", len(lines), n)
	}
	for i, line := range lines {
		want := fmt.Sprintf("[%d.0]", 2*i)
		if slices.Contains(bad, i) {
			want = `{"error":{"code":`
		}
		if !strings.HasPrefix(line, want) {
			p.t.Fatalf("line %d of the output is %s, want %s", i, line, want)
		}
	}
	errors, _, ok := p.body(storage.Ref{Bucket: "results", Key: "out/jobs/" + id + "/" + key + "-errors.jsonl"})
	if ok != (len(bad) > 0) {
		p.t.Fatalf("the error file is there: %t", ok)
	}
	i := 0
	for line := range strings.Lines(errors) {
		var e job.RecordError
		if err := json.Unmarshal([]byte(line), &e); err != nil || i == len(bad) || e.Record != int64(bad[i]+1) || e.Code == "" || e.Message == "" {
			p.t.Fatalf("line %d of the error file is %s (%v), want that of record %d", i, line, err, bad[min(i, len(bad)-1)]+1)
		}
		i++
	}
	if i != len(bad) {
		p.t.Errorf("the error file has %d lines, want %d", i, len(bad))
	}
}

// wantOutputsOf checks the outputs of submitMany's uploads, beside others.
func (p *plant) wantOutputsOf(n int) {
	p.t.Helper()
	for i := range n {
		p.wantOutput(fmt.Sprint(i), float32(i))
	}
}

// jobsState is the keys of a job's state.
func (p *plant) jobsState(folder string) []string {
	p.t.Helper()
	return p.list(".penstock/jobs/nightly/" + folder)
}

// missing says whether there is no object at ref.
func (p *plant) missing(ref storage.Ref) bool {
	p.t.Helper()
	_, err := p.store.Head(p.t.Context(), ref)
	return errors.Is(err, fs.ErrNotExist)
}

// suspected counts the messages of a queue that are to be run as suspects.
func suspected(q *qmem.Queue) (n int) {
	for _, s := range q.Snapshot() {
		if s.Message.Attributes[attrSuspect] != "" || s.Message.ReceiveCount > 0 {
			n++
		}
	}
	return n
}

func outgoing(body string) queue.Outgoing { return queue.Outgoing{Body: body} }

// throng counts who is somewhere at a time.
type throng struct{ now, most atomic.Int64 }

// enter is called by who comes, and leave by who goes.
func (c *throng) enter() (leave func()) {
	n := c.now.Add(1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	return func() { c.now.Add(-1) }
}
