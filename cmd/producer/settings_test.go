package main

import (
	"maps"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/penstock/penstock/cmd/internal/producer"
	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/queue/request"
)

// installed are the settings that every producer needs, and more.
func installed(more map[string]string) settings.Lookup {
	all := map[string]string{
		"PENSTOCK_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/requests",
		"PENSTOCK_INPUT":     "s3://uploads/in/", "PENSTOCK_OUTPUT": "s3://results/out/", "PENSTOCK_FAILURE": "s3://results/failed/",
	}
	maps.Copy(all, more)
	return func(name string) (string, bool) {
		v, ok := all[name]
		return v, ok
	}
}

func TestSettingsAreRead(t *testing.T) {
	t.Parallel()
	s, err := readSettings(installed(map[string]string{
		"PENSTOCK_FILTER_PREFIX": "in/a/, in/b/", "PENSTOCK_FILTER_SUFFIX": ".png,.jpg,", "PENSTOCK_FILTER_MIN_SIZE": "1B", "PENSTOCK_FILTER_MAX_SIZE": "64MiB",
		"PENSTOCK_FILTER_CONTENT_TYPE": "Image/PNG, text/*", "PENSTOCK_GROUP_BY": "folder", "PENSTOCK_BASE_PATH": "/ml", "PENSTOCK_ALLOW_ANONYMOUS": "true",
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := producer.Filter{
		Prefixes: []string{"in/a/", "in/b/"}, Suffixes: []string{".png", ".jpg"}, MinSize: 1, MaxSize: 64 << 20, ContentTypes: []string{"image/png", "text/*"},
	}
	if !reflect.DeepEqual(s.filter, want) || s.basePath != "/ml" || !s.allowAnonymous || s.Grouping != request.GroupFolder {
		t.Errorf("read %+v", s)
	}
	if s, err := readSettings(installed(nil)); err != nil || !reflect.DeepEqual(s.filter, producer.Filter{}) || s.allowAnonymous {
		t.Errorf("with nothing more it is %+v, %v", s, err)
	}
}

func TestAllFaultsOfTheSettingsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := readSettings(installed(map[string]string{
		"PENSTOCK_QUEUE_URL": "requests", "PENSTOCK_OUTPUT": "s3://uploads/in/out/",
		"PENSTOCK_FILTER_PREFIX": "out/", "PENSTOCK_FILTER_MIN_SIZE": "2KB", "PENSTOCK_FILTER_MAX_SIZE": "1KB", "PENSTOCK_FILTER_CONTENT_TYPE": "png",
		"PENSTOCK_GROUP_BY": "key", "PENSTOCK_ALLOW_ANONYMOUS": "perhaps", "PENSTOCK_DEAD_LETTER_URL": "dead", "PENSTOCK_ENDPOINTS": "a b", "PENSTOCK_MAX_WAIT": "1",
		"PENSTOCK_TOKEN_FILE": "/nowhere/tokens", "PENSTOCK_KEY_FILE": "/nowhere/keys",
	}))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"queue-url: ", "output: s3://uploads/in/out/ lies in input", "filter-prefix: ", "filter-min-size: ", `filter-content-type: "png"`, `group-by: "key"`, "allow-anonymous: ",
		"dead-letter-url: ", "endpoints: ", "max-wait: ", "token-file: ", "key-file: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

// TestAConfigurationThatFeedsItselfIsRefused: results below an input location
// would come back as inputs.
func TestAConfigurationThatFeedsItselfIsRefused(t *testing.T) {
	t.Parallel()
	for _, places := range [][4]string{
		{"s3://bucket", "s3://bucket/out/", "s3://other/failed/", ""},
		{"s3://bucket/in/", "s3://other/out/", "s3://bucket/in/failed/", ""},
		{"s3://bucket/in/a/", "s3://bucket/in/", "s3://other/failed/", ""},
		{"s3://bucket/in/", "s3://other/out/", "s3://other/failed/", "s3://bucket/in/state/"},
		{"s3://other/in/,s3://bucket/", "s3://bucket/out/", "s3://third/failed/", ""},
	} {
		_, err := readSettings(installed(map[string]string{
			"PENSTOCK_INPUT": places[0], "PENSTOCK_OUTPUT": places[1], "PENSTOCK_FAILURE": places[2], "PENSTOCK_STATE": places[3],
		}))
		if err == nil || !strings.Contains(err.Error(), "lies in") {
			t.Errorf("%q gives the error %v", places, err)
		}
	}
}

func TestTheDocumentationHasEverySetting(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/producer.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{
		settings.QueueURL, settings.Input, settings.Output, settings.Failure, settings.State, settings.GroupBy,
		filterPrefix, filterSuffix, filterMinSize, filterMaxSize, filterContentType,
		basePath, allowAnonymous, deadLetterURL, endpoints, maxWait, token, tokenFile, keyFile,
	} {
		if !strings.Contains(string(doc), "`"+settings.Name(flag)+"`") {
			t.Errorf("docs/producer.md does not speak of %s", settings.Name(flag))
		}
	}
}
