package source

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Named is one model of the -model setting.
type Named struct {
	Name     string // as requests name it
	URI      string // a local path or an s3:// URI
	Versions Policy // which of them are served
}

// versionsQuery stands between a model's URI and its policy. Keys in S3 may
// hold question marks, so nothing else behind one is taken for a query.
const versionsQuery = "?versions="

// Parse reads the -model setting: one or several URIs with commas between
// them, each with "name=" before it or named after its last folder, and with
// "?versions=" and a [Policy] behind it where that is not the latest version.
// All faults are reported at once.
func Parse(setting string) ([]Named, error) {
	var list []Named
	var errs []error
	used := make(map[string]bool)
	for _, part := range split(setting) {
		n, err := parseOne(part)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("model: %w", err))
		case used[n.Name]:
			errs = append(errs, fmt.Errorf("model: two are named %q; write NAME=URI for one of them, or for versions of one model the folder above them with %s1,2", n.Name, versionsQuery))
		}
		used[n.Name] = true
		list = append(list, n)
	}
	if len(list) == 0 {
		errs = append(errs, errors.New("model: none is given; set a SavedModel's directory, s3://bucket/prefix/ or a .tar.gz"))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return list, nil
}

// split cuts the setting at its commas, but for those between versions.
func split(setting string) []string {
	var parts []string
	for part := range strings.SplitSeq(setting, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if last := len(parts) - 1; last >= 0 && isVersion(part) && endsInVersions(parts[last]) {
			parts[last] += "," + part
			continue
		}
		parts = append(parts, part)
	}
	return parts
}

// endsInVersions says whether a list of versions may go on behind part.
func endsInVersions(part string) bool {
	_, policy, ok := cutLast(part, versionsQuery)
	if !ok {
		return false
	}
	for v := range strings.SplitSeq(policy, ",") {
		if !isVersion(v) {
			return false
		}
	}
	return true
}

func parseOne(part string) (Named, error) {
	uri, versions, given := cutLast(part, versionsQuery)
	name, rest, ok := strings.Cut(uri, "=")
	if !ok || strings.ContainsAny(name, "/:") { // an '=' within a path
		name, rest = nameOf(uri), uri
	}
	n := Named{Name: name, URI: rest}
	if n.Name == "" || n.URI == "" {
		return n, fmt.Errorf("%q is neither URI nor name=URI", part)
	}
	if strings.Contains(n.Name, "@") {
		return n, fmt.Errorf("the name %q has an @, which requests write between a name and a version; write NAME=URI with another name", n.Name)
	}
	if !given {
		return n, nil
	}
	var err error
	if n.Versions, err = ParsePolicy(versions); err != nil {
		return n, fmt.Errorf("%s: %w", n.URI, err)
	}
	if isArchive(n.URI) && n.Versions.Most() != 1 {
		return n, fmt.Errorf("%s: %s%s: an archive is served in one version, its highest or the one that is named; unpack it into version folders to serve several", n.URI, versionsQuery, versions)
	}
	return n, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// nameOf is the last element of a path that is not a version number.
func nameOf(uri string) string {
	parts := strings.FieldsFunc(uri, func(c rune) bool { return c == '/' })
	for len(parts) > 1 && isVersion(parts[len(parts)-1]) {
		parts = parts[:len(parts)-1]
	}
	if len(parts) == 0 {
		return ""
	}
	name := parts[len(parts)-1]
	if name == "." || name == ".." {
		if abs, err := filepath.Abs(uri); err == nil {
			return nameOf(abs)
		}
	}
	for _, suffix := range archives {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

var archives = []string{".tar.gz", ".tgz"}

func isArchive(uri string) bool {
	return strings.HasSuffix(uri, archives[0]) || strings.HasSuffix(uri, archives[1])
}

// isVersion says whether a folder's name is a version: a whole number, as in
// TensorFlow Serving.
func isVersion(name string) bool {
	_, err := strconv.ParseUint(name, 10, 63)
	return err == nil
}

// trimVersion is a version without leading zeros.
func trimVersion(s string) string {
	if s = strings.TrimLeft(s, "0"); s == "" {
		return "0"
	}
	return s
}
