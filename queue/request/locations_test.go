package request_test

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func locations(t testing.TB, input, output, failure, state string) request.Locations {
	t.Helper()
	l, err := request.ParseLocations(input, output, failure, state)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func ref(t testing.TB, uri string) storage.Ref {
	t.Helper()
	r, err := storage.ParseRef(uri)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLocationsThatStandApartAreTaken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, input, output, failure, state string
		wantState                           string
	}{
		{"folders of one bucket", "s3://bkt/in", "s3://bkt/out", "s3://bkt/failed", "", "s3://bkt/.penstock/"},
		{"names that begin alike", "s3://bkt/in", "s3://bkt/input", "s3://bkt/in-failed", "", "s3://bkt/.penstock/"},
		{"whole buckets", "s3://in-bkt", "s3://out-bkt", "s3://failed-bkt/", "", "s3://out-bkt/.penstock/"},
		{"a state of its own", "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/failed/", "s3://bkt/state", "s3://bkt/state/"},
		{"a state inside the input", "s3://bkt/", "s3://out-bkt/", "s3://failed-bkt/", "s3://bkt/.penstock/", "s3://bkt/.penstock/"},
		{"a state deep inside the input", "s3://bkt/", "s3://out-bkt/", "s3://failed-bkt/", "s3://bkt/a/.penstock/b", "s3://bkt/a/.penstock/b/"},
		{"several inputs", " s3://bkt/a, s3://bkt/b/ ,s3://other-bkt/,", "s3://bkt/out/", "s3://bkt/failed/", "", "s3://bkt/.penstock/"},
		{"an input bucket called requests", "s3://requests/", "s3://bkt/out/", "s3://bkt/failed/", "", "s3://bkt/.penstock/"},
	} {
		l, err := request.ParseLocations(c.input, c.output, c.failure, c.state)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if l.State.String() != c.wantState {
			t.Errorf("%s: state is %s, want %s", c.name, l.State, c.wantState)
		}
		if err := l.Validate(); err != nil {
			t.Errorf("%s: parsed, but not valid: %v", c.name, err)
		}
	}
}

func TestLocationsReportAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	long := "s3://bkt/" + strings.Repeat("x", storage.MaxKeyBytes/2)
	for _, c := range []struct {
		name, input, output, failure, state string
		want                                []string // the beginnings of the error's lines
	}{
		{"nothing set", "", "", " ", "", []string{"input: no location is given", "output: no location", "failure: no location"}},
		{"no URIs", "bkt/in", "https://bkt/out", "s3://b", "s3:///", []string{`input: "bkt/in" is not an S3 URI`, "output: ", "failure: ", "state: "}},
		{"one for all", "s3://bkt/x", "s3://bkt/x/", "s3://bkt/x", "s3://bkt/x", []string{
			"output: s3://bkt/x/ lies in failure s3://bkt/x/", "output: s3://bkt/x/ lies in state", "output: s3://bkt/x/ lies in input",
			"failure: s3://bkt/x/ lies in state", "failure: s3://bkt/x/ lies in input", "state: s3://bkt/x/ lies in input",
		}},
		{"results below the input", "s3://bkt/", "s3://bkt/out/", "s3://bkt/failed/", "", []string{
			"output: s3://bkt/out/ lies in input s3://bkt/; give each a folder of its own", "failure: s3://bkt/failed/ lies in input s3://bkt/",
		}},
		{"a way up", "s3://bkt/in/", "s3://bkt/in/../out/", "s3://bkt/failed/", "", []string{"output: s3://bkt/in/../out/ has a"}},
		{"an input below the output", "s3://bkt/out/in/", "s3://bkt/out/", "s3://bkt/failed/", "", []string{"input: s3://bkt/out/in/ lies in output s3://bkt/out/"}},
		{"a failure below the output", "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/out/failed/", "", []string{"failure: s3://bkt/out/failed/ lies in output"}},
		{"a state below the output", "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/failed/", "s3://bkt/out/x.penstock/", []string{"state: s3://bkt/out/x.penstock/ lies in output"}},
		{"an output below the state", "s3://bkt/in/", "s3://bkt/.penstock/out/", "s3://bkt/failed/", "", []string{"output: s3://bkt/.penstock/out/ lies in state"}},
		{"an output in the state's place", "s3://bkt/in/", "s3://bkt/.penstock/", "s3://bkt/failed/", "", []string{"output: s3://bkt/.penstock/ lies in state"}},
		{"inputs below each other", "s3://bkt/in/,s3://bkt/in/a/", "s3://bkt/out/", "s3://bkt/failed/", "", []string{"input: s3://bkt/in/ and s3://bkt/in/a/ overlap; name the outer one alone"}},
		{"a bad name and a nesting", "s3://bkt/in/,s3://x", "s3://bkt/in/out/", "s3://bkt/failed/", "", []string{`input: "s3://x" is not an S3 URI`, "output: s3://bkt/in/out/ lies in input"}},
		{"no room for names", "s3://bkt/in/", long, "s3://bkt/failed/", "", []string{"output: " + long + "/ has a key of 513 bytes; at most 512"}},
		{"a bucket called requests among several", "s3://bkt/in/,s3://requests/in/", "s3://bkt/out/", "s3://bkt/failed/", "", []string{`input: a bucket named "requests" can't be one of several`}},
		{"a bucket called jobs among several", "s3://bkt/in/,s3://jobs/in/", "s3://bkt/out/", "s3://bkt/failed/", "", []string{`input: a bucket named "jobs" can't be one of several`}},
	} {
		_, err := request.ParseLocations(c.input, c.output, c.failure, c.state)
		wantLines(t, c.name, err, c.want)
	}
}

