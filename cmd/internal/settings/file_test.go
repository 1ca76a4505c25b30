package settings_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/cmd/internal/settings"
)

func TestFindTakesTheNearestFile(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	inner := filepath.Join(top, "a", "b", "c")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(dir, value string) string {
		path := filepath.Join(dir, settings.FileName)
		if err := settings.WriteFile(path, "a test", map[string]string{"PENSTOCK_INPUT": value}); err != nil {
			t.Fatal(err)
		}
		return path
	}
	outer := write(top, "s3://outer")
	find := func(dir, wantPath, wantInput string) {
		t.Helper()
		f, err := settings.Find(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := f.Lookup("PENSTOCK_INPUT"); f.Path != wantPath || got != wantInput {
			t.Errorf("found %s with %q, want %s with %q", f.Path, got, wantPath, wantInput)
		}
	}
	find(inner, outer, "s3://outer")
	nearer := write(filepath.Join(top, "a", "b"), "s3://nearer")
	find(inner, nearer, "s3://nearer")
	find(filepath.Join(top, "a"), outer, "s3://outer")
}

func TestANilFileHasNoValues(t *testing.T) {
	t.Parallel()
	var f *settings.File
	if v, ok := f.Lookup("PENSTOCK_INPUT"); ok {
		t.Errorf("found %q", v)
	}
	set := func(name, value string) error { t.Errorf("set %s=%s", name, value); return nil }
	if err := f.ExportAWS(os.LookupEnv, set); err != nil {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	const text = `# local mode
A=1
  B = two words
export C="quoted # text"
D='x=y'
E=
F=it's

`
	f, err := settings.Parse("env", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"A": "1", "B": "two words", "C": "quoted # text", "D": "x=y", "E": "", "F": "it's"}
	if !maps.Equal(f.Values, want) {
		t.Errorf("got %q, want %q", f.Values, want)
	}
}

func TestParseReportsAllFaultyLinesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := settings.Parse("x/env", strings.NewReader("nonsense\nA=1\n2B=3\n=4\n"))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`x/env:1: "nonsense" is not NAME=VALUE`, "x/env:3:", "x/env:4:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

func TestParseReportsALineThatIsTooLong(t *testing.T) {
	t.Parallel()
	if _, err := settings.Parse("env", strings.NewReader("A=1\nB="+strings.Repeat("x", 1<<20))); err == nil || !strings.Contains(err.Error(), "env:2") {
		t.Errorf("error is %v, want one of line 2", err)
	}
}

func TestWriteFileIsReadBackUnchangedAndIsPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), settings.FileName)
	values := map[string]string{"PENSTOCK_MODEL": "/a dir/$HOME/digits", "AWS_REGION": "us-east-1", "EMPTY": "", "COMMENT": "a #b"}
	if err := settings.WriteFile(path, "two\nlines", values); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := settings.Parse(path, f)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got.Values, values) {
		t.Errorf("read back %q, want %q", got.Values, values)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("mode is %v", mode)
	}
}

func TestWriteFileRefusesWhatItCouldNotReadBack(t *testing.T) {
	t.Parallel()
	for _, values := range []map[string]string{{"A": "two\nlines"}, {"A": "it's"}, {"not a name": "x"}} {
		if err := settings.WriteFile(filepath.Join(t.TempDir(), "env"), "", values); err == nil {
			t.Errorf("%q was written", values)
		}
	}
}

// A person who works with AWS has its variables in the shell, and they must not
// be taken to the servers of local mode.
func TestExportAWS(t *testing.T) {
	t.Parallel()
	const endpoint = "http://127.0.0.1:1"
	local := map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": endpoint,
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "secret", "PENSTOCK_INPUT": "s3://in",
	}
	set := func(base map[string]string, more ...string) map[string]string {
		all := maps.Clone(base)
		delete(all, "PENSTOCK_INPUT")
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	for _, test := range []struct {
		name            string
		file, env, want map[string]string
	}{
		{"an empty environment takes all of AWS", local, nil, set(local)},
		{
			"servers of the file's have its region, its credentials, and no others",
			local,
			map[string]string{"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "mine", "AWS_SECRET_ACCESS_KEY": "mine", "AWS_SESSION_TOKEN": "mine", "AWS_PROFILE": "work"},
			set(local, "AWS_SESSION_TOKEN", "", "AWS_PROFILE", ""),
		},
		{
			"the same when a shell has read the file",
			local,
			map[string]string{"AWS_ENDPOINT_URL_S3": endpoint, "AWS_SESSION_TOKEN": "mine"},
			set(local, "AWS_SESSION_TOKEN", ""),
		},
		{
			"another endpoint leaves all that is set",
			local,
			map[string]string{"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:2", "AWS_REGION": "eu-west-1", "AWS_PROFILE": "work"},
			map[string]string{"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "secret"},
		},
		{
			"servers without credentials in the file have the environment's",
			map[string]string{"AWS_ENDPOINT_URL_S3": endpoint, "AWS_REGION": "us-east-1"},
			map[string]string{"AWS_REGION": "eu-west-1", "AWS_SESSION_TOKEN": "mine", "AWS_PROFILE": "work"},
			map[string]string{"AWS_ENDPOINT_URL_S3": endpoint, "AWS_REGION": "us-east-1"},
		},
		{
			"without an endpoint what is set stays",
			map[string]string{"AWS_REGION": "us-east-1", "AWS_PROFILE": "file"},
			map[string]string{"AWS_REGION": "eu-west-1"},
			map[string]string{"AWS_PROFILE": "file"},
		},
		{
			"without an endpoint credentials are not mixed",
			map[string]string{"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"},
			map[string]string{"AWS_SECRET_ACCESS_KEY": "mine"},
			map[string]string{"AWS_REGION": "us-east-1"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := map[string]string{}
			set := func(name, value string) error { got[name] = value; return nil }
			file := &settings.File{Path: "env", Values: test.file}
			if err := file.ExportAWS(from(test.env), set); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, test.want) {
				t.Errorf("set %q, want %q", got, test.want)
			}
		})
	}
	fault := errors.New("no")
	file := &settings.File{Path: "env", Values: local}
	if err := file.ExportAWS(from(nil), func(string, string) error { return fault }); !errors.Is(err, fault) {
		t.Errorf("error is %v, want that of set", err)
	}
}
