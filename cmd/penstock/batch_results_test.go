package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever an object is called, its result has a file, and none has another's.
func TestResultsHaveFilesWhateverTheirKeys(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	long := strings.Repeat("ü", 500)
	keys := []string{
		"a.out", "/a.out", "//a.out", "b/../a.out", "../a.out", "./a.out", "b//c.out", "b/c.out", "100 % +.out", "line\nend.out",
		long + ".out", long + "-errors.jsonl", long + "/x.out",
	}
	of := map[string]string{}
	for _, key := range keys {
		name := fileName(key)
		if other, taken := of[name]; taken {
			t.Errorf("%q and %q are both in %q", key, other, name)
		}
		of[name] = key
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Errorf("%q: %v", key, err)
		}
		if f, err := root.Create(name + ".part"); err != nil {
			t.Errorf("%q: %v", key, err)
		} else if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
