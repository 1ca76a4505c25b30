//go:build cgo

package tf

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain also is the program that TestQuiet starts.
func TestMain(m *testing.M) {
	if os.Getenv("PENSTOCK_TEST_QUIET") == "" {
		os.Exit(m.Run())
	}
	if err := Quiet(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_, err := Load(testModel("halfplustwo"), Options{})
	fmt.Println(os.Getenv(logLevel), os.Getpid(), err)
}

func TestQuietSilencesTheLibraryInTheSameProcess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		level, want string
		talks       bool
	}{
		{"", "2", false},
		{"0", "0", true},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		for _, v := range os.Environ() {
			if !strings.HasPrefix(v, logLevel+"=") {
				cmd.Env = append(cmd.Env, v)
			}
		}
		cmd.Env = append(cmd.Env, "PENSTOCK_TEST_QUIET=1")
		if c.level != "" {
			cmd.Env = append(cmd.Env, logLevel+"="+c.level)
		}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if want := fmt.Sprintf("%s %d <nil>\n", c.want, cmd.Process.Pid); err != nil || string(out) != want {
			t.Errorf("level %q: %v, printed %q, want %q", c.level, err, out, want)
		}
		if talks := strings.Contains(stderr.String(), "Reading SavedModel"); talks != c.talks {
			t.Errorf("level %q: the library wrote %q", c.level, stderr.String())
		}
	}
}
