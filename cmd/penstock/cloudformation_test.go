package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/penstock/penstock/cmd/internal/settings"
)

func TestAStacksOutputsAreTheSettings(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"submit -stack mine -no-wait a.png", "submit a.png -no-wait --stack=mine", "-stack mine submit -no-wait a.png"} {
		c := setup(t, map[string]string{"PENSTOCK_INPUT": "s3://penstock/env/"})
		c.file(t, "a.png", "7")
		c.file(t, settings.FileName, "PENSTOCK_INPUT=s3://penstock/file/\nAWS_ENDPOINT_URL=http://127.0.0.1:1\n")
		c.outputs = func(_ context.Context, name string) (map[string]string, error) {
			return map[string]string{"Input": "s3://penstock/" + name + "/", "Output": "s3://penstock/out/", "Failure": "s3://penstock/failed/", "QueueUrl": "http://sqs/1/q"}, nil
		}
		code, stdout, stderr := c.call(t, strings.Fields(args)...)
		if code != exitOK || stdout != "s3://penstock/mine/a.png\n" || stderr != "" {
			t.Errorf("%s: exit code %d, standard output %q, standard error %q", args, code, stdout, stderr)
		}
		if got := c.vars["AWS_ENDPOINT_URL"]; got != "" {
			t.Errorf("%s: another installation's AWS_ENDPOINT_URL=%s was used", args, got)
		}
	}
	c := setup(t, places)
	c.file(t, "a.png", "7")
	c.outputs = func(context.Context, string) (map[string]string, error) { return map[string]string{"Bucket": "x"}, nil }
	if code, _, stderr := c.call(t, "submit", "-stack", "other", "a.png"); code != exitUsage || !strings.Contains(stderr, "is it Penstock's?") {
		t.Errorf("exit code %d, standard error %q", code, stderr)
	}
}

func TestOutputsNameVariables(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]string{"QueueUrl": "PENSTOCK_QUEUE_URL", "DeadLetterUrl": "PENSTOCK_DEAD_LETTER_URL", "Input": "PENSTOCK_INPUT", "BatchQueueUrl": "PENSTOCK_BATCH_QUEUE_URL"} {
		if got := stackVariable(output); got != want {
			t.Errorf("%s is %s, want %s", output, got, want)
		}
	}
}

func TestStacksAreLookedUpInCloudFormation(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		w.Header().Set("Content-Type", "text/xml")
		if r.Form.Get("Action") != "DescribeStacks" || r.Form.Get("StackName") != "mine" {
			if r.Form.Get("StackName") == "secret" {
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprint(w, `<ErrorResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not for you</Message></Error></ErrorResponse>`)
				return
			}
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `<ErrorResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id %s does not exist</Message></Error></ErrorResponse>`, r.Form.Get("StackName"))
			return
		}
		fmt.Fprint(w, `<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks><member><StackName>mine</StackName><StackStatus>CREATE_COMPLETE</StackStatus><CreationTime>2026-01-01T00:00:00Z</CreationTime>
<Outputs><member><OutputKey>Input</OutputKey><OutputValue>s3://up/in/</OutputValue></member><member><OutputKey>QueueUrl</OutputKey><OutputValue>http://q</OutputValue></member></Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`)
	}))
	defer server.Close()
	for _, v := range os.Environ() { // whose it is
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_CLOUDFORMATION": server.URL, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
		"AWS_CONFIG_FILE": "/none", "AWS_SHARED_CREDENTIALS_FILE": "/none",
	} {
		t.Setenv(name, value)
	}
	got, err := stackOutputs(t.Context(), "mine")
	if err != nil || len(got) != 2 || got["Input"] != "s3://up/in/" || got["QueueUrl"] != "http://q" {
		t.Errorf("the outputs are %v, %v", got, err)
	}
	if _, err := stackOutputs(t.Context(), "other"); err == nil || !strings.Contains(err.Error(), "Stack with id other does not exist, in eu-west-1") {
		t.Errorf("the error is %v", err)
	}
	if _, err := stackOutputs(t.Context(), "secret"); err == nil || err.Error() != "-stack: read the outputs of the stack secret: AccessDenied: not for you; these credentials need cloudformation:DescribeStacks" {
		t.Errorf("the error is %v", err)
	}
	t.Setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", "http://127.0.0.1:1")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	if _, err := stackOutputs(t.Context(), "mine"); err == nil || err.Error() != "-stack: read the outputs of the stack mine: dial tcp 127.0.0.1:1: connect: connection refused" {
		t.Errorf("the error is %v", err)
	}
}
