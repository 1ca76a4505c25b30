package job

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/manifest"
)

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		glob, key string
		want      bool
	}{
		{"*.jpg", "a.jpg", true},
		{"*.jpg", "deep/er/a.jpg", true},
		{"*.jpg", "a.jpg.txt", false},
		{"a/*", "a/b", true},
		{"a/*", "a/b/c", false},
		{"a/**", "a/b/c", true},
		{"**/c", "c", true},
		{"**/c", "a/b/c", true},
		{"a/**/c", "a/c", true},
		{"?.{jpg,png}", "a.png", true},
		{"?.{jpg,png}", "ab.png", false},
		{"[a-c]x", "bx", true},
		{"[!a-c]x", "bx", false},
		{`\*.jpg`, "*.jpg", true},
		{`\*.jpg`, "a.jpg", false},
		{"a.b", "axb", false},
		{"ü*", "über", true},
		{"a+(b)", "a+(b)", true},
		{"*", "line\nend", true},
	} {
		p, err := compile(c.glob)
		if err != nil {
			t.Errorf("%q: %v", c.glob, err)
			continue
		}
		if got := p.matches(c.key); got != c.want {
			t.Errorf("%q matches %q: %v", c.glob, c.key, got)
		}
	}
	for _, broken := range []string{"[a", "{a", "[]", "[z-a]"} {
		if _, err := compile(broken); err == nil {
			t.Errorf("%q is a pattern", broken)
		}
	}
}

func FuzzPatterns(f *testing.F) {
	f.Add("a/**/[b-c]{d,e}?", "a/x/bd1")
	f.Fuzz(func(_ *testing.T, glob, key string) {
		if p, err := compile(glob); err == nil {
			p.matches(key)
		}
	})
}

// listed are the objects that a spec chooses.
func (p *plant) listed(spec Spec, from cursor) ([]string, error) {
	p.t.Helper()
	spec, err := spec.Complete(locations)
	if err != nil {
		p.t.Fatal(err)
	}
	w, err := p.process().planner().walker(spec)
	if err != nil {
		p.t.Fatal(err)
	}
	var keys []string
	for e, err := range w.walk(p.t.Context(), from) {
		if err != nil {
			return keys, err
		}
		if !e.skip {
			keys = append(keys, strings.TrimPrefix(e.info.Ref.String(), "s3://bucket/in/"))
		}
	}
	return keys, nil
}

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(s))
	if err := errors.Join(err, z.Close()); err != nil {
		panic(err)
	}
	return b.String()
}

// behind is how far a spec's sources are planned with its nth object.
func (p *plant) behind(spec Spec, n int) (at cursor) {
	p.t.Helper()
	w := &walker{store: p.store, locations: locations, spec: spec}
	for e, err := range w.walk(p.t.Context(), cursor{}) {
		if err != nil {
			p.t.Fatal(err)
		}
		if n--; n == 0 {
			return e.next
		}
	}
	p.t.Fatal("there are fewer objects")
	return at
}

func TestManifestsAreReadInEveryForm(t *testing.T) {
	t.Parallel()
	want := []string{"a", "b c", "d+e/é", "f%20"}
	for name, text := range map[string]string{
		"sagemaker": `[ {"prefix": "s3://bucket/in/"}, "a", "b c", "d+e/é", "f%20" ]`,
		"s3-batch":  "bucket,in/a\r\n\"bucket\",in/b+c\nbucket,in%2Fd%2Be/%C3%A9,\nbucket,in/f%2520\n",
		"list":      "# objects\ns3://bucket/in/a\n\ns3://bucket/in/b c\r\ns3://bucket/in/d+e/é\ns3://bucket/in/f%20",
		"zipped":    zipped("s3://bucket/in/a\ns3://bucket/in/b c\ns3://bucket/in/d+e/é\ns3://bucket/in/f%20\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T, p *plant) {
				p.put("manifest", text)
				spec := Spec{ID: "one", Manifest: "s3://bucket/manifest"}
				got, err := p.listed(spec, cursor{})
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("it names %q: %v", got, err)
				}
				if got, err := p.listed(spec, p.behind(spec, 3)); err != nil || !slices.Equal(got, want[3:]) {
					t.Errorf("behind the third it names %q: %v", got, err)
				}
			})
		})
	}
}

func TestAVersionThatAManifestNamesIsTheOneThatIsRun(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		p.put("manifest", "bucket,in/a,v1\n")
		p.process().submit(Spec{ID: "one", Manifest: "s3://bucket/manifest"})
		if body := p.queue.Snapshot()[0].Message.Body; !strings.Contains(body, `"versionId":"v1"`) {
			t.Errorf("the message is %s", body)
		}
	})
}

func TestOfAFileOfRecordsTheVersionThatAManifestNamesIsRun(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		p.store.EnableVersioning(bucket)
		old := p.put("in/a.jsonl", strings.Repeat("{\"x\":1}\n", 20_000))
		p.put("in/a.jsonl", "{}\n")
		w := p.process()
		w.batch = 10_000
		for id, version := range map[string]string{"there": old.Ref.Version, "gone": "v0"} {
			p.put("manifest", "bucket,in/a.jsonl,"+version+"\n")
			w.submit(Spec{ID: id, Manifest: "s3://bucket/manifest", SplitType: SplitLine, PartBytes: leastPartBytes})
		}
		w.work(t.Context())
		if s := p.ended("there"); s.State != StateSucceeded || s.Records.Good != 20_000 {
			t.Errorf("the summary is %+v, %+v", s, s.Records)
		}
		if s := p.ended("gone"); s.Objects.Failed != 1 || s.Failures[0].Failure != "s3://bucket/failed/jobs/gone/a.jsonl-error.out" {
			t.Errorf("the summary is %+v", s)
		}
	})
}

func TestAnObjectThatIsNamedAsASourceIsRunAsItIsThen(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		p.store.EnableVersioning(bucket)
		p.put("in/a", "x")
		p.process().submit(Spec{ID: "one", Sources: []string{"s3://bucket/in/a"}})
		if body := p.queue.Snapshot()[0].Message.Body; strings.Contains(body, "versionId") {
			t.Errorf("the message is %s", body)
		}
	})
}

func TestAListingOutlivesAnyNumberOfFaultsThatPass(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		const n = 40
		for i := range n {
			p.put(fmt.Sprintf("in/%02d", i), "x")
		}
		w := &walker{store: brittle{p.store}, locations: locations, spec: prefix("one")}
		seen := 0
		for _, err := range w.walk(t.Context(), cursor{}) {
			if err != nil {
				t.Fatal(err)
			}
			seen++
		}
		if seen != n {
			t.Errorf("it gave %d objects", seen)
		}
	})
}

// brittle is a store whose listings break off behind two objects.
type brittle struct{ storage.Reader }

