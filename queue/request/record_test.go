package request_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// written is the record as it is found again: by its metadata where they tell,
// else by its body.
func written(t *testing.T, l request.Locations, rec request.Record, body []byte, encoding string) (storage.Info, []byte) {
	t.Helper()
	object, opts, err := rec.Object(body, encoding)
	if err != nil {
		t.Fatal(err)
	}
	if err := opts.Validate(); err != nil {
		t.Fatal(err)
	}
	if !opts.IfNoneMatch {
		t.Error("the record would be written over another")
	}
	return storage.Info{
		Ref: l.RecordOf(rec.Request.ID), Size: int64(len(object)),
		ContentType: opts.ContentType, ContentEncoding: opts.ContentEncoding, Metadata: opts.Metadata,
	}, object
}

func parsed(t *testing.T, info storage.Info, object []byte) (request.Record, bool) {
	t.Helper()
	got, whole, err := request.ParseRecord(info, nil)
	if err != nil {
		t.Fatal(err)
	}
	if whole {
		return got, true
	}
	if got, whole, err = request.ParseRecord(info, object); err != nil || !whole {
		t.Fatalf("with its body it is whole %t, %v", whole, err)
	}
	return got, false
}

var accepted = time.Date(2026, 11, 29, 12, 0, 0, 123e6, time.UTC)

// fullest is what SageMaker's API takes at the most, on an endpoint that stands
// for a model.
func fullest() request.Request {
	return request.Request{
		ID: strings.Repeat("!", 64), Endpoint: strings.Repeat("e", 63), Model: strings.Repeat("m", 63),
		ContentType: strings.Repeat("c", 1024), Accept: strings.Repeat("a", 1024),
		OutputPath: strings.Repeat("p", request.MaxOutputPathBytes),
		TTL:        6 * time.Hour, Timeout: time.Hour, Enqueued: accepted,
	}
}

func TestARecordIsReadBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	l := locations(t, "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/failed/", "")
	longID := strings.Repeat("é", request.MaxIDBytes/2)
	input := storage.Ref{Bucket: "bkt", Key: "in/x y", Version: "v1"}
	for name, r := range map[string]request.Request{
		"small":    {ID: "order 7", Input: input, Enqueued: accepted},
		"all":      {ID: "a/b", Input: input, ETag: "e", Size: 3, ContentType: "text/csv", Accept: "a;b=\"c\"", OutputPath: "x/y.json", Model: "m<&>", Signature: "s", Endpoint: "ep", RecordErrors: request.FailOnRecord, TTL: time.Minute, Timeout: time.Second, Enqueued: accepted},
		"long id":  {ID: longID, Input: input, Enqueued: accepted},
		"foreign":  {ID: ".hidden", Input: input, Accept: "日本", Model: "=?utf-8?q?x?=", Enqueued: accepted},
		"the most": fullest(),
	} {
		if r.Input == (storage.Ref{}) {
			r.Input = storage.Ref{Bucket: strings.Repeat("b", 63), Key: strings.Repeat("k", storage.MaxKeyBytes)}
		}
		info, object := written(t, l, request.Record{Request: r, Digest: r.Digest(nil, ""), Nonce: "n"}, nil, "")
		got, byMetadata := parsed(t, info, object)
		if want := (request.Record{Request: r, Digest: r.Digest(nil, ""), Nonce: "n"}); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
		if byMetadata != (name != "the most") {
			t.Errorf("%s is read by its metadata alone: %t", name, byMetadata)
		}
		if got, _, err := request.ParseRecord(info, object); err != nil || !reflect.DeepEqual(got.Request, r) {
			t.Errorf("%s, with its body at hand: %+v, %v", name, got.Request, err)
		}
	}
}

