package request_test

import (
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func provenance() request.Provenance {
	return request.Provenance{
		Identity:    "781bd98195ac5e46cf42b82f2de7e6462850ac865c36230e4e0c7539b8040e14",
		InferenceID: "mine/é 100%",
		Input:       storage.Ref{Bucket: "uploads", Key: "in/a b+é%2F?.json", Version: "3HL4kqtJvjVBH40Nrjfkd"},
		InputETag:   "b1946ac92492d2347c6235b4d2611184-512",
		Model:       "digits=?", ModelVersion: "20260301", Attempts: 2,
		Queued: 90 * time.Minute, Fetch: 1001 * time.Microsecond, Wait: 0, Predict: 12345678 * time.Microsecond, Store: -time.Millisecond,
	}
}

func TestProvenanceComesBackFromMetadata(t *testing.T) {
	t.Parallel()
	want := provenance()
	m := want.Metadata(storage.Ref{Bucket: "results", Key: "out/a.out"})
	got, ok := request.ParseProvenance(m)
	if !ok || got != want {
		t.Errorf("got %+v, %t\nwant %+v", got, ok, want)
	}
	checkMetadata(t, m)
}

func TestMetadataHasTheNamesThatPeopleRead(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"penstock-identity":      "781bd98195ac5e46cf42b82f2de7e6462850ac865c36230e4e0c7539b8040e14",
		"penstock-inference-id":  "mine/%C3%A9%20100%25",
		"penstock-self":          "s3://results/out/a.out",
		"penstock-input":         "s3://uploads/in/a%20b+%C3%A9%252F%3F.json",
		"penstock-input-etag":    "b1946ac92492d2347c6235b4d2611184-512",
		"penstock-input-version": "3HL4kqtJvjVBH40Nrjfkd",
		"penstock-model-name":    "digits=%3F",
		"penstock-model-version": "20260301",
		"penstock-attempts":      "2",
		"penstock-queued-ms":     "5400000.000",
		"penstock-fetch-ms":      "1.001",
		"penstock-wait-ms":       "0.000",
		"penstock-predict-ms":    "12345.678",
		"penstock-store-ms":      "-1.000",
	}
	if got := provenance().Metadata(storage.Ref{Bucket: "results", Key: "out/a.out"}); !maps.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestMetadataOfOtherObjectsIsNoProvenance(t *testing.T) {
	t.Parallel()
	for _, m := range []map[string]string{nil, {"camera": "x"}, {request.UploadModel: "digits", request.UploadID: "7"}} {
		if p, ok := request.ParseProvenance(m); ok {
			t.Errorf("%q is read as %+v", m, p)
		}
	}
	mangled := map[string]string{
		"penstock-identity": "x", "penstock-attempts": "many", "penstock-input": "%zz",
		"penstock-fetch-ms": "NaN", "penstock-wait-ms": "1e999", "penstock-predict-ms": "",
	}
	if p, ok := request.ParseProvenance(mangled); !ok || p != (request.Provenance{Identity: "x"}) {
		t.Errorf("mangled values are read as %+v, %t; want zero values", p, ok)
	}
}

// longest is what is named with the most bytes, in each kind of text.
func longest() map[string]string {
	return map[string]string{"ASCII": "x", "a text that is escaped": " ", "two bytes": "é", "three bytes": "日", "four bytes": "🐈"}
}

func filled(text string, size int) string { return strings.Repeat(text, size/len(text)) }

func TestMetadataFitsHoweverLongTheNamesAre(t *testing.T) {
	t.Parallel()
	most := make(map[string]int) // the longest value of each name; they need not come together here, but can
	for name, text := range longest() {
		// Every length up to where all are hashed, because it is the values just
		// short enough to be kept that take the most room.
		for size := range 600 {
			if size > 200 && text != "x" {
				size = storage.MaxKeyBytes // the others are escaped, to three times their length
			}
			p := request.Provenance{
				Identity: provenance().Identity, InferenceID: filled(text, min(size, request.MaxIDBytes)),
				Input:     storage.Ref{Bucket: strings.Repeat("b", 63), Key: filled(text, size), Version: filled(text, size)},
				InputETag: filled(text, size), Model: filled(text, size), ModelVersion: filled(text, size), Attempts: 1 << 30,
				Queued: request.MaxDuration, Fetch: request.MaxDuration, Wait: request.MaxDuration, Predict: request.MaxDuration, Store: request.MaxDuration,
			}
			m := p.Metadata(storage.Ref{Bucket: strings.Repeat("b", 63), Key: filled(text, size)})
			checkMetadata(t, m)
			for name, value := range m {
				most[name] = max(most[name], len(value))
			}
			if t.Failed() {
				t.Fatalf("%s, %d bytes", name, size)
			}
			if size == storage.MaxKeyBytes {
				break
			}
		}
	}
	sum := len("penstock-write") + 8                // which package terminal adds
	sum += len("penstock-dead-letter") + len("due") // and package worker, to failures that a person must see
	for name, size := range most {
		sum += len(name) + size
	}
	if sum > storage.MaxMetadataBytes {
		t.Errorf("the metadata can be %d bytes; S3 takes %d: %v", sum, storage.MaxMetadataBytes, most)
	}
}

func checkMetadata(t *testing.T, m map[string]string) {
	t.Helper()
	if err := (storage.PutOptions{Metadata: m}).Validate(); err != nil {
		t.Error(err)
	}
	for name, value := range m {
		if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) || storage.EscapeMetadata(value) != value {
			t.Errorf("%s is %q, which a header can't hold as it is", name, value)
		}
	}
}

