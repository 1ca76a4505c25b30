package codec

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/jsonpath"
	"github.com/penstock/penstock/worker/model"
)

func pathOf(t testing.TB, text string) jsonpath.Path {
	t.Helper()
	p, err := jsonpath.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// processing is what is asked of a file, in Batch Transform's words.
type processing struct {
	input, output string
	join          bool
}

// process reads an excerpt of a file and writes its results, which are twice
// what the model gets. A bad record's reason follows, with its offset.
func (p processing) process(t testing.TB, content string, e Excerpt, src Source, m model.Model, each int64) (out string, wrong []Record, err error) {
	t.Helper()
	src.Excerpt, src.Texts, src.Filter = &e, p.join, pathOf(t, p.input)
	in, err := OpenRecords(strings.NewReader(content), src, m)
	if err != nil {
		return "", nil, err
	}
	defer in.Close()
	var w *Results
	if p.join {
		w, err = NewJoined(in, m, "", e.From == 0)
	} else {
		w, err = NewLines(in.Signature(), m, src.ContentType, e.From == 0)
	}
	if err == nil {
		err = w.Select(pathOf(t, p.output))
	}
	if err != nil {
		return "", nil, err
	}
	var b []byte
	bad := func(r Record, why *Error) {
		r.Number, r.Err = 0, why
		wrong = append(wrong, r)
		if b, err = w.Bad(b, r); err != nil {
			t.Fatal(err)
		}
	}
	for {
		c, err := in.Next(each)
		if errors.Is(err, io.EOF) {
			return string(w.Cut(b)), wrong, nil
		}
		if err != nil {
			return string(b), wrong, err
		}
		row := int64(0)
		for _, r := range c.Records {
			if r.Err != nil {
				bad(r, r.Err)
				continue
			}
			given := twice(c.Input.Tensors[0].Slice(row, row+1))
			row++
			b, err = w.Rows(b, []model.Tensor{tensor(given, 1, int64(len(given)))}, r)
			if one, ok := errors.AsType[*RowError](err); ok {
				bad(r, one.Err)
			} else if err != nil {
				return string(b), wrong, err
			}
		}
	}
}

// twice is what a row of float32 holds, doubled.
func twice(row model.Tensor) (values []float32) {
	for b := row.Data; len(b) > 0; b = b[4:] {
		values = append(values, 2*math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return values
}

// doubler takes lists of any length, in an input "x".
func doubler() *testModel {
	m := &testModel{signatures: map[string]*model.Signature{}}
	m.sign("serving_default", []model.TensorInfo{info("x", model.Float32, -1, -1)}, info("y", model.Float32, -1, -1))
	return m
}

// The examples of SageMaker's "Associate Prediction Results with Input Records",
// with a model that gives twice what it gets.
func TestDataProcessingIsAsAWSDocumentsIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		processing
		src        Source
		body, want string
	}{
		"output only inferences":                   {processing{"$", "$", false}, asCSV, "1,2,3\n", "2.0,4.0,6.0\n"},
		"output inferences joined with input data": {processing{"$", "$", true}, asCSV, "1,2,3\n", "1,2,3,2.0,4.0,6.0\n"},
		"joined, JSON":                             {processing{"$", "$", true}, asLines, `{"x":[1]}`, `{"x":[1],"SageMakerOutput":[2.0]}` + "\n"},
		"exclude the ID column":                    {processing{"$[1:]", "$", true}, asCSV, "7,1,2,3,4\n", "7,1,2,3,4,2.0,4.0,6.0,8.0\n"},
		"the ID column with the inference":         {processing{"$[1:]", "$[0,-1]", true}, asCSV, "7,1\n8,2\n", "7,2.0\n8,4.0\n"},
		"an ID attribute with the inference": {
			processing{"$.features", "$['id','SageMakerOutput']", true},
			asLines,
			`{"id": 7, "features": [1, 2]}` + "\n", `{"id":7,"SageMakerOutput":[2.0,4.0]}` + "\n",
		},
		"the API's list with a slice": {processing{"$[1:]", "$[0,5:]", true}, asCSV, "7,1,2,3,4\n", "7,2.0,4.0,6.0,8.0\n"},
		"the output alone":            {processing{"$.features", "$.SageMakerOutput", true}, asLines, `{"features":[1]}`, "[2.0]\n"},
		"indexes":                     {processing{"$[1,3,5]", "$", false}, asCSV, "0,1,2,3,4,5\n", "2.0,6.0,10.0\n"},
		"a slice":                     {processing{"$[2:5]", "$", false}, asCSV, "0,1,2,3,4,5\n", "4.0,6.0,8.0\n"},
		"all but the last":            {processing{"$[:-1]", "$", false}, asCSV, "0,1,2,x\n", "0.0,2.0,4.0\n"},
		"the last":                    {processing{"$[-1]", "$", false}, asCSV, "x,1,2\n", "4.0\n"},
		"a wildcard":                  {processing{"$.x.*", "$", false}, asLines, `{"x":{"a":1,"b":2}}`, "[2.0,4.0]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, wrong, err := c.process(t, c.body, Excerpt{}, c.src, doubler(), 10)
			if err != nil || got != c.want || len(wrong) > 0 {
				t.Errorf("it is\n%s(%v, %v), want\n%s", got, err, wrong, c.want)
			}
		})
	}
}

