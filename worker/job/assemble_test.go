package job

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/penstock/penstock/storage"
)

// A file's output is put together from chunks of any size: large ones are copied
// and small ones joined, in order, and nothing is left when it fails.
func TestChunksOfAnySizeAreAssembledInOrder(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		p.put("in/x.jsonl", "{}\n")
		w := p.process()
		spec := prefix("one")
		spec.SplitType = SplitLine
		w.submit(spec)
		chunks := Chunks{Store: p.store, Locations: locations}
		var want, faults strings.Builder
		rnd := rand.New(rand.NewPCG(1, 1))
		sizes := []int{0, 100, 6 << 20, 5 << 20, 5<<20 - 1, 1, 0, 9 << 20, 3 << 20, 7 << 20, 2}
		for seq, size := range sizes {
			body := strings.Repeat(fmt.Sprint(rnd.IntN(10)), size)
			want.WriteString(body)
			e := RecordError{Record: int64(seq + 1), Offset: int64(seq), Code: "Bad", Message: "it is bad"}
			faults.Write(AppendError(nil, e))
			_, ours, err := chunks.PutChunk(t.Context(), "one", 0, seq, Chunk{Output: []byte(body), Errors: AppendError(nil, e), ContentType: "text/x", Model: "m"},
				Progress{NextOffset: 3, Done: seq == len(sizes)-1, Records: int64(2*seq + 2), Bad: int64(seq + 1)})
			if err != nil || !ours {
				t.Fatal(ours, err)
			}
		}
		var copies, completions atomic.Int64
		w.store.OnCall(func(_ context.Context, verb string, _ storage.Ref, call func() error) error {
			switch verb {
			case "copy":
				copies.Add(1)
			case "complete":
				completions.Add(1)
			}
			return call()
		})
		if err := w.books().Settled(t.Context(), "one", Part{0, 1}, []Verdict{{0, Succeeded}}); err != nil {
			t.Fatal(err)
		}
		p.wantFile("one", "x.jsonl", want.String(), faults.String())
		if copies.Load() < 2 || completions.Load() != 1 {
			t.Errorf("%d parts were copied, and %d uploads ended; want at least 2, and 1", copies.Load(), completions.Load())
		}
		info, err := p.store.Head(t.Context(), storage.Ref{Bucket: bucket, Key: "out/jobs/one/x.jsonl.out"})
		if err != nil || info.ContentType != "text/x" || info.Metadata["penstock-model-name"] != "m" || info.Metadata["penstock-records"] != "22" {
			t.Errorf("the output is %+v: %v", info, err)
		}
	})
}

func TestTheFirstOfTwoChunksCounts(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		chunks := Chunks{Store: p.store, Locations: locations}
		if _, _, ok, err := chunks.Last(t.Context(), "one", 7); ok || err != nil {
			t.Errorf("there is a chunk: %v", err)
		}
		first, second := Progress{NextOffset: 10, Records: 2, Bad: 1}, Progress{NextOffset: 30, Records: 5}
		if _, ours, err := chunks.PutChunk(t.Context(), "one", 7, 0, Chunk{Output: []byte("a\n")}, first); !ours || err != nil {
			t.Errorf("ours: %v, %v", ours, err)
		}
		if adopted, ours, err := chunks.PutChunk(t.Context(), "one", 7, 0, Chunk{Output: []byte("b\n")}, second); ours || adopted != first || err != nil {
			t.Errorf("adopted %+v, %v: %v", adopted, ours, err)
		}
		if seq, last, ok, err := chunks.Last(t.Context(), "one", 7); seq != 0 || last != first || !ok || err != nil {
			t.Errorf("the last is %d, %+v, %v: %v", seq, last, ok, err)
		}
	})
}

func TestAForeignObjectAtTheOutputsKeyStaysAndTheFileFails(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		p.put("in/x.jsonl", "{}\n")
		p.put("out/jobs/one/x.jsonl.out", "another's")
		w := p.process()
		spec := prefix("one")
		spec.SplitType = SplitLine
		w.submit(spec)
		w.work(t.Context())
		s := p.ended("one")
		if s.Objects.Counts != (Counts{0, 1, 0}) || len(s.Failures) != 1 || s.Failures[0].Code != "OutputTaken" {
			t.Errorf("the summary is %+v", s)
		}
		if got := p.get("out/jobs/one/x.jsonl.out"); got != "another's" {
			t.Errorf("the object is %q now", got)
		}
	})
}