func TestSameInputHoldsForEveryVersionOfOneRequest(t *testing.T) {
	t.Parallel()
	for name, text := range longest() {
		for _, size := range []int{4, 100, 400, storage.MaxKeyBytes} {
			id := "i" + filled(text, min(size, request.MaxIDBytes-2)) + "d"
			input := storage.Ref{Bucket: "uploads", Key: filled(text, size), Version: "v1"}
			other := storage.Ref{Bucket: "uploads", Key: "x" + input.Key[1:]}
			if text == "x" {
				other.Key = "y" + input.Key[1:]
			}
			self := storage.Ref{Bucket: "results", Key: "x.out"}
			byID := request.Provenance{Identity: "1", InferenceID: id, Input: input}.Metadata(self)
			byUpload := request.Provenance{Identity: "1", InferenceID: "0123", Input: input}.Metadata(self)
			later := input
			later.Version = "v2"
			for _, c := range []struct {
				what     string
				r        request.Request
				metadata map[string]string
				want     bool
			}{
				{"the upload", request.Request{Input: input}, byUpload, true},
				{"a later version", request.Request{Input: later}, byUpload, true},
				{"another upload", request.Request{Input: other}, byUpload, false},
				{"the request", request.Request{ID: id, Input: later}, byID, true},
				{"another ID", request.Request{ID: "other", Input: input}, byID, false},
				{"another input", request.Request{ID: id, Input: other}, byID, false},
				{"no terminal object", request.Request{ID: id, Input: input}, map[string]string{}, false},
			} {
				if got := c.r.SameInput(c.metadata); got != c.want {
					t.Errorf("%s, %d bytes: SameInput of %s is %t, want %t", name, size, c.what, got, c.want)
				}
			}
		}
	}
}

func TestOwnResultIsNoCopy(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"out/a.out", "out/é a.out", strings.Repeat("日", 300) + ".out"} {
		self := storage.Ref{Bucket: "results", Key: key}
		m := provenance().Metadata(self)
		read := self
		read.Version = "v3" // a store that keeps versions names the one it read
		for ref, want := range map[storage.Ref]bool{
			self:                                  true,
			read:                                  true,
			{Bucket: "uploads", Key: key}:         false,
			{Bucket: "results", Key: "in/" + key}: false,
		} {
			if got := request.OwnResult(ref, m); got != want {
				t.Errorf("OwnResult(%s) = %t, want %t", ref, got, want)
			}
		}
		if request.OwnResult(self, map[string]string{"camera": "x"}) {
			t.Errorf("an upload at %s without metadata of ours is taken for a result", self)
		}
	}
}

