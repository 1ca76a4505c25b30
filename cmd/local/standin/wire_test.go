package standin_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/penstock/penstock/cmd/local/standin"
	"github.com/penstock/penstock/cmd/local/standin/broker"
	psqs "github.com/penstock/penstock/queue/sqs"
)

// endpoint is another implementation of SQS to run the tests of this file
// against, such as http://127.0.0.1:9324 of an ElasticMQ.
var endpoint = os.Getenv("SQS_ENDPOINT")

// wire is an SDK client on a queue of its own.
type wire struct {
	*testing.T
	*sqs.Client
	handler *standin.Handler // nil with another endpoint
	url     *string
	name    string
}

// onWire gives a test a queue whose name ends in the suffix.
func onWire(t *testing.T, suffix string, attributes map[string]string) *wire {
	t.Helper()
	if endpoint == "" {
		w := onStandIn(t)
		w.name = "wire" + suffix
		w.url = w.create(w.name, attributes)
		return w
	}
	w := &wire{T: t, Client: client(endpoint), name: fmt.Sprintf("q%d%s", time.Now().UnixNano(), suffix)}
	w.url = w.create(w.name, attributes)
	return w
}

// onStandIn gives a test a queue of the stand-in, whatever endpoint says.
func onStandIn(t *testing.T) *wire {
	t.Helper()
	url, h := serve(t, standin.Config{})
	w := &wire{T: t, Client: client(url), handler: h, name: "q"}
	w.url = w.create(w.name, nil)
	return w
}

// serve starts a stand-in in memory.
func serve(t testing.TB, config standin.Config) (string, *standin.Handler) {
	t.Helper()
	b, err := broker.New(broker.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := standin.New(b, config)
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		b.EndPolls()
		server.Close()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return server.URL, h
}

func client(endpoint string, more ...func(*sqs.Options)) *sqs.Client {
	return sqs.New(sqs.Options{
		BaseEndpoint: &endpoint,
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider("key", "secret", ""),
		Retryer:      aws.NopRetryer{},
	}, append(more, psqs.WholeReplies)...)
}

func (w *wire) create(name string, attributes map[string]string) *string {
	w.Helper()
	if strings.HasSuffix(name, ".fifo") {
		if attributes == nil {
			attributes = make(map[string]string)
		}
		attributes["FifoQueue"] = "true"
	}
	out, err := w.CreateQueue(w.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if endpoint != "" {
			_, _ = w.DeleteQueue(context.WithoutCancel(w.Context()), &sqs.DeleteQueueInput{QueueUrl: out.QueueUrl})
		}
	})
	return out.QueueUrl
}

func (w *wire) send(body string) *sqs.SendMessageOutput {
	w.Helper()
	out, err := w.SendMessage(w.Context(), &sqs.SendMessageInput{QueueUrl: w.url, MessageBody: &body})
	if err != nil {
		w.Fatal(err)
	}
	return out
}

func (w *wire) receive(max, wait int32) []types.Message {
	w.Helper()
	out, err := w.ReceiveMessage(w.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: w.url, MaxNumberOfMessages: max, WaitTimeSeconds: wait, VisibilityTimeout: 30,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
		MessageAttributeNames:       []string{"All"},
	})
	if err != nil {
		w.Fatal(err)
	}
	return out.Messages
}

func (w *wire) attributes(url *string) map[string]string {
	w.Helper()
	out, err := w.GetQueueAttributes(w.Context(), &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll}})
	if err != nil {
		w.Fatal(err)
	}
	return out.Attributes
}

// refuses checks for an error of the SDK's own type. Other implementations
// have their own ideas of which: they have to refuse, though.
func refuses[E error](w *wire, err error) {
	w.Helper()
	if endpoint != "" {
		if _, ok := errors.AsType[smithy.APIError](err); !ok {
			w.Errorf("error is %v, want one of the API", err)
		}
		return
	}
	if _, ok := errors.AsType[E](err); !ok {
		var want E
		w.Errorf("error is %v, want a %T", err, want)
	}
}

// refusesWith checks for an error that the SDK has no type for.
func (w *wire) refusesWith(err error, code string) {
	w.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if endpoint != "" && ok {
		return
	}
	if !ok || e.ErrorCode() != code || e.ErrorFault() != smithy.FaultClient {
		w.Errorf("error is %v, want %s of the client", err, code)
	}
}