// What is selected of JSON stays as it was written, to the byte.
func TestPathsSelectOfJSON(t *testing.T) {
	t.Parallel()
	const text = ` {"a" : [1.50, -0.0e+1,  12345678901234567890 , [ ] ] , "b":{"c" : "\u00e9\/", "d\n":NaN}, "\u0061b": [ {"x":1,"y":[1, 2]} ,{"y":[3],"x": 2} ], "e":{}, "f":[], "t":1,"t":2}	`
	for path, want := range map[string]string{
		"$.a":               `[1.50, -0.0e+1,  12345678901234567890 , [ ] ]`,
		"$.a[0]":            `1.50`,
		"$.a[-2]":           `12345678901234567890`,
		"$.a[1:3]":          `[-0.0e+1,  12345678901234567890]`,
		"$.a[:-1]":          `[1.50, -0.0e+1,  12345678901234567890]`,
		"$.a[3,0:2]":        `[[ ],1.50, -0.0e+1]`,
		"$['a'][*]":         `[1.50, -0.0e+1,  12345678901234567890 , [ ]]`,
		"$.b.c":             `"\u00e9\/"`,
		"$.b['d\\\\n']":     `!there is no member "d\\n"`,
		"$.b.*":             `["\u00e9\/",NaN]`,
		"$['ab','a']":       `{"\u0061b":[ {"x":1,"y":[1, 2]} ,{"y":[3],"x": 2} ],"a":[1.50, -0.0e+1,  12345678901234567890 , [ ] ]}`,
		"$.ab[*].x":         `[1,2]`,
		"$.ab[*].y[0]":      `[1,3]`,
		"$.ab[*].y[*]":      `[1, 2,3]`,
		"$.ab.*.*":          `[1,[1, 2],[3],2]`,
		"$.ab[1:]['x','y']": `[{"x":2,"y":[3]}]`,
		"$.ab[0,-1]['y']":   `[[1, 2],[3]]`,
		"$.none":            `!there is no member "none"`,
		"$['a','none']":     `!there is no member "none"`,
		"$.a.b":             `!a list has no members`,
		"$.b[0]":            `!an object has no elements`,
		"$.a[4]":            `!there is no [4] of 4`,
		"$.a[0].x":          `!a number has no members`,
		"$.b.c[*]":          `!a string has no elements`,
		"$.ab[*].y[1]":      `!there is no [1] of 1`,
		"$.e.*":             `!the object has no members`,
		"$.f[*]":            `!there are none`,
		"$.f[:]":            `!there is no [:] of 0`,
		"$.t":               `!a key that is there twice`,
		"$.a[0,-4]":         `![0] of 4 is selected twice`,
	} {
		got, at, f := newPicker(pathOf(t, path), "filter").json([]byte(text))
		if strings.HasPrefix(want, "!") {
			if f == nil || !strings.Contains(f.text, want[1:]) || !strings.Contains(f.text, "the filter "+path) || f.hint == "" {
				t.Errorf("%s selects %s (%+v), want the fault %s", path, got, f, want[1:])
			}
			continue
		}
		if f != nil || string(got[at.from:at.to]) != want {
			t.Errorf("%s selects\n%s (%+v), want\n%s", path, got, f, want)
		}
	}
}

