package job

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestAJobOverAPrefixHasAnOutputOrAFailureForEachObject(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		for i := range 25 {
			p.put(fmt.Sprintf("in/a/%02d.txt", i), fmt.Sprint("x", i))
		}
		p.put("in/a/", "")
		p.put("in/bad.txt", "x")
		p.put("in/skipped.md", "x")
		w := p.process()
		spec := prefix("one")
		spec.Exclude, spec.ReferencesPerMessage = []string{"*.md"}, 10
		if done := w.submit(spec); done.Parts != 3 || done.Sent != 3 || done.Objects != 26 || done.Skipped != 2 {
			t.Errorf("planned %+v", done)
		}
		w.work(t.Context())
		s := p.ended("one")
		if s.State != StateFailed || s.Objects != (Account{26, Counts{25, 1, 0}}) || s.Skipped != 2 {
			t.Errorf("the summary is %+v", s)
		}
		if len(s.Failures) != 1 || s.Failures[0].Input != "s3://bucket/in/bad.txt" || s.Failures[0].Failure != "s3://bucket/failed/jobs/one/bad.txt-error.out" {
			t.Errorf("the failures are %+v", s.Failures)
		}
		if got := p.get("out/jobs/one/a/07.txt.out"); got != "X7" {
			t.Errorf("an output is %q", got)
		}
	})
}

func TestARecordFileIsAssembledInItsOrder(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		body, want, faults := lines(40_000)
		p.put("in/x.jsonl", body)
		w := p.process()
		w.batch = 1000
		spec := prefix("one")
		spec.SplitType, spec.PartBytes = SplitLine, leastPartBytes
		done := w.submit(spec)
		if done.Parts < 5 {
			t.Errorf("there are %d parts", done.Parts)
		}
		w.work(t.Context())
		p.wantFile("one", "x.jsonl", want, faults)
		s := p.ended("one")
		bad := int64(strings.Count(faults, "\n"))
		if s.State != StateSucceeded || s.Objects != (Account{1, Counts{1, 0, 0}}) || *s.Records != (Records{40_000, 40_000 - bad, bad}) || s.Parts.Submitted != done.Parts {
			t.Errorf("the summary is %+v", s)
		}
	})
}

// lines is a file of n lines, and what is to become of it.
func lines(n int) (body, output, faults string) {
	made, _ := filesOfLines.LoadOrStore(n, sync.OnceValue(func() [3]string { return makeLines(n) }))
	f := made.(func() [3]string)()
	return f[0], f[1], f[2]
}

var filesOfLines sync.Map // by how many there are: a story is told hundreds of times

func makeLines(n int) [3]string {
	var b, o, e strings.Builder
	for i := range n {
		line := fmt.Sprintf(`{"n":%d}`, i)
		if i%97 == 13 {
			line = fmt.Sprintf(`{"bad":%d}`, i)
			fmt.Fprintf(&o, "{}\n")
			e.Write(AppendError(nil, RecordError{Record: int64(i + 1), Offset: int64(b.Len()), Code: "Bad", Message: "it is bad"}))
		} else {
			fmt.Fprintln(&o, strings.ToUpper(line))
		}
		fmt.Fprintln(&b, line)
	}
	return [3]string{b.String(), o.String(), e.String()}
}

func (p *plant) wantFile(id, name, output, faults string) {
	p.t.Helper()
	if got := p.get("out/jobs/" + id + "/" + name + ".out"); got != output {
		p.t.Errorf("the output has %d bytes, want %d; it differs from byte %d on", len(got), len(output), differ(got, output))
	}
	if got := p.get("out/jobs/" + id + "/" + name + "-errors.jsonl"); got != faults {
		p.t.Errorf("the error file has %d bytes, want %d; it differs from byte %d on", len(got), len(faults), differ(got, faults))
	}
}

func differ(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func TestManyGroupsAndManyWorkersEndInOneSummary(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		const n = 2500
		for i := range n {
			p.put(fmt.Sprintf("in/%04d", i), "x")
		}
		w := p.process()
		spec := prefix("one")
		spec.ReferencesPerMessage = 1
		var wg sync.WaitGroup
		wg.Go(func() { w.submit(spec) })
		for range 3 {
			wg.Go(func() {
				time.Sleep(time.Second)
				p.process().work(t.Context())
			})
		}
		wg.Wait()
		if s := p.ended("one"); s.State != StateSucceeded || s.Objects != (Account{n, Counts{n, 0, 0}}) {
			t.Errorf("the summary is %+v", s)
		}
		if got := len(p.keys(".penstock/jobs/one/groups/")); got != 3 {
			t.Errorf("there are %d groups", got)
		}
	})
}

func TestASecondSubmitSendsNothingThatWasSent(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		p.put("in/a", "x")
		p.process().submit(prefix("one"))
		if done := p.process().submit(prefix("one")); done.Sent != 0 || p.queue.Len() != 1 {
			t.Errorf("planned %+v; %d messages are in the queue", done, p.queue.Len())
		}
	})
}

