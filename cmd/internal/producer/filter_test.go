package producer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/penstock/penstock/cmd/internal/producer"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func TestTheFilterTakesWhatFitsAllOfIt(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		filter producer.Filter
		want   string // of the objects that setup puts, by their last letter
	}{
		{"none", producer.Filter{}, "abcde"},
		{"a prefix", producer.Filter{Prefixes: []string{"in/x/"}}, "ab"},
		{"two prefixes", producer.Filter{Prefixes: []string{"in/x/", "in/y/c"}}, "abc"},
		{"a suffix", producer.Filter{Suffixes: []string{"a", "e"}}, "ae"},
		{"a suffix in the case it has", producer.Filter{Suffixes: []string{"A"}}, ""},
		{"a least size", producer.Filter{MinSize: 2}, "bcd"},
		{"a greatest size", producer.Filter{MaxSize: 2}, "abe"},
		{"both sizes", producer.Filter{MinSize: 2, MaxSize: 3}, "bc"},
		{"a content type", producer.Filter{ContentTypes: []string{"image/png"}}, "ab"},
		{"a family of content types", producer.Filter{ContentTypes: []string{"image/*"}}, "abc"},
		{"a content type and more", producer.Filter{ContentTypes: []string{"image/*"}, MinSize: 2, Prefixes: []string{"in/x/"}}, "b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Filter = test.filter
			b.put(t, "s3://uploads/in/x/a", "1", "image/png")
			b.put(t, "s3://uploads/in/x/b", "12", "Image/PNG; q=1")
			b.put(t, "s3://uploads/in/y/c", "123", "image/jpeg")
			b.put(t, "s3://uploads/in/y/d", "1234", "text/csv")
			b.put(t, "s3://uploads/in/y/e", "", "")
			var records []string
			for i, key := range []string{"in/x/a", "in/x/b", "in/y/c", "in/y/d", "in/y/e"} {
				size := (i + 1) % 5
				records = append(records, strings.Replace(record("uploads", key), `"size":12`, fmt.Sprintf(`"size":%d`, size), 1))
			}
			if _, err := b.Handle(t.Context(), json.RawMessage(notification(records...))); err != nil {
				t.Fatal(err)
			}
			if got := keys(b.enqueued(t)); got != test.want {
				t.Errorf("%q passed, want %q", got, test.want)
			}
			if n := b.logs.FilterMessageSnippet("object dropped").Len(); n != 5-len(test.want) {
				t.Errorf("%d log lines of what was dropped, want %d", n, 5-len(test.want))
			}
		})
	}
}

// keys are the last letters of the inputs' keys.
func keys(requests []request.Request) string {
	var all strings.Builder
	for _, r := range requests {
		all.WriteString(r.Input.Key[len(r.Input.Key)-1:])
	}
	return all.String()
}

func TestAFilterThatLooksDropsWhatIsGoneAndWhatIsAResult(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Filter = producer.Filter{ContentTypes: []string{"*/*"}}
	own := storage.Ref{Bucket: "uploads", Key: "in/own"}
	meta := request.Provenance{Identity: "x"}.Metadata(own)
	if _, err := b.store.Put(t.Context(), own, []byte("{}"), storage.PutOptions{Metadata: meta}); err != nil {
		t.Fatal(err)
	}
	result, err := b.Handle(t.Context(), json.RawMessage(notification(record("uploads", "in/gone"), record("uploads", "in/own"))))
	if got, _ := result.(producer.Result); err != nil || got.Dropped != 2 {
		t.Errorf("result is %+v, error %v; want two dropped", result, err)
	}
}

func TestAFilterThatCanNotLookLosesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Filter = producer.Filter{ContentTypes: []string{"image/png"}}
	b.Store = closed{b.store}
	_, err := b.Handle(t.Context(), json.RawMessage(notification(record("uploads", "in/a"))))
	if _, ok := errors.AsType[*producer.QueueError](err); !ok || !errors.Is(err, storage.ErrForbidden) {
		t.Errorf("error is %v, want a QueueError that says why, so that the event is tried again", err)
	}
}

func TestWhatIsNamedByHandIsNotFiltered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Filter = producer.Filter{Suffixes: []string{".png"}, MinSize: 100}
	if _, err := b.Handle(t.Context(), json.RawMessage(`["s3://uploads/in/a"]`)); err != nil {
		t.Fatal(err)
	}
	if got := keys(b.enqueued(t)); got != "a" {
		t.Errorf("%q is in the queue, want a", got)
	}
}