// Each record in which a path finds nothing has its error in its place, and
// hurts no other.
func TestARecordInWhichAFilterFindsNothingIsBad(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		processing
		src        Source
		body, want string
		says       []string
	}{
		"input, JSON": {
			processing{"$.features", "$['id','SageMakerOutput']", true},
			asLines,
			`{"id":1,"features":[1]}` + "\n" + `{"id":2}` + "\n\n" + `["features"]` + "\n" + `{"id":4,"features":["x"]}` + "\n" + `{"id":5,"features":[5]` + "\n" + `{"features":[6]}` + "\n" + `{"id":7,"features":[7]} 7`,
			`{"id":1,"SageMakerOutput":[2.0]}` + "\n" +
				`{"id":2,"SageMakerOutput":{"error":{…}}}` + "\n" +
				strings.Repeat(`{"SageMakerOutput":{"error":{…}}}`+"\n", 1) +
				`{"id":4,"SageMakerOutput":{"error":{…}}}` + "\n" +
				strings.Repeat(`{"SageMakerOutput":{"error":{…}}}`+"\n", 3),
			[]string{
				`24 NothingSelected line at byte 24: the input filter $.features finds nothing: there is no member "features"`,
				`34 NothingSelected line at byte 34: the input filter $.features finds nothing: a list has no members`,
				`47 InvalidDType line at byte 47: $.features[0] is a string ("x")`,
				`73 MalformedInput line at byte 73: the JSON ends too early, at byte 22: expected ',' or '}'`,
				`96 NothingSelected the output filter $['id','SageMakerOutput'] finds nothing: there is no member "id"`,
				`113 MalformedInput line at byte 113: broken JSON at byte 24: expected the end of the line`,
			},
		},
		"of several members, those that are there": {
			processing{"$.x", "$['id','name','SageMakerOutput']", true},
			asLines, `{"id":1,"x":[1]}` + "\n" + `{"name":2,"rest":3}` + "\n" + `{}`,
			`{"id":1,"SageMakerOutput":{"error":{…}}}` + "\n" + `{"name":2,"SageMakerOutput":{"error":{…}}}` + "\n" + `{"SageMakerOutput":{"error":{…}}}` + "\n",
			[]string{`0 NothingSelected the output filter $['id','name','SageMakerOutput'] finds nothing: there is no member "name"`, "17 NothingSelected", "37 NothingSelected"},
		},
		"of several columns, those that are there": {
			processing{"$[1]", "$[0,2,-1]", true}, asCSV, "id,x,name\na,1,b\nc\n", "id,name,y[0]\na,b,2.0\nc,,\n", []string{"16 InvalidShape line at byte 16 has 1 columns"},
		},
		"output, JSON": {
			processing{"$", "$[1]", false},
			asLines, "[1]\n[1,2]\n{]\n",
			`{"error":{…}}}` + "\n" + "4.0\n" + `{"error":{…}}}` + "\n",
			[]string{"0 NothingSelected the output filter $[1] finds nothing: there is no [1] of 1", "10 MalformedInput"},
		},
		"its name is taken": {
			processing{"$.x", "$.SageMakerOutput", true},
			asLines, `{"x":[1],"SageMakerOutput":0}`, `{"SageMakerOutput":{"error":{…}}}` + "\n",
			[]string{"0 MalformedInput SageMakerOutput: the output filter $.SageMakerOutput selects a key that is there twice"},
		},
		"CSV": {
			processing{"$[2]", "$[0,-1]", true},
			asCSV, "a,b,1\nb,2\nc,c,c\n\"d\",,3\n,,4",
			"a,2.0\nb,\nc,\n" + "\"d\",6.0\n,8.0\n",
			[]string{"6 InvalidShape line at byte 6 has 2 columns, but the lines before it have 3", `10 InvalidDType line at byte 10: column 3 is "c"`},
		},
		"CSV, from the first on": {
			processing{"$[2]", "$[-1]", true},
			asCSV, "1,2\n1,2,3\n", "\n6.0\n",
			[]string{"0 NothingSelected line at byte 0: the input filter $[2] finds nothing: of the columns there is no [2] of 2"},
		},
		"CSV with a header": {
			processing{"$[1:]", "$[0,-1]", true},
			asCSV, "id,\"the height\"\na,1\nb,x\n", "id,y[0]\na,2.0\nb,\n",
			[]string{`20 InvalidDType line at byte 20: column 2 ("the height") is "x"`},
		},
		"CSV with a header that is too short": {
			processing{"$[7]", "$[0]", true},
			asCSV, "id,h\n1,2\n", "id\n1\n",
			[]string{"5 NothingSelected line at byte 5: the input filter $[7] finds nothing: of the columns there is no [7] of 2"},
		},
		"CSV, a column that is empty, and alone": {processing{"$[1]", "$[0]", true}, asCSV, "a,1\n,2\nb,x\n,x\n", "a\n\"\"\nb\n\n", []string{"7 InvalidDType", "11 InvalidDType"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, each := range []int64{1, 100} {
				got, wrong, err := c.process(t, c.body, Excerpt{}, c.src, doubler(), each)
				if err != nil || withoutReasons(got) != c.want {
					t.Errorf("it is\n%s(%v), want\n%s", withoutReasons(got), err, c.want)
				}
				if len(wrong) != len(c.says) {
					t.Fatalf("%d are bad, want %d: %v", len(wrong), len(c.says), wrong)
				}
				for i, r := range wrong {
					offset, says, _ := strings.Cut(c.says[i], " ")
					code, message, _ := strings.Cut(says, " ")
					if text, _ := json.Marshal(r.Offset); string(text) != offset || r.Err.Code != code || !strings.HasPrefix(r.Err.Message, message) {
						t.Errorf("at %d: %v, want %s", r.Offset, r.Err, c.says[i])
					}
				}
			}
		})
	}
}

