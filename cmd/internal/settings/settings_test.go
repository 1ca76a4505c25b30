package settings_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock/penstock/cmd/internal/settings"
)

// from makes a Lookup of the variables.
func from(vars map[string]string) settings.Lookup {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

func TestReadReportsAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := settings.Read(from(map[string]string{
		"PENSTOCK_QUEUE_URL": "my-queue",
		"PENSTOCK_INPUT":     "bucket/in",
		"PENSTOCK_OUTPUT":    "s3://x/out",
	}))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`queue-url: "my-queue" is not the URL of a queue`, `input: "bucket/in"`, `output: "s3://x/out"`, `failure: no location is given`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

func TestReadDefaultsTheStateToTheOutputsBucket(t *testing.T) {
	t.Parallel()
	got, err := settings.Read(from(map[string]string{
		"PENSTOCK_QUEUE_URL": "http://127.0.0.1:1/000000000000/q",
		"PENSTOCK_INPUT":     "s3://in-bucket,s3://more/in/",
		"PENSTOCK_OUTPUT":    "s3://out-bucket/out",
		"PENSTOCK_FAILURE":   "s3://out-bucket/failed/",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if s := got.Locations.State.String(); s != "s3://out-bucket/.penstock/" {
		t.Errorf("state is %s", s)
	}
	if n := len(got.Locations.Inputs); n != 2 {
		t.Errorf("%d input locations, want 2", n)
	}
}

func TestCheckQueueURL(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		url string
		ok  bool
	}{
		{"https://sqs.us-east-1.amazonaws.com/123456789012/requests", true},
		{"http://127.0.0.1:19324/000000000000/penstock", true},
		{"", false},
		{"requests", false},
		{"arn:aws:sqs:us-east-1:123456789012:requests", false},
		{"https://sqs.us-east-1.amazonaws.com/", false},
		{"https:///requests", false},
		{"http://a b/", false},
	} {
		if err := settings.CheckQueueURL(test.url); (err == nil) != test.ok {
			t.Errorf("CheckQueueURL(%q) = %v", test.url, err)
		}
	}
}

func TestOrAsksTheSecondOnlyWhereTheFirstHasNothing(t *testing.T) {
	t.Parallel()
	lookup := from(map[string]string{"A": "1", "EMPTY": ""}).Or(from(map[string]string{"A": "2", "B": "3", "EMPTY": "4"}))
	for name, want := range map[string]string{"A": "1", "B": "3", "EMPTY": ""} {
		if got, ok := lookup(name); got != want || !ok {
			t.Errorf("%s is %q, %v; want %q", name, got, ok, want)
		}
	}
	if _, ok := lookup("C"); ok {
		t.Error("C is set")
	}
}

func ExampleName() {
	fmt.Println(settings.Name("queue-url"))
	// Output: PENSTOCK_QUEUE_URL
}

func TestAccountIsTheOneThatAQueuesURLNames(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://sqs.eu-west-1.amazonaws.com/123456789012/penstock": "123456789012",
		"http://127.0.0.1:9324/000000000000/q":                      "000000000000",
		"http://127.0.0.1:9324/queue/q":                             "",
	} {
		if got := settings.Account(url); got != want {
			t.Errorf("of %s it is %q, want %q", url, got, want)
		}
	}
}