func (b brittle) List(ctx context.Context, prefix storage.Ref, after string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		seen := 0
		for info, err := range b.Reader.List(ctx, prefix, after) {
			if seen++; seen > 2 {
				yield(storage.Info{}, errors.New("connection reset"))
				return
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

func TestABrokenManifestSaysWhereItIsBroken(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                     "the manifest is empty",
		"[":                                    `ends before its JSON array does`,
		`["a"]`:                                `element 1: the key "a" has no {"prefix": "s3://bucket/"} before it`,
		`[{"prefix":"s3://bucket/in/"},"a",7]`: "element 3: 7 is neither",
		`[{"prefix":"x/"},"a"]`:                "element 1: the prefix",
		`{"fileSchema":"Bucket, Key"}`:         "S3 Inventory",
		"bucket,in/a\nbucket":                  "line 2: it has 1 columns",
		"bucket,in/%zz":                        "is not URL-encoded",
		"s3://bucket/in/a\nnonsense":           `line 2: "nonsense" is not an S3 URI`,
		"s3://bucket/other/a":                  "lies in no input location",
		"[]":                                   "names no object",
		"what is this":                         "its format can't be told",
	} {
		in(t, func(t *testing.T, p *plant) {
			p.put("manifest", text)
			_, err := p.listed(Spec{ID: "one", Manifest: "s3://bucket/manifest"}, cursor{})
			if !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: the error is %v, want one of %q", text, err, want)
			}
		})
	}
}

func TestAManifestThatChangesEndsThePlanning(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		was := p.put("manifest", "s3://bucket/in/a\n")
		p.put("manifest", "s3://bucket/in/b\n")
		if _, err := p.listed(Spec{ID: "one", Manifest: "s3://bucket/manifest"}, cursor{Manifest: manifest.Position{ETag: was.ETag}}); !errors.Is(err, ErrSource) {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestSourcesArePrefixesAndObjects(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		for _, key := range []string{"in/a/1", "in/a/2", "in/b", "in/c/", "in/c/1", "in/.penstock/x"} {
			p.put(key, "x")
		}
		spec := Spec{ID: "one", Sources: []string{"s3://bucket/in/a/", "s3://bucket/in/b", "s3://bucket/in/c/"}, Exclude: []string{"2"}}
		if got, err := p.listed(spec, cursor{}); err != nil || !slices.Equal(got, []string{"a/1", "b", "c/1"}) {
			t.Errorf("they are %q: %v", got, err)
		}
		if got, err := p.listed(spec, cursor{Source: 1}); err != nil || !slices.Equal(got, []string{"b", "c/1"}) {
			t.Errorf("from the second on they are %q: %v", got, err)
		}
		spec.Sources = []string{"s3://bucket/in/a"}
		if _, err := p.listed(spec, cursor{}); err == nil || !strings.Contains(err.Error(), "a prefix must end in a slash (s3://bucket/in/a/)") {
			t.Errorf("the error is %v", err)
		}
	})
}

// pages are those of a plan.
func (p *plant) pages(spec Spec) []page {
	p.t.Helper()
	pl := p.process().planner()
	spec, err := spec.Complete(locations)
	if err != nil {
		p.t.Fatal(err)
	}
	w, err := pl.walker(spec)
	if err != nil {
		p.t.Fatal(err)
	}
	var pages []page
	var last page
	for !last.End { // a new planner for each page: what a page says must be enough to go on
		pg := &pager{walker: w, splitter: pl.splitter(spec), packSize: pl.packSize(spec)}
		pg.emit = func(_ context.Context, full *page) error {
			pages, last = append(pages, *full), *full
			return errAdopted
		}
		if err := pg.run(p.t.Context(), last.Next, last.First+last.parts(), last.Sum); !errors.Is(err, errAdopted) {
			p.t.Fatal(err)
		}
	}
	return pages
}

func TestRangesOfEveryKindMeetWhereRecordsDo(t *testing.T) {
	t.Parallel()
	var csv, frames, jsonl strings.Builder
	fmt.Fprintln(&csv, "text,n")
	for i := range 20_000 {
		fmt.Fprintf(&csv, "\"line\nof \"\"%d\"\"\",%d\n", i, i)
		fmt.Fprintf(&jsonl, "{\"n\":%d}\n", i)
		frames.Write(frame(fmt.Sprint("record ", i)))
	}
	for _, c := range []struct {
		name, body, split string
		records           bool // ranges begin and end where records do
		one               bool // it can't be split
	}{
		{"x.jsonl", jsonl.String(), SplitLine, false, false},
		{"x.csv", csv.String(), SplitLine, true, false},
		{"x.tfrecord", frames.String(), SplitTFRecord, true, false},
		{"x.jsonl.gz", zipped(noise(300_000)), SplitLine, false, true},
		{"damaged.tfrecord", frames.String()[:200_000] + "x" + frames.String()[200_000:], SplitTFRecord, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T, p *plant) {
				p.put("in/"+c.name, c.body)
				spec := prefix("one")
				spec.SplitType, spec.PartBytes = c.split, leastPartBytes
				var at, parts int64
				for _, pg := range p.pages(spec) {
					for _, f := range pg.Files {
						for _, s := range f.Ranges {
							if s[0] != at || s[1] <= s[0] || s[1] > f.Size {
								t.Errorf("a range is %v behind %d", s, at)
							}
							if c.records && s[1] < f.Size && c.name == "x.csv" && !strings.HasPrefix(c.body[s[1]:], "\"line") {
								t.Errorf("a range ends within a record, at %d", s[1])
							}
							if c.name == "x.csv" && f.Header != int64(len("text,n\n")) {
								t.Errorf("the header has %d bytes", f.Header)
							}
							at = s[1]
							parts++
						}
						if f.ends() && int64(f.Parts) != parts {
							t.Errorf("the file has %d parts, and says %d", parts, f.Parts)
						}
					}
				}
				if at != int64(len(c.body)) || c.one != (parts == 1) {
					t.Errorf("%d ranges end at %d of %d", parts, at, len(c.body))
				}
			})
		})
	}
}

