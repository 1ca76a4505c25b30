package model

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// maxConfigBytes bounds a model file, and a file of labels.
const maxConfigBytes = 16 << 20

// ReadConfig reads and validates the model file in dir, and the file of labels
// that it names. It errs with fs.ErrNotExist when dir has no model file.
func ReadConfig(dir string) (*Config, error) {
	b, err := readBounded(os.Open(filepath.Join(dir, ConfigFile)))
	if err != nil {
		return nil, err
	}
	c, err := ParseConfig(b)
	if err == nil && c.LabelsFile != "" {
		err = c.readLabels(dir)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// readLabels reads the file of labels. It has to be in dir: what a link or a
// ".." leads out to is refused, for whoever uploads a model must not read the
// worker's own files by it.
func (c *Config) readLabels(dir string) error {
	var f faults
	b, err := readBounded(os.OpenInRoot(dir, filepath.FromSlash(c.LabelsFile)))
	switch {
	case errors.Is(err, fs.ErrNotExist): // not to be mistaken for the model file
		f.at("labels_file", "there is no %q in the folder of %s", c.LabelsFile, ConfigFile)
	case err != nil:
		f.at("labels_file", "%v", err)
	case !utf8.Valid(b):
		f.at("labels_file", "%s is not text in UTF-8", c.LabelsFile)
	default:
		c.Labels = lines(b)
		if len(c.Labels) == 0 {
			f.at("labels_file", "%s is empty", c.LabelsFile)
		}
		checkLabels(&f, "labels_file: "+c.LabelsFile+": line %d", 1, c.Labels)
	}
	return f.join()
}

// lines are the lines of a text, without what ends them, nor a byte order mark.
func lines(b []byte) []string {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	text := strings.TrimSuffix(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// readBounded reads a file that was opened, and closes it.
func readBounded(f *os.File, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err == nil && len(b) > maxConfigBytes {
		err = fmt.Errorf("%s has more than %d bytes", filepath.Base(f.Name()), maxConfigBytes)
	}
	return b, err
}