func TestResultsThatWereDeletedEndInAFailureThatSaysSo(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		p.put("in/x.jsonl", "{}\n")
		w := p.process()
		spec := prefix("one")
		spec.SplitType = SplitLine
		w.submit(spec)
		if err := w.books().Settled(t.Context(), "one", Part{0, 1}, []Verdict{{0, Succeeded}}); err != nil {
			t.Fatal(err)
		}
		if s := p.ended("one"); s.State != StateFailed || len(s.Failures) != 1 || !strings.Contains(s.Failures[0].Message, "were deleted") {
			t.Errorf("the summary is %+v", s)
		}
	})
}

func TestThoseWhoLookAtAGroupAtTheSameTimeShareTheListing(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		const n = 900
		for i := range n {
			p.put(fmt.Sprintf("in/%03d", i), "x")
		}
		w := p.process()
		spec := prefix("one")
		spec.ReferencesPerMessage = 1
		w.submit(spec)
		var lists atomic.Int64
		w.store.OnCall(func(_ context.Context, verb string, ref storage.Ref, call func() error) error {
			if verb == "list" && strings.Contains(ref.Key, "/done/") {
				lists.Add(1)
			}
			time.Sleep(20 * time.Millisecond)
			return call()
		})
		b := w.books()
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 2 * time.Millisecond)
				if err := b.Settled(t.Context(), "one", Part{i, 1}, []Verdict{{0, Succeeded}}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if s := p.ended("one"); s.Objects.Succeeded != n {
			t.Errorf("the summary is %+v", s)
		}
		if got := lists.Load(); got > 40 {
			t.Errorf("%d parts that ended within two seconds cost %d listings", n, got)
		}
	})
}

func TestWhoWaitsForAnAnswerIsNotHurtByOneWhoGivesUp(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, _ *plant) {
		var c checks
		var runs atomic.Int64
		check := func(ctx context.Context) error {
			runs.Add(1)
			return pause(ctx, time.Second)
		}
		gone, giveUp := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer giveUp()
		var wg sync.WaitGroup
		wg.Go(func() { _ = c.do(t.Context(), "x", check) })
		time.Sleep(100 * time.Millisecond)
		wg.Go(func() {
			if err := c.do(gone, "x", check); err == nil {
				t.Error("who gave up has an answer")
			}
		})
		time.Sleep(100 * time.Millisecond)
		wg.Go(func() {
			if err := c.do(t.Context(), "x", check); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if runs.Load() != 3 {
			t.Errorf("it was run %d times", runs.Load())
		}
	})
}

func TestAFileOfBadRecordsOnlyFailsAndItsErrorsAreTold(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"its only record is bad: record 1 (at byte 0): it is bad":                         "{\"bad\":1}\n",
		"all of the 20000 records are bad; the first is: record 1 (at byte 0): it is bad": strings.Repeat("{\"bad\":1}\n", 20000),
	} {
		in(t, func(t *testing.T, p *plant) {
			p.put("in/good.jsonl", "{\"n\":1}\n")
			p.put("in/x.jsonl", body)
			p.put("out/jobs/one/x.jsonl.partial", "what a cancel left")
			w := p.process()
			spec := prefix("one")
			spec.SplitType, spec.PartBytes = SplitLine, leastPartBytes
			w.submit(spec)
			w.work(t.Context())
			s, n := p.ended("one"), strings.Count(body, "\n")
			if s.State != StateFailed || s.Objects.Counts != (Counts{1, 1, 0}) || s.Records == nil || s.Records.Good != 1 || s.Records.Bad != int64(n) {
				t.Errorf("the summary is %+v, its records %+v", s, s.Records)
			}
			if len(s.Failures) != 1 || s.Failures[0].Code != "Bad" || s.Failures[0].Message != name {
				t.Errorf("the failures are %+v, want %q", s.Failures, name)
			}
			if got := strings.Count(p.get("out/jobs/one/x.jsonl-errors.jsonl"), "\n"); got != n {
				t.Errorf("the error file has %d lines", got)
			}
			if out := p.keys("out/jobs/one/x.jsonl."); len(out) > 0 {
				t.Errorf("there is an output: %q", out)
			}
			if r, err := w.planner().Resume(t.Context(), "one", true); err != nil || r.Over || r.Items > 0 {
				t.Fatalf("the resume is %+v, %v", r, err)
			}
			w.work(t.Context())
			if again := p.ended("one"); again.Objects.Counts != s.Objects.Counts {
				t.Errorf("the summary of the resumed job is %+v", again)
			}
		})
	}
}

