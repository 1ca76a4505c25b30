package request_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func TestKeysFollowTheInputOrTheID(t *testing.T) {
	t.Parallel()
	one := locations(t, "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/failed/", "")
	several := locations(t, "s3://bkt/a/,s3://bkt/b/,s3://other-bkt/", "s3://out-bkt/", "s3://failed-bkt/", "")
	for _, c := range []struct {
		l                   request.Locations
		id, path, input     string
		wantOutput, wantKey string // wantKey is the failure's
		reserved            bool
	}{
		{l: one, input: "s3://bkt/in/a/cat.jpg", wantOutput: "s3://bkt/out/a/cat.jpg.out", wantKey: "s3://bkt/failed/a/cat.jpg-error.out"},
		{l: one, input: "s3://bkt/in/a b+é?.json", wantOutput: "s3://bkt/out/a b+é?.json.out", wantKey: "s3://bkt/failed/a b+é?.json-error.out"},
		{l: one, input: "s3://bkt/in/a.out", wantOutput: "s3://bkt/out/a.out.out", wantKey: "s3://bkt/failed/a.out-error.out"},
		{l: one, input: "s3://bkt/in/a.out/b", wantOutput: "s3://bkt/out/a.out~/b.out", wantKey: "s3://bkt/failed/a.out~/b-error.out"},
		{l: one, input: "s3://bkt/in/a.out~/b", wantOutput: "s3://bkt/out/a.out~~/b.out", wantKey: "s3://bkt/failed/a.out~~/b-error.out"},
		{l: one, input: "s3://bkt/in/requests", wantOutput: "s3://bkt/out/requests.out", wantKey: "s3://bkt/failed/requests-error.out"},
		{l: one, input: "s3://bkt/in/requests2/x", wantOutput: "s3://bkt/out/requests2/x.out", wantKey: "s3://bkt/failed/requests2/x-error.out"},
		{l: one, input: "s3://bkt/in/a/requests/x", wantOutput: "s3://bkt/out/a/requests/x.out", wantKey: "s3://bkt/failed/a/requests/x-error.out"},
		{l: one, id: "7", input: "s3://bkt/in/a", wantOutput: "s3://bkt/out/requests/7.out", wantKey: "s3://bkt/failed/requests/7-error.out"},
		{l: one, id: "a/b é%.~", input: "s3://bkt/in/a", wantOutput: "s3://bkt/out/requests/a%2Fb%20%C3%A9%25.%7E.out", wantKey: "s3://bkt/failed/requests/a%2Fb%20%C3%A9%25.%7E-error.out"},
		{l: one, id: "..", input: "s3://bkt/in/a", wantOutput: "s3://bkt/out/requests/%2E..out", wantKey: "s3://bkt/failed/requests/%2E.-error.out"},
		{l: one, id: "7", path: "2026/v1.2/r.json", input: "s3://bkt/in/a", wantOutput: "s3://bkt/out/requests/2026/v1.2~/r.json", wantKey: "s3://bkt/failed/requests/7-error.out"},
		{l: one, id: "7", path: "r", input: "s3://bkt/in/a", wantOutput: "s3://bkt/out/requests/r.out", wantKey: "s3://bkt/failed/requests/7-error.out"},
		{l: several, input: "s3://bkt/a/x", wantOutput: "s3://out-bkt/bkt/a/x.out", wantKey: "s3://failed-bkt/bkt/a/x-error.out"},
		{l: several, input: "s3://other-bkt/a/x", wantOutput: "s3://out-bkt/other-bkt/a/x.out", wantKey: "s3://failed-bkt/other-bkt/a/x-error.out"},
		{l: several, input: "s3://other-bkt/requests/x", wantOutput: "s3://out-bkt/other-bkt/requests/x.out", wantKey: "s3://failed-bkt/other-bkt/requests/x-error.out"},
		{l: one, reserved: true, input: "s3://bkt/in/requests/7", wantOutput: "s3://bkt/out/requests/~91275bdd6ee683023a40af970d557c19.out", wantKey: "s3://bkt/failed/requests/~91275bdd6ee683023a40af970d557c19-error.out"},
		{l: one, reserved: true, input: "s3://bkt/in/.penstock/x", wantOutput: "s3://bkt/out/requests/~2eceb366d3866e872cddf114be82c402.out", wantKey: "s3://bkt/failed/requests/~2eceb366d3866e872cddf114be82c402-error.out"},
		{l: one, input: "s3://elsewhere/a/cat.jpg", wantOutput: "s3://bkt/out/requests/~0f4259723303ce333babf4991f737c63.out", wantKey: "s3://bkt/failed/requests/~0f4259723303ce333babf4991f737c63-error.out"},
	} {
		r := request.Request{ID: c.id, OutputPath: c.path, Input: ref(t, c.input)}
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
		if got := c.l.OutputOf(r).String(); got != c.wantOutput {
			t.Errorf("OutputOf(%q %s) = %s, want %s", c.id, c.input, got, c.wantOutput)
		}
		if got := c.l.FailureOf(r).String(); got != c.wantKey {
			t.Errorf("FailureOf(%q %s) = %s, want %s", c.id, c.input, got, c.wantKey)
		}
		if got := c.l.Reserved(r); got != c.reserved {
			t.Errorf("Reserved(%q %s) = %t, want %t", c.id, c.input, got, c.reserved)
		}
	}
}

