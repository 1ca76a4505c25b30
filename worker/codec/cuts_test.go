package codec_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/penstock/penstock/worker/codec"
)

func TestCutsFindTheEndsOfRecords(t *testing.T) {
	t.Parallel()
	const text = "\xef\xbb\xbfa,b\r\n1,\"two\nlines, \"\"quoted\"\"\"\n\n3,4"
	want := []int64{8, 34, 35, 38}
	for name, r := range map[string]io.Reader{
		"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cuts := codec.CutCSV(r)
			var got []int64
			for {
				end, err := cuts.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, end)
			}
			if !slices.Equal(got, want) {
				t.Errorf("records end at %v, want %v", got, want)
			}
		})
	}
}

func TestCutsOfADamagedFileEndWithTheCodecsError(t *testing.T) {
	t.Parallel()
	_, err := codec.CutTFRecord(strings.NewReader("this is no TFRecord file")).Next()
	if e, ok := errors.AsType[*codec.Error](err); !ok || e.Code != codec.CodeMalformed {
		t.Errorf("the error is %v", err)
	}
}

func TestWhatAFileOfLinesIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		head, contentType, name string
		csv                     bool
	}{
		{`{"a":1}`, "", "x", false},
		{"1,2", "", "x", true},
		{"[1,2]", "", "x.csv", true},
		{"[1,2]", "text/csv; header=absent", "x", true},
		{"a", "application/jsonlines", "x.csv", false},
		{" \n[1]", "binary/octet-stream", "x", false},
	} {
		if got := codec.IsCSV([]byte(c.head), codec.Source{ContentType: c.contentType, Name: c.name}); got != c.csv {
			t.Errorf("%+v: IsCSV is %v", c, got)
		}
	}
}
