package settings_test

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/penstock/penstock/cmd/internal/settings"
)

func TestAMisspeltVariableIsToldWithItsNearestName(t *testing.T) {
	t.Parallel()
	for name, like := range map[string]string{
		"PENSTOCK_MODLE":            "PENSTOCK_MODEL",
		"PENSTOCK_QUEUE_ULR":        "PENSTOCK_QUEUE_URL",
		"PENSTOCK_BATCH_SIZE":       "PENSTOCK_MAX_BATCH_SIZE",
		"PENSTOCK_MAX_INFLIGHT":     "PENSTOCK_MAX_IN_FLIGHT",
		"PENSTOCK_OUTPUTS":          "PENSTOCK_OUTPUT",
		"PENSTOCK_queue_url":        "PENSTOCK_QUEUE_URL",
		"PENSTOCK_MAX-BATCH-SIZE":   "PENSTOCK_MAX_BATCH_SIZE",
		"PENSTOCK_NOTHING_LIKE_ANY": "",
		"PENSTOCK_":                 "",
	} {
		errs := settings.Unknown([]string{"HOME=/", name + "=secret", "PENSTOCK_INPUT=s3://uploads/in/"})
		if len(errs) != 1 {
			t.Errorf("%s gave %v, want one error", name, errs)
			continue
		}
		text := errs[0].Error()
		if !strings.HasPrefix(text, name+" is set") || strings.Contains(text, "secret") || like != "" && !strings.HasSuffix(text, "did you mean "+like+"?") || like == "" && strings.Contains(text, "did you mean") {
			t.Errorf("%s gave %q, want %q named", name, text, like)
		}
	}
}

func TestWhatIsNoSettingOfPenstocksIsNotTold(t *testing.T) {
	t.Parallel()
	if errs := settings.Unknown([]string{
		"HOME=/", "PATH", "MY_PENSTOCK_MODEL=x", "PENSTOCKS=1", "PENSTOCK=1", "PENSTOCK_MODEL=x", "PENSTOCK_TOKEN=",
		// What Kubernetes sets where there are Services "penstock" and "penstock-serve".
		"PENSTOCK_SERVICE_HOST=10.0.0.1", "PENSTOCK_SERVICE_PORT=80", "PENSTOCK_SERVICE_PORT_HTTP=80", "PENSTOCK_PORT=tcp://10.0.0.1:80",
		"PENSTOCK_PORT_80_TCP=tcp://10.0.0.1:80", "PENSTOCK_PORT_80_TCP_PROTO=tcp", "PENSTOCK_PORT_80_TCP_PORT=80", "PENSTOCK_PORT_80_TCP_ADDR=10.0.0.1",
		"PENSTOCK_SERVE_SERVICE_HOST=10.0.0.2", "PENSTOCK_SERVE_PORT_8080_TCP_ADDR=10.0.0.2",
	}); len(errs) > 0 {
		t.Errorf("it tells of %v", errs)
	}
}

// TestDocsAndDeploymentsSetWhatThereIs reads every name of a variable in them,
// and in the help of the command line.
func TestDocsAndDeploymentsSetWhatThereIs(t *testing.T) {
	t.Parallel()
	variable := regexp.MustCompile(`PENSTOCK_[A-Z][A-Z_]*[A-Z]`)
	found := 0
	look := func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range variable.FindAllString(string(text), -1) {
			found++
			if !settings.IsKnown(name) && !strings.HasPrefix(name, "PENSTOCK_TEST_") {
				t.Errorf("%s names %s, which no program reads", path, name)
			}
		}
	}
	const root = "../../../"
	look(root + "README.md")
	for _, dir := range []string{"docs", "deploy", "cmd/penstock/testdata/help"} {
		err := fs.WalkDir(os.DirFS(root), dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				look(root + path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 50 {
		t.Errorf("only %d variables are named", found)
	}
}

// TestEachKnownSettingIsSomeProgramsFlag finds names that were given up.
func TestEachKnownSettingIsSomeProgramsFlag(t *testing.T) {
	t.Parallel()
	var source strings.Builder
	for _, dir := range []string{".", "../../worker", "../../producer", "../../penstock"} {
		files, err := fs.Glob(os.DirFS(dir), "*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has %d files, %v", dir, len(files), err)
		}
		for _, file := range files {
			if file == "unknown.go" || strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(dir + "/" + file)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
	}
	for _, flag := range settings.Known() {
		if !strings.Contains(source.String(), fmt.Sprintf("%q", flag)) && !strings.Contains(source.String(), fmt.Sprintf("%q", settings.Name(flag))) {
			t.Errorf("no program has a setting %s", flag)
		}
	}
}
