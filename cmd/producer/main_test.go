package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/penstock/penstock/cmd/internal/clients/clientstest"
	"github.com/penstock/penstock/cmd/internal/settings"
)

// env makes a lookup of the variables.
func env(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

func TestRunReportsAllFaultsOfTheSettingsAtOnceAndDoesNotStart(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	code := run(t.Context(), env(map[string]string{"PENSTOCK_OUTPUT": "out"}), nil, &stderr, func(any) { t.Error("it started") })
	if code == 0 {
		t.Error("exit code 0")
	}
	var line struct{ Level, Msg, Error string }
	if err := json.Unmarshal(stderr.Bytes(), &line); err != nil {
		t.Fatalf("it logged %q: %v", stderr.String(), err)
	}
	for _, setting := range []string{"queue-url: ", "input: ", "output: ", "failure: "} {
		if !strings.Contains(line.Error, setting) {
			t.Errorf("the error does not name %q: %s", setting, line.Error)
		}
	}
}

func TestAMisspeltSettingIsWarnedOf(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	run(t.Context(), env(nil), []string{"PENSTOCK_QUEUE_ULR=x", "PENSTOCK_MAX_BATCH_SIZE=7"}, &stderr, func(any) { t.Error("it started") })
	if log := stderr.String(); strings.Count(log, `"level":"warn"`) != 1 || !strings.Contains(log, "PENSTOCK_QUEUE_ULR is set") || !strings.Contains(log, "did you mean PENSTOCK_QUEUE_URL?") {
		t.Errorf("it logged\n%s", log)
	}
}

func TestEverySettingIsKnown(t *testing.T) {
	t.Parallel()
	asked := 0
	_, _ = readSettings(func(name string) (string, bool) {
		asked++
		if !settings.IsKnown(name) {
			t.Errorf("%s is read, and would be warned of", name)
		}
		return "", false
	})
	if asked < 15 {
		t.Errorf("only %d settings are read", asked)
	}
}

func TestRunEnqueuesByAWSsOwnSettings(t *testing.T) {
	var sent []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent = append(sent, string(body))
		io.WriteString(w, `{"Successful":[{"Id":"0","MessageId":"1"}]}`)
	}))
	defer server.Close()
	clientstest.Environment(t, "AWS_REGION", "us-east-1", "AWS_ENDPOINT_URL_SQS", server.URL)
	var stderr bytes.Buffer
	var handle func(context.Context, json.RawMessage) (any, error)
	run(t.Context(), env(map[string]string{
		"PENSTOCK_QUEUE_URL": server.URL + "/000000000000/requests",
		"PENSTOCK_INPUT":     "s3://uploads/in/", "PENSTOCK_OUTPUT": "s3://uploads/out/", "PENSTOCK_FAILURE": "s3://uploads/failed/",
	}), nil, &stderr, func(handler any) {
		handle, _ = handler.(func(context.Context, json.RawMessage) (any, error))
	})
	if handle == nil {
		t.Fatalf("it did not start: %s", stderr.String())
	}
	_, err := handle(t.Context(), json.RawMessage(`{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"uploads"},"object":{"key":"in/a.png","eTag":"e","size":1}}}]}`))
	if err == nil && len(sent) == 1 && strings.Contains(sent[0], "s3://uploads/in/a.png") {
		return
	}
	t.Errorf("it sent %q, error %v", sent, err)
}

func TestRequestsExpireThoughTheDeadLetterQueueCanNotBeFound(t *testing.T) {
	listed := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Amz-Target") != "":
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"__type":"com.amazonaws.sqs#AccessDeniedException","message":"no"}`)
		case r.URL.Query().Has("list-type"):
			listed = listed || r.URL.Query().Get("prefix") == ".penstock/requests/"
			io.WriteString(w, `<ListBucketResult></ListBucketResult>`)
		case r.Method == http.MethodPut:
		default:
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `<Error><Code>NoSuchKey</Code></Error>`)
		}
	}))
	defer server.Close()
	clientstest.Environment(t, "AWS_REGION", "us-east-1", "AWS_ENDPOINT_URL", server.URL)
	run(t.Context(), env(map[string]string{
		"PENSTOCK_QUEUE_URL": server.URL + "/000000000000/requests",
		"PENSTOCK_INPUT":     "s3://uploads/in/", "PENSTOCK_OUTPUT": "s3://uploads/out/", "PENSTOCK_FAILURE": "s3://uploads/failed/",
	}), nil, io.Discard, func(handler any) {
		_, err := handler.(func(context.Context, json.RawMessage) (any, error))(t.Context(), json.RawMessage(`{"sweep":true}`))
		if err == nil || !strings.Contains(err.Error(), "PENSTOCK_DEAD_LETTER_URL") {
			t.Errorf("it does not say that the dead letters were left alone: %v", err)
		}
	})
	if !listed {
		t.Error("the records were not looked at")
	}
}
