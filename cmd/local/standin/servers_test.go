//go:build servers

package standin_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/penstock/penstock/cmd/local/standin"
)

// TestBoto3IsServed runs boto3_test.py with the Python that `make
// test-servers` installs boto3 for.
func TestBoto3IsServed(t *testing.T) {
	python := os.Getenv("PENSTOCK_TEST_PYTHON")
	if python == "" {
		t.Fatal("PENSTOCK_TEST_PYTHON does not name a Python with boto3: make test-servers does")
	}
	url, _ := serve(t, standin.Config{})
	cmd := exec.CommandContext(t.Context(), python, "boto3_test.py")
	cmd.Env = append(os.Environ(), "SQS_ENDPOINT="+url)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