func TestQueueLifeCycle(t *testing.T) {
	w := onWire(t, "", map[string]string{"VisibilityTimeout": "45"})
	same := w.create(w.name, map[string]string{"VisibilityTimeout": "45"})
	if *same != *w.url {
		t.Errorf("creating it again answers %s, want %s", *same, *w.url)
	}
	_, err := w.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &w.name, Attributes: map[string]string{"VisibilityTimeout": "46"}})
	refuses[*types.QueueNameExists](w, err)
	found, err := w.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: &w.name})
	if err != nil || *found.QueueUrl != *w.url {
		t.Errorf("its URL is %v (%v), want %s", found, err, *w.url)
	}
	if _, err := w.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: w.url, Attributes: map[string]string{"VisibilityTimeout": "50"}}); err != nil {
		t.Error(err)
	}
	a := w.attributes(w.url)
	if a["VisibilityTimeout"] != "50" || !strings.HasSuffix(a["QueueArn"], ":"+w.name) || a["ApproximateNumberOfMessages"] != "0" {
		t.Errorf("attributes are %v", a)
	}
	if _, err := w.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: w.url}); err != nil {
		t.Error(err)
	}
	_, err = w.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: &w.name})
	refuses[*types.QueueDoesNotExist](w, err)
	if e, ok := errors.AsType[smithy.APIError](err); ok && endpoint == "" && e.ErrorCode() != "AWS.SimpleQueueService.NonExistentQueue" {
		t.Errorf("its code is %s, want the Query protocol's", e.ErrorCode())
	}
	_, err = w.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: w.url, MessageBody: new("m")})
	refuses[*types.QueueDoesNotExist](w, err)
}

func TestListQueuesByPrefix(t *testing.T) {
	w := onWire(t, "-a", nil)
	second := w.create(w.name+"b", nil)
	out, err := w.ListQueues(t.Context(), &sqs.ListQueuesInput{QueueNamePrefix: &w.name})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(slices.Values(out.QueueUrls)), []string{*w.url, *second}; !slices.Equal(got, want) {
		t.Errorf("queues are %v, want %v", got, want)
	}
}

func TestQueueAttributesAreChecked(t *testing.T) {
	w := onWire(t, "", nil)
	set := func(name, value string) error {
		_, err := w.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: w.url, Attributes: map[string]string{name: value}})
		return err
	}
	refuses[*types.InvalidAttributeName](w, set("NoSuchAttribute", "1"))
	if endpoint != "" {
		return // ElasticMQ takes what follows
	}
	for name, value := range map[string]string{
		"VisibilityTimeout":             "43201",
		"MessageRetentionPeriod":        "59",
		"DelaySeconds":                  "901",
		"ReceiveMessageWaitTimeSeconds": "x",
		"MaximumMessageSize":            "1048577",
		"RedriveAllowPolicy":            "{}",
		"SqsManagedSseEnabled":          "yes",
	} {
		refuses[*types.InvalidAttributeValue](w, set(name, value))
	}
	_, err := w.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: new("no spaces")})
	w.refusesWith(err, "InvalidParameterValue")
}

func TestPurge(t *testing.T) {
	w := onWire(t, "", nil)
	w.send("m")
	if _, err := w.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: w.url}); err != nil {
		t.Fatal(err)
	}
	if got := w.receive(1, 0); len(got) != 0 {
		t.Error("a purged message was received")
	}
	if endpoint == "" {
		_, err := w.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: w.url})
		refuses[*types.PurgeQueueInProgress](w, err)
	}
}

func TestTags(t *testing.T) {
	w := onWire(t, "", nil)
	if _, err := w.TagQueue(t.Context(), &sqs.TagQueueInput{QueueUrl: w.url, Tags: map[string]string{"a": "1", "b": "2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.UntagQueue(t.Context(), &sqs.UntagQueueInput{QueueUrl: w.url, TagKeys: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	out, err := w.ListQueueTags(t.Context(), &sqs.ListQueueTagsInput{QueueUrl: w.url})
	if err != nil || !maps.Equal(out.Tags, map[string]string{"b": "2"}) {
		t.Errorf("tags are %v (%v), want b=2", out, err)
	}
}
