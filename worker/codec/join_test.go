package codec

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// joined reads an excerpt of a file and joins its records with results: each
// has the byte that it begins at.
func joined(t testing.TB, content string, e Excerpt, src Source, m model.Model, accept string, each int64) (string, error) {
	t.Helper()
	src.Excerpt, src.Texts = &e, true
	in, err := OpenRecords(strings.NewReader(content), src, m)
	if err != nil {
		return "", err
	}
	defer in.Close()
	w, err := NewJoined(in, m, accept, e.From == 0)
	if err != nil {
		return "", err
	}
	var out []byte
	for {
		c, err := in.Next(each)
		if errors.Is(err, io.EOF) {
			return string(w.Cut(out)), nil
		}
		if err != nil {
			return string(out), err
		}
		for _, r := range c.Records {
			if r.Err != nil {
				r.Number = 0
				out, err = w.Bad(out, r)
			} else {
				out, err = w.Rows(out, []model.Tensor{tensor([]float32{float32(r.Offset), 0.5}, 1, 2)}, r)
			}
			if err != nil {
				return string(out), err
			}
		}
		out = w.Cut(out)
	}
}

// joiner takes lists of two numbers, in an input "x", and gives two.
func joiner() *testModel {
	m := &testModel{signatures: map[string]*model.Signature{}}
	m.sign("serving_default", []model.TensorInfo{info("x", model.Float32, -1, 2)}, info("y", model.Float32, -1, 2))
	return m
}

func TestResultsStandBesideTheirRecords(t *testing.T) {
	t.Parallel()
	m := joiner()
	for name, c := range map[string]struct {
		src          Source
		body, accept string
		want         string
	}{
		"lists": {
			asLines, "[1, 2]\n\n  [3,4]\t\r\n", "",
			`{"SageMakerInput":[1, 2],"SageMakerOutput":[0.0,0.5]}` + "\n" + `{"SageMakerInput":[3,4],"SageMakerOutput":[8.0,0.5]}` + "\n",
		},
		"objects": {
			asLines, "\ufeff{\"x\" : [1, NaN] } \n{\"\\u0078\":[3,4]}", "application/json",
			`{"x" : [1, NaN] ,"SageMakerOutput":[3.0,0.5]}` + "\n" + `{"\u0078":[3,4],"SageMakerOutput":[22.0,0.5]}` + "\n",
		},
		"bad records": {
			limited(asLines, 40), "{]\"\u00e9\n{}\n[1]\n[" + strings.Repeat(" ", 50) + "\n7\n[3,4]\n", "application/jsonlines",
			`{"SageMakerInput":"{]\"é","SageMakerOutput":{"error":{…}}}` + "\n" +
				`{"SageMakerOutput":{"error":{…}}}` + "\n" +
				`{"SageMakerInput":[1],"SageMakerOutput":{"error":{…}}}` + "\n" +
				`{"SageMakerOutput":{"error":{…}}}` + "\n" +
				`{"SageMakerInput":7,"SageMakerOutput":{"error":{…}}}` + "\n" +
				`{"SageMakerInput":[3,4],"SageMakerOutput":[67.0,0.5]}` + "\n",
		},
		"CSV": {asCSV, "1,2\r\n\n\"3\", 4", "", "1,2,0.0,0.5\n\"3\", 4,6.0,0.5\n"},
		"CSV with a header": {
			asCSV, "\ufeff\"the height\",width\n1,2\n3,4\n", "text/csv",
			"\"the height\",width,y[0],y[1]\n1,2,22.0,0.5\n3,4,26.0,0.5\n",
		},
		"CSV with a header that is not wanted": {asCSV, "height,width\n1,2\n", "text/csv;header=absent", "1,2,13.0,0.5\n"},
		"CSV with bad records, from the first on": {
			limited(asCSV, 20), "height,width\na,b\n1,2\n1,2,3\n\"a\nb\",\"\"\n1,\"2\"x\n" + strings.Repeat("1", 30) + ",2\n3,4\n", "",
			"height,width,y[0],y[1]\na,b,,\n1,2,17.0,0.5\n1,2,3,,\n\"a\nb\",\"\",,\n\n\n3,4,76.0,0.5\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := joined(t, c.body, Excerpt{}, c.src, m, c.accept, 1)
			if got = withoutReasons(got); err != nil || got != c.want {
				t.Fatalf("they are\n%s(%v), want\n%s", got, err, c.want)
			}
			again, err := joined(t, gzipped(t, c.body), Excerpt{}, c.src, m, c.accept, 100)
			if withoutReasons(again) != c.want || err != nil {
				t.Errorf("compressed, and in large chunks, they are\n%s(%v), want\n%s", again, err, c.want)
			}
		})
	}
}

