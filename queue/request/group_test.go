package request_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func upload(bucket, key string) request.Request {
	return request.Request{Input: storage.Ref{Bucket: bucket, Key: key}}
}

func TestGroupsFollowWhatTheyAreGroupedBy(t *testing.T) {
	t.Parallel()
	l, err := request.ParseLocations("s3://uploads/in/,s3://more/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		t.Fatal(err)
	}
	inline := request.Request{ID: "7", Input: l.RecordOf("7")}
	for _, test := range []struct {
		by   request.Grouping
		of   request.Request
		want string
	}{
		{request.GroupNone, upload("uploads", "in/a"), ""},
		{"", upload("uploads", "in/a"), ""},
		{request.GroupBucket, upload("uploads", "in/a"), "bucket-uploads"},
		{request.GroupFolder, upload("uploads", "in/acme/2026/a"), "folder-acme"},
		{request.GroupFolder, upload("uploads", "in/a"), "folder-"},
		{request.GroupFolder, upload("more", "acme/a"), "folder-acme"},
		{request.GroupFolder, inline, "folder-requests"},
		{request.GroupModel, request.Request{Model: "digits"}, "model-digits"},
		{request.GroupModel, request.Request{}, "model-"},
	} {
		if got := l.GroupOf(test.by, test.of); got != test.want {
			t.Errorf("by %q the group of %s is %q, want %q", test.by, test.of.Input, got, test.want)
		}
	}
	object := func(r request.Request) string { return l.GroupOf(request.GroupObject, r) }
	if object(upload("uploads", "in/a")) == object(upload("uploads", "in/b")) || object(upload("uploads", "in/a")) == object(inline) {
		t.Error("two objects have one group")
	}
	later := upload("uploads", "in/a")
	later.ETag, later.Sequencer = "other", "2"
	if object(upload("uploads", "in/a")) != object(later) {
		t.Error("two versions of one object have two groups, so that they could run in the wrong order")
	}
}

func TestGroupsAndDeduplicationIDsAreWhatSQSTakes(t *testing.T) {
	t.Parallel()
	l, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"in/a b/c", "in/日本/c", "in/" + strings.Repeat("x", 500) + "/c", "in/\x00/c", "in//c", "elsewhere"} {
		r := upload("uploads", key)
		r.Model = strings.Repeat("ü", 200)
		for _, by := range []request.Grouping{request.GroupObject, request.GroupFolder, request.GroupBucket, request.GroupModel} {
			m := queue.Outgoing{Body: "x", Group: l.GroupOf(by, r), DedupID: r.DedupID()}
			if err := m.Validate(); err != nil || m.Group == "" {
				t.Errorf("by %s the group of %q is %q: %v", by, key, m.Group, err)
			}
		}
	}
}

func TestCopiesOfOneEventAreDeduplicatedAndUploadsAreNot(t *testing.T) {
	t.Parallel()
	event := func(sequencer string) request.Request {
		s3 := fmt.Sprintf(`{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"uploads"},"object":{"key":"in/a","size":1,"eTag":"e","sequencer":%q}}}]}`, sequencer)
		got, err := request.Decode(s3)
		if err != nil || len(got) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		return got[0]
	}
	bridge, err := request.Decode(`{"source":"aws.s3","detail-type":"Object Created","detail":{"bucket":{"name":"uploads"},"object":{"key":"in/a","size":1,"etag":"e","sequencer":"01"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	first, copied := event("01"), event("01")
	if first.DedupID() != copied.DedupID() || first.DedupID() != bridge[0].DedupID() {
		t.Error("copies of one event have several ids")
	}
	if event("01").DedupID() == event("02").DedupID() {
		t.Error("the same bytes uploaded again are taken for a copy")
	}
	// Who does not know the upload's name must not have another's dropped.
	one, other := upload("uploads", "in/a"), upload("uploads", "in/a")
	one.Enqueued, other.Enqueued = time.Unix(1, 0), time.Unix(2, 0)
	if one.DedupID() == other.DedupID() {
		t.Error("two sends without a sequencer are taken for copies")
	}
	named := request.Request{ID: "7", Input: storage.Ref{Bucket: "uploads", Key: "in/a"}, Enqueued: time.Unix(1, 0)}
	again := named
	again.Enqueued = time.Unix(2, 0)
	if named.DedupID() != again.DedupID() {
		t.Error("a request that is sent again under its id is not taken for a copy")
	}
}

func TestParseGroupingKnowsWhatAQueueNeeds(t *testing.T) {
	t.Parallel()
	const standard, fifo = "https://sqs.eu-west-1.amazonaws.com/1/q", "https://sqs.eu-west-1.amazonaws.com/1/q.fifo"
	for _, test := range []struct {
		text, url string
		want      request.Grouping // empty: refused
	}{
		{"", standard, request.GroupNone},
		{"", fifo, request.GroupObject},
		{" folder ", standard, request.GroupFolder},
		{"none", standard, request.GroupNone},
		{"none", fifo, ""},
		{"key", standard, ""},
	} {
		got, err := request.ParseGrouping(test.text, test.url)
		if (err != nil) != (test.want == "") || err == nil && got != test.want {
			t.Errorf("ParseGrouping(%q, %s) = %q, %v; want %q", test.text, test.url, got, err, test.want)
		}
	}
}
