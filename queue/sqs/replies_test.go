package sqs_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/penstock/penstock/queue/sqs"
)

func TestAServerThatSpeaksAnotherProtocolIsToldAsSuch(t *testing.T) {
	for name, reply := range map[string]http.HandlerFunc{
		"of text": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Bad Request", http.StatusBadRequest) },
		"of XML":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<ErrorResponse/>") },
	} {
		server := httptest.NewServer(reply)
		defer server.Close()
		q := sqs.New(awssqs.New(awssqs.Options{
			Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		}), server.URL+"/000000000000/q")
		if _, err := q.Attributes(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer in SQS's JSON protocol") {
			t.Errorf("of an answer %s is said: %v", name, err)
		}
	}
}

// TestRepliesOfServersThatAreNearAreNotLost makes many calls to a server that
// answers at once, with more than a buffer holds: each is to be sent once.
func TestRepliesOfServersThatAreNearAreNotLost(t *testing.T) {
	var calls atomic.Int64
	reply := `{"Attributes":{"QueueArn":"arn:aws:sqs:us-east-1:000000000000:q","Policy":"` + strings.Repeat("x", 8<<10) + `"}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = io.WriteString(w, reply)
	}))
	defer server.Close()
	q := sqs.New(awssqs.New(awssqs.Options{
		Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}), server.URL+"/000000000000/q")
	const wanted = 2000
	for range wanted {
		if _, err := q.Attributes(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := calls.Load(); n != wanted {
		t.Errorf("%d calls reached the server, want %d: the replies of %d were lost on their way", n, wanted, n-wanted)
	}
}

// TestAClosedBodyOfARequestIsAtItsEnd asks the body for more after it was
// closed, in the way of net/http, which takes an error for a failed request and
// hangs up on the reply.
func TestAClosedBodyOfARequestIsAtItsEnd(t *testing.T) {
	transport := doer(func(r *http.Request) (*http.Response, error) {
		if sent, err := io.ReadAll(r.Body); err != nil || int64(len(sent)) != r.ContentLength {
			t.Errorf("the body gave %d bytes and %v, want %d bytes", len(sent), err, r.ContentLength)
		}
		if err := r.Body.Close(); err != nil {
			t.Error(err)
		}
		if n, err := io.Copy(io.Discard, r.Body); n != 0 || err != nil {
			t.Errorf("after it was closed the body gives %d bytes and the error %v", n, err)
		}
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: r}, nil
	})
	q := sqs.New(awssqs.New(awssqs.Options{
		Region: "us-east-1", BaseEndpoint: new("http://127.0.0.1:1"), HTTPClient: transport,
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}), "http://127.0.0.1:1/000000000000/q")
	if _, err := q.Attributes(t.Context()); err != nil {
		t.Fatal(err)
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }
