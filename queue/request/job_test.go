package request_test

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// items makes a pack of n items.
func items(n int) []request.Request {
	list := make([]request.Request, n)
	for i := range list {
		list[i] = request.Request{
			Input: storage.Ref{Bucket: "uploads", Key: fmt.Sprintf("in/2026/11/29/camera-7/image-%07d.jpg", i)},
			ETag:  "d41d8cd98f00b204e9800998ecf8427e", Size: 123456,
			Job: &request.JobItem{ID: "nightly", Part: 3, Items: n, Item: i},
		}
	}
	return list
}

func roundTrip(t *testing.T, want []request.Request) string {
	t.Helper()
	body, err := request.Encode(want...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := request.Decode(body)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Decode(%.300s)\n got %+v, %v\nwant %+v", body, got, err, want)
	}
	return body
}

func TestAPackNamesItsJobOnceAndNoItemsByNumber(t *testing.T) {
	t.Parallel()
	body := roundTrip(t, items(3))
	if strings.Count(body, "nightly") != 1 || strings.Contains(body, `"item":`) {
		t.Errorf("the pack is %s", body)
	}
}

func TestItemsThatTravelApartCarryTheirOwnNumbers(t *testing.T) {
	t.Parallel()
	all := items(10)
	roundTrip(t, all[7:8])
	roundTrip(t, []request.Request{all[0], all[2], all[9]})
	all[4].Job.Range = &request.Range{From: 7, To: 1 << 40, Header: 7}
	roundTrip(t, all[4:5])
}

func TestAMessageIsOfOnePartOfOneJob(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(r *request.Request){
		"another job":  func(r *request.Request) { r.Job.ID = "other" },
		"another part": func(r *request.Request) { r.Job.Part++ },
		"no job":       func(r *request.Request) { r.Job = nil },
	} {
		list := items(2)
		change(&list[1])
		if body, err := request.Encode(list...); err == nil {
			t.Errorf("%s: Encode gave %s and no error", name, body)
		}
	}
}

