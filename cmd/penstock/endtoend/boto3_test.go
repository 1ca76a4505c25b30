//go:build linux && servers

package endtoend

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestBoto3IsServed(t *testing.T) {
	t.Parallel()
	served(t, python(t, "PENSTOCK_TEST_PYTHON"), "boto3_check.py")
}

func TestBoto3sSignaturesAreVerified(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.start()
	defer m.ends()
	keys := "[ada]\naws_access_key_id = AKIDADA\naws_secret_access_key = first/secret+of=ada\n"
	if err := os.WriteFile(filepath.Join(m.dir, "keys"), []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(program(t, "penstock"), "serve", "-listen", "127.0.0.1:0", "-endpoints", "digits", "-key-file", "keys")
	server.Dir, server.Env, server.Stderr = m.dir, m.env, m.said
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait() // killed
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v\n%s", err, m.said)
	}
	words := strings.Fields(line)
	m.client(python(t, "PENSTOCK_TEST_PYTHON"), "signed_check.py", words[len(words)-1])
}