// The counts of the table in docs/batch.md are those of calls that are made.
func TestTheEstimateIsWhatAJobCosts(t *testing.T) {
	t.Parallel()
	for _, references := range []int{1, 100} {
		t.Run(fmt.Sprint(references, " a message"), func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T, p *plant) {
				const n = 4000
				for i := range n {
					p.put(fmt.Sprintf("in/%04d", i), "x")
				}
				var calls Calls
				var mu sync.Mutex
				count := func(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
					mu.Lock()
					switch {
					case verb == "list":
						calls.Writes++
					case verb == "put":
						calls.Writes++
					case verb == "delete": // free
					case strings.HasPrefix(ref.Key, ".penstock/"): // of inputs and results see below
						calls.Reads++
					}
					mu.Unlock()
					time.Sleep(20 * time.Millisecond)
					return call()
				}
				spec := prefix("one")
				spec.ReferencesPerMessage = references
				w := p.process()
				w.store.OnCall(count)
				e, err := w.planner().Estimate(t.Context(), spec)
				if err != nil {
					t.Fatal(err)
				}
				mu.Lock()
				calls = Calls{}
				mu.Unlock()
				w.submit(spec)
				for range 4 { // workers take turns, each with a few messages at a time
					w.work(t.Context())
				}
				p.ended("one")
				calls.Reads += 2 * n // a real worker's GET of the input and its look for an old failure
				for name, c := range map[string][2]int64{"reads": {calls.Reads, e.Calls.Reads}, "writes": {calls.Writes, e.Calls.Writes}} {
					if ratio := float64(c[1]) / float64(c[0]); ratio < 0.9 || ratio > 1.25 {
						t.Errorf("%d %s were estimated, %d were made", c[1], name, c[0])
					}
				}
			})
		})
	}
}

func TestMessagesArePaidByWhatTheyCarry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sizes []int
		want  int64
	}{
		{nil, 0},
		{slices.Repeat([]int{300}, 10), 3},
		{slices.Repeat([]int{300}, 11), 6},
		{slices.Repeat([]int{30_000}, 10), 5 + 5 + 1},
		{[]int{1 << 20, 1 << 20}, 2 * (16 + 16 + 1)},
	} {
		if got := sqsCalls(c.sizes); got != c.want {
			t.Errorf("%d messages cost %d calls, want %d", len(c.sizes), got, c.want)
		}
	}
}

func TestAStandingIsReadWhileAJobRuns(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		for i := range 40 {
			p.put(fmt.Sprintf("in/%02d", i), "x")
		}
		w := p.process()
		spec := prefix("one")
		spec.ReferencesPerMessage = 10
		w.submit(spec)
		watcher := &Watcher{Store: p.store, Locations: locations, ID: "one"}
		b := w.books()
		for part := range 3 {
			time.Sleep(5 * time.Second)
			var verdicts []Verdict
			for i := range 10 {
				verdicts = append(verdicts, Verdict{i, Fate(i % 2)})
			}
			if err := b.Settled(t.Context(), "one", Part{part, 10}, verdicts); err != nil {
				t.Fatal(err)
			}
		}
		s, err := watcher.Standing(t.Context())
		if err != nil || s.State != StateRunning || s.Submitted != 40 || s.Counts != (Counts{15, 15, 0}) || s.Waiting != 10 || !s.Planned {
			t.Errorf("it stands at %+v: %v", s, err)
		}
		if s.Rate < 1.9 || s.Rate > 2.1 || s.ETA < 4 || s.ETA > 6 {
			t.Errorf("the rate is %v, and %v s are left", s.Rate, s.ETA)
		}
		if ids, err := Jobs(t.Context(), p.store, locations); err != nil || !slices.Equal(ids, []string{"one"}) {
			t.Errorf("the jobs are %q: %v", ids, err)
		}
	})
}

