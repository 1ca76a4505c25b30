package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/cmd/internal/settings"
)

// leave makes what local mode leaves behind.
func (c *console) leave(t *testing.T, state string) {
	t.Helper()
	for _, name := range []string{state + "/s3/data/penstock/in/a", state + "/sqs/queues.db", state + "/pid", ".penstock/worker.log", settings.FileName} {
		c.file(t, name, "")
	}
	c.file(t, ".penstock/lock", "1234567\n")
}

func TestCleanDeletesWhatLocalModeKeeps(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.leave(t, ".penstock/local")
	code, stdout, stderr := c.call(t, "clean")
	if code != exitOK || stderr != "" {
		t.Errorf("exit code %d, standard error %q", code, stderr)
	}
	for _, want := range []string{"deleted .penstock/local/s3 (0 B)\n", "deleted .penstock/local/sqs", "deleted .penstock/env", "deleted .penstock/worker.log"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, stdout)
		}
	}
	if exists(filepath.Join(c.dir, ".penstock")) {
		t.Error("there is something left")
	}
	if code, stdout, _ := c.call(t, "clean"); code != exitOK || stdout != "there is nothing to delete\n" {
		t.Errorf("the second time: exit code %d, standard output %q", code, stdout)
	}
}

func TestCleanLeavesWhatIsNotLocalModes(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.leave(t, "state")
	mine := []string{"state/notes", ".penstock/notes"}
	for _, name := range mine {
		c.file(t, name, "mine")
	}
	if code, _, stderr := c.call(t, "clean", "-state", "state"); code != exitOK {
		t.Errorf("exit code %d, standard error %q", code, stderr)
	}
	for _, name := range mine {
		if !exists(filepath.Join(c.dir, name)) {
			t.Errorf("%s is gone", name)
		}
	}
	if exists(filepath.Join(c.dir, "state/s3")) || exists(filepath.Join(c.dir, settings.FileName)) {
		t.Error("something of local mode's is left")
	}
}

func TestCleanRefusesAFolderThatIsNoState(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.file(t, "precious/s3/data", "mine")
	code, _, stderr := c.call(t, "clean", "-state", "precious")
	if code != exitUsage || !strings.Contains(stderr, "precious is not a folder that local mode keeps its state in") || !exists(filepath.Join(c.dir, "precious/s3/data")) {
		t.Errorf("exit code %d, standard error %q", code, stderr)
	}
}

func TestCleanRefusesWhileLocalModeRuns(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"in this directory": ".penstock/lock", "on this state": ".penstock/local/sqs/queues.db"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := setup(t, nil)
			c.leave(t, ".penstock/local")
			held, err := lock(t.Context(), filepath.Join(c.dir, path))
			if err != nil {
				t.Fatal(err)
			}
			defer held.release()
			code, stdout, stderr := c.call(t, "clean")
			if code != exitTrouble || stdout != "" || !strings.Contains(stderr, "local mode runs ") || !strings.Contains(stderr, "stop it first") {
				t.Errorf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
			}
			if !exists(filepath.Join(c.dir, ".penstock/local/s3/data/penstock/in/a")) {
				t.Error("it deleted objects")
			}
		})
	}
}

func TestSettingsOfALocalModeThatWasKilledAreNotUsed(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.file(t, settings.FileName, "PENSTOCK_INPUT=s3://penstock/in/\nPENSTOCK_OUTPUT=s3://penstock/out/\nPENSTOCK_FAILURE=s3://penstock/failed/\n")
	c.file(t, ".penstock/lock", "1234567\n")
	c.file(t, "a.png", "7")
	want := "penstock: .penstock/env is of a local mode that was killed (process 1234567); start it again there: bin/penstock local\n"
	if code, _, stderr := c.call(t, "submit", "a.png"); code != exitTrouble || stderr != want {
		t.Errorf("exit code %d, standard error %q, want %q", code, stderr, want)
	}
}

func TestSettingsOfARunningLocalModeAreUsed(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	held, err := lock(t.Context(), c.lockPath())
	if err != nil {
		t.Fatal(err)
	}
	defer held.release()
	c.file(t, settings.FileName, "PENSTOCK_INPUT=s3://penstock/in/\nPENSTOCK_OUTPUT=s3://penstock/out/\nPENSTOCK_FAILURE=s3://penstock/failed/\n")
	c.file(t, "a.png", "7")
	if code, _, stderr := c.call(t, "submit", "a.png"); code != exitOK {
		t.Errorf("exit code %d, standard error %q", code, stderr)
	}
}

func TestALockThatIsReleasedInGoodOrderTellsOfNobody(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	unforked(func() {
		held, err := lock(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if pid := leftBehind(path); pid != "" {
			t.Errorf("a lock that is held was left behind by %s", pid)
		}
		held.release()
		if pid := leftBehind(path); pid != "" {
			t.Errorf("a lock that was released was left behind by %s", pid)
		}
	})
	if err := os.WriteFile(path, []byte("42\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if pid := leftBehind(path); pid != "42" {
		t.Errorf("a lock whose holder died was left behind by %q", pid)
	}
}
