//go:build cgo

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/cmd/internal/inspection"
)

// inspected runs inspect on a model for tests, and gives its lines.
func inspected(t *testing.T, ctx context.Context, args ...string) (lines []inspection.State, code int, stderr string) {
	t.Helper()
	var out, said bytes.Buffer
	code = inspect(ctx, args, &out, &said)
	for d := json.NewDecoder(&out); ; {
		var s inspection.State
		if err := d.Decode(&s); errors.Is(err, io.EOF) {
			return lines, code, said.String()
		} else if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, s)
	}
}

func testModel(name string) string { return filepath.Join("../../worker/model/testdata", name) }

func TestInspectSaysBeforeEachStepWhatItDoes(t *testing.T) {
	t.Parallel()
	lines, code, stderr := inspected(t, t.Context(), "-time", "200ms", "-batch-sizes", "1,4", testModel("halfplustwo"))
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, %q", code, stderr)
	}
	var doing []string
	for _, s := range lines {
		if s.Done != (s.Doing == "") {
			t.Errorf("%+v", s)
		}
		doing = append(doing, s.Doing)
	}
	last := lines[len(lines)-1].Measured
	if last.Error != "" || len(last.Signatures) != 1 {
		t.Fatalf("%+v", last)
	}
	want := []string{"load the model", "warm it up", "run serving_default with 1 row"}
	skipped := len(last.Signatures[0].Skipped)
	if skipped == 0 { // as four rows are where one took long, on a machine that stood still
		want = append(want, "run serving_default with 4 rows")
	}
	if want = append(want, ""); !slices.Equal(doing, want) {
		t.Errorf("it said %q, want %q", doing, want)
	}
	if last.LoadSeconds <= 0 || last.WarmUpSeconds <= 0 || len(last.Signatures[0].Runs)+skipped != 2 || skipped > 1 || !strings.HasPrefix(last.TensorFlow, "2.") {
		t.Errorf("%+v", last)
	}
}

func TestAModelAtFaultIsAResultOfInspect(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]string{testModel("keras3_trap"): "Could not find variable", t.TempDir(): "no saved_model.pb"} {
		lines, code, stderr := inspected(t, t.Context(), dir)
		if last := lines[len(lines)-1]; code != exitOK || stderr != "" || !last.Done || !strings.Contains(last.Measured.Error, want) {
			t.Errorf("exit code %d, %q, %+v", code, stderr, last)
		}
	}
}

func TestInspectRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx  context.Context
		args string
		code int
		want string
	}{
		{t.Context(), "", exitSettings, "inspect takes one directory"},
		{t.Context(), "-batch-sizes 0 x", exitSettings, "no batch size"},
		{t.Context(), "-model-file nothere/penstock.json x", exitSettings, "no such file"},
		{t.Context(), "-signature best -time 1ms " + testModel("halfplustwo"), exitSettings, `there is no signature "best"`},
		{ended, testModel("halfplustwo"), exitFailed, "context canceled"},
	} {
		if _, code, stderr := inspected(t, c.ctx, strings.Fields(c.args)...); code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: exit code %d, %q, want %q", c.args, code, stderr, c.want)
		}
	}
}
