//go:build linux && (servers || verify)

package endtoend

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/penstock/penstock/cmd/internal/settings"
)

// served runs a program of clients/ against a local mode of its own.
func served(t *testing.T, name string, args ...string) {
	t.Helper()
	m := newMachine(t)
	m.start()
	defer m.ends()
	m.client(name, args...)
}

// ends kills local mode and its children, of which a client may have left one
// stopped.
func (m *machine) ends() {
	m.killAll()
	_ = m.cmd.Wait() // killed
}

// client runs a program of clients/ in the environment that local mode tells
// its clients, and logs what it prints.
func (m *machine) client(name string, args ...string) {
	m.Helper()
	file, err := settings.Find(m.dir)
	if err != nil {
		m.Fatal(err)
	}
	digit, err := filepath.Abs(filepath.Join(root, "worker/model/testdata/digits/images/3302-label-3.png"))
	if err != nil {
		m.Fatal(err)
	}
	cmd := exec.CommandContext(m.Context(), name, args...)
	cmd.Dir = "clients"
	cmd.Env = append(cmd.Env, m.env...)
	cmd.Env = append(cmd.Env, "PENSTOCK_TEST_WORKER="+strconv.Itoa(m.child("worker")), "PENSTOCK_TEST_DIGIT="+digit, "HOME="+m.dir)
	for name, value := range file.Values {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stderr = m.said
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		m.Log(lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		log, _ := os.ReadFile(filepath.Join(m.dir, ".penstock", "serve.log"))
		m.Errorf("%v\n%s\n%s", err, m.said, log)
	}
}

// python is the one that a variable names; the make target installs it.
func python(t *testing.T, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf("%s does not name a Python with what this test needs: make test-servers and make verify do", variable)
	}
	return path
}