func TestAFileOfMoreThanAPageOfRangesIsPlannedOnFromEachPage(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		line := "{\"n\":\"" + strings.Repeat("X", 4096-9) + "\"}\n"
		const lines = 1100 * leastPartBytes / 4096
		p.put("in/a.jsonl", "{}\n")
		p.put("in/b.jsonl", strings.Repeat(line, lines))
		p.put("in/c.jsonl", "{}\n")
		spec := prefix("one")
		spec.SplitType, spec.PartBytes = SplitLine, leastPartBytes
		pages := p.pages(spec)
		if len(pages) != 2 || pages[1].First != 1000 || pages[1].Sum.Parts != 1102 || pages[1].Sum.Objects != 3 {
			t.Fatalf("there are %d pages; the last says %+v", len(pages), pages[len(pages)-1].Sum)
		}
		wide := pages[1].Files[0]
		if wide.Part != 1 || wide.Parts != 1100 || pages[0].Files[1].ends() {
			t.Errorf("the file that spans them begins with part %d and has %d", wide.Part, wide.Parts)
		}
		// All of it goes through, and its output is put together from groups.
		w := p.process()
		w.batch = 1 << 20
		w.submit(spec)
		w.work(t.Context())
		if s := p.ended("one"); s.State != StateSucceeded || s.Objects.Succeeded != 3 || s.Records.Good != lines+2 {
			t.Errorf("the summary is %+v", s)
		}
		if got := p.get("out/jobs/one/b.jsonl.out"); got != strings.Repeat(strings.ToUpper(line), lines) {
			t.Errorf("the output has %d bytes", len(got))
		}
	})
}

func TestPacksStayWithinTheMessageAndTheWorkOfTenMinutes(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		long := strings.Repeat("x", 900)
		for i := range 1000 {
			p.put(fmt.Sprintf("in/%s%04d", long, i), "x")
		}
		spec := prefix("one")
		spec.ReferencesPerMessage = 1000
		for _, pg := range p.pages(spec) {
			parts, err := pg.requests("one")
			if err != nil {
				t.Fatal(err)
			}
			for _, items := range parts {
				m, err := message("one", items)
				if err == nil {
					err = m.Validate()
				}
				if err != nil {
					t.Error(err)
				}
			}
		}
		pl := p.process().planner()
		pl.Cost = 2 * 60 * 1e9 // two minutes
		if n := pl.packSize(spec); n != 5 {
			t.Errorf("a message has %d references of two minutes", n)
		}
	})
}

func TestAFileThatAManifestNamesAndThatIsNotThereIsAFailureLikeAnother(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		p.put("in/a.jsonl", "{}\n")
		p.put("in/empty.jsonl", "")
		p.put("manifest", "s3://bucket/in/a.jsonl\ns3://bucket/in/gone.jsonl\ns3://bucket/in/empty.jsonl\n")
		w := p.process()
		w.submit(Spec{ID: "one", Manifest: "s3://bucket/manifest", SplitType: SplitLine})
		w.work(t.Context())
		if s := p.ended("one"); s.Objects != (Account{2, Counts{1, 1, 0}}) || s.Skipped != 1 || s.Failures[0].Input != "s3://bucket/in/gone.jsonl" {
			t.Errorf("the summary is %+v", s)
		}
	})
}

func TestNoJobIsBegunOverNothing(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T, p *plant) {
		p.put("in/a.md", "x")
		spec := prefix("one")
		spec.Include = []string{"*.jpg"}
		if _, err := p.process().planner().Submit(t.Context(), spec); !errors.Is(err, ErrSource) {
			t.Errorf("the error is %v", err)
		}
		if left := p.keys(".penstock/"); len(left) != 0 {
			t.Errorf("there is %q", left)
		}
	})
}
