package codec

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/penstock/penstock/worker/model"
)

func TestWhatBreaksAStreamEndsItBehindTheRecordsBefore(t *testing.T) {
	m, words := newModel(info("x", model.Float32, -1)), newModel(info("x", model.String, -1))
	one := example("x", floatFeature(1))
	length := tfrecord(one, one, one)
	length[len(length)/3] ^= 1
	sum := gzipped(t, "1\n2\n")
	for name, c := range map[string]struct {
		model  *testModel
		src    Source
		body   string
		before int
		code   string
		says   []string
	}{
		"a wrong length":       {m, asTFRecord, string(length), 1, CodeMalformed, []string{"record 2 (at byte 33): the checksum of its length is wrong"}},
		"no TFRecord":          {m, asTFRecord, "nothing of the kind", 0, CodeMalformed, []string{"record 1 (at byte 0): the checksum of its length"}},
		"an endless quote":     {words, limited(asCSV, 10), "a\n\"" + strings.Repeat("b\n", 100), 1, CodeMalformed, []string{"line 2: a quote is not closed within the 10 bytes", "double the quotes"}},
		"one in a long record": {words, limited(asCSV, 10), "a\n" + strings.Repeat("b", 20) + ",\"" + strings.Repeat("\"\"", 9), 1, CodeMalformed, []string{"line 2: a quote is not closed"}},
		"cut gzip":             {m, asCSV, sum[:len(sum)-6], 2, CodeMalformed, []string{"broken gzip: unexpected EOF"}},
		"a wrong gzip":         {m, asCSV, sum[:len(sum)-6] + "\x00\x00" + sum[len(sum)-4:], 2, CodeMalformed, []string{"broken gzip"}},
		"a gzip and other":     {m, asCSV, sum + "3\n4\n5\n6\n7\n8\n", 2, CodeMalformed, []string{"broken gzip"}},
		"no rows":              {m, asCSV, "a\n", 0, CodeEmpty, []string{"no lines of values"}},
		"blank lines":          {m, asLines, "\n \n", 0, CodeEmpty, []string{"blank lines only"}},
		"no names":             {both, asCSV, "1,2\n3,4\n", 0, CodeInvalidShape, []string{`line 1: column 1 is "1", which is no input`}},
		"broken names":         {both, asCSV, "a\"b\n3,4\n", 0, CodeMalformed, []string{"line 1: column 1: a quote within"}},
		"a broken header":      {m, Source{ContentType: "text/csv;header=present"}, "a\"b\n1\n", 0, CodeMalformed, []string{"line 1: column 1: a quote within"}},
		"a long header":        {both, limited(asCSV, 10), strings.Repeat("a", 20) + "\n1,2\n", 0, CodeTooLarge, []string{"line 1 has more than the 10 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			chunks, err := readAll(t, iotest.OneByteReader(strings.NewReader(c.body)), c.src, c.model, 1)
			checkError(t, err, c.code, c.says...)
			if len(chunks) != c.before {
				t.Errorf("%d chunks came before: %s", len(chunks), story(chunks))
			}
			chunks, err = readAll(t, strings.NewReader(c.body), c.src, c.model, 100)
			checkError(t, err, c.code, c.says...)
			if n := min(c.before, 1); len(chunks) != n {
				t.Errorf("%d chunks came before: %s", len(chunks), story(chunks))
			}
			_, err = Decode(t.Context(), []byte(c.body), c.src, c.model)
			checkError(t, err, c.code, c.says...)
		})
	}
}

func TestAFirstRecordThatIsNoHeaderMakesNoOtherOne(t *testing.T) {
	m := newModel(info("x", model.Float32, -1))
	chunks, err := readAll(t, strings.NewReader("a\"b\nname\n1\n"), asCSV, m, 9)
	want := "1@0 MalformedInput: line 1: column 1: a quote within a field that doesn't begin with one\n" +
		"2@4 InvalidDType: line 2: column 1 is \"name\", but input \"x\" takes float32\n3@9 [1]\n"
	if got := story(chunks); got != want || err != nil {
		t.Errorf("got\n%s%v\nwant\n%s", got, err, want)
	}
}

func TestTheReadersErrorsAreItsOwn(t *testing.T) {
	own := errors.New("the network is down")
	m := newModel(info("x", model.Float32, -1))
	var long strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&long, "%d\n", i)
	}
	for name, body := range map[string]string{"plain": long.String(), "gzip": gzipped(t, long.String())} {
		for _, n := range []int{0, 1, 2, 100, len(body) / 2} {
			chunks, err := readAll(t, io.MultiReader(strings.NewReader(body[:n]), iotest.ErrReader(own)), asCSV, m, 7)
			if err != own {
				t.Errorf("%s: %v behind %d bytes, want %v", name, err, n, own)
			}
			if n > 10_000 && (len(chunks) < 1000 || !reflect.DeepEqual(chunks[1].Records[0], Record{Number: 8, Offset: 14})) {
				t.Errorf("%s: only %d chunks came before", name, len(chunks))
			}
		}
	}
	if _, err := OpenRecords(idle{}, asCSV, m); err != io.ErrNoProgress {
		t.Errorf("a reader that gives nothing: %v", err)
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestRecordsThatAreClosedHaveEnded(t *testing.T) {
	records, err := OpenRecords(strings.NewReader("1\n2\n"), asCSV, newModel(info("x", model.Float32, -1)))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := records.Next(0); err != nil || len(c.Records) != 1 {
		t.Errorf("at least one record is read: %+v, %v", c, err)
	}
	if err := records.Close(); err != nil {
		t.Error(err)
	}
	if _, err := records.Next(1); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Next of closed records: %v", err)
	}
	if name := records.Signature().Name; name != "serving_default" {
		t.Errorf("signature %q", name)
	}
}