func TestAnInlineBodysRecordIsReadWithoutTheBody(t *testing.T) {
	t.Parallel()
	l := locations(t, "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/failed/", "")
	for name, r := range map[string]request.Request{
		"small":    {ID: "order 7", ContentType: "application/json", Enqueued: accepted},
		"long id":  {ID: strings.Repeat("é", request.MaxIDBytes/2), Enqueued: accepted},
		"the most": fullest(),
	} {
		body := []byte(`{"instances":[1]}`)
		r.Input = l.RecordOf(r.ID)
		rec := request.Record{Request: r, Digest: r.Digest(body, "gzip"), Nonce: "n", Inline: true}
		info, object := written(t, l, rec, body, "gzip")
		if string(object) != string(body) || info.ContentType != r.ContentType || info.ContentEncoding != "gzip" {
			t.Errorf("%s: the record is %q, %s, %s", name, object, info.ContentType, info.ContentEncoding)
		}
		if got, byMetadata := parsed(t, info, nil); !byMetadata || !reflect.DeepEqual(got, rec) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, rec)
		}
		// It is an input too, and must choose nothing there.
		if as, id, err := r.ApplyUpload(info.Metadata); err != nil || id != "" || as != r {
			t.Errorf("%s: as an input its metadata choose %+v, %q, %v", name, as, id, err)
		}
	}
}

func TestParametersThatDoNotFitSayWhatToDo(t *testing.T) {
	t.Parallel()
	r := fullest()
	r.Signature = strings.Repeat("s", 1024)
	_, _, err := request.Record{Request: r, Digest: "d", Inline: true}.Object([]byte("x"), "")
	if err == nil || !strings.Contains(err.Error(), "shorten them, or upload the body") {
		t.Errorf("got %v", err)
	}
	r = request.Request{ID: "x", ContentType: "é"}
	_, _, err = request.Record{Request: r, Digest: "d", Inline: true}.Object([]byte("x"), "")
	if err == nil || !strings.Contains(err.Error(), "content type") {
		t.Errorf("got %v", err)
	}
}

func TestADigestTellsWhatWasChosenFromWhatWasFound(t *testing.T) {
	t.Parallel()
	r := request.Request{ID: "x", Input: storage.Ref{Bucket: "bkt", Key: "in/x"}, TTL: time.Minute}
	same := r
	same.ID, same.ETag, same.Size, same.Enqueued = "y", "e", 7, accepted
	if r.Digest(nil, "") != same.Digest(nil, "") {
		t.Error("what was found of the input changes the digest")
	}
	seen := map[string]string{r.Digest(nil, ""): "the first"}
	add := func(what, digest string) {
		if other, ok := seen[digest]; ok {
			t.Errorf("%s has the digest of %s", what, other)
		}
		seen[digest] = what
	}
	for what, change := range map[string]func(*request.Request){
		"input":        func(r *request.Request) { r.Input.Key = "in/y" },
		"version":      func(r *request.Request) { r.Input.Version = "v" },
		"contentType":  func(r *request.Request) { r.ContentType = "v" },
		"accept":       func(r *request.Request) { r.Accept = "v" },
		"outputPath":   func(r *request.Request) { r.OutputPath = "v" },
		"model":        func(r *request.Request) { r.Model = "v" },
		"signature":    func(r *request.Request) { r.Signature = "v" },
		"endpoint":     func(r *request.Request) { r.Endpoint = "v" },
		"recordErrors": func(r *request.Request) { r.RecordErrors = request.FailOnRecord },
		"ttl":          func(r *request.Request) { r.TTL += time.Millisecond },
		"timeout":      func(r *request.Request) { r.Timeout = time.Minute },
	} {
		other := r
		change(&other)
		add(what, other.Digest(nil, ""))
	}
	add("an empty body", r.Digest([]byte{}, ""))
	add("a body", r.Digest([]byte("a"), ""))
	add("another body", r.Digest([]byte("b"), ""))
	add("a body that is gzip", r.Digest([]byte("a"), "gzip"))
}

