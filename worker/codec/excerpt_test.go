package codec

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// placed are the lines of a story, without the records' numbers.
func placed(chunks []*Chunk) (lines []string) {
	for line := range strings.Lines(plainStory(chunks)) {
		_, line, _ = strings.Cut(line, "@")
		lines = append(lines, line)
	}
	return lines
}

// excerpts reads body in two, from its beginning and from the record that begins at cut.
func excerpts(t *testing.T, body string, src Source, m model.Model, cut int64, head int) (all []string) {
	t.Helper()
	read := func(content string, e Excerpt) {
		t.Helper()
		src.Excerpt = &e
		chunks, err := readAll(t, strings.NewReader(content), src, m, 2)
		if err != nil {
			t.Fatalf("%+v of %q: %v", e, body, err)
		}
		all = append(all, placed(chunks)...)
	}
	read(body[:cut], Excerpt{})
	read(body[:head]+body[cut:], Excerpt{From: cut, Header: head > 0})
	return all
}

// However a file is divided, each record is what it is in the whole.
func TestExcerptsOfAFileAreTheFile(t *testing.T) {
	pairs, words := newModel(info("x", model.Float32, -1, 2)), newModel(info("x", model.String, -1))
	half := example("x", floatFeature(1, 2))
	damaged := tfrecord(half, half, half)
	damaged[len(damaged)/3+tfrecordHead+5] ^= 1
	for name, c := range map[string]struct {
		model *testModel
		src   Source
		body  string
		head  int
	}{
		"lines":               {pairs, asLines, "[1, 2]\n[3]\n\n{\"x\": [3, 4]}\n{]\n[5, 6]", 0},
		"lines of JSON":       {pairs, Source{ContentType: "application/json"}, "[1, 2]\n[3, 4]\n", 0},
		"lines like requests": {words, asLines, "{\"instances\": [1]}\n\"a\"\n", 0},
		"CSV":                 {pairs, asCSV, "1,2\na,b\n3,4\n5\n\"6\",7\n", 4},
		"CSV with a header":   {pairs, asCSV, "\ufeffx[1],x[0]\n1,2\n\n3,4\n5\n\"6\",7\n", 13},
		"CSV of the user's":   {pairs, asCSV, "height,width\n1,2\n3,4\n", 13},
		"CSV behind blanks":   {pairs, asCSV, "\r\n\nx[1],x[0]\n1,2\n\n3,4\n", 13},
		"CSV of many lines":   {words, asCSV, "\"a\nb\"\nc\n\"d\r\ne\"\n", 6},
		"TFRecord":            {pairs, asTFRecord, string(damaged), 0},
	} {
		t.Run(name, func(t *testing.T) {
			src := c.src
			src.Excerpt = &Excerpt{}
			chunks, err := readAll(t, strings.NewReader(c.body), src, c.model, 9)
			if err != nil {
				t.Fatal(err)
			}
			want := placed(chunks)
			for _, chunk := range chunks {
				for _, r := range chunk.Records {
					if r.Offset < int64(c.head) || r.Offset == 0 {
						continue
					}
					if got := excerpts(t, c.body, c.src, c.model, r.Offset, c.head); !slices.Equal(got, want) {
						t.Errorf("divided at %d:\n%q\nwant\n%q", r.Offset, got, want)
					}
					got := entered(t, c.body, c.src, c.model, r.Offset)
					if i := slices.IndexFunc(want, func(s string) bool { return strings.HasPrefix(s, fmt.Sprint(r.Offset, " ")) }); !slices.Equal(got, want[i:]) {
						t.Errorf("entered at %d, compressed or not:\n%q\nwant\n%q", r.Offset, got, want[i:])
					}
				}
			}
			for _, at := range ends(t, c.body, c.src, c.model) {
				if at < int64(c.head) {
					continue
				}
				if got := excerpts(t, c.body, c.src, c.model, at, c.head); !slices.Equal(got, want) {
					t.Errorf("divided at the end %d of a chunk:\n%q\nwant\n%q", at, got, want)
				}
			}
		})
	}
}

// entered reads all of a file, plain and compressed, and gives what is from a
// record on.
func entered(t *testing.T, body string, src Source, m model.Model, from int64) []string {
	t.Helper()
	src.Excerpt = &Excerpt{From: from, Whole: true}
	plain, err := readAll(t, strings.NewReader(body), src, m, 2)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := readAll(t, strings.NewReader(gzipped(t, body)), src, m, 2)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := placed(plain), placed(packed); !slices.Equal(a, b) {
		t.Errorf("entered at %d it is\n%q\ncompressed\n%q", from, a, b)
	}
	return placed(plain)
}

