package codec

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

func gzipped(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGzipIsUndone(t *testing.T) {
	request, lines := gzipped(t, `{"instances": [1, 2]}`), gzipped(t, "1\n2\n")
	for name, c := range map[string]struct {
		src  Source
		body string
	}{
		"encoding":              {Source{ContentType: "application/json", ContentEncoding: "gzip"}, request},
		"encoding, old name":    {Source{ContentEncoding: "X-GZIP"}, request},
		"encoding and chunks":   {Source{ContentEncoding: "aws-chunked, gzip"}, request},
		"encoding and .gz":      {Source{ContentType: "text/csv", ContentEncoding: "gzip", Name: "a.csv.gz"}, lines},
		"no encoding at all":    {Source{ContentEncoding: "identity"}, `{"instances": [1, 2]}`},
		"chunks alone":          {Source{ContentEncoding: "aws-chunked"}, `{"instances": [1, 2]}`},
		"type":                  {Source{ContentType: "application/gzip", Name: "a.csv.gz"}, lines},
		"type and no extension": {Source{ContentType: "application/x-gzip", Name: "a"}, request},
		"extension":             {Source{Name: "a.jsonl.GZ"}, lines},
		"extension of text":     {Source{ContentType: "text/plain", Name: "a.csv.gz"}, lines},
		"content":               {Source{}, request},
		"content of that type":  {Source{ContentType: "text/csv"}, lines},
		"in parts":              {Source{ContentType: "text/csv"}, gzipped(t, "1\n") + gzipped(t, "2\n")},
		"bytes of a tensor":     {Source{ContentType: "application/x-tensor-bytes", ContentEncoding: "gzip"}, gzipped(t, string(appendFloats(1, 2)))},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := Decode(t.Context(), []byte(c.body), c.src, newModel(info("x", model.Float32, -1)))
			checkTensors(t, in, err, tensor([]float32{1, 2}, 2))
		})
	}
}

func TestBytesThatLookLikeGzipAreBytes(t *testing.T) {
	m := newModel(info("x", model.Uint8, -1))
	in, err := decodeAs(t, m, "application/x-tensor-bytes", gzipMagic)
	checkTensors(t, in, err, tensor([]uint8(gzipMagic), 3))
}

func TestBadGzipIsRefused(t *testing.T) {
	good := gzipped(t, `{"instances": [1, 2]}`)
	for name, c := range map[string]struct {
		src  Source
		body string
		code string
		says []string
	}{
		"another encoding":  {Source{ContentEncoding: "br"}, good, CodeUnsupportedType, []string{`content encoding "br"`, "use gzip, once, or none"}},
		"twice":             {Source{ContentEncoding: "gzip, gzip"}, good, CodeUnsupportedType, []string{"once"}},
		"not by encoding":   {Source{ContentEncoding: "gzip"}, `{"instances": [1]}`, CodeMalformed, []string{`content encoding "gzip" says gzip, but the content begins with "{\"instances\": [1"`}},
		"not by extension":  {Source{Name: "a.json.gz"}, "{}", CodeMalformed, []string{`extension of "a.json.gz" says gzip`}},
		"not by type":       {Source{ContentType: "application/gzip"}, "{}", CodeMalformed, []string{`content type "application/gzip" says gzip`}},
		"cut":               {Source{}, good[:len(good)-1], CodeMalformed, []string{"broken gzip: unexpected EOF", "upload was complete"}},
		"the magic alone":   {Source{}, gzipMagic, CodeMalformed, []string{"broken gzip"}},
		"damaged":           {Source{}, good[:len(good)-6] + "\x00" + good[len(good)-5:], CodeMalformed, []string{"broken gzip"}},
		"more behind":       {Source{}, good + "more", CodeMalformed, []string{"broken gzip"}},
		"gzip in gzip":      {Source{}, gzipped(t, good), CodeUnsupportedType, []string{"name no format"}},
		"nothing within":    {Source{}, gzipped(t, ""), CodeEmpty, []string{"no bytes"}},
		"nothing":           {Source{ContentEncoding: "gzip"}, "", CodeEmpty, []string{"no bytes"}},
		"its content":       {Source{ContentType: "text/csv"}, gzipped(t, "1\nb\n"), CodeInvalidDType, []string{`line 2: column 1 is "b"`}},
		"bomb":              {Source{MaxBytes: 1000}, gzipped(t, strings.Repeat(" ", 1001)), CodeTooLarge, []string{"compressed bytes become more than the 1000 that are allowed"}},
		"bomb in two parts": {Source{MaxBytes: 1000}, gzipped(t, strings.Repeat(" ", 999)) + gzipped(t, "  "), CodeTooLarge, []string{"1000"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode(t.Context(), []byte(c.body), c.src, newModel(info("x", model.Float32, -1)))
			checkError(t, err, c.code, c.says...)
		})
	}
}

func TestExactlyTheLimitIsAllowed(t *testing.T) {
	body := `{"instances": [1]}`
	in, err := Decode(t.Context(), []byte(gzipped(t, body)), Source{MaxBytes: int64(len(body))}, floats)
	checkTensors(t, in, err, tensor([]float32{1}, 1))
}

// A bomb takes no more memory than the limit, a few times: a buffer that grows
// is copied.
func TestBombsTakeNoMoreMemoryThanTheLimit(t *testing.T) {
	const limit = 1 << 20
	bomb := []byte(gzipped(t, strings.Repeat("\x00", 8<<20)))
	var err error
	n := allocated(func() { _, err = Decode(t.Context(), bomb, Source{MaxBytes: limit}, floats) })
	checkError(t, err, CodeTooLarge)
	if most := uint64(8*limit + 16*len(bomb)); n > most {
		t.Errorf("%d bytes were taken for a limit of %d, more than %d", n, limit, most)
	}
}

func TestTheUsualLimitFollowsFromTheInput(t *testing.T) {
	for n, want := range map[int]int64{0: 64 << 20, 1 << 20: 72 << 20, 1 << 30: 1 << 30} {
		if got := DefaultMaxBytes(n); got != want {
			t.Errorf("%d bytes may become %d, want %d", n, got, want)
		}
		if got := (Source{}).maxBytes(make([]byte, min(n, 1<<20))); got != DefaultMaxBytes(min(n, 1<<20)) {
			t.Errorf("%d bytes may become %d", n, got)
		}
	}
}

func FuzzDecodeGzip(f *testing.F) {
	f.Add([]byte(gzipped(f, `{"instances": [1]}`)), "gzip", "")
	f.Add([]byte(gzipped(f, "1\n")+gzipped(f, "2\n")), "", "a.csv.gz")
	f.Add([]byte("1\n"), "aws-chunked", "a.gz")
	f.Fuzz(func(t *testing.T, body []byte, encoding, name string) {
		if len(encoding)+len(name) > 1000 {
			return
		}
		src := Source{ContentEncoding: encoding, Name: name, MaxBytes: 1 << 10}
		_, _ = checkProportionAs(t, body, src, floats)
	})
}