func TestAForeignObjectIsNoRecord(t *testing.T) {
	t.Parallel()
	ref := storage.Ref{Bucket: "bkt", Key: "p/requests/%ZZ"}
	for _, c := range []struct {
		metadata map[string]string
		body     string
		want     string
	}{
		{nil, "", "no penstock-digest"},
		{map[string]string{"penstock-digest": "d", "penstock-request": "{"}, "", "penstock-request"},
		{map[string]string{"penstock-digest": "d", "penstock-request": "{}"}, "", "invalid URL escape"},
		{map[string]string{"penstock-digest": "d"}, `{"Event":"s3:TestEvent"}`, "0 requests"},
		{map[string]string{"penstock-digest": "d"}, `x`, "neither a request nor an event"},
	} {
		_, whole, err := request.ParseRecord(storage.Info{Ref: ref, Metadata: c.metadata}, []byte(c.body))
		if err == nil || !whole || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), ref.String()) {
			t.Errorf("%v: whole %t, %v; want %q", c.metadata, whole, err, c.want)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("order 7", "in/x", "text/csv", "a", "m", "p", []byte("body"), int64(1000))
	f.Add(strings.Repeat("é", 128), "in/日本", "", "=?utf-8?q?x?=", "", "", []byte(nil), int64(0))
	f.Add(".", "\xff", "\x00", strings.Repeat("\"", 1024), "<>&", "a.b/c", []byte{}, int64(-1))
	l := request.Locations{
		Inputs: []storage.Ref{{Bucket: "bkt", Key: "in/"}}, Output: storage.Ref{Bucket: "bkt", Key: "out/"},
		Failure: storage.Ref{Bucket: "bkt", Key: "failed/"}, State: storage.Ref{Bucket: "bkt", Key: ".penstock/"},
	}
	f.Fuzz(func(t *testing.T, id, key, contentType, accept, model, path string, body []byte, ms int64) {
		r := request.Request{
			ID: id, Input: storage.Ref{Bucket: "bkt", Key: key}, ContentType: contentType, Accept: accept, Model: model,
			OutputPath: path, TTL: time.Duration(ms) * time.Millisecond, Enqueued: accepted,
		}
		inline := body != nil
		if inline {
			r.Input = l.RecordOf(id)
		}
		if r.Upload() || r.Validate() != nil {
			return
		}
		rec := request.Record{Request: r, Digest: r.Digest(body, ""), Nonce: "n", Inline: inline}
		object, opts, err := rec.Object(body, "")
		if err != nil {
			return
		}
		info := storage.Info{Ref: l.RecordOf(id), ContentType: opts.ContentType, Metadata: make(map[string]string)}
		for name, v := range opts.Metadata {
			info.Metadata[name] = storage.UnescapeMetadata(storage.EscapeMetadata(v))
		}
		got, _, err := request.ParseRecord(info, object)
		if err != nil || !reflect.DeepEqual(got, rec) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, got, rec)
		}
	})
}

// FuzzParseRecord reads what anyone may have put there.
func FuzzParseRecord(f *testing.F) {
	f.Add("requests/x", "d", `{"id":"a","accept":"b"}`, []byte(nil))
	f.Add("requests/x", "d", "", []byte(`{"input":"s3://bkt/x"}`))
	f.Fuzz(func(t *testing.T, key, digest, parameters string, body []byte) {
		info := storage.Info{Ref: storage.Ref{Bucket: "bkt", Key: key}, Metadata: map[string]string{"penstock-digest": digest}}
		if parameters != "" {
			info.Metadata["penstock-request"] = parameters
		}
		if rec, whole, err := request.ParseRecord(info, body); err == nil && whole {
			if err := rec.Request.Validate(); err != nil {
				t.Errorf("read %+v, which is not valid: %v", rec.Request, err)
			}
		}
	})
}

func TestASnapshotIsReadBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	s := request.Snapshot{Worker: "w-1", Time: accepted, InFlight: []string{"a b", "日本"}, SecondsPerRequest: 0.25, QueuedSeconds: 3}
	golden(t, "snapshot.golden", string(s.JSON())+"\n"+string(request.Snapshot{Worker: "idle", Time: accepted}.JSON())+"\n")
	if got, err := request.ParseSnapshot(s.JSON()); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("got %+v, %v", got, err)
	}
	if !s.Live(accepted.Add(request.SnapshotLife-time.Second)) || s.Live(accepted.Add(request.SnapshotLife)) {
		t.Error("a snapshot lives too short or too long")
	}
	if _, err := request.ParseSnapshot([]byte(`{"inFlight":3}`)); err == nil || !strings.Contains(fmt.Sprint(err), "inFlight") {
		t.Errorf("got %v", err)
	}
}