func TestAnotherSpecUnderTheSameIDIsToldApart(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		p.put("in/a", "x")
		p.process().submit(prefix("one"))
		spec := prefix("one")
		spec.Model, spec.Exclude = "other", []string{"b"}
		_, err := p.process().planner().Submit(t.Context(), spec)
		if err == nil || !strings.Contains(err.Error(), `model: none there, "other" here`) || !strings.Contains(err.Error(), `exclude: none there, ["b"] here`) {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestACancelKeepsWhatIsDoneAndAResumeDoesTheRest(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		for i := range 30 {
			p.put(fmt.Sprintf("in/%02d", i), "x")
		}
		spec := prefix("one")
		spec.ReferencesPerMessage = 10
		w := p.process()
		w.submit(spec)
		half := p.process()
		m, err := p.queue.Receive(t.Context(), 1, 30*time.Second, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := half.handle(t.Context(), half.books(), m[0]); err != nil {
			t.Fatal(err)
		}
		p.queue.Delete(t.Context(), m...)
		if err := w.planner().Cancel(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		p.process().work(t.Context())
		if s := p.ended("one"); s.State != StateCancelled || s.Objects.Counts != (Counts{10, 0, 20}) {
			t.Errorf("the summary of the cancelled job is %+v", s)
		}
		if done, err := w.planner().Resume(t.Context(), "one", false); err != nil || done.Items != 20 {
			t.Errorf("resumed %+v: %v", done, err)
		}
		p.process().work(t.Context())
		if s := p.ended("one"); s.State != StateSucceeded || s.Objects.Counts != (Counts{30, 0, 0}) {
			t.Errorf("the summary of the resumed job is %+v", s)
		}
		p.ranOnce()
	})
}

// ranOnce checks that nothing was run twice.
func (p *plant) ranOnce() {
	p.t.Helper()
	for key, counts := range p.runs {
		for at, n := range counts {
			if n != 1 {
				p.t.Errorf("%s was run %d times at %d", key, n, at)
			}
		}
	}
}

func TestResumeRunsWhatHasFailedWhenItIsAskedTo(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		p.put("in/a", "x")
		p.put("in/bad", "x")
		w := p.process()
		w.submit(prefix("one"))
		w.work(t.Context())
		before := p.ended("one").Finished
		time.Sleep(time.Second)
		if done, err := w.planner().Resume(t.Context(), "one", false); err != nil || done.Items != 0 || !p.ended("one").Finished.Equal(before) {
			t.Errorf("resumed %+v: %v; the summary is %+v", done, err, p.ended("one"))
		}
		if done, err := w.planner().Resume(t.Context(), "one", true); err != nil || done.Items != 1 {
			t.Errorf("resumed %+v: %v", done, err)
		}
		if p.summary("one") != nil {
			t.Error("the job has its summary though a part is under way")
		}
		p.process().work(t.Context())
		if s := p.ended("one"); s.Objects.Counts != (Counts{1, 1, 0}) || p.runs["in/bad"][0] != 2 || p.runs["in/a"][0] != 1 {
			t.Errorf("the summary is %+v, the runs %v", s, p.runs)
		}
	})
}

func TestACancelOfARecordFileLeavesItsFirstResultsAndAResumeGoesOnAtTheNextRecord(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		body, want, faults := lines(100)
		p.put("in/x.jsonl", body)
		spec := prefix("one")
		spec.SplitType = SplitLine
		w := p.process()
		w.submit(spec)
		var calls atomic.Int64
		crash := p.process()
		crash.hook = func(call func() error) error {
			if calls.Add(1) > 30 {
				crash.dead.Store(true)
			}
			return call()
		}
		crash.work(t.Context())
		if err := w.planner().Cancel(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		p.process().work(t.Context())
		s := p.ended("one")
		partial := p.get("out/jobs/one/x.jsonl.partial")
		if s.State != StateCancelled || s.Records.Submitted == 0 || s.Records.Submitted == 100 || !strings.HasPrefix(want, partial) || int64(strings.Count(partial, "\n")) != s.Records.Submitted {
			t.Errorf("the summary is %+v, and %d bytes are there", s, len(partial))
		}
		if _, err := w.planner().Resume(t.Context(), "one", false); err != nil {
			t.Fatal(err)
		}
		p.process().work(t.Context())
		p.wantFile("one", "x.jsonl", want, faults)
		if s := p.ended("one"); s.State != StateSucceeded {
			t.Errorf("the summary is %+v", s)
		}
		if left := p.keys("out/"); slices.Contains(left, "out/jobs/one/x.jsonl.partial") {
			t.Error("the partial output is still there")
		}
	})
}

func TestAFileThatChangesFailsAndHurtsNoOther(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		body, want, faults := lines(100)
		p.put("in/x.jsonl", body)
		p.put("in/y.jsonl", body)
		spec := prefix("one")
		spec.SplitType = SplitLine
		w := p.process()
		w.submit(spec)
		p.put("in/y.jsonl", body+body)
		w.work(t.Context())
		p.wantFile("one", "x.jsonl", want, faults)
		s := p.ended("one")
		if s.State != StateFailed || s.Objects.Counts != (Counts{1, 1, 0}) || len(s.Failures) != 1 || s.Failures[0].Code != "InputChanged" {
			t.Errorf("the summary is %+v", s)
		}
	})
}

func TestItemsOfAPartThatTravelApartMakeItDoneTogether(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		for i := range 3 {
			p.put(fmt.Sprint("in/", i), "x")
		}
		w := p.process()
		w.submit(prefix("one"))
		b := w.books()
		for item, fate := range []Fate{Succeeded, Failed, Succeeded} {
			if p.summary("one") != nil {
				t.Fatal("the job has ended too early")
			}
			if err := b.Settled(t.Context(), "one", Part{0, 3}, []Verdict{{item, fate}}); err != nil {
				t.Fatal(err)
			}
		}
		if s := p.ended("one"); s.Objects.Counts != (Counts{2, 1, 0}) {
			t.Errorf("the summary is %+v", s)
		}
	})
}