func TestLocationsMadeByHandAreHeldToTheSame(t *testing.T) {
	t.Parallel()
	wantLines(t, "none", request.Locations{}.Validate(),
		[]string{"input: no location", "output: no location", "failure: no location", "state: no location"})
	l := locations(t, "s3://bkt/in/", "s3://bkt/out/", "s3://bkt/failed/", "")
	l.Inputs[0].Key = "in"
	l.Output.Version = "v1"
	wantLines(t, "a key that is no folder and a version", l.Validate(),
		[]string{"output: s3://bkt/out/?versionId=v1 names a version", "input: s3://bkt/in is not a folder"})
}

func wantLines(t *testing.T, name string, err error, want []string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want %q", name, want)
		return
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Errorf("%s: %d faults, want %d:\n%v", name, len(lines), len(want), err)
		return
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("%s: fault %d is %q, want %q…", name, i+1, line, want[i])
		}
	}
}

func TestAllowedIsBelowAnInputOrWhereTheFrontDoorKeepsThem(t *testing.T) {
	t.Parallel()
	l := locations(t, "s3://bkt/in,s3://other-bkt/", "s3://out-bkt/", "s3://failed-bkt/", "s3://other-bkt/.penstock/")
	for uri, want := range map[string]bool{
		"s3://bkt/in/a":                                     true,
		"s3://bkt/in/":                                      true,
		"s3://bkt/in2/a":                                    false,
		"s3://bkt/in":                                       false,
		"s3://bkt/a":                                        false,
		"s3://bkt2/in/a":                                    false,
		"s3://out-bkt/a":                                    false,
		"s3://other-bkt/a":                                  true,
		"s3://other-bkt/.penstock/requests/x":               true,
		"s3://other-bkt/.penstock/uploads/x":                true,
		"s3://other-bkt/.penstock/strikes/ab/1":             false,
		"s3://other-bkt/./.penstock/strikes/x":              false, // likewise
		"s3://other-bkt/.penstock/x":                        false,
		"s3://bkt/in/../a":                                  false, // which servers on file systems take for s3://bkt/a
		"s3://other-bkt/.penstock/requests/../strikes/ab/1": false,
	} {
		if got := l.Allowed(ref(t, uri)); got != want {
			t.Errorf("Allowed(%s) = %t, want %t", uri, got, want)
		}
	}
	for _, input := range []storage.Ref{l.RecordOf("a/b"), l.UploadOf("a/b")} {
		if !l.Allowed(input) {
			t.Errorf("%s is not allowed", input)
		}
	}
}
