//go:build linux

package endtoend

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// model is the path of a model for tests.
func (m *machine) model(name string) string {
	m.Helper()
	path, err := filepath.Abs(filepath.Join(root, "worker/model/testdata", name))
	if err != nil {
		m.Fatal(err)
	}
	return path
}

// inspected is what these tests look at of a report.
type inspected struct {
	Measured struct {
		LoadSeconds float64
		Memory      struct{ Before, Loaded int64 }
		Error       string
		Signatures  []struct {
			Input       string
			Runs        []struct{ Rows, Times int }
			Skipped     []struct{ Rows int }
			Recommended *struct{ Rows int }
		}
	}
}

// sizes are the batch sizes that a report tells of. All but the first may be left
// out where the machine was so busy that a run would take too long.
func (r inspected) sizes() (rows []int) {
	for _, s := range r.Measured.Signatures {
		for _, run := range s.Runs {
			rows = append(rows, run.Rows)
		}
		for _, left := range s.Skipped {
			rows = append(rows, left.Rows)
		}
	}
	return rows
}

// inspect runs penstock model inspect, and gives its report and exit code.
func (m *machine) inspect(args ...string) (inspected, int) {
	m.Helper()
	out, err := m.run(append([]string{"model", "inspect", "-time", "300ms", "-o", "json"}, args...)...)
	code := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code = e.ExitCode()
	} else if err != nil {
		m.Fatal(err)
	}
	var report inspected
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		m.Fatalf("%v: %q; it said %s", err, out, m.said)
	}
	return report, code
}

func TestInspectMeasuresAModelAndRecommendsABatchSize(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for name, want := range map[string][]int{"digits": {1, 8, 32}, "fixed_batch": {4}, "no_batch": {1}, "mean": {1}, "string_echo": {1, 8, 32}} {
		report, code := m.inspect(m.model(name))
		got := report.Measured
		if code != 0 || got.Error != "" || got.LoadSeconds <= 0 || got.Memory.Loaded <= got.Memory.Before || len(got.Signatures) != 1 {
			t.Errorf("%s: exit code %d, %+v", name, code, got)
			continue
		}
		sig := got.Signatures[0]
		if !slices.Equal(report.sizes(), want) || len(sig.Runs) == 0 || sig.Runs[0].Times < 1 || sig.Recommended == nil {
			t.Errorf("%s: %+v, want runs of %v rows", name, sig, want)
		}
	}
}

func TestInspectRunsOnAFile(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	report, code := m.inspect("-input", m.model("digits/images/0247-label-0.png"), "-batch-sizes", "1,2", m.model("digits"))
	sigs := report.Measured.Signatures
	if code != 0 || len(sigs) != 1 || sigs[0].Input != "0247-label-0.png" || !slices.Equal(report.sizes(), []int{1, 2}) {
		t.Errorf("exit code %d, %+v", code, report)
	}
}

func TestInspectOutlivesAModelThatEndsItsProcess(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	poison := filepath.Join(m.dir, "poison.json")
	if err := os.WriteFile(poison, []byte(`{"instances": [[666, 666]]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	report, code := m.inspect("-input", poison, m.model("aborts_on"))
	if code != 1 || !strings.Contains(report.Measured.Error, "signal: aborted) when it was to run serving_default with 1 row; it said: Abort_op intentional failure; x is 666") {
		t.Errorf("exit code %d, %+v", code, report)
	}
	if report, code := m.inspect(m.model("aborts_on")); code != 0 || report.Measured.Error != "" {
		t.Errorf("without the poison: exit code %d, %+v", code, report)
	}
}

func TestInspectConfirmsByARunThatVariablesAreMissing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if report, code := m.inspect(m.model("keras3_trap")); code != 1 || !strings.Contains(report.Measured.Error, "Could not find variable") {
		t.Errorf("exit code %d, %+v", code, report)
	}
}