// withoutReasons leaves out what is said of bad records.
func withoutReasons(lines string) string {
	var b strings.Builder
	for line := range strings.Lines(lines) {
		if i := strings.Index(line, `{"error":{`); i >= 0 {
			line = line[:i] + "{\"error\":{…}}}\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// Whoever takes a range on writes what the one before would have written.
func TestJoinedResultsAreTheSameFromEveryRecordOn(t *testing.T) {
	t.Parallel()
	m := joiner()
	for name, c := range map[string]struct {
		src  Source
		body string
		head int
	}{
		"lines":             {asLines, "[1, 2]\n[3]\n\n{\"x\": [3, 4]}\n{]\n[5, 6]", 0},
		"CSV":               {asCSV, "1,2\na,b\n3,4\n5\n\"6\",7\n", 4},
		"CSV with a header": {asCSV, "h,w\nx,\n1,2\n\n3,4\n5\n\"6\",7\n", 4},
	} {
		whole, err := joined(t, c.body, Excerpt{}, c.src, m, "", 3)
		if err != nil {
			t.Fatal(err)
		}
		for cut := c.head + 1; cut < len(c.body); cut++ {
			if c.body[cut-1] != '\n' {
				continue
			}
			first, err := joined(t, c.body[:cut], Excerpt{}, c.src, m, "", 3)
			if err != nil {
				t.Fatal(err)
			}
			second, err := joined(t, c.body[:c.head]+c.body[cut:], Excerpt{From: int64(cut), Header: c.head > 0}, c.src, m, "", 3)
			if err != nil || first+second != whole {
				t.Errorf("%s: divided at %d they are\n%s%s(%v), want\n%s", name, cut, first, second, err, whole)
			}
			third, err := joined(t, gzipped(t, c.body), Excerpt{From: int64(cut), Whole: true}, c.src, m, "", 3)
			if err != nil || third != second {
				t.Errorf("%s: entered at %d, compressed, they are\n%s(%v), want\n%s", name, cut, third, err, second)
			}
		}
	}
}

func TestWhatCanNotBeJoinedSaysWhy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		src          Source
		body, accept string
		want, hint   string
	}{
		"CSV results of JSON":      {asLines, "[1,2]\n", "text/csv", "joined with its input, which is JSON lines", "ask for application/jsonlines"},
		"JSON results of CSV":      {asCSV, "1,2\n", "application/json", "joined with its input, which is CSV", "ask for text/csv"},
		"TFRecord":                 {asTFRecord, string(tfrecord(example("x", floatFeature(1, 2)))), "", "can't be joined with records of TFRecord", "JSON lines or CSV"},
		"a header beside no names": {asCSV, "1,2\n", "text/csv;header=present", "has none", "without header=present"},
	} {
		_, err := joined(t, c.body, Excerpt{}, c.src, joiner(), c.accept, 1)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != CodeNotAcceptable || !strings.Contains(e.Message, c.want) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%s: the error is %v, want %q and %q", name, err, c.want, c.hint)
		}
	}
}

// What the model's file asks for counts as far as it fits the input.
func TestJoinedResultsHaveTheFormOfTheirInput(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{"": "1,2,4.0,0.5\n", "application/json": "1,2,4.0,0.5\n", "text/csv": "a,b,y[0],y[1]\n"} {
		m := joiner()
		m.config.Accept = accept
		got, err := joined(t, "a,b\n1,2\n", Excerpt{}, asCSV, m, "", 1)
		if err != nil || !strings.Contains(got, want) {
			t.Errorf("with the usual form %q they are %q, %v", accept, got, err)
		}
	}
}

// The texts of records count as memory of their chunk.
func TestAChunkWithTextsIsBounded(t *testing.T) {
	t.Parallel()
	line := "[1," + strings.Repeat(" ", 1<<20) + "2]\n"
	in, err := OpenRecords(strings.NewReader(strings.Repeat(line, 30)), Source{ContentType: "application/jsonlines", Texts: true}, joiner())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for n := 0; n < 30; {
		c, err := in.Next(1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Records) > 9 {
			t.Errorf("a chunk has %d records of a megabyte", len(c.Records))
		}
		n += len(c.Records)
	}
}

// FuzzJoin holds: whatever a file is, each record has one line, which can be
// told from the others and read.
func FuzzJoin(f *testing.F) {
	for _, body := range []string{"[1,2]\n{\"x\":[3,4]}\n{}\n{]\n", "{\"x\":[1,2], \"y\":{}}\r\n\x00\n\"\xff\"", "a,b\n1,2\n\"3\",\"\n\"\n", "1,2\n\"3\"\"\",4\n5,\"6", "\ufeff1,2\n,\n"} {
		f.Add(body, false)
		f.Add(body, true)
	}
	f.Fuzz(func(t *testing.T, body string, csv bool) {
		src := asLines
		if csv {
			src = asCSV
		}
		src.Excerpt = &Excerpt{}
		in, err := OpenRecords(strings.NewReader(body), src, joiner())
		if err != nil {
			return
		}
		records := 0
		chunks, readErr := rest(in, func() int64 { return 3 })
		for _, c := range chunks {
			records += len(c.Records)
		}
		got, err := joined(t, body, Excerpt{}, src, joiner(), "", 3)
		if (err == nil) != (readErr == nil) {
			t.Fatalf("%q: joined it ends with %v, else with %v", body, err, readErr)
		}
		lines, err := 0, error(nil)
		for cuts := newCuts(strings.NewReader(got), unitLine, cutterOf(csv)); err == nil; {
			if _, err = cuts.Next(); err == nil {
				lines++
			}
		}
		if extra := lines - records; err != io.EOF || readErr == nil && extra != 0 && (!csv || extra != 1) {
			t.Errorf("%q: %d records have %d lines (%v):\n%s", body, records, lines, err, got)
		}
		for line := range strings.Lines(got) {
			var members map[string]json.RawMessage
			if csv || strings.Contains(line, "NaN") || strings.Contains(line, "Infinity") {
				continue
			}
			if err := json.Unmarshal([]byte(line), &members); err != nil || members["SageMakerOutput"] == nil {
				t.Errorf("%q: the line %s: %v", body, line, err)
			}
		}
	})
}

func cutterOf(csv bool) cutter {
	if csv {
		return &csvCutter{limit: DefaultMaxRecordBytes}
	}
	return lineCutter{}
}