// A rule of the bucket deletes what is oldest: the chunks behind stay.
func TestResultsOfWhichSomeWereDeletedEndInAFailureThatSaysSo(t *testing.T) {
	t.Parallel()
	for gone := range 3 {
		t.Run(fmt.Sprint("chunk ", gone), func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T, p *plant) {
				body, _, _ := lines(9)
				p.put("in/x.jsonl", body)
				p.put("in/y.jsonl", "{}\n")
				w := p.process()
				spec := prefix("one")
				spec.SplitType = SplitLine
				w.submit(spec)
				w.hook = func(call func() error) error { return call() }
				w.store.OnCall(func(ctx context.Context, verb string, ref storage.Ref, call func() error) error {
					if verb == "put" && strings.Contains(ref.Key, "/done/000000/000000000-") {
						if err := p.store.Delete(ctx, booksOf(locations, "one").chunk(0, gone), storage.DeleteOptions{}); err != nil {
							t.Error(err)
						}
					}
					return call()
				})
				w.work(t.Context())
				if s := p.ended("one"); s.Objects.Counts != (Counts{1, 1, 0}) || len(s.Failures) != 1 || !strings.Contains(s.Failures[0].Message, "were deleted") {
					t.Errorf("the summary is %+v", s)
				}
			})
		})
	}
}

// A store may have no place for a name that S3 would take: files are not to wait
// for it forever.
func TestAFileWhoseResultTheStoreRefusesFailsByItself(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{".out", errorsSuffix} {
		t.Run(suffix, func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T, p *plant) {
				p.put("in/x.jsonl", "{}\nbad\n")
				p.put("in/y.jsonl", "{}\n")
				w := p.process()
				spec := prefix("one")
				spec.SplitType = SplitLine
				w.submit(spec)
				w.store.OnCall(func(_ context.Context, verb string, ref storage.Ref, call func() error) error {
					if verb == "put" && strings.HasSuffix(ref.Key, "/x.jsonl"+suffix) {
						return fmt.Errorf("%w: the name is too long", fs.ErrInvalid)
					}
					return call()
				})
				w.work(t.Context())
				if s := p.ended("one"); s.Objects.Counts != (Counts{1, 1, 0}) || len(s.Failures) != 1 || !strings.Contains(s.Failures[0].Message, "too long") {
					t.Errorf("the summary is %+v", s)
				}
			})
		})
	}
}

// What files have in memory while they are put together is reserved before, and
// given back.
func TestFilesArePutTogetherInTheMemoryThatTheyReserve(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		const files, chunk, most = 5, 3 << 20, 30 << 20
		for i := range files {
			p.put(fmt.Sprintf("in/%d.jsonl", i), "{}\n")
		}
		w := p.process()
		spec := prefix("one")
		spec.SplitType = SplitLine
		w.submit(spec)
		chunks := Chunks{Store: p.store, Locations: locations}
		for part := range files {
			for seq := range 4 {
				_, _, err := chunks.PutChunk(t.Context(), "one", part, seq, Chunk{Output: make([]byte, chunk)}, Progress{Done: seq == 3})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		var mu sync.Mutex
		held, highest := int64(0), int64(0)
		memory := semaphore.NewWeighted(most)
		b := w.books()
		b.Reserve = func(ctx context.Context, n int64) (func(), error) {
			if err := memory.Acquire(ctx, n); err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			held += n
			highest = max(highest, held)
			return func() {
				mu.Lock()
				defer mu.Unlock()
				held -= n
				memory.Release(n)
			}, nil
		}
		w.store.OnCall(func(_ context.Context, _ string, ref storage.Ref, call func() error) error {
			mu.Lock()
			if strings.HasPrefix(ref.Key, "out/jobs/one/") && strings.HasSuffix(ref.Key, ".out") && held < 4*chunk {
				t.Errorf("it is written while %d bytes are reserved", held)
			}
			mu.Unlock()
			time.Sleep(time.Second)
			return call()
		})
		for part := range files {
			if err := b.Settled(t.Context(), "one", Part{part, 1}, []Verdict{{0, Succeeded}}); err != nil {
				t.Fatal(err)
			}
		}
		if s := p.ended("one"); s.Objects.Succeeded != files || held != 0 || highest < 8*chunk {
			t.Errorf("%d bytes are reserved, at most %d were; the summary is %+v", held, highest, s)
		}
		if got := len(p.get("out/jobs/one/0.jsonl.out")); got != 4*chunk {
			t.Errorf("an output has %d bytes", got)
		}
	})
}
