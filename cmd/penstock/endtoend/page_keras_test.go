//go:build linux && verify

package endtoend

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestThePageForThoseFromChaliceServesAKerasFile(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.reader(python(t, "VERIFY_PYTHON"))
	// What deploy/keras/verify.sh has taken out of a public package.
	labels, err := os.ReadFile(filepath.Join(root, ".build/keras/out/names.txt"))
	if err != nil {
		t.Fatalf("%v; deploy/keras/verify.sh makes it", err)
	}
	for _, name := range []string{"emotion.h5", "names.txt"} {
		body, err := os.ReadFile(filepath.Join(root, ".build/keras/out", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(m.dir, name), body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	blocks := section(t, "1")
	export, ask := blocks[0], blocks[len(blocks)-1]
	m.follow(export)
	m.start("-model", "emotion="+filepath.Join(m.dir, "models/emotion"))
	defer m.ends()
	said := m.follow(ask)
	if !slices.ContainsFunc(strings.Fields(string(labels)), func(label string) bool { return strings.Contains(said, label) }) {
		t.Errorf("%s\nprinted %q, want one of %q", ask.code, said, labels)
	}
}
