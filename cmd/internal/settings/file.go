package settings

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// FileName is where a settings file lies, below the directory it holds for
// and for all directories in it.
const FileName = ".penstock/env"

// File is a settings file: lines of NAME=VALUE, with "#" before comments. A
// value may stand in single or double quotes, and "export" before the name is
// skipped, so that a shell can read the file too; nothing is expanded. A nil
// File has no values.
type File struct {
	Path   string
	Values map[string]string
}

// Find reads the settings file of the directory dir: its own, else that of the
// nearest directory around it that has one. Where there is none, Find returns
// nil and no error.
func Find(dir string) (*File, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", FileName, err)
	}
	for {
		path := filepath.Join(dir, FileName)
		f, err := os.Open(path)
		switch {
		case err == nil:
			defer f.Close()
			return Parse(path, f)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("read the settings: %w", err)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil, nil
		}
		dir = parent
	}
}

// Parse reads a settings file. path is for messages. All faulty lines are
// reported at once.
func Parse(path string, r io.Reader) (*File, error) {
	f := &File{Path: path, Values: map[string]string{}}
	var errs []error
	lines := bufio.NewScanner(r)
	n := 0
	for lines.Scan() {
		n++
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || !isName(name) {
			errs = append(errs, fmt.Errorf("%s:%d: %q is not NAME=VALUE", path, n, line))
			continue
		}
		f.Values[name] = unquote(value)
	}
	if err := lines.Err(); err != nil {
		errs = append(errs, fmt.Errorf("%s:%d: %w", path, n+1, err))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return f, nil
}

// isName says whether s can name an environment variable in every shell.
func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func unquote(v string) string {
	if n := len(v); n >= 2 && (v[0] == '\'' || v[0] == '"') && v[n-1] == v[0] {
		return v[1 : n-1]
	}
	return v
}

// Lookup is a Lookup of the file's values.
func (f *File) Lookup(name string) (string, bool) {
	if f == nil {
		return "", false
	}
	v, ok := f.Values[name]
	return v, ok
}

// credentials are the variables that only make sense together: a key of one
// source with the secret of another opens nothing.
var credentials = []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}

// ExportAWS sets those of the file's variables that begin with AWS_ by set (as
// os.Setenv does), so that the AWS SDK, which reads its settings by itself,
// finds them.
//
// A file that names endpoints is of servers of its own, as that of local mode
// is, and a person who works with AWS has credentials and a region for other
// servers in the environment. So the file goes before lookup, and where it has
// credentials nothing is left of others. A lookup with another endpoint means
// other servers, and there, as with a file without endpoints, what lookup
// finds already is left alone. Credentials count as one: when lookup finds any
// of the three, none is set.
func (f *File) ExportAWS(lookup Lookup, set func(name, value string) error) error {
	if f == nil {
		return nil
	}
	isSet := func(name string) bool {
		_, ok := lookup(name)
		return ok
	}
	values := map[string]string{}
	own := f.namesServers(lookup)
	if _, ok := f.Values[credentials[0]]; ok && own {
		for _, name := range append([]string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}, credentials...) {
			if isSet(name) {
				values[name] = "" // as if it were not set
			}
		}
	}
	hasCredentials := slices.ContainsFunc(credentials, isSet)
	for name, value := range f.Values {
		if strings.HasPrefix(name, "AWS_") && (own || !isSet(name) && (!hasCredentials || !slices.Contains(credentials, name))) {
			values[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := set(name, values[name]); err != nil {
			return fmt.Errorf("set %s from %s: %w", name, f.Path, err)
		}
	}
	return nil
}

// namesServers says whether the file has endpoints, of which lookup has no
// other.
func (f *File) namesServers(lookup Lookup) bool {
	names := false
	for name, value := range f.Values {
		if !strings.HasPrefix(name, "AWS_ENDPOINT_URL") {
			continue
		}
		if other, ok := lookup(name); ok && other != value {
			return false
		}
		names = true
	}
	return names
}

// WriteFile writes a settings file of these values, with comment before them,
// in one step: whoever reads path meanwhile sees the old file or the new one.
// Only the file's owner may read it, since it may hold credentials. The
// directory is made when it is not there.
func WriteFile(path, comment string, values map[string]string) error {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(comment), "\n") {
		fmt.Fprintf(&b, "# %s\n", line)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		v := values[name]
		if !isName(name) || strings.ContainsAny(v, "'\n\r") {
			return fmt.Errorf("write %s: %s=%q can't be written as a line of it", path, name, v)
		}
		fmt.Fprintf(&b, "%s=%s\n", name, quote(v))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the settings: %w", err)
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write the settings: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write the settings: %w", err)
	}
	return nil
}

// quote puts a value into single quotes where a shell would otherwise read it
// as something else.
func quote(v string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/:._-,=+@%", r)
	}
	if strings.ContainsFunc(v, func(r rune) bool { return !plain(r) }) {
		return "'" + v + "'"
	}
	return v
}
