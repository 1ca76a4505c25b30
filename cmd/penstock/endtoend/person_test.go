//go:build linux

package endtoend

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
)

// says runs a command and gives what it printed and its exit code.
func (m *machine) says(args ...string) (string, int) {
	m.Helper()
	stdout, err := m.run(args...)
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return stdout, failed.ExitCode()
	}
	if err != nil {
		m.Fatal(err)
	}
	return stdout, 0
}

// A person submits a folder with a bad file in it, looks at what became of it,
// and then at messages that nobody can read.
func TestAPersonFindsOutWhatBecameOfEverything(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.start()
	images := filepath.Join(m.model("digits"), "images")
	if err := os.CopyFS(filepath.Join(m.dir, "photos", "good"), os.DirFS(images)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "photos", "bad.png"), []byte("no image"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := func(what string, code int, said string, gotCode int, got string) {
		t.Helper()
		if gotCode != code || !strings.Contains(got, said) {
			t.Fatalf("%s: exit code %d, want %d; it does not say %q:\n%s\nstandard error:\n%s", what, gotCode, code, said, got, m.said)
		}
	}
	got, code := m.says("submit", "photos", "-out", "results")
	want("submit", 1, "20 results in results, 1 failed", code, got)
	files, err := filepath.Glob(filepath.Join(m.dir, "results", "photos", "good", "*.png.json"))
	if err != nil || len(files) != 20 {
		t.Errorf("%d results are in the folder, %v", len(files), err)
	}
	got, code = m.says("status", "s3://penstock/in/photos/bad.png")
	want("status", 1, "MalformedInput", code, got)
	got, code = m.says("status", "-o", "json", "s3://penstock/in/photos/good/")
	if n := strings.Count(got, `"state":"succeeded"`); code != 0 || n != 20 {
		t.Errorf("exit code %d, %d have succeeded:\n%s", code, n, got)
	}

	s := m.open()
	if err := errors.Join(s.queue.Send(t.Context(), queue.Outgoing{Body: "hello"}, queue.Outgoing{Body: "[1]"})...); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		if got, code = m.says("dead-letter", "list"); strings.Count(got, "UnreadableMessage") == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("exit code %d, the dead letters are\n%s", code, got)
		}
	}
	got, code = m.says("dead-letter", "redrive", "-all")
	want("redrive", 0, "2 messages redriven", code, got)
	for deadline := time.Now().Add(patience); ; { // until both are back
		if got, code = m.says("dead-letter", "list", "-o", "json"); strings.Count(got, "\n") == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("exit code %d, the dead letters are\n%s", code, got)
		}
	}
	got, code = m.says("doctor")
	want("doctor", 0, "2 UnreadableMessage", code, got)
	want("doctor", 0, "0 faults, 1 warning", code, got)
	got, code = m.says("dead-letter", "drop", "-all", "-yes")
	want("drop", 0, "2 messages dropped", code, got)
	got, code = m.says("doctor")
	want("doctor", 0, "0 faults, 0 warnings", code, got)
	m.stopped()
}