// Quotes, line ends of both kinds, line ends in quotes, blank lines and letters
// of any language stay as they are.
func TestFiltersKeepCSVAsItIsWritten(t *testing.T) {
	t.Parallel()
	const body = "\ufeff\"the \"\"id\"\"\",größe,\"x, y\"\r\n\r\n\"é\r\n,\"\"1\"\"\",1,\"2\"\r\n  b ,3, 4\n\n\"\",5,6"
	const want = "\"the \"\"id\"\"\",y[1]\n\"é\r\n,\"\"1\"\"\",4.0\n  b ,8.0\n\"\",12.0\n"
	p := processing{"$[1:]", "$[0,-1]", true}
	for _, content := range []string{body, gzipped(t, body)} {
		if got, wrong, err := p.process(t, content, Excerpt{}, asCSV, doubler(), 2); err != nil || got != want || wrong != nil {
			t.Errorf("it is\n%q (%v, %v), want\n%q", got, err, wrong, want)
		}
	}
}

// A model with several inputs finds them by the names of the columns that are
// left.
func TestAFilteredHeaderNamesTheInputs(t *testing.T) {
	t.Parallel()
	m := &testModel{signatures: map[string]*model.Signature{}}
	m.sign("serving_default", []model.TensorInfo{info("x", model.Float32, -1), info("z", model.Float32, -1)}, info("y", model.Float32, -1, -1))
	got, _, err := processing{"$[1:]", "$[0,-1]", true}.process(t, "id,z,x\na,1,2\n", Excerpt{}, asCSV, m, 1)
	if err != nil || got != "id,y\na,4.0\n" && got != "id,y[0]\na,4.0\n" {
		t.Errorf("it is %q, %v", got, err)
	}
	_, _, err = processing{"$[7]", "$", true}.process(t, "id,z,x\na,1,2\n", Excerpt{}, asCSV, m, 1)
	checkError(t, err, CodeNothingSelected, "line at byte 0: the input filter $[7] finds nothing")
}

