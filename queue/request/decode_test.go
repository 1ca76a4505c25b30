package request_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with -update", err)
	}
	if got != string(want) {
		t.Errorf("%s differs; if that is meant, write it anew with -update\n got: %s\nwant: %s", path, got, want)
	}
}

// TestDecodeReadsEveryFormOfMessage has one file for each, and beside it what
// it must be read as: the requests in the form that Encode writes, the error.
func TestDecodeReadsEveryFormOfMessage(t *testing.T) {
	files, err := filepath.Glob("testdata/decode/*.json")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d messages in testdata/decode (%v), where there should be at least 50", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "decode/"+name+".golden", described(t, string(body)))
		})
	}
}

func described(t *testing.T, body string) string {
	requests, err := request.Decode(body)
	var b strings.Builder
	for _, r := range requests {
		encoded, err := request.Encode(r)
		if err != nil {
			t.Errorf("what was decoded can't be encoded: %v", err)
		}
		fmt.Fprintln(&b, encoded)
	}
	if err != nil {
		fmt.Fprintf(&b, "error: %v\n", err)
	}
	if b.Len() == 0 {
		return "nothing to do\n"
	}
	return b.String()
}

// TestDecodeGivesTheKeyOfTheObject has the keys by hand, because a wrong one
// in a golden file is easily overlooked.
func TestDecodeGivesTheKeyOfTheObject(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ encoded, key string }{
		{"in/a+b.json", "in/a b.json"},
		{"in/a%20b.json", "in/a b.json"},
		{"in/a%2Bb.json", "in/a+b.json"},
		{"in%2Fa.json", "in/a.json"},
		{"in/%25.json", "in/%.json"},
		{"in/%252F.json", "in/%2F.json"},
		{"in/%E6%97%A5.json", "in/日.json"},
		{"in/日.json", "in/日.json"},
	} {
		s3 := fmt.Sprintf(`{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"uploads"},"object":{"key":%q,"size":1}}}]}`, c.encoded)
		eventBridge := fmt.Sprintf(`{"source":"aws.s3","detail-type":"Object Created","detail":{"bucket":{"name":"uploads"},"object":{"key":%q,"size":1}}}`, c.key)
		for _, body := range []string{s3, eventBridge} {
			got, err := request.Decode(body)
			if err != nil || len(got) != 1 || got[0].Input.Key != c.key {
				t.Errorf("Decode(%s) = %+v, %v; want the key %q", body, got, err, c.key)
			}
		}
	}
}

func TestEncodedRequestsDecodeToTheSame(t *testing.T) {
	t.Parallel()
	want := []request.Request{
		{Input: storage.Ref{Bucket: "uploads", Key: "a"}},
		{
			ID:    "é/1",
			Input: storage.Ref{Bucket: "uploads", Key: "in/ <&>\"\\\x00\u2028日?versionId=x", Version: "v1"},
			ETag:  "0123", Size: 1 << 40, ContentType: "application/json", Accept: "text/csv", OutputPath: "a/b",
			Model: "digits", Signature: "serving_default", TTL: 6 * time.Hour, Timeout: 1001 * time.Millisecond,
			Enqueued: time.Date(2026, 3, 1, 10, 0, 0, 123456789, time.UTC),
		},
		{Input: storage.Ref{Bucket: "uploads", Key: "max"}, TTL: request.MaxDuration, Timeout: time.Millisecond},
	}
	body, err := request.Encode(want...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := request.Decode(body)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Decode(%s)\n got %+v, %v\nwant %+v", body, got, err, want)
	}
}

