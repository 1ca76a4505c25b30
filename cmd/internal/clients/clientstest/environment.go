// Package clientstest gives tests an environment of their own.
package clientstest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Environment gives the test no settings of AWS's and of Penstock's but these,
// names and values by turns: whoever runs the tests may have any, in variables
// and in files. There are credentials, which nobody knows.
func Environment(t testing.TB, pairs ...string) {
	t.Helper()
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "PENSTOCK_") && !strings.HasPrefix(name, "PENSTOCK_TEST_") {
			t.Setenv(name, "") // so that it is set again afterwards
			os.Unsetenv(name)
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	for i := 0; i < len(pairs); i += 2 {
		t.Setenv(pairs[i], pairs[i+1])
	}
}