func TestAPathThatIsNotForTheFormatFailsItAtOnce(t *testing.T) {
	t.Parallel()
	_, _, err := processing{"$.x", "$", false}.process(t, "1,2\n", Excerpt{}, asCSV, doubler(), 1)
	checkError(t, err, CodeNothingSelected, "the input filter $.x finds nothing: a record of CSV has columns only")
	_, _, err = processing{"$", "$[0][1]", true}.process(t, "1,2\n", Excerpt{}, asCSV, doubler(), 1)
	checkError(t, err, CodeNothingSelected, "the output filter $[0][1] finds nothing: a record of CSV has columns only")
	_, _, err = processing{"$[0]", "$", false}.process(t, string(tfrecord(example("x", floatFeature(1, 2)))), Excerpt{}, asTFRecord, doubler(), 1)
	checkError(t, err, CodeNothingSelected, "can't be applied to records of TFRecord")
}

// Whoever takes a range on writes what the one before would have written.
func TestFilteredResultsAreTheSameFromEveryRecordOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		processing
		src  Source
		body string
		head int
	}{
		"lines":             {processing{"$.f", "$['id','SageMakerOutput']", true}, asLines, `{"id":1,"f":[1]}` + "\n\n" + `{"f":[2]}` + "\n{]\n" + `{"id":3,"f":[3]}` + "\n", 0},
		"CSV":               {processing{"$[1:]", "$[0,-1]", true}, asCSV, "1,2\na,b\n3,4\n5\n\"6\",7\n", 4},
		"CSV with a header": {processing{"$[1:]", "$[0,-1]", true}, asCSV, "id,w\nx,\n1,2\n\n3,4\n5\n\"6\",7\n", 5},
		"results alone":     {processing{"$[1:]", "$[-1]", false}, asCSV, "id,w,h\nx,,\n1,2,3\n\n3,4,5\n", 7},
	} {
		whole, bad, err := c.process(t, c.body, Excerpt{}, c.src, doubler(), 3)
		if err != nil {
			t.Fatal(err)
		}
		for cut := c.head + 1; cut < len(c.body); cut++ {
			if c.body[cut-1] != '\n' {
				continue
			}
			first, firstBad, err := c.process(t, c.body[:cut], Excerpt{}, c.src, doubler(), 3)
			if err != nil {
				t.Fatal(err)
			}
			rest := Excerpt{From: int64(cut), Header: c.head > 0}
			second, secondBad, err := c.process(t, c.body[:c.head]+c.body[cut:], rest, c.src, doubler(), 3)
			if err != nil || first+second != whole || len(firstBad)+len(secondBad) != len(bad) {
				t.Errorf("%s: divided at %d they are\n%s%s(%v), want\n%s", name, cut, first, second, err, whole)
			}
			third, _, err := c.process(t, gzipped(t, c.body), Excerpt{From: int64(cut), Whole: true}, c.src, doubler(), 3)
			if err != nil || third != second {
				t.Errorf("%s: entered at %d, compressed, they are\n%s(%v), want\n%s", name, cut, third, err, second)
			}
		}
	}
}

