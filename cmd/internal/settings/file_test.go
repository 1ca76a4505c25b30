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

func TestExportAWSLeavesWhatIsSet(t *testing.T) {
	t.Parallel()
	file := &settings.File{Path: "env", Values: map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "secret", "PENSTOCK_INPUT": "s3://in",
	}}
	for _, test := range []struct {
		name string
		env  map[string]string
		want map[string]string
	}{
		{
			"an empty environment takes all of AWS", nil,
			map[string]string{"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "secret"},
		},
		{
			"what is set stays",
			map[string]string{"AWS_REGION": "eu-west-1"},
			map[string]string{"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "secret"},
		},
		{
			"credentials are not mixed",
			map[string]string{"AWS_SECRET_ACCESS_KEY": "mine"},
			map[string]string{"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := map[string]string{}
			set := func(name, value string) error { got[name] = value; return nil }
			if err := file.ExportAWS(from(test.env), set); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, test.want) {
				t.Errorf("set %q, want %q", got, test.want)
			}
		})
	}
	fault := errors.New("no")
	if err := file.ExportAWS(from(nil), func(string, string) error { return fault }); !errors.Is(err, fault) {
		t.Errorf("error is %v, want that of set", err)
	}
}
