//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/penstock/penstock/cmd/internal/clients"
	"github.com/penstock/penstock/cmd/internal/clients/clientstest"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/mem"
)

// queues answers GetQueueAttributes of the queues that there are, and of those
// that the caller may not look at. The redrive target of "redriven" is one.
func queues(there, forbidden string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body strings.Builder
		_ = r.Write(&body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		code := "QueueDoesNotExist"
		switch {
		case r.Header.Get("X-Amz-Target") == "AmazonSQS.GetQueueUrl":
			code = "AccessDenied"
		case strings.Contains(body.String(), `/0/redriven"`):
			fmt.Fprintf(w, `{"Attributes":{"QueueArn":"arn:aws:sqs:us-east-1:0:q","RedrivePolicy":"{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:0:%s\",\"maxReceiveCount\":100}"}}`, forbidden)
			return
		case strings.Contains(body.String(), "/0/"+there+`"`):
			fmt.Fprint(w, `{"Attributes":{"QueueArn":"arn:aws:sqs:us-east-1:0:q","VisibilityTimeout":"30"}}`)
			return
		case strings.Contains(body.String(), "/0/"+forbidden+`"`):
			code = "AccessDenied"
		}
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":"com.amazonaws.sqs#%s","message":"no"}`, code)
	})
}

// connected gives clients of the queue "live", and of "shut", which forbids.
func connected(t *testing.T) (c *clients.Clients, url string) {
	t.Helper()
	server := httptest.NewServer(queues("live", "shut"))
	t.Cleanup(server.Close)
	clientstest.Environment(t, "AWS_REGION", "us-east-1", "AWS_ENDPOINT_URL", server.URL)
	c, err := clients.Open(t.Context(), clients.Options{Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return c, server.URL
}

func TestAWorkerThatMayNotFindItsDeadLetterQueueSaysWhatToDo(t *testing.T) {
	c, server := connected(t)
	for flag, want := range map[string]string{
		"queue-url":       "allow sqs:GetQueueUrl on it, or set dead-letter-url",
		"batch-queue-url": "allow sqs:GetQueueUrl on it", // dead-letter-url is no help there
	} {
		_, _, err := openQueue(t.Context(), c, flag, server+"/0/redriven", "", zap.NewNop())
		if err == nil || !strings.HasSuffix(err.Error(), "; "+want) || !strings.Contains(err.Error(), "arn:aws:sqs:us-east-1:0:shut") {
			t.Errorf("%s: %v, want the queue and %q", flag, err, want)
		}
	}
}

func TestAQueueThatIsNotThereEndsTheStartAsAFaultOfTheSettings(t *testing.T) {
	c, server := connected(t)
	for _, test := range []struct{ queue, deadLetters, want string }{
		{"live", "", ""},
		{"live", "shut", ""}, // a role that may only send to it can't ask
		{"none", "", "queue-url: there is no queue "},
		{"live", "none", "dead-letter-url: there is no queue "},
		{"live", "live", "dead-letter-url is the queue itself"},
	} {
		url := func(name string) string {
			if name == "" {
				return ""
			}
			return server + "/0/" + name
		}
		_, letters, err := openQueue(t.Context(), c, "queue-url", url(test.queue), url(test.deadLetters), zap.NewNop())
		_, fault := errors.AsType[settingsError](err)
		switch {
		case test.want == "" && (err != nil || (letters != nil) != (test.deadLetters != "")):
			t.Errorf("%+v gave %v and the dead-letter queue %v", test, err, letters)
		case test.want != "" && (!fault || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%+v gave %v", test, err)
		}
	}
}

// careless is a store that knows no conditions.
type careless struct{ *mem.Store }

func (c careless) Put(ctx context.Context, ref storage.Ref, body []byte, opts storage.PutOptions) (storage.Info, error) {
	opts.IfMatch, opts.IfNoneMatch = "", false
	return c.Store.Put(ctx, ref, body, opts)
}

func TestAStoreThatIgnoresConditionsIsWarnedOfAndNothingIsLeftInAny(t *testing.T) {
	state := storage.Ref{Bucket: "bucket", Key: ".penstock/"}
	for name, wrap := range map[string]func(*mem.Store) storage.Writer{
		"ignores them": func(s *mem.Store) storage.Writer { return careless{s} },
		"heeds them":   func(s *mem.Store) storage.Writer { return s },
	} {
		store := mem.New("bucket")
		core, logs := observer.New(zap.InfoLevel)
		checkStore(t.Context(), wrap(store), state, zap.New(core))
		if warned := logs.FilterLevelExact(zap.ErrorLevel).Len() == 1; warned != (name == "ignores them") {
			t.Errorf("of a store that %s: %v", name, logs.All())
		}
		for info := range store.List(t.Context(), state, "") {
			t.Errorf("in a store that %s %s is left", name, info.Ref)
		}
	}
}
