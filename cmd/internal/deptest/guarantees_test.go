package deptest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestTheGuaranteesNameTestsThatExist(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join(root, "docs", "guarantees.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllStringSubmatch(string(doc), -1)
	if len(named) < 40 {
		t.Fatalf("docs/guarantees.md names only %d tests", len(named))
	}
	var tests strings.Builder
	goFiles(t, func(path string, source []byte) {
		if strings.HasSuffix(path, "_test.go") {
			tests.Write(source)
		}
	})
	for _, name := range named {
		if !strings.Contains(tests.String(), "\nfunc "+name[1]+"(") {
			t.Errorf("docs/guarantees.md names %s, which is nowhere", name[1])
		}
	}
}
