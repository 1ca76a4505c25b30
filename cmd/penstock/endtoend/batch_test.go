//go:build linux

package endtoend

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/storage"
)

// Who comes from Batch Transform keeps an id beside each record, hides it from
// the model, and has it beside the result.
func TestAJobFiltersAndJoinsAsBatchTransformDoes(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.start("-model", m.model("halfplustwo"))
	s := m.open()
	const rows = 20000
	csv, lines := []string{"id,x,note"}, []string(nil)
	wantCSV, wantLines := []string{"id,y"}, []string(nil)
	for i := range rows {
		x, id, y := 2*i, fmt.Sprintf("row, %d", i), fmt.Sprintf("%d.0", i+2)
		if i == 7777 {
			csv, wantCSV = append(csv, `"`+id+`"`), append(wantCSV, `"`+id+`",`)
			lines, wantLines = append(lines, `{"id":"`+id+`"}`), append(wantLines, `{"id":"`+id+`","SageMakerOutput":{"error":{"code":"NothingSelected"`)
			continue
		}
		csv, wantCSV = append(csv, fmt.Sprintf(`"%s",%d,"é"`, id, x)), append(wantCSV, fmt.Sprintf(`"%s",%s`, id, y))
		lines = append(lines, fmt.Sprintf(`{"note": "é", "features": %d, "id": "%s"}`, x, id))
		wantLines = append(wantLines, fmt.Sprintf(`{"id":"%s","SageMakerOutput":%s}`, id, y))
	}
	for _, c := range []struct {
		name, input, output string
		file, want          []string
	}{
		{"rows.csv", "$[1]", "$[0,-1]", csv, wantCSV},
		{"rows.jsonl", "$.features", "$['id','SageMakerOutput']", lines, wantLines},
	} {
		body := strings.Join(c.file, "\r\n") + "\r\n"
		if _, err := s.store.Put(t.Context(), storage.Ref{Bucket: "penstock", Key: "in/" + c.name}, []byte(body), storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		id := "job-" + c.name
		got, code := m.says("batch", "submit", "-id", id, "-wait", "-split-type", "Line", "-part-size", "65536",
			"-input-filter", c.input, "-join-source", "Input", "-output-filter", c.output, "s3://penstock/in/"+c.name)
		if want := fmt.Sprintf("%d: %d good, 1 bad", rows, rows-1); code != 0 || !strings.Contains(got, want) || !strings.Contains(got, "-bad-records\n") {
			t.Fatalf("submit: exit code %d, it does not say %q:\n%s%s", code, want, got, m.said)
		}
		if got, code := m.says("batch", "results", id, "-dir", id); code != 0 {
			t.Fatalf("results: exit code %d:\n%s%s", code, got, m.said)
		}
		out, err := os.ReadFile(filepath.Join(m.dir, id, c.name+".out"))
		if err != nil {
			t.Fatal(err)
		}
		results := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		if len(results) != len(c.want) {
			t.Fatalf("%s has %d lines of results, want %d", c.name, len(results), len(c.want))
		}
		for i, line := range results {
			if line, _, _ = strings.Cut(line, `,"message"`); line != c.want[i] {
				t.Fatalf("%s: line %d is %s, want %s", c.name, i+1, line, c.want[i])
			}
		}
	}
	m.stopped()
}
