package deptest

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// maxLines is where a file is too long to be read at one sitting. About 300
// is the aim; this leaves room for tables.
const maxLines = 500

// longer are the files that may have more lines, each with its reason. There
// are none.
var longer = map[string]string{}

// goFiles calls visit for each Go file of the repository, the nested module's
// among them, with its path from the root. What is gone by the time that it is
// looked at is a tool's, which works beside the tests.
func goFiles(t *testing.T, visit func(path string, source []byte)) {
	t.Helper()
	count := 0
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != ".":
			return nil
		case err != nil:
			return err
		case d.IsDir() && path != "." && (d.Name() == "testdata" || strings.ContainsAny(d.Name()[:1], "._")):
			return fs.SkipDir // as the go tool does
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		source, err := os.ReadFile(filepath.Join(root, path))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		count++
		visit(path, source)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count < 50 {
		t.Fatalf("only %d Go files below %s", count, root)
	}
}

func TestFilesCanBeReadAtOneSitting(t *testing.T) {
	t.Parallel()
	goFiles(t, func(path string, source []byte) {
		lines := bytes.Count(source, []byte("\n"))
		_, allowed := longer[path]
		switch {
		case lines >= maxLines && !allowed:
			t.Errorf("%s has %d lines; files have fewer than %d: give one of its ideas a file of its own", path, lines, maxLines)
		case lines < maxLines && allowed:
			t.Errorf("%s has only %d lines now: take it off the list", path, lines)
		}
	})
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	docs := make(map[string]string) // by directory
	names := make(map[string]string)
	goFiles(t, func(path string, source []byte) {
		file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		if strings.HasSuffix(path, "_test.go") || ast.IsGenerated(file) {
			return
		}
		dir := filepath.Dir(path)
		names[dir] = file.Name.Name
		docs[dir] += file.Doc.Text()
	})
	for dir, name := range names {
		switch doc := docs[dir]; {
		case doc == "":
			t.Errorf("package %s has no doc comment", dir)
		case name != "main" && !strings.HasPrefix(doc, "Package "+name+" "):
			t.Errorf("the doc comment of package %s should begin with %q, not %.40q", dir, "Package "+name, doc)
		}
	}
}
