package request_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func TestTwoEventSourcesForOneObjectAreOneIdentity(t *testing.T) {
	t.Parallel()
	found := storage.Info{Ref: storage.Ref{Bucket: "uploads", Key: "in/a+b.json", Version: "v7"}, ETag: "e7"}
	var first request.Identity
	for _, body := range []string{
		`{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"uploads"},"object":{"key":"in/a%2Bb.json","size":5,"eTag":"e6","versionId":"v6"}}}]}`,
		`{"source":"aws.s3","detail-type":"Object Created","detail":{"bucket":{"name":"uploads"},"object":{"key":"in/a+b.json","size":6,"etag":"e7"}}}`,
		`{"input":"s3://uploads/in/a+b.json"}`,
	} {
		got, err := request.Decode(body)
		if err != nil || len(got) != 1 {
			t.Fatalf("Decode(%s) = %+v, %v", body, got, err)
		}
		identity := got[0].Identify(found)
		if first == "" {
			first = identity
		}
		if identity != first {
			t.Errorf("%s: identity %s, want %s", body, identity, first)
		}
	}
}

func TestIdentityIgnoresAnETagsQuotes(t *testing.T) {
	t.Parallel()
	r := request.Request{Input: storage.Ref{Bucket: "uploads", Key: "a"}}
	if r.Identify(storage.Info{ETag: `"e"`}) != r.Identify(storage.Info{ETag: "e"}) {
		t.Error(`the ETags "e" with and without quotes give two identities`)
	}
}

// TestIdentitiesDifferWhereAnyFieldDoes moves text between fields that are
// next to each other, so that fields which run together would show.
func TestIdentitiesDifferWhereAnyFieldDoes(t *testing.T) {
	t.Parallel()
	seen := make(map[request.Identity]string)
	for _, c := range []struct{ id, bucket, key, etag, version string }{
		{"", "bkt", "key", "etag", "v"},
		{"id", "bkt", "key", "etag", "v"},
		{"idb", "kt", "key", "etag", "v"},
		{"id", "bktk", "ey", "etag", "v"},
		{"id", "bkt", "keye", "tag", "v"},
		{"id", "bkt", "key", "etagv", ""},
		{"id", "bkt", "key", "", "etagv"},
		{"id", "bkt", "key\x00e", "x\x00y", "v"},
		{"id", "bkt", "key", "e\x00x\x00y", "v"},
		{"id", "bkt", "key\x00e\x00x", "y", "v"},
		{"id", "bkt", "3:key", "", ""},
		{"id", "bkt", "", "3:key", ""},
	} {
		r := request.Request{ID: c.id, Input: storage.Ref{Bucket: c.bucket, Key: c.key, Version: c.version}, ETag: c.etag}
		identity := r.IdentifyUnread()
		if other, ok := seen[identity]; ok {
			t.Errorf("%q and %s have one identity", c, other)
		}
		seen[identity] = c.key
		found := storage.Info{Ref: storage.Ref{Version: c.version}, ETag: c.etag}
		if got := r.Identify(found); got != identity {
			t.Errorf("%q: the identity is %s when read and %s unread", c, got, identity)
		}
	}
}

// TestIdentityStaysTheSame has the value itself: strikes and results that an
// earlier release wrote are found by it.
func TestIdentityStaysTheSame(t *testing.T) {
	t.Parallel()
	r := request.Request{Input: storage.Ref{Bucket: "uploads", Key: "in/cat.jpg"}}
	identity := r.Identify(storage.Info{Ref: storage.Ref{Version: "v1"}, ETag: "e1"})
	if want := request.Identity("781bd98195ac5e46cf42b82f2de7e6462850ac865c36230e4e0c7539b8040e14"); identity != want {
		t.Errorf("identity %s, want %s", identity, want)
	}
	if got := r.InferenceID(identity); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(got) || got != string(identity[:32]) {
		t.Errorf("inference id %q, want the first 32 digits of %s", got, identity)
	}
	r.ID = "mine"
	if got := r.InferenceID(identity); got != "mine" {
		t.Errorf("inference id %q, want the request's own", got)
	}
}

func TestTheSameBytesUploadedAgainAreAnotherRequest(t *testing.T) {
	t.Parallel()
	r := request.Request{Input: storage.Ref{Bucket: "bkt", Key: "key"}}
	at := func(seconds int64, nanos int64) storage.Info {
		return storage.Info{Ref: r.Input, ETag: "etag", Modified: time.Unix(seconds, nanos)}
	}
	if r.Identify(at(1, 0)) == r.Identify(at(2, 0)) {
		t.Error("two uploads have one identity")
	}
	if r.Identify(at(1, 0)) != r.Identify(at(1, 5)) {
		t.Error("a reader that knows parts of a second sees another identity")
	}
}

func TestSameVersionComparesWhatIsKnown(t *testing.T) {
	t.Parallel()
	now := storage.Info{Ref: storage.Ref{Version: "v"}, ETag: "e", Modified: time.Unix(9, 1)}
	for _, c := range []struct {
		name  string
		known storage.Info
		want  bool
	}{
		{"nothing", storage.Info{}, true},
		{"all", storage.Info{Ref: storage.Ref{Version: "v"}, ETag: `"e"`, Modified: time.Unix(9, 0)}, true},
		{"another ETag", storage.Info{ETag: "f"}, false},
		{"another version", storage.Info{Ref: storage.Ref{Version: "w"}, ETag: "e"}, false},
		{"another time", storage.Info{ETag: "e", Modified: time.Unix(8, 0)}, false},
	} {
		if got := request.SameVersion(now, c.known); got != c.want {
			t.Errorf("%s known: got %v, want %v", c.name, got, c.want)
		}
	}
}