// Nobody sends such a message, but whoever can send may, and a worker would look
// for a job where there is none.
func TestAMessageThatMixesJobsIsNotRead(t *testing.T) {
	t.Parallel()
	wrapped := func(requests []request.Request) string {
		body, err := request.Encode(requests...)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"Sns":{"Message":%q}}`, body)
	}
	part, none := wrapped(items(2)), wrapped([]request.Request{{Input: storage.Ref{Bucket: "uploads", Key: "a"}}})
	for _, records := range []string{part + "," + none, none + "," + part} {
		if got, err := request.Decode(`{"Records":[` + records + `]}`); err == nil || len(got) != 0 {
			t.Errorf("Decode gave %d requests, %v", len(got), err)
		}
	}
	if got, err := request.Decode(`{"Records":[` + part + `]}`); err != nil || len(got) != 2 {
		t.Errorf("of one part alone Decode gave %d requests, %v", len(got), err)
	}
}

func TestAJobsItemIsRefusedWhenItsPlaceMakesNoSense(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(r *request.Request){
		"no job id":        func(r *request.Request) { r.Job.ID = "" },
		"a path":           func(r *request.Request) { r.Job.ID = "a/b" },
		"a hidden folder":  func(r *request.Request) { r.Job.ID = ".." },
		"a long id":        func(r *request.Request) { r.Job.ID = strings.Repeat("x", request.MaxJobIDBytes+1) },
		"a negative part":  func(r *request.Request) { r.Job.Part = -1 },
		"an item too many": func(r *request.Request) { r.Job.Item = 2 },
		"a part of none":   func(r *request.Request) { r.Job.Items = 0 },
		"an id":            func(r *request.Request) { r.ID = "x" },
		"an empty range":   func(r *request.Request) { r.Job.Range = &request.Range{From: 5, To: 5} },
		"before the file":  func(r *request.Request) { r.Job.Range = &request.Range{From: -1, To: 5} },
		"a long header":    func(r *request.Request) { r.Job.Range = &request.Range{From: 5, To: 9, Header: 6} },
	} {
		r := items(2)[0]
		change(&r)
		if err := r.Validate(); err == nil {
			t.Errorf("%s: %+v is taken", name, r.Job)
		}
	}
}

func TestTheSameObjectInTwoJobsIsTwoRequests(t *testing.T) {
	t.Parallel()
	found := storage.Info{ETag: "e", Modified: time.Unix(1, 0)}
	seen := make(map[request.Identity]string)
	for name, change := range map[string]func(r *request.Request){
		"an upload":        func(r *request.Request) { r.Job = nil },
		"an item":          func(*request.Request) {},
		"of another job":   func(r *request.Request) { r.Job.ID = "other" },
		"a range":          func(r *request.Request) { r.Job.Range = &request.Range{To: 5} },
		"the next range":   func(r *request.Request) { r.Job.Range = &request.Range{From: 5, To: 9} },
		"one with an id":   func(r *request.Request) { r.Job, r.ID = nil, "job" },
		"a shorter range":  func(r *request.Request) { r.Job.Range = &request.Range{To: 4} },
		"another's number": func(r *request.Request) { r.Job.ID = "nightly3" },
	} {
		r := items(1)[0]
		change(&r)
		for _, id := range []request.Identity{r.Identify(found), r.IdentifyUnread()} {
			if other, ok := seen[id]; ok {
				t.Errorf("%s and %s are one", name, other)
			}
			seen[id] = name
		}
	}
}

func TestWhereAnItemIsInItsJobIsNotItsIdentity(t *testing.T) {
	t.Parallel()
	a, b := items(2)[0], items(2)[0]
	b.Job = &request.JobItem{ID: a.Job.ID, Part: 9, Items: 5, Item: 4}
	if a.IdentifyUnread() != b.IdentifyUnread() {
		t.Error("one object that a job names twice is two requests")
	}
}

var anyHash = regexp.MustCompile(`~[0-9a-f]{32}`)

func TestAJobsResultsLieBelowItsOwnFolder(t *testing.T) {
	t.Parallel()
	one := locations(t, "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/failed/", "")
	several := locations(t, "s3://bkt/a/,s3://other-bkt/", "s3://out-bkt/", "s3://failed-bkt/", "")
	for _, c := range []struct {
		l                      request.Locations
		input, output, failure string
		reserved               bool
	}{
		{l: one, input: "s3://bkt/in/a/b.json", output: "s3://bkt/out/jobs/nightly/a/b.json.out", failure: "s3://bkt/failed/jobs/nightly/a/b.json-error.out"},
		{l: one, input: "s3://bkt/in/jobs/x", output: "s3://bkt/out/jobs/nightly/jobs/x.out", failure: "s3://bkt/failed/jobs/nightly/jobs/x-error.out"},
		{l: one, input: "s3://bkt/in/a.out/b", output: "s3://bkt/out/jobs/nightly/a.out~/b.out", failure: "s3://bkt/failed/jobs/nightly/a.out~/b-error.out"},
		{l: several, input: "s3://other-bkt/a", output: "s3://out-bkt/jobs/nightly/other-bkt/a.out", failure: "s3://failed-bkt/jobs/nightly/other-bkt/a-error.out"},
		// Refused, and told in the job's folder all the same.
		{l: one, input: "s3://bkt/in/.penstock/x", output: "s3://bkt/out/jobs/nightly/~HASH.out", failure: "s3://bkt/failed/jobs/nightly/~HASH-error.out", reserved: true},
		{l: one, input: "s3://elsewhere/x", output: "s3://bkt/out/jobs/nightly/~HASH.out", failure: "s3://bkt/failed/jobs/nightly/~HASH-error.out"},
	} {
		r := items(1)[0]
		r.Input = ref(t, c.input)
		if got := c.l.Reserved(r); got != c.reserved {
			t.Errorf("Reserved(%s) = %t, want %t", c.input, got, c.reserved)
		}
		if got := anyHash.ReplaceAllString(c.l.OutputOf(r).String(), "~HASH"); got != c.output {
			t.Errorf("OutputOf(%s) = %s, want %s", c.input, got, c.output)
		}
		if got := anyHash.ReplaceAllString(c.l.FailureOf(r).String(), "~HASH"); got != c.failure {
			t.Errorf("FailureOf(%s) = %s, want %s", c.input, got, c.failure)
		}
		output, failure := c.l.JobFolders("nightly")
		if !output.Contains(c.l.OutputOf(r)) || !failure.Contains(c.l.FailureOf(r)) {
			t.Errorf("the job's folders are %s and %s", output, failure)
		}
	}
}

func TestUploadsBelowJobsAreRefused(t *testing.T) {
	t.Parallel()
	l := locations(t, "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/failed/", "")
	r := request.Request{Input: ref(t, "s3://bkt/in/jobs/nightly/x")}
	if !l.Reserved(r) {
		t.Errorf("an upload may write to %s", l.OutputOf(r))
	}
}

func TestAFilesFailureIsThatOfAllItsRanges(t *testing.T) {
	t.Parallel()
	l := locations(t, "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/failed/", "")
	a, b := items(1)[0], items(1)[0]
	a.Job = &request.JobItem{ID: "nightly", Part: 1, Items: 1, Range: &request.Range{To: 5}}
	b.Job = &request.JobItem{ID: "nightly", Part: 2, Items: 1, Range: &request.Range{From: 5, To: 7}}
	if a.Whole().IdentifyUnread() != b.Whole().IdentifyUnread() || l.FailureOf(a) != l.FailureOf(b.Whole()) {
		t.Error("two ranges of a file have two failures")
	}
	if a.Job.Range == nil {
		t.Error("Whole has changed its request")
	}
}

// BenchmarkDecodePack holds what a worker does before a pack of a mebibyte
// begins.
func BenchmarkDecodePack(b *testing.B) {
	body, err := request.Encode(items(5000)...)
	if err != nil || len(body) > queue.MaxMessageBytes {
		b.Fatal(len(body), err)
	}
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if r, err := request.Decode(body); err != nil || len(r) != 5000 {
			b.Fatal(len(r), err)
		}
	}
}
