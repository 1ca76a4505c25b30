package model

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// folder writes files by their names into a new directory.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLabelsAreReadFromTheirFile(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"lines":         "cat\nbig dog\n",
		"no last end":   "cat\nbig dog",
		"Windows' ends": "\ufeffcat\r\nbig dog\r\n",
	} {
		dir := folder(t, map[string]string{ConfigFile: `{"labels_file":"words/labels.txt"}`, "words/labels.txt": text})
		c, err := ReadConfig(dir)
		if err != nil || !slices.Equal(c.Labels, []string{"cat", "big dog"}) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestAFileOfLabelsMustBeWholeAndInTheModelsFolder(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(folder(t, map[string]string{"secret": "a\nb\n"}), "secret")
	for name, c := range map[string]struct {
		config, labels string
		want           string
	}{
		"none":       {`{"labels_file":"other.txt"}`, "a\n", `labels_file there is no "other.txt"`},
		"empty":      {`{"labels_file":"labels.txt"}`, "\n", "labels_file is empty"},
		"a gap":      {`{"labels_file":"labels.txt"}`, "a\n\nb\n", "labels_file labels.txt: line 2: a label must not be empty"},
		"twice":      {`{"labels_file":"labels.txt"}`, "a\nb\na\n", `labels_file labels.txt: line 3: "a" is at 1`},
		"no text":    {`{"labels_file":"labels.txt"}`, "\xff\xfe", "labels_file UTF-8"},
		"above":      {`{"labels_file":"../secret"}`, "a\n", "labels_file escapes"},
		"by a link":  {`{"labels_file":"link"}`, "a\n", "labels_file escapes"},
		"the folder": {`{"labels_file":"."}`, "a\n", "labels_file directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, map[string]string{ConfigFile: c.config, "labels.txt": c.labels})
			if err := os.Symlink(secret, filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			_, err := ReadConfig(dir)
			wantFaults(t, err, c.want)
			if errors.Is(err, fs.ErrNotExist) {
				t.Error("it could be mistaken for a folder without a model file")
			}
		})
	}
}

func TestAFolderWithoutAModelFileSaysSo(t *testing.T) {
	t.Parallel()
	if _, err := ReadConfig(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	large := folder(t, map[string]string{ConfigFile: "{}" + strings.Repeat(" ", maxConfigBytes)})
	if _, err := ReadConfig(large); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a huge one: %v", err)
	}
}