func TestACopiedResultChoosesNothing(t *testing.T) {
	t.Parallel()
	r := request.Request{Input: storage.Ref{Bucket: "uploads", Key: "a"}}
	got, id, err := r.ApplyUpload(provenance().Metadata(storage.Ref{Bucket: "results", Key: "a.out"}))
	if err != nil || id != "" || got != r {
		t.Errorf("ApplyUpload = %+v, %q, %v; want the request as it was", got, id, err)
	}
}

func TestApplyUploadFillsWhatTheRequestLeavesOpen(t *testing.T) {
	t.Parallel()
	metadata := map[string]string{
		request.UploadID: "mine", request.UploadModel: "digits", request.UploadSignature: "scores",
		request.UploadAccept: "text/csv", request.UploadTTL: "90",
	}
	upload := request.Request{Input: storage.Ref{Bucket: "uploads", Key: "a"}, ETag: "e", Size: 1}
	want := upload
	want.Model, want.Signature, want.Accept, want.TTL = "digits", "scores", "text/csv", 90*time.Second
	if got, id, err := upload.ApplyUpload(metadata); err != nil || id != "mine" || !reflect.DeepEqual(got, want) {
		t.Errorf("ApplyUpload = %+v, %q, %v\nwant %+v", got, id, err, want)
	}
	own := request.Request{ID: "7", Input: upload.Input, Model: "cats", Signature: "s", Accept: "application/json", TTL: time.Hour}
	if got, _, err := own.ApplyUpload(metadata); err != nil || got != own {
		t.Errorf("ApplyUpload = %+v, %v; the request's own members should stand", got, err)
	}
	if got, id, err := upload.ApplyUpload(nil); err != nil || id != "" || got != upload {
		t.Errorf("ApplyUpload without metadata = %+v, %q, %v", got, id, err)
	}
}

func TestApplyUploadRefusesWhatItCantUnderstand(t *testing.T) {
	t.Parallel()
	for key, value := range map[string]string{
		request.UploadID:        "a\nb",
		request.UploadModel:     strings.Repeat("x", 1025),
		request.UploadSignature: "\xff",
		request.UploadAccept:    "text/\x7f",
		request.UploadTTL:       "soon",
	} {
		_, _, err := request.Request{Input: storage.Ref{Bucket: "uploads", Key: "a"}}.ApplyUpload(map[string]string{key: value})
		if err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(key, "penstock-")) {
			t.Errorf("%s %.20q: error %v; want one that names it", key, value, err)
		}
	}
}

