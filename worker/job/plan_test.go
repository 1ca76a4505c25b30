package job

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/storage"
)

// failing is a planner that dies at the nth call of a kind: it has no effect.
func (p *plant) failing(verb, key string) *process {
	w := p.process()
	w.store.OnCall(func(_ context.Context, v string, ref storage.Ref, call func() error) error {
		if v == verb && strings.Contains(ref.Key, key) {
			w.dead.Store(true)
		}
		return w.through(call)
	})
	return w
}

// A planner dies when it has listed everything, and before it could say so.
// What is uploaded then is no part of the job.
func TestASubmitThatGoesOnAddsNothingToAListingThatHadEnded(t *testing.T) {
	t.Parallel()
	for _, split := range []string{SplitNone, SplitLine} {
		t.Run(split, func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T, p *plant) {
				p.put("in/a.jsonl", "{}\n")
				spec := prefix("one")
				spec.SplitType = split
				if _, err := p.failing("put", "/plan/sealed").planner().Submit(t.Context(), spec); err == nil {
					t.Fatal("the planner has not died")
				}
				p.put("in/b.jsonl", "{}\n")
				w := p.process()
				w.submit(spec)
				w.work(t.Context())
				if s := p.ended("one"); s.State != StateSucceeded || s.Objects != (Account{1, Counts{1, 0, 0}}) {
					t.Errorf("the summary is %+v", s)
				}
			})
		})
	}
}

// Two plan the same job. One has come to the end, behind a page that is full; to
// the other the sources have one object more.
func TestOfTwoWhoPlanAJobOneSaysWhereItEnds(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		for i := range pageItems {
			p.put(fmt.Sprintf("in/%04d", i), "x")
		}
		spec := prefix("one")
		spec.ReferencesPerMessage = 10
		listed, goOn := make(chan struct{}), make(chan struct{})
		first := p.process()
		first.store.OnCall(func(_ context.Context, verb string, ref storage.Ref, call func() error) error {
			if verb == "put" && strings.HasSuffix(ref.Key, "/plan/sealed") {
				close(listed)
				<-goOn
			}
			return call()
		})
		second := p.process()
		second.store.OnCall(func(_ context.Context, verb string, ref storage.Ref, call func() error) error {
			if verb == "put" && strings.HasSuffix(ref.Key, "/plan/000000100") {
				close(goOn)
				time.Sleep(time.Minute) // the first has sealed the plan by then
			}
			return call()
		})
		var planning sync.WaitGroup
		planning.Go(func() { first.submit(spec) })
		<-listed
		p.put("in/more", "x")
		planning.Go(func() {
			second.submit(spec)
			select {
			case <-goOn:
			default:
				close(goOn) // it found the plan to be at its end
			}
		})
		planning.Wait()
		p.process().work(t.Context())
		if s := p.ended("one"); s.State != StateSucceeded || s.Objects.Submitted != len(p.keys("out/jobs/one/"))-1 {
			t.Errorf("there are %d outputs, and the summary is %+v", len(p.keys("out/jobs/one/"))-1, s)
		}
	})
}

// A file that is overwritten or deleted while it is looked at fails by itself,
// as one does that is overwritten later.
func TestAFileThatChangesWhileItIsPlannedHurtsNoOther(t *testing.T) {
	t.Parallel()
	row := "1," + strings.Repeat("x", 1000) + "\n"
	for name, rows := range map[string]int{"in one page": 200, "over two pages": 70_000} {
		for _, change := range []string{"overwritten", "deleted"} {
			t.Run(change+" "+name, func(t *testing.T) {
				t.Parallel()
				in(t, func(t *testing.T, p *plant) {
					file := storage.Ref{Bucket: bucket, Key: "in/b.csv"}
					p.put("in/a.jsonl", "{}\n")
					p.put(file.Key, strings.Repeat(row, rows))
					p.put("in/c.jsonl", "{}\n")
					w := p.process()
					reads := 0
					w.store.OnCall(func(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
						if verb == "get" && ref.Key == file.Key {
							if reads++; rows > 1000 && reads == 10 || rows <= 1000 && reads == 1 {
								if change == "deleted" {
									if err := p.store.Delete(ctx, file, storage.DeleteOptions{}); err != nil {
										t.Error(err)
									}
								} else {
									p.put(file.Key, "2,y\n")
								}
							}
						}
						return call()
					})
					spec := prefix("one")
					spec.SplitType, spec.PartBytes = SplitLine, leastPartBytes
					w.submit(spec)
					w.work(t.Context())
					s := p.ended("one")
					if s.Objects != (Account{3, Counts{2, 1, 0}}) || len(s.Failures) != 1 || s.Failures[0].Input != file.String() {
						t.Errorf("the summary is %+v", s)
					}
				})
			})
		}
	}
}

// The first record of a CSV file may be its header: a range that begins later
// needs it, though blank lines lie before it; and the first one has records behind
// it, or nobody would write the header of the results.
func TestACSVFilesHeaderIsFoundBehindBlankLines(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		header := "\r\n\n" + strings.Repeat("name,", 20_000) + "x\n"
		p.put("in/a.csv", header+"\n\n"+strings.Repeat("1,2,3\n", 30_000))
		spec := prefix("one")
		spec.SplitType, spec.PartBytes = SplitLine, leastPartBytes
		p.process().submit(spec)
		var pg page
		if err := readNote(t.Context(), p.store, booksOf(locations, "one").page(0), &pg); err != nil {
			t.Fatal(err)
		}
		f := pg.Files[0]
		if f.Header != int64(len(header)) || len(f.Ranges) < 2 || f.Ranges[0][1] <= f.Header+2 {
			t.Errorf("a header of %d bytes is taken to have %d; the first range is %v of %d", len(header), f.Header, f.Ranges[0], len(f.Ranges))
		}
	})
}

// A job's id is free again when what is known of the job was deleted: workers
// that ran the first one must not take the second for it.
func TestAJobMayHaveTheIDOfOneThatWasDeleted(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		w := p.process()
		worker := w.books()
		run := func(spec Spec, objects int) {
			t.Helper()
			p.process().submit(spec)
			for part := range objects {
				if read, err := worker.Spec(t.Context(), "one"); err != nil || read.Model != spec.Model {
					t.Errorf("the worker takes the model for %q: %v", read.Model, err)
				}
				if p.summary("one") != nil {
					t.Errorf("the job has ended before its part %d", part)
				}
				if err := worker.Settled(t.Context(), "one", Part{part, 1}, []Verdict{{0, Succeeded}}); err != nil {
					t.Fatal(err)
				}
			}
			if s := p.ended("one"); s.Objects.Submitted != objects {
				t.Errorf("the summary is %+v", s)
			}
		}
		p.put("in/0", "x")
		spec := prefix("one")
		spec.ReferencesPerMessage = 1
		run(spec, 1)
		for _, folder := range []string{".penstock/", "out/"} {
			if err := deleteAll(t.Context(), p.store, storage.Ref{Bucket: bucket, Key: folder}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		for i := range 3 {
			p.put(fmt.Sprint("in/", i), "x")
		}
		spec.Model = "other"
		run(spec, 3)
	})
}
