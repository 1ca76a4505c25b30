package deptest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// listed is a package as `go list` tells of it.
type listed struct {
	ImportPath   string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string // all that it depends on, by whatever way
	CgoFiles     []string
}

// own says whether the package is one of this module.
func (p listed) own() bool { return strings.HasPrefix(p.ImportPath, module) }

// imports are what the package and its tests import directly.
func (p listed) imports() []string {
	return slices.Concat(p.Imports, p.TestImports, p.XTestImports)
}

// root is the module's directory, seen from this package's.
const root = "../../.."

// packages lists this module and all that it depends on, once for all tests.
var packages = sync.OnceValues(func() (map[string]listed, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,TestImports,XTestImports,Deps,CgoFiles", "./...")
	cmd.Dir = root
	// With cgo, so that the packages that need it are there to be looked at.
	// Listing compiles nothing: neither a C compiler nor TensorFlow is needed.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(err, errors.New(stderr.String()))
	}
	all := make(map[string]listed)
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all[p.ImportPath] = p
	}
})

// list gives all packages by their path, and the paths of this module's own.
func list(t *testing.T) (all map[string]listed, own []string) {
	t.Helper()
	all, err := packages()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for path, p := range all {
		if p.own() {
			own = append(own, path)
		}
	}
	slices.Sort(own)
	return all, own
}

func TestThePackagesThatTheRulesAreAboutExist(t *testing.T) {
	t.Parallel()
	all, own := list(t)
	for _, path := range required {
		if _, ok := all[module+path]; !ok {
			t.Errorf("there is no package %s: if it has another name now, change the rules with it", path)
		}
	}
	for _, r := range direct {
		if !slices.ContainsFunc(own, func(path string) bool { return matches(r.of, path) }) {
			t.Errorf("no package fits the rule of %s", r.of)
		}
	}
	for _, r := range never {
		if !slices.ContainsFunc(own, func(path string) bool { return matches(r.of, path) }) {
			t.Errorf("no package fits the rule of %s", r.of)
		}
	}
}

func TestImportsPointInward(t *testing.T) {
	t.Parallel()
	all, own := list(t)
	for _, path := range own {
		if matches("cmd/...", path) {
			continue // wires everything, so it may import everything; see never
		}
		i := slices.IndexFunc(direct, func(r directRule) bool { return matches(r.of, path) })
		if i < 0 {
			t.Errorf("%s has no rule; say in rules_test.go what it may import, and why", path)
			continue
		}
		for _, imported := range all[path].Imports {
			if all[imported].Standard || imported == "C" {
				continue
			}
			if !matchesAny(direct[i].may, imported) {
				t.Errorf("%s imports %s. It may import the standard library and %v: %s", path, imported, direct[i].may, direct[i].why)
			}
		}
	}
}

func TestNothingIsLinkedThatMustNotBe(t *testing.T) {
	t.Parallel()
	all, own := list(t)
	for _, r := range never {
		for _, path := range own {
			if !matches(r.of, path) {
				continue
			}
			reached := all[path].Deps
			if r.inTests {
				reached = slices.Concat(reached, all[path].imports())
			}
			for _, pattern := range r.on {
				// The first says it: what it brings along would only repeat it.
				i := slices.IndexFunc(reached, func(dep string) bool { return matches(pattern, dep) })
				if i >= 0 {
					t.Errorf("%s depends on %s (%s): %s", path, reached[i], chain(all, path, reached[i]), r.why)
				}
			}
		}
	}
}

func TestTheAWSSDKStaysBehindThePorts(t *testing.T) {
	t.Parallel()
	all, own := list(t)
	for _, path := range own {
		if matchesAny(sdk, path) {
			continue
		}
		for _, imported := range all[path].imports() {
			if matches(awsSDK, imported) {
				t.Errorf("%s imports %s: only %v may, because no type of the SDK crosses a port", path, imported, sdk)
			}
		}
	}
}

func TestCStaysWithTheModel(t *testing.T) {
	t.Parallel()
	all, own := list(t)
	for _, path := range own {
		if matchesAny(cgo, path) {
			continue
		}
		reached := slices.Concat([]string{path}, all[path].imports(), all[path].Deps)
		i := slices.IndexFunc(reached, func(dep string) bool {
			// The standard library does without C where there is none.
			return !all[dep].Standard && len(all[dep].CgoFiles) > 0
		})
		if i >= 0 {
			t.Errorf("%s depends on %s (%s), which is cgo: only %v may, so that all else builds and is tested without TensorFlow", path, reached[i], chain(all, path, reached[i]), cgo)
		}
	}
}

// TestTheRulesSeeTensorFlow holds the other tests to something: they find
// nothing in the small binaries, and must find it where it is.
func TestTheRulesSeeTensorFlow(t *testing.T) {
	t.Parallel()
	all, _ := list(t)
	for _, path := range []string{"worker/model/tf", "cmd/worker"} {
		if !slices.Contains(all[module+path].Deps, binding) {
			t.Errorf("%s is listed without TensorFlow's binding: it was not listed as it is built", path)
		}
	}
	if len(all[binding].CgoFiles) == 0 {
		t.Errorf("%s is listed without its cgo files", binding)
	}
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}

// chain tells how a package comes to depend on another: the shortest way.
func chain(all map[string]listed, from, to string) string {
	cameFrom := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		imports := all[queue[0]].Imports
		if queue[0] == from {
			imports = all[from].imports()
		}
		for _, next := range imports {
			if _, seen := cameFrom[next]; !seen {
				cameFrom[next] = queue[0]
				queue = append(queue, next)
			}
		}
	}
	way := []string{}
	for at := to; at != ""; at = cameFrom[at] {
		way = append(way, strings.TrimPrefix(at, module))
	}
	slices.Reverse(way)
	return strings.Join(way, " → ")
}
