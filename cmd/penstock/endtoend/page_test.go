//go:build linux && (servers || verify)

package endtoend

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/cmd/internal/settings"
)

// block is a piece of code of a page, with its language.
type block struct{ language, code string }

var fences = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// section gives the code of a part of docs/from-chalice.md that is to be run:
// all but what is Chalice's, and what starts local mode.
func section(t *testing.T, number string) []block {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs/from-chalice.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "\n## "+number+". ")
	text, _, _ = strings.Cut(text, "\n## ")
	var blocks []block
	for _, m := range fences.FindAllStringSubmatch(text, -1) {
		if m[1] != "" && !strings.Contains(m[2], "@app.route") && !strings.HasPrefix(m[2], "bin/penstock local") {
			blocks = append(blocks, block{m[1], m[2]})
		}
	}
	if len(blocks) == 0 {
		t.Fatalf("docs/from-chalice.md has no commands in its part %s", number)
	}
	return blocks
}

// reader makes the machine's directory a checkout of somebody who follows the
// page, whose python is the given one.
func (m *machine) reader(python string) {
	m.Helper()
	for link, to := range map[string]string{"bin": "bin", "deploy": "deploy", "my.png": "worker/model/testdata/digits/images/3302-label-3.png"} {
		path, err := filepath.Abs(filepath.Join(root, to))
		if err != nil {
			m.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(m.dir, link)); err != nil {
			m.Fatal(err)
		}
	}
	m.env = append(m.env, "PATH="+filepath.Dir(python)+":"+os.Getenv("PATH"))
}

// follow runs a block and gives what it printed.
func (m *machine) follow(b block) string {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), 3*time.Minute)
	defer cancel()
	args := []string{"bash", "-eu", "-o", "pipefail", "-c", b.code}
	if b.language == "python" {
		args = []string{"python", "-c", b.code}
	}
	cmd := exec.CommandContext(ctx, "env", args...) // which looks it up in the machine's PATH
	cmd.Dir, cmd.Env = m.dir, m.env
	if file, err := settings.Find(m.dir); err != nil {
		m.Fatal(err)
	} else if file != nil {
		for name, value := range file.Values {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		m.Fatalf("docs/from-chalice.md:\n%s\n%v\n%s\n%s", b.code, err, out, stderr.String())
	}
	return string(out)
}