// ends are where the chunks of one record each end.
func ends(t *testing.T, body string, src Source, m model.Model) (at []int64) {
	t.Helper()
	src.Excerpt = &Excerpt{}
	chunks, err := readAll(t, strings.NewReader(body), src, m, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chunks {
		at = append(at, c.End)
	}
	return at[:len(at)-1]
}

func TestAnExcerptMayHaveNoRecords(t *testing.T) {
	m := newModel(info("x", model.Float32, -1, 2))
	for name, c := range map[string]struct {
		body string
		src  Source
		e    Excerpt
	}{
		"blank lines":     {"\n \n", asLines, Excerpt{From: 9}},
		"the header only": {"x[1],x[0]\n", asCSV, Excerpt{From: 40, Header: true}},
		"behind the end":  {"[1, 2]\n", asLines, Excerpt{From: 7, Whole: true}},
	} {
		c.src.Excerpt = &c.e
		if chunks, err := readAll(t, strings.NewReader(c.body), c.src, m, 2); err != nil || len(chunks) > 0 {
			t.Errorf("%s: %d chunks and %v", name, len(chunks), err)
		}
	}
}

// The bytes of a TFRecord's length may be those that gzip begins with.
func TestAnExcerptIsNotTakenForGzip(t *testing.T) {
	m := newModel(info("x", model.String, -1))
	body := tfrecord(strings.Repeat("a", 0x088b1f))
	if !strings.HasPrefix(string(body), gzipMagic) {
		t.Fatalf("it begins with %x", body[:4])
	}
	src := asTFRecord
	src.Excerpt = &Excerpt{From: 100}
	chunks, err := readAll(t, strings.NewReader(string(body)), src, m, 2)
	if err != nil || len(chunks) != 1 || chunks[0].Records[0].Err != nil {
		t.Errorf("%d chunks and %v", len(chunks), err)
	}
}

func TestABadRecordOfAnExcerptIsToldByItsByte(t *testing.T) {
	m := newModel(info("x", model.Float32, -1, 2))
	src := asLines
	src.Excerpt = &Excerpt{From: 1000}
	chunks, err := readAll(t, strings.NewReader("[1, 2]\n[3]\n"), src, m, 2)
	if err != nil {
		t.Fatal(err)
	}
	if r := chunks[0].Records[1]; r.Offset != 1007 || !strings.HasPrefix(r.Err.Message, "line at byte 1007: ") {
		t.Errorf("it is at %d: %v", r.Offset, r.Err)
	}
}

// Pieces of results, in whatever order they are written, make the whole one.
func TestPiecesOfResultsMakeTheWhole(t *testing.T) {
	outputs := []model.Tensor{tensor([]float32{1, 2, 3, 4, 5, 6}, 3, 2), tensor([]string{"u", "v", "\u00e9"}, 3)}
	for accept, c := range map[string]struct{ mediaType, want string }{
		"":                 {"application/jsonlines", `{"y":[1.0,2.0],"z":"u"}` + "\n" + `{"y":[3.0,4.0],"z":"v"}` + "\n" + `{"y":[5.0,6.0],"z":"é"}` + "\n"},
		"application/json": {"application/jsonlines", `{"y":[1.0,2.0],"z":"u"}` + "\n" + `{"y":[3.0,4.0],"z":"v"}` + "\n" + `{"y":[5.0,6.0],"z":"é"}` + "\n"},
		"text/csv":         {"text/csv; header=present", "y[0],y[1],z\n1.0,2.0,u\n3.0,4.0,v\n5.0,6.0,é\n"},
	} {
		m, in := answer(false, outputs, "y", "z")
		var got []byte
		for piece := range int64(3) {
			w, err := NewLines(in.Signature, m, accept, piece == 0)
			if err != nil {
				t.Fatal(err)
			}
			one := []model.Tensor{outputs[0].Slice(piece, piece+1), outputs[1].Slice(piece, piece+1)}
			if got, err = w.Rows(got, one); err != nil {
				t.Fatal(err)
			}
			got = w.Cut(got)
			if w.ContentType() != c.mediaType {
				t.Errorf("%q: the type is %s", accept, w.ContentType())
			}
		}
		if string(got) != c.want {
			t.Errorf("%q: got\n%swant\n%s", accept, got, c.want)
		}
	}
	m, in := answer(false, outputs, "y", "z")
	if w, err := NewLines(in.Signature, m, "application/x-npz", true); err == nil {
		t.Errorf("an array in pieces: %s", w.ContentType())
	}
}
