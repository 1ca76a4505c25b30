package storage_test

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/storage"
)

func TestParseRefTakesTheKeyAsItIs(t *testing.T) {
	for uri, want := range map[string]storage.Ref{
		"s3://bucket":                     {Bucket: "bucket"},
		"s3://bucket/":                    {Bucket: "bucket"},
		"s3://bucket/key":                 {Bucket: "bucket", Key: "key"},
		"s3://bucket/a/b/":                {Bucket: "bucket", Key: "a/b/"},
		"s3://bucket//a":                  {Bucket: "bucket", Key: "/a"},
		"s3://bucket/a b+c%20d?e=f#g":     {Bucket: "bucket", Key: "a b+c%20d?e=f#g"},
		"s3://bucket/a?versionId=1":       {Bucket: "bucket", Key: "a?versionId=1"},
		"s3://bucket/\u00e9\U0001F600\n":  {Bucket: "bucket", Key: "\u00e9\U0001F600\n"},
		"s3://my.old_Bucket-1/s3://x/y":   {Bucket: "my.old_Bucket-1", Key: "s3://x/y"},
		"s3://bucket/" + longest:          {Bucket: "bucket", Key: longest},
		"s3://" + strings.Repeat("b", 63): {Bucket: strings.Repeat("b", 63)},
	} {
		got, err := storage.ParseRef(uri)
		if err != nil || got != want {
			t.Errorf("ParseRef(%q) gave %+v and %v, want %+v", uri, got, err, want)
		}
	}
}

var longest = strings.Repeat("k", storage.MaxKeyBytes)

func TestParseRefRefusesWhatIsNoRef(t *testing.T) {
	for _, uri := range []string{
		"", "bucket/key", "S3://bucket/key", "https://bucket/key", "s3:/bucket/key",
		"s3://", "s3:///key", "s3://ab/key", "s3://" + strings.Repeat("b", 64) + "/key",
		"s3://buck et/key", "s3://b\u00fccket/key", "s3://bucket?x/key", "s3://user@bucket/key",
		"s3://bucket/" + longest + "k", "s3://bucket/a\xff",
	} {
		if got, err := storage.ParseRef(uri); err == nil || got != (storage.Ref{}) {
			t.Errorf("ParseRef(%q) gave %+v and %v, want an error", uri, got, err)
		}
	}
}

func TestParseRefSaysWhatIsWrong(t *testing.T) {
	_, err := storage.ParseRef("s3://b_/key")
	const want = `"s3://b_/key" is not an S3 URI: the bucket name "b_" must have 3 to 63 characters`
	if err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
}

func TestRefStringNamesTheVersion(t *testing.T) {
	ref := storage.Ref{Bucket: "bucket", Key: "a b"}
	if got, want := ref.String(), "s3://bucket/a b"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	ref.Version = "v1"
	if got, want := ref.String(), "s3://bucket/a b?versionId=v1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestContains(t *testing.T) {
	ref := func(uri string) storage.Ref {
		r, err := storage.ParseRef(uri)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, test := range []struct {
		place, object string
		want          bool
	}{
		{"s3://bucket", "s3://bucket/key", true},
		{"s3://bucket/", "s3://bucket", true},
		{"s3://bucket/in/", "s3://bucket/in/key", true},
		{"s3://bucket/in/", "s3://bucket/in", false},
		{"s3://bucket/in/", "s3://bucket/other/key", false},
		{"s3://bucket/in/key", "s3://bucket/in/key", true},
		{"s3://bucket", "s3://bucket2/key", false},
		{"s3://bucket/in/", "s3://bucket/in/../out/key", false},
		{"s3://bucket/in/", "s3://bucket/in/a/../key", false},
		{"s3://bucket", "s3://bucket/a/..", false},
		{"s3://bucket/in/", "s3://bucket/in/a..b/.../key", true},
	} {
		if got := ref(test.place).Contains(ref(test.object)); got != test.want {
			t.Errorf("%s contains %s: %t, want %t", test.place, test.object, got, test.want)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, uri := range []string{"s3://bucket/key", "s3://bucket", "s3://bucket//a?b#c%20", "s3://", "x", "s3://b\xffb/\xff"} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		ref, err := storage.ParseRef(uri)
		if err != nil {
			return
		}
		if err := ref.Validate(); err != nil {
			t.Errorf("ParseRef(%q) gave %+v, which is not valid: %v", uri, ref, err)
		}
		if again, err := storage.ParseRef(ref.String()); err != nil || again != ref {
			t.Errorf("%q became %+v, and that %+v (%v)", uri, ref, again, err)
		}
	})
}