func TestOutputPathsAreNeverFoldersOfResults(t *testing.T) {
	t.Parallel()
	l := locations(t, "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/failed/", "")
	var outputs []string
	add := func(id, path string) {
		r := request.Request{ID: id, OutputPath: path, Input: ref(t, "s3://bkt/in/a")}
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		outputs = append(outputs, l.OutputOf(r).Key)
	}
	for _, id := range []string{"a", "a.out", "r.json", ".a"} {
		add(id, "")
	}
	for _, path := range []string{"a", "a/a", "a.out/a", "a.out/a.out/b", "r.json", "r.json/x", "r.json/x.y/z", ".a/b", "!/.a"} {
		add("x", path)
	}
	for _, a := range outputs {
		for _, b := range outputs {
			if strings.HasPrefix(b, a+"/") {
				t.Errorf("%s is a folder of %s", a, b)
			}
		}
	}
}

func TestLongNamesAreCutAtARune(t *testing.T) {
	t.Parallel()
	l := locations(t, "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/failed/", "")
	for pad := range 4 { // so that the cut falls on every byte of a rune
		key := "in/" + strings.Repeat("x", pad) + strings.Repeat("日", (storage.MaxKeyBytes-3-pad)/3)
		r := request.Request{Input: storage.Ref{Bucket: "bkt", Key: key}}
		for _, got := range []storage.Ref{l.OutputOf(r), l.FailureOf(r)} {
			if n := len(got.Key); n > storage.MaxKeyBytes || n <= storage.MaxKeyBytes-utf8.UTFMax {
				t.Errorf("a key of %d bytes comes out %d bytes long", len(key), n)
			}
			if !utf8.ValidString(got.Key) {
				t.Errorf("%q is not UTF-8", got.Key)
			}
		}
	}
}

