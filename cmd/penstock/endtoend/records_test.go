//go:build linux

package endtoend

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// A file of several segments, of which one record is bad, beside a picture.
func TestAFileOfRecordsHasAResultForEachInItsPlace(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.start()
	s := m.open()
	const rows, bad = 3000, 1234
	blank := strings.Repeat(strings.Repeat("[0.0],", 27)+"[0.0]],[", 27) + strings.Repeat("[0.0],", 27) + "[0.0]"
	var b strings.Builder
	for i := range rows {
		if i == bad {
			b.WriteString("[1, 2, 3]\n")
			continue
		}
		fmt.Fprintf(&b, "[[%s]]\n", blank)
	}
	in := storage.Ref{Bucket: "penstock", Key: "in/digits.jsonl"}
	opts := storage.PutOptions{Metadata: map[string]string{request.UploadAccept: "application/jsonlines"}}
	if b.Len() < 10<<20 {
		t.Fatalf("the file has %d bytes only", b.Len())
	}
	if _, err := s.store.Put(t.Context(), in, []byte(b.String()), opts); err != nil {
		t.Fatal(err)
	}
	var o *storage.Object
	m.eventually(func(ctx context.Context) []string {
		var err error
		if o, err = s.store.Get(ctx, storage.Ref{Bucket: "penstock", Key: "out/digits.jsonl.out"}, storage.GetOptions{}); err != nil {
			return []string{err.Error()}
		}
		return nil
	})
	defer o.Body.Close()
	body, err := io.ReadAll(o.Body)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	if len(lines) != rows || o.ContentType != "application/jsonlines" || o.Metadata["penstock-bad-records"] != "1" || o.Metadata["penstock-records"] != fmt.Sprint(rows) {
		t.Fatalf("the result has %d lines, is %s, and its metadata is %v", len(lines), o.ContentType, o.Metadata)
	}
	for i, line := range lines {
		var said struct {
			Label string
			Error struct{ Record int }
		}
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Fatalf("line %d is %s: %v", i, line, err)
		}
		if i == bad && said.Error.Record != bad+1 || i != bad && said.Label == "" {
			t.Errorf("line %d is %s", i, line)
		}
	}
	m.stopped()
}