// FuzzFilter holds: whatever a file and the filters are, each record has one line
// that can be told from the others; what is selected of JSON is JSON, and not
// longer than what it is selected from.
func FuzzFilter(f *testing.F) {
	for _, body := range []string{`{"id":1,"f":[1,2]}` + "\n{}\n{]\n", "[1,[2]]\n[\"\xff\"]", "a,b\n1,2\n\"3\",\"\n\"\n", "1,2\n\"3\"\"\",4\n5,\"6"} {
		for _, path := range []string{"$", "$.f", "$['id','f']", "$[0,-1]", "$[1:]", "$.*", "$.f[*]"} {
			f.Add(body, path, "$", false)
			f.Add(body, path, "$.SageMakerOutput", false)
			f.Add(body, path, "$[0,-1]", true)
		}
	}
	f.Fuzz(func(t *testing.T, body, input, output string, csv bool) {
		filter, err := jsonpath.Parse(input)
		if _, wrong := jsonpath.Parse(output); err != nil || wrong != nil {
			return
		}
		src := asLines
		if csv {
			src = asCSV
		}
		if p := newPicker(filter, "filter"); p != nil {
			text, at, fault := p.json([]byte(body))
			if s := (scanner{b: text[at.from:at.to]}); fault == nil && (s.skip(0) != nil || s.end() != nil || at.to-at.from > len(body)) {
				t.Errorf("%s selects of %q %q", filter, body, text[at.from:at.to])
			}
		}
		plain, _, plainErr := processing{input, "$", true}.process(t, body, Excerpt{}, src, doubler(), 3)
		got, _, err := processing{input, output, true}.process(t, body, Excerpt{}, src, doubler(), 3)
		if (err == nil) != (plainErr == nil) && !strings.Contains(err.Error(), "has columns only") {
			t.Fatalf("%q: filtered by %s it ends with %v, else with %v", body, output, err, plainErr)
		}
		if err == nil && linesOf(got, csv) != linesOf(plain, csv) {
			t.Errorf("%q: filtered by %s it has %d lines:\n%swant %d:\n%s", body, output, linesOf(got, csv), got, linesOf(plain, csv), plain)
		}
	})
}

// linesOf counts the lines of results, also of those that are blank.
func linesOf(results string, csv bool) (n int) {
	for cuts := newCuts(strings.NewReader(results), unitLine, cutterOf(csv)); ; n++ {
		if _, err := cuts.Next(); err != nil {
			return n
		}
	}
}

func BenchmarkFilter(b *testing.B) {
	row := strings.TrimSuffix(strings.Repeat("0.12345,", 100), ",")
	for name, c := range map[string]struct {
		src        Source
		line, path string
	}{
		"JSON, all":    {asLines, "[" + row + "]\n", "$"},
		"JSON, member": {asLines, `{"id":7,"features":[` + row + "]}\n", "$.features"},
		"JSON, slice":  {asLines, "[7," + row + "]\n", "$[1:]"},
		"CSV, all":     {asCSV, row + "\n", "$"},
		"CSV, slice":   {asCSV, "7," + row + "\n", "$[1:]"},
	} {
		b.Run(name, func(b *testing.B) {
			body := strings.Repeat(c.line, 1000)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				src := c.src
				src.Excerpt, src.Filter = &Excerpt{}, pathOf(b, c.path)
				in, err := OpenRecords(strings.NewReader(body), src, doubler())
				if err != nil {
					b.Fatal(err)
				}
				chunks, err := rest(in, func() int64 { return 100 })
				if err != nil || slices.ContainsFunc(chunks, func(c *Chunk) bool { return c.Input == nil }) {
					b.Fatal(err)
				}
			}
		})
	}
}
