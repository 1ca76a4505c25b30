package standin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/penstock/penstock/cmd/local/standin"
)

// post sends a raw request.
func post(t *testing.T, url, target, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if target != "" {
		req.Header.Set("X-Amz-Target", target)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(out)
}

func TestErrorsHaveTheFormOfTheJSONProtocol(t *testing.T) {
	url, _ := serve(t, standin.Config{})
	// The request too big is so by one byte: were any left unread, the client
	// might be cut off while it sends them, and not see the answer.
	for name, test := range map[string]struct {
		target, body string
		status       int
		kind, query  string
	}{
		"modelled error":    {"AmazonSQS.GetQueueUrl", `{"QueueName":"none"}`, 400, "com.amazonaws.sqs#QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue;Sender"},
		"common error":      {"AmazonSQS.GetQueueUrl", `{}`, 400, "com.amazon.coral.service#MissingParameterException", "MissingParameter;Sender"},
		"broken JSON":       {"AmazonSQS.GetQueueUrl", `{`, 400, "com.amazon.coral.service#SerializationException", "SerializationException;Sender"},
		"wrong type":        {"AmazonSQS.ReceiveMessage", `{"MaxNumberOfMessages":"many"}`, 400, "com.amazon.coral.service#SerializationException", "SerializationException;Sender"},
		"bad address":       {"AmazonSQS.SendMessage", `{"QueueUrl":"http://x/q"}`, 400, "com.amazonaws.sqs#InvalidAddress", "InvalidAddress;Sender"},
		"another account":   {"AmazonSQS.SendMessage", `{"QueueUrl":"http://x/111111111111/q"}`, 400, "com.amazonaws.sqs#QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue;Sender"},
		"permission":        {"AmazonSQS.AddPermission", `{}`, 400, "com.amazonaws.sqs#UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation;Sender"},
		"unknown action":    {"AmazonSQS.Fly", `{}`, 404, "com.amazon.coral.service#UnknownOperationException", "UnknownOperationException;Sender"},
		"the old protocol":  {"", `Action=SendMessage`, 404, "com.amazon.coral.service#UnknownOperationException", "UnknownOperationException;Sender"},
		"a request too big": {"AmazonSQS.SendMessage", strings.Repeat(" ", 8<<20+1), 400, "com.amazon.coral.service#InvalidParameterValueException", "InvalidParameterValue;Sender"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := post(t, url, test.target, test.body)
			var e struct{ Type, Message string }
			dec := json.NewDecoder(bytes.NewReader([]byte(strings.Replace(body, `"__type"`, `"Type"`, 1))))
			if err := dec.Decode(&e); err != nil {
				t.Fatalf("%q is no error: %v", body, err)
			}
			if resp.StatusCode != test.status || e.Type != test.kind || e.Message == "" {
				t.Errorf("answer is %d %s, want %d %s with a message", resp.StatusCode, body, test.status, test.kind)
			}
			if got := resp.Header.Get("x-amzn-query-error"); got != test.query {
				t.Errorf("x-amzn-query-error is %q, want %q", got, test.query)
			}
		})
	}
}

func TestRepliesHaveTheHeadersOfSQS(t *testing.T) {
	url, _ := serve(t, standin.Config{})
	resp, _ := post(t, url, "AmazonSQS.ListQueues", "")
	if got := resp.Header.Get("Content-Type"); got != "application/x-amz-json-1.0" {
		t.Errorf("content type is %q", got)
	}
	if resp.Header.Get("x-amzn-RequestId") == "" {
		t.Error("there is no request id")
	}
	// Leases are corrected by the server's clock.
	if at, err := http.ParseTime(resp.Header.Get("Date")); err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("date is %q", resp.Header.Get("Date"))
	}
}

func TestListQueuesByPages(t *testing.T) {
	url, _ := serve(t, standin.Config{})
	w := &wire{T: t, Client: client(url)}
	for i := range 5 {
		w.create(fmt.Sprintf("q%d", i), nil)
	}
	var names []string
	pages := 0
	p := sqs.NewListQueuesPaginator(w.Client, &sqs.ListQueuesInput{MaxResults: new(int32(2))})
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, u := range page.QueueUrls {
			names = append(names, u[strings.LastIndexByte(u, '/')+1:])
		}
		// What comes and goes between pages does no harm.
		if _, err := w.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: &page.QueueUrls[len(page.QueueUrls)-1]}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"q0", "q1", "q2", "q3", "q4"}; pages != 3 || !slices.Equal(names, want) {
		t.Errorf("%d pages with %v, want 3 with %v", pages, names, want)
	}
	_, err := w.ListQueues(t.Context(), &sqs.ListQueuesInput{MaxResults: new(int32(1001))})
	w.refusesWith(err, "InvalidParameterValue")
	_, err = w.ListQueues(t.Context(), &sqs.ListQueuesInput{NextToken: new("?")})
	w.refusesWith(err, "InvalidParameterValue")
}

func TestQueueURLsNameTheHostThatWasAsked(t *testing.T) {
	url, _ := serve(t, standin.Config{})
	w := &wire{T: t, Client: client(url)}
	w.create("q", nil)
	w.Client = client(strings.Replace(url, "127.0.0.1", "localhost", 1))
	out, err := w.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: new("q")})
	if err != nil || !strings.HasPrefix(*out.QueueUrl, "http://localhost:") {
		t.Errorf("queue URL is %v (%v), want one on localhost", out, err)
	}
}

// Whatever comes, it is answered: a panic would cut the connection.
func FuzzAnyRequestIsAnswered(f *testing.F) {
	names := []string{
		"CreateQueue", "GetQueueUrl", "ListQueues", "GetQueueAttributes", "SetQueueAttributes",
		"ListDeadLetterSourceQueues", "TagQueue", "UntagQueue", "SendMessage", "SendMessageBatch", "ReceiveMessage",
		"DeleteMessage", "DeleteMessageBatch", "ChangeMessageVisibility", "ChangeMessageVisibilityBatch",
		"StartMessageMoveTask", "ListMessageMoveTasks", "CancelMessageMoveTask",
	}
	const url = `"QueueUrl":"http://h/000000000000/q"`
	for i := range names {
		f.Add(i, `{`+url+`,"QueueName":"q","MessageBody":"m","ReceiptHandle":"r","VisibilityTimeout":1,"SourceArn":"arn:aws:sqs:us-east-1:000000000000:q"}`)
		f.Add(i, `{`+url+`,"Entries":[{"Id":"a","MessageBody":"m","ReceiptHandle":"r","VisibilityTimeout":1}],"Attributes":{"RedrivePolicy":"{}"},"MaxNumberOfMessages":10}`)
	}
	_, h := serve(f, standin.Config{})
	gone, cancel := context.WithCancel(f.Context()) // long polls end at once
	cancel()
	f.Fuzz(func(t *testing.T, i int, body string) {
		req := httptest.NewRequestWithContext(gone, http.MethodPost, "/", strings.NewReader(body))
		req.Header.Set("X-Amz-Target", "AmazonSQS."+names[int(uint(i)%uint(len(names)))])
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest || !json.Valid(w.Body.Bytes()) {
			t.Errorf("answer is %d %s", w.Code, w.Body)
		}
	})
}
