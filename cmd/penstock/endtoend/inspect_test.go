//go:build linux

package endtoend

import (
	"encoding/json"
	"path/filepath"
	"testing"
)

func TestInspectMeasuresAModelAndRecommendsABatchSize(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	digits, err := filepath.Abs(filepath.Join(root, "worker/model/testdata/digits"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.run("model", "inspect", "-time", "500ms", "-o", "json", digits)
	if err != nil {
		t.Fatalf("%v: %s", err, m.said)
	}
	var got struct {
		Measured struct {
			LoadSeconds float64
			Signatures  []struct {
				Runs []struct{ Rows int64 }
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Measured.LoadSeconds <= 0 || len(got.Measured.Signatures) == 0 || len(got.Measured.Signatures[0].Runs) != 3 {
		t.Errorf("%v: %s", err, out)
	}
}
