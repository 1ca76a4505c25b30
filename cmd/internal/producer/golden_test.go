package producer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/internal/producer"
	"github.com/penstock/penstock/queue/request"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestEveryKindOfEventIsTakenForWhatItIs has one document for each, as Lambda
// hands it over, and beside it what comes of it: the answer, the messages in
// the queue, the error.
func TestEveryKindOfEventIsTakenForWhatItIs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/events/*.json")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d documents in testdata/events (%v), where there should be at least 50", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			event, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				golden(t, "events/"+name+".golden", told(t, event))
			})
		})
	}
}

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

// told handles the event and writes down what came of it.
func told(t *testing.T, event []byte) string {
	b := setup(t)
	b.fill(t)
	answer, err := b.Handle(t.Context(), event)
	var out strings.Builder
	if answer != nil {
		text, err := json.MarshalIndent(answer, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "answer: %s\n", text)
	}
	for _, r := range b.enqueued(t) {
		encoded, err := request.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "queue: %s\n", encoded)
	}
	for _, s := range b.intake.submissions {
		r := s.Request
		fmt.Fprintf(&out, "intake: id %q, input %s, content type %q, accept %q, model %q, ttl %v, body %q\n", r.ID, r.Input, r.ContentType, r.Accept, r.Model, r.TTL, s.Body)
	}
	if err != nil {
		kind := "another error"
		if _, ok := errors.AsType[*producer.EventError](err); ok {
			kind = "EventError"
		}
		if _, ok := errors.AsType[*producer.QueueError](err); ok {
			kind = "QueueError"
		}
		fmt.Fprintf(&out, "%s: %v\n", kind, err)
	}
	return out.String()
}

// fill puts into the store what the documents speak of.
func (b *bundle) fill(t *testing.T) {
	b.put(t, "s3://uploads/in/march/", "", "")
	b.put(t, "s3://uploads/in/march/1.png", "one", "image/png")
	b.put(t, "s3://uploads/in/march/2 +.png", "two", "image/png")
	b.put(t, "s3://uploads/in/april/3.png", "three", "image/png")
	b.put(t, "s3://lists/sagemaker.json", `[{"prefix": "s3://uploads/in/"}, "1.png", "2 %41+.png"]`, "")
	b.put(t, "s3://lists/batch.csv", "uploads,in/a%20b%2B.png\n\"uploads\",\"in/c+d.png\",v1\nuploads\n", "")
	b.put(t, "s3://lists/lines.txt", "s3://uploads/in/1.png\ns3://uploads/in/2 %41.png\r\n\ns3://uploads/elsewhere/3.png", "")
	b.put(t, "s3://lists/outside.csv", "uploads,elsewhere/1\nelsewhere,in/2\n", "")
}

// echo answers with what it was asked, in a cookie or two.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Add("Set-Cookie", "x=1; Path=/")
	w.Header().Add("Set-Cookie", "y=2; Path=/")
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	w.WriteHeader(http.StatusAccepted)
	if bytes.HasPrefix(body, []byte("\x89PNG")) {
		w.Write(body)
		return
	}
	fmt.Fprintf(w, "%s %s from %s at %s\n%q\n%s", r.Method, r.URL, r.RemoteAddr, r.Host, r.Header, body)
})

func sweepNothing(context.Context) (any, error) { return map[string]int{"looked": 3}, nil }

// FuzzHandle holds: whatever the function is invoked with, it neither panics
// nor answers for messages that it was not given, and what it enqueues lies in
// the input locations.
func FuzzHandle(f *testing.F) {
	files, err := filepath.Glob("testdata/events/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		event, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(event)
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		b := setup(t)
		b.fill(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		answer, err := b.Handle(ctx, event)
		if batch, ok := answer.(producer.BatchResult); ok && err == nil {
			if batch.Failures == nil {
				t.Error("the list of failures is null")
			}
			for _, f := range batch.Failures {
				if f.ID == "" || !bytes.Contains(event, []byte(f.ID)) && !bytes.Contains(event, []byte(`\`)) {
					t.Errorf("the message %q failed, which was not in the batch", f.ID)
				}
			}
		}
		if _, err := json.Marshal(answer); err != nil {
			t.Errorf("the answer can't be written: %v", err)
		}
		for _, r := range b.enqueued(t) {
			if !b.Locations.Allowed(r.Input) {
				t.Errorf("enqueued %s, which is no input", r.Input)
			}
		}
	})
}
