package source

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestParseNamesModelsAndTheirVersions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		setting string
		want    []Named
	}{
		{"models/digits", []Named{{Name: "digits", URI: "models/digits"}}},
		{"/m/digits/2/", []Named{{Name: "digits", URI: "/m/digits/2/"}}},
		{"s3://bucket/a/digits/", []Named{{Name: "digits", URI: "s3://bucket/a/digits/"}}},
		{"s3://bucket", []Named{{Name: "bucket", URI: "s3://bucket"}}},
		{"d=s3://b/m.tar.gz, e=/x", []Named{{Name: "d", URI: "s3://b/m.tar.gz"}, {Name: "e", URI: "/x"}}},
		{"/m/half.tgz", []Named{{Name: "half", URI: "/m/half.tgz"}}},
		{"/m/k=v/digits", []Named{{Name: "digits", URI: "/m/k=v/digits"}}},
		{"s3://b/m/?versions=latest:2", []Named{{Name: "m", URI: "s3://b/m/", Versions: Policy{Latest: 2}}}},
		{"s3://b/m?versions=latest", []Named{{Name: "m", URI: "s3://b/m"}}},
		{"a=/m?versions=3, 04,3,b=/n?versions=all", []Named{
			{Name: "a", URI: "/m", Versions: Policy{Specific: []string{"3", "4"}}}, {Name: "b", URI: "/n", Versions: Policy{All: true}},
		}},
		{"/m.tgz?versions=7,9", nil},
		{"s3://b/what?/m", []Named{{Name: "m", URI: "s3://b/what?/m"}}},
		{"a=/m,7", []Named{{Name: "a", URI: "/m"}, {Name: "7", URI: "7"}}},
		{"/m.tgz?versions=7", []Named{{Name: "m", URI: "/m.tgz", Versions: Policy{Specific: []string{"7"}}}}},
	} {
		got, err := Parse(c.setting)
		if (err != nil) != (c.want == nil) || !reflect.DeepEqual(got, c.want) {
			t.Errorf("Parse(%q) = %v, %v; want %v", c.setting, got, err, c.want)
		}
	}
}

func TestParseReportsAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	for setting, words := range map[string][]string{
		"":                            {"none is given"},
		" , ":                         {"none is given"},
		"=x,a=":                       {`"=x" is neither`, `"a=" is neither`},
		"/a/m,/b/m":                   {`two are named "m"`, "NAME=URI", "?versions=1,2"},
		"a@b=/m":                      {`the name "a@b" has an @`},
		"/m?versions=,/n?versions=x":  {"/m: ?versions= is none of latest, latest:N", "/n: ?versions=x is none"},
		"/m?versions=latest:0":        {"latest:0 is none of"},
		"/m?versions=newest":          {"newest is none of"},
		"/m.tar.gz?versions=all":      {"an archive is served in one version"},
		"/m.tar.gz?versions=latest:2": {"an archive is served in one version"},
	} {
		_, err := Parse(setting)
		if err == nil {
			t.Errorf("Parse(%q) is no error", setting)
			continue
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("Parse(%q): %v, want %q in it", setting, err, w)
			}
		}
	}
}

func TestAPolicyIsWrittenAsItIsRead(t *testing.T) {
	t.Parallel()
	for s, most := range map[string]int{"latest": 1, "latest:3": 3, "4": 1, "3,4": 2, "all": math.MaxInt} {
		p, err := ParsePolicy(s)
		if err != nil || p.String() != s || p.Most() != most {
			t.Errorf("ParsePolicy(%q) = %v, %v, at most %d", s, p, err, p.Most())
		}
	}
	p := Policy{Specific: []string{"3"}}
	if !p.Serves("3") || p.Serves("4") || !(Policy{}).Serves("4") {
		t.Error("Serves is wrong")
	}
}