func TestStateHasAPlaceForEachThing(t *testing.T) {
	t.Parallel()
	l := locations(t, "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/failed/", "s3://state/p")
	for want, got := range map[string]storage.Ref{
		"s3://state/p/requests/a%2Fb":    l.RecordOf("a/b"),
		"s3://state/p/requests/":         l.Records(),
		"s3://state/p/uploads/a%2Fb":     l.UploadOf("a/b"),
		"s3://state/p/workers/":          l.Snapshots(),
		"s3://state/p/workers/a%2Fb":     l.SnapshotOf("a/b"),
		"s3://state/p/cancel/":           l.Cancels(),
		"s3://state/p/cancel/a%2Fb":      l.CancelOf("a/b"),
		"s3://state/p/strikes/ab/":       l.StrikesOf("ab"),
		"s3://state/p/strikes/ab/2-solo": l.StrikeOf("ab", 2, "solo"),
	} {
		if got.String() != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	long := l
	long.State.Key = strings.Repeat("x", storage.MaxKeyBytes/2-1) + "/"
	for _, got := range []storage.Ref{long.RecordOf(strings.Repeat("é", request.MaxIDBytes/2)), long.CancelOf(strings.Repeat("é", request.MaxIDBytes/2))} {
		if err := got.Validate(); err != nil {
			t.Error(err)
		}
	}
}

// layouts are the installations that FuzzKeys tries.
func layouts(t testing.TB) []request.Locations {
	deep := strings.Repeat("x", storage.MaxKeyBytes/2-10)
	return []request.Locations{
		locations(t, "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/failed/", ""),
		locations(t, "s3://bkt/", "s3://out-bkt/", "s3://failed-bkt/", ""), // the state inside the output
		locations(t, "s3://bkt/a/,s3://bkt/b/,s3://other-bkt/", "s3://out-bkt/", "s3://failed-bkt/", ""),
		locations(t, "s3://bkt/in/", "s3://bkt/"+deep+"/out", "s3://bkt/"+deep+"/err", "s3://bkt/"+deep+"/state"),
	}
}

// FuzzKeys holds of any two requests that differ: neither's result or failure
// lies at, below or above the other's, and all keys are such as S3 takes.
func FuzzKeys(f *testing.F) {
	for _, s := range [][2]string{
		{"in/a", "in/a/b"},
		{"in/a.out/b", "in/a.out~/b"},
		{"in/requests/x", "x"},
		{"requests/x", "other/x"},
		{"in/.penstock/requests/x", "y"},
		{"a/x", "b/x"},
		{"in/日本", "in/\xff"},
		{"in/a-error", "in/a"},
		{"in/", "in//"},
	} {
		for layout := range uint8(4) {
			f.Add(s[0], s[1], "id", s[0], uint8(1), layout)
			f.Add(s[0], s[1], "id", s[0], uint8(255), layout)
		}
	}
	all := layouts(f)
	f.Fuzz(func(t *testing.T, key1, key2, id1, id2 string, repeat, layout uint8) {
		key1, key2 = fit(strings.Repeat(key1, int(repeat))), fit(key2)
		l := all[int(layout)%len(all)]
		seen := make(map[request.Request]bool)
		var requests []placed
		add := func(id, bucket, key string) {
			r := request.Request{ID: id, Input: storage.Ref{Bucket: bucket, Key: fit(key)}}
			same := r // requests with an ID are one whatever their input
			if !r.Upload() {
				same = request.Request{ID: r.ID}
			}
			if r.Validate() == nil && !seen[same] {
				seen[same] = true
				requests = append(requests, placed{r, l.OutputOf(r), l.FailureOf(r)})
			}
		}
		for _, bucket := range []string{"bkt", "other-bkt", "outside"} {
			add("", bucket, key1)
			add("", bucket, key2)
		}
		in := l.Inputs[0]
		add("", in.Bucket, in.Key+key1)
		add("", in.Bucket, in.Key+key2)
		add(id1, in.Bucket, key1)
		add(id2, in.Bucket, key1)
		for _, job := range []string{"a", "b"} {
			item := request.Request{Input: storage.Ref{Bucket: in.Bucket, Key: fit(in.Key + key1)}, Job: &request.JobItem{ID: job, Items: 1}}
			if item.Validate() == nil {
				requests = append(requests, placed{item, l.OutputOf(item), l.FailureOf(item)})
			}
		}
		// Inputs that are named after where another's results lie.
		for _, r := range requests {
			name := strings.TrimPrefix(r.output.Key, l.Output.Key)
			add("", in.Bucket, in.Key+strings.TrimSuffix(name, ".out"))
			add("", in.Bucket, in.Key+name+"/x")
		}
		for i, r := range requests {
			checkKeys(t, l, r)
			for _, other := range requests[i+1:] {
				checkApart(t, r.request, other.request, r.output, other.output)
				checkApart(t, r.request, other.request, r.failure, other.failure)
			}
		}
	})
}

// placed is a request with the places of its terminal objects.
type placed struct {
	request         request.Request
	output, failure storage.Ref
}

// fit makes a key that S3 takes of any text.
func fit(key string) string {
	key = strings.ToValidUTF8(key, "?")
	for len(key) > storage.MaxKeyBytes {
		_, n := utf8.DecodeLastRuneInString(key)
		key = key[:len(key)-n]
	}
	return key
}

func checkKeys(t *testing.T, l request.Locations, p placed) {
	t.Helper()
	r, output, failure := p.request, p.output, p.failure
	for place, got := range map[storage.Ref]storage.Ref{l.Output: output, l.Failure: failure} {
		if err := got.Validate(); err != nil || !place.Contains(got) || got.Key == place.Key {
			t.Errorf("%+v: %s is not below %s (%v)", r, got, place, err)
		}
		if l.State.Contains(got) {
			t.Errorf("%+v: %s is in the state location", r, got)
		}
	}
	if output == failure {
		t.Errorf("%+v: output and failure are both %s", r, output)
	}
	byID := l.Output
	byID.Key += "requests/"
	if r.Upload() && l.Allowed(r.Input) && !l.Reserved(r) && byID.Contains(output) {
		t.Errorf("%+v: an upload's output %s lies among those of requests with an ID", r, output)
	}
}

func checkApart(t *testing.T, r1, r2 request.Request, a, b storage.Ref) {
	t.Helper()
	if a == b {
		t.Errorf("%+v and %+v meet at %s", r1, r2, a)
	}
	if strings.HasPrefix(a.Key, b.Key+"/") || strings.HasPrefix(b.Key, a.Key+"/") {
		t.Errorf("%+v and %+v: one is a folder of the other: %s and %s", r1, r2, a, b)
	}
}