func TestEncodeKeepsAShortTTLFromBecomingNone(t *testing.T) {
	t.Parallel()
	body, err := request.Encode(request.Request{Input: storage.Ref{Bucket: "uploads", Key: "a"}, TTL: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := request.Decode(body); err != nil || got[0].TTL != time.Millisecond {
		t.Errorf("Decode(%s) = %+v, %v; want a TTL of a millisecond", body, got, err)
	}
}

func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	t.Parallel()
	good := storage.Ref{Bucket: "uploads", Key: "a"}
	for name, r := range map[string]request.Request{
		"no input":              {},
		"a bucket":              {Input: storage.Ref{Bucket: "uploads"}},
		"a key that is no text": {Input: storage.Ref{Bucket: "uploads", Key: "\xff"}},
		"a long id":             {Input: good, ID: strings.Repeat("x", request.MaxIDBytes+1)},
		"an id with a newline":  {Input: good, ID: "a\nb"},
		"a negative size":       {Input: good, Size: -1},
		"a negative TTL":        {Input: good, TTL: -1},
		"a TTL without end":     {Input: good, TTL: request.MaxDuration + 1},
		"an endless timeout":    {Input: good, Timeout: 1<<63 - 1},
		"a time before S3":      {Input: good, Enqueued: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)},
		"a time JSON has not":   {Input: good, Enqueued: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)},
		"an etag with a NUL":    {Input: good, ETag: "\x00"},
		"an upload's path":      {Input: good, OutputPath: "a"},
		"an absolute path":      {Input: good, ID: "x", OutputPath: "/a"},
		"a path out":            {Input: good, ID: "x", OutputPath: "a/../../b"},
		"a path to a folder":    {Input: good, ID: "x", OutputPath: "a/"},
		"a path with a tilde":   {Input: good, ID: "x", OutputPath: "a~"},
		"a long path":           {Input: good, ID: "x", OutputPath: strings.Repeat("x", request.MaxOutputPathBytes+1)},
	} {
		if body, err := request.Encode(request.Request{Input: good}, r); err == nil {
			t.Errorf("%s: Encode gave %s and no error", name, body)
		} else if !strings.HasPrefix(err.Error(), "request 2 of 2: ") {
			t.Errorf("%s: the error does not say which request: %v", name, err)
		}
	}
	if body, err := request.Encode(); err == nil {
		t.Errorf("Encode of nothing gave %s and no error", body)
	}
}

// FuzzDecode holds: nothing panics; what decodes is valid, and encodes to
// what decodes to the same.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/decode/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(body))
	}
	f.Fuzz(func(t *testing.T, body string) {
		requests, _ := request.Decode(body)
		if len(requests) == 0 {
			return
		}
		for i, r := range requests {
			if err := r.Validate(); err != nil {
				t.Errorf("decoded %+v, which is not valid: %v", r, err)
			}
			requests[i].Sequencer = "" // is not sent
		}
		encoded, err := request.Encode(requests...)
		if err != nil {
			t.Fatalf("decoded %+v, which can't be encoded: %v", requests, err)
		}
		again, err := request.Decode(encoded)
		if err != nil || !reflect.DeepEqual(again, requests) {
			t.Errorf("decoded\n%+v, encoded\n%s, decoded\n%+v, %v", requests, encoded, again, err)
		}
	})
}

func TestUploadedIsWhatAnEventOfTheObjectAsksFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		key   string
		size  int64
		event string
	}{
		{"in/a b+c.png", 12, "in/a+b%2Bc.png"},
		{"in/folder/", 0, "in/folder/"},
		{"in/folder/", 1, "in/folder/"},
		{"in/.penstock/requests/1", 12, "in/.penstock/requests/1"},
		{"in/" + strings.Repeat("x", storage.MaxKeyBytes), 1, "in/" + strings.Repeat("x", storage.MaxKeyBytes)},
	} {
		r, ok, err := request.Uploaded(storage.Info{Ref: storage.Ref{Bucket: "bucket", Key: test.key, Version: "3"}, ETag: "abc", Size: test.size})
		want, wantErr := request.Decode(fmt.Sprintf(`{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"bucket"},"object":{"key":%q,"size":%d,"eTag":"abc"}}}]}`, test.event, test.size))
		var got []request.Request
		if ok && err == nil {
			got = []request.Request{r}
		}
		if !reflect.DeepEqual(got, want) || (err == nil) != (wantErr == nil) {
			t.Errorf("%.40s: the request is %+v (%v), that of an event %+v (%v)", test.key, got, err, want, wantErr)
		}
	}
}
