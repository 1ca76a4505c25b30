package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// accept accepts a request with an id, as the front door does.
func (c *console) accept(t *testing.T, id string) request.Request {
	t.Helper()
	in := intake.Intake{Store: c.store, Queue: c.queue, Locations: c.store.locations}
	a, err := in.Accept(t.Context(), intake.Submission{Request: request.Request{ID: id}, Body: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	return a.Request
}

// finishID commits the result of a request with an id, as a worker does.
func (c *console) finishID(t *testing.T, r request.Request) {
	t.Helper()
	input, err := c.store.Head(t.Context(), r.Input)
	if err != nil {
		t.Fatal(err)
	}
	place := c.store.locations.OutputOf(r)
	p := request.Provenance{Identity: r.Identify(input), InferenceID: r.ID, Input: r.Input, InputETag: input.ETag, Attempts: 1}
	if _, err := c.store.Store.Put(t.Context(), place, []byte(`{"predictions":[[1]]}`), storage.PutOptions{ContentType: "application/json", Metadata: p.Metadata(place)}); err != nil {
		t.Fatal(err)
	}
}

func TestStatusTellsHowFarARequestIs(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	c.upload(t, "x/good.png", "7")
	c.upload(t, "x/bad.png", "7")
	c.upload(t, "slow.png", "7")
	c.accept(t, "order 17")
	c.finishID(t, c.accept(t, "done"))
	for _, test := range []struct {
		target string
		code   int
		says   []string
	}{
		{"s3://penstock/in/x/good.png", exitOK, []string{"succeeded", "s3://penstock/out/x/good.png.out"}},
		{"s3://penstock/in/x/bad.png", exitFailed, []string{"failed", "InvalidShape", "the shape is [1]", "next       give 28 by 28 pixels"}},
		{"s3://penstock/in/slow.png", exitNoResult, []string{"queued", "bin/penstock wait s3://penstock/in/slow.png; if it stays queued, bin/penstock doctor looks why"}},
		{"order 17", exitNoResult, []string{"queued", "bin/penstock wait 'order 17'"}},
		{"done", exitOK, []string{"succeeded", "s3://penstock/out/requests/done.out"}},
	} {
		code, stdout, stderr := c.call(t, "status", test.target)
		for _, want := range test.says {
			if code != test.code || stderr != "" || !strings.Contains(stdout, want) {
				t.Errorf("%s: exit code %d, standard error %q; standard output does not say %q:\n%s", test.target, code, stderr, want, stdout)
			}
		}
	}
}

func TestStatusOfManyIsATableOrLinesOfJSON(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	for i := range statusPage + 1 {
		c.upload(t, fmt.Sprintf("x/%04d.png", i), "7")
	}
	c.upload(t, "x/bad.png", "7")
	code, stdout, stderr := c.call(t, "status", "s3://penstock/in/x/", "nope", "s3://penstock/in/none/")
	if code != exitFailed+1 || strings.Count(stdout, "succeeded") != statusPage+1 || strings.Count(stdout, "request") != 1 || !strings.Contains(stdout, "InvalidShape") {
		t.Errorf("exit code %d, standard output\n%.500s", code, stdout)
	}
	if !strings.Contains(stderr, "penstock: nope: nothing is known of a request with this id") || !strings.Contains(stderr, "penstock: s3://penstock/in/none/: there is no input below it") {
		t.Errorf("standard error %q", stderr)
	}
	_, stdout, _ = c.call(t, "status", "-o", "json", "s3://penstock/in/x/bad.png", "nope")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var bad, none statusLine
	if json.Unmarshal([]byte(lines[0]), &bad) != nil || json.Unmarshal([]byte(lines[1]), &none) != nil {
		t.Fatalf("standard output\n%s", stdout)
	}
	if bad.State != "failed" || bad.Problem.Code != "InvalidShape" || bad.Failure != "s3://penstock/failed/x/bad.png-error.out" || bad.Accepted == nil || bad.Ended == nil {
		t.Errorf("the line is %+v", bad)
	}
	if none.Error == "" || none.State != "" || none.Name != "nope" {
		t.Errorf("the line is %+v", none)
	}
}

func TestRequestsAreWaitedForAndGotByTheirID(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	c.accept(t, "slow")
	c.finishID(t, c.accept(t, "done"))
	const body = `{"predictions":[[1]]}` + "\n"
	for _, test := range []struct {
		args   string
		code   int
		stdout string
		stderr string // its beginning
	}{
		{"get done", exitOK, body, ""},
		{"wait -o json done", exitOK, body, ""},
		{"get slow", exitNoResult, "", "penstock: slow: no result yet: it is queued or running; wait for it: bin/penstock wait slow\n"},
		{"wait -timeout 10ms slow", exitNoResult, "", "penstock: slow: no result after 10ms: it is queued or running; wait on: bin/penstock wait slow\n"},
		{"wait -timeout 1ns slow", exitNoResult, "", "penstock: slow: no result after 1ns: "}, // before the first look
		{"get nope", exitUsage, "", "penstock: nope: nothing is known of a request with this id"},
		{"wait in/a.png", exitUsage, "", "penstock: in/a.png: nothing is known of a request with this id: it was never accepted, or its objects have been deleted since; an upload is named by the s3:// URI"},
	} {
		code, stdout, stderr := c.call(t, strings.Fields(test.args)...)
		if code != test.code || stdout != test.stdout || !strings.HasPrefix(stderr, test.stderr) || (stderr == "") != (test.stderr == "") {
			t.Errorf("%s: exit code %d, standard output %q, standard error %q", test.args, code, stdout, stderr)
		}
	}
}

func TestCancelAsksThatARequestIsNotStarted(t *testing.T) {
	t.Parallel()
	c := setup(t, places)
	c.accept(t, "slow")
	c.finishID(t, c.accept(t, "done"))
	c.upload(t, "slow.png", "7")
	code, stdout, stderr := c.call(t, "cancel", "slow")
	if code != exitOK || stdout != "slow  it is not started any more in ten seconds\n" || stderr != "" {
		t.Errorf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
	if _, err := c.store.Head(t.Context(), c.store.locations.CancelOf("slow")); err != nil {
		t.Error(err)
	}
	if _, stdout, _ := c.call(t, "status", "slow"); !strings.Contains(stdout, "its sender has asked for its cancellation") {
		t.Errorf("its status is\n%s", stdout)
	}
	for args, want := range map[string]string{
		"done":                      "1 penstock: done: it had ended before: it has succeeded\n",
		"nope":                      "2 penstock: nope: nothing is known of a request",
		"s3://penstock/in/slow.png": "2 penstock: cancel: s3://penstock/in/slow.png is an upload, which has no id",
		"":                          "2 penstock: cancel: no URI or id is given",
	} {
		code, stdout, stderr := c.call(t, append([]string{"cancel"}, strings.Fields(args)...)...)
		if got := fmt.Sprint(code, " ", stderr); !strings.HasPrefix(got, want) || stdout != "" {
			t.Errorf("%s: %q, want %q; standard output %q", args, got, want, stdout)
		}
	}
}