func TestParseTTLReadsSecondsAndDurations(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]time.Duration{
		"0": 0, "90": 90 * time.Second, "0.5": 500 * time.Millisecond, "1e2": 100 * time.Second, "90m": 90 * time.Minute,
		"1h30m": 90 * time.Minute, "1us": time.Millisecond, "9600h": request.MaxDuration,
	} {
		if got, err := request.ParseTTL(s); err != nil || got != want {
			t.Errorf("ParseTTL(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "-1", "-1s", "NaN", "Inf", "1e300", "1e999", "9601h", "1 day", "90 m"} {
		if got, err := request.ParseTTL(s); err == nil {
			t.Errorf("ParseTTL(%q) = %v and no error", s, got)
		} else if !strings.Contains(err.Error(), request.UploadTTL) {
			t.Errorf("ParseTTL(%q): %v; the error does not name the metadata", s, err)
		}
	}
}

// FuzzProvenance holds: whatever is in it, its metadata is fit for a header
// and small, and what is short comes back.
func FuzzProvenance(f *testing.F) {
	f.Add("id", "uploads", "in/a b", "v1", "etag", "digits", "1", 1, int64(1500))
	f.Add("=?utf-8?q?x?=", "b", "é\x00\xff%", " ", "*", "日本", "sha256-", -1, int64(-1))
	f.Add(strings.Repeat("é", 128), "uploads", strings.Repeat("日", 341), "", "", strings.Repeat("x", 128), "", 0, int64(1)<<62)
	f.Fuzz(func(t *testing.T, id, bucket, key, version, etag, model, modelVersion string, attempts int, ns int64) {
		d := time.Duration(ns) % request.MaxDuration
		p := request.Provenance{
			Identity: provenance().Identity, InferenceID: id, Input: storage.Ref{Bucket: bucket, Key: key, Version: version},
			InputETag: etag, Model: model, ModelVersion: modelVersion, Attempts: attempts,
			Queued: d, Fetch: d / 3, Wait: d / 1000, Predict: -d, Store: d / 7,
		}
		m := p.Metadata(storage.Ref{Bucket: bucket, Key: key})
		got, ok := request.ParseProvenance(m)
		if !ok {
			t.Fatalf("%q is no provenance", m)
		}
		if p.Input.Validate() == nil { // else the rest of its size is not bounded either
			checkMetadata(t, m)
		}
		if !request.OwnResult(storage.Ref{Bucket: bucket, Key: key}, m) {
			t.Errorf("%q does not know itself", m)
		}
		if !(request.Request{ID: id, Input: p.Input}).SameInput(m) {
			t.Errorf("%q does not know its input", m)
		}
		for name, v := range map[string][2]string{
			"id": {id, got.InferenceID}, "version": {version, got.Input.Version}, "etag": {etag, got.InputETag},
			"model": {model, got.Model}, "model version": {modelVersion, got.ModelVersion}, "key": {key, got.Input.Key},
		} {
			if len(v[0]) <= 128/3 && v[0] != v[1] && (name != "key" || p.Input.Validate() == nil) {
				t.Errorf("%s %q comes back as %q", name, v[0], v[1])
			}
		}
		for _, v := range [][2]time.Duration{{p.Queued, got.Queued}, {p.Fetch, got.Fetch}, {p.Wait, got.Wait}, {p.Predict, got.Predict}, {p.Store, got.Store}} {
			if diff := (v[0] - v[1]).Abs(); diff > time.Microsecond {
				t.Errorf("%v comes back as %v", v[0], v[1])
			}
		}
		if got.Attempts != attempts {
			t.Errorf("%d attempts come back as %d", attempts, got.Attempts)
		}
	})
}

func TestMetadataThatIsMisspeltIsNotPassedOver(t *testing.T) {
	t.Parallel()
	upload := request.Request{Input: storage.Ref{Bucket: "uploads", Key: "in/a"}}
	for _, name := range []string{"penstock-modle", "penstock-timeout", "penstock_model", "penstock-"} {
		_, _, err := upload.ApplyUpload(map[string]string{name: "digits", request.UploadSignature: "serve"})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), request.UploadModel) {
			t.Errorf("%s gave %v, want an error that names it and what there is", name, err)
		}
	}
	if _, _, err := upload.ApplyUpload(map[string]string{"camera": "x", "penstocks": "y", "my-penstock-model": "z"}); err != nil {
		t.Errorf("an uploader's own metadata gave %v", err)
	}
}

// Who copies a result to be an input copies its metadata too, also where a
// later version wrote more than this one knows.
func TestAResultIsAnInputWithAllItsMetadata(t *testing.T) {
	t.Parallel()
	upload := request.Request{Input: storage.Ref{Bucket: "uploads", Key: "in/a"}}
	m := provenance().Metadata(storage.Ref{Bucket: "results", Key: "a.out"})
	m["penstock-of-a-later-version"], m["penstock-dead-letter"] = "x", "due"
	if got, _, err := upload.ApplyUpload(m); err != nil || got != upload {
		t.Errorf("ApplyUpload = %+v, %v", got, err)
	}
}
