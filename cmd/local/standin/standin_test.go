package standin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
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
		"a request too big": {"AmazonSQS.SendMessage", strings.Repeat(" ", 9<<20), 400, "com.amazon.coral.service#InvalidParameterValueException", "InvalidParameterValue;Sender"},
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

func TestDroppedReplyWasExecuted(t *testing.T) {
	w := onWire(t, "", nil)
	inject(w, standin.Fault{Action: "SendMessage", Kind: standin.DropReply})
	if _, err := w.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: w.url, MessageBody: new("m")}); err == nil {
		t.Error("the reply arrived")
	}
	if got := w.receive(10, 0); len(got) != 1 {
		t.Errorf("received %d messages, want the one whose reply was lost", len(got))
	}
}

func inject(w *wire, list ...standin.Fault) {
	w.Helper()
	if w.handler == nil {
		w.Skip("only the stand-in has faults")
	}
	if err := w.handler.Inject(list...); err != nil {
		w.Fatal(err)
	}
}

func TestFailedCallWasNotExecuted(t *testing.T) {
	w := onWire(t, "", nil)
	inject(
		w,
		standin.Fault{Action: "SendMessage", Kind: standin.Fail, After: 1, Count: 2},
		standin.Fault{Action: "SendMessage", Kind: standin.Fail, After: 1, Code: "ServiceUnavailable"},
		standin.Fault{Queue: "another", Kind: standin.Fail, Count: -1},
	)
	send := func() error {
		_, err := w.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: w.url, MessageBody: new("m")})
		return err
	}
	if err := send(); err != nil {
		t.Errorf("the first call passes: %v", err)
	}
	refuses[*types.RequestThrottled](w, send())
	refuses[*types.RequestThrottled](w, send())
	if err := send(); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("error is %v, want a 503", err)
	}
	if err := send(); err != nil {
		t.Errorf("all faults have struck: %v", err)
	}
	if got := w.receive(10, 0); len(got) != 2 {
		t.Errorf("%d messages were sent, want 2", len(got))
	}
	if left := w.handler.Faults(); len(left) != 1 || left[0].Queue != "another" {
		t.Errorf("faults left: %v, want that of another queue", left)
	}
	w.handler.ClearFaults()
	if left := w.handler.Faults(); len(left) != 0 {
		t.Errorf("faults left after a clear: %v", left)
	}
}

func TestDuplicateFaultDeliversTwice(t *testing.T) {
	w := onWire(t, "", nil)
	sent := w.send("m")
	inject(w, standin.Fault{Action: "ReceiveMessage", Kind: standin.Duplicate})
	first, second := w.receive(1, 0), w.receive(1, 0)
	if len(first) != 1 || len(second) != 1 || *second[0].MessageId != *sent.MessageId || *first[0].ReceiptHandle == *second[0].ReceiptHandle {
		t.Errorf("received %v and %v, want %s twice", first, second, *sent.MessageId)
	}
}

func TestExpireFaultLosesTheLease(t *testing.T) {
	w := onWire(t, "", nil)
	w.send("m")
	m := w.receive(1, 0)[0]
	inject(
		w,
		standin.Fault{Action: "ChangeMessageVisibility", Kind: standin.Expire},
		standin.Fault{Action: "ReceiveMessage", Kind: standin.Expire},
	)
	_, err := w.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: w.url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 30})
	refuses[*types.MessageNotInflight](w, err)
	for range 2 { // expired right after the first of them
		if got := w.receive(1, 0); len(got) != 1 {
			t.Errorf("received %d messages, want 1", len(got))
		}
	}
}

func TestDelayFaultHoldsTheCall(t *testing.T) {
	w := onWire(t, "", nil)
	inject(w, standin.Fault{Kind: standin.Delay, Wait: 100 * time.Millisecond})
	start := time.Now()
	w.send("m")
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("the call took %v", took)
	}
}

func TestFaultsAreChecked(t *testing.T) {
	_, h := serve(t, standin.Config{})
	for _, f := range []standin.Fault{
		{Kind: "explode"},
		{Kind: standin.Fail, Action: "Send"},
		{Kind: standin.Duplicate, Action: "SendMessage"},
		{Kind: standin.Expire},
	} {
		if err := h.Inject(standin.Fault{Kind: standin.Fail}, f); err == nil {
			t.Errorf("%+v was taken", f)
		}
	}
	if left := h.Faults(); len(left) != 0 {
		t.Errorf("a refused call added %v", left)
	}
}

func TestFaultsByHTTPOnlyWhereAllowed(t *testing.T) {
	closed, _ := serve(t, standin.Config{})
	if resp, _ := post(t, closed+standin.FaultsPath, "", "[]"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("without Control it answers %s", resp.Status)
	}
	open, h := serve(t, standin.Config{Control: true})
	resp, body := post(t, open+standin.FaultsPath, "", `[{"action":"SendMessage","kind":"fail","status":503,"count":2}]`)
	if resp.StatusCode != http.StatusOK || len(h.Faults()) != 1 || !strings.Contains(body, `"status":503`) {
		t.Errorf("answer is %s %s, faults are %v", resp.Status, body, h.Faults())
	}
	for _, bad := range []string{`{`, `[{"kind":"explode"}]`} {
		if resp, _ := post(t, open+standin.FaultsPath, "", bad); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s is answered with %s", bad, resp.Status)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, open+standin.FaultsPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err = http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if len(h.Faults()) != 0 {
		t.Error("DELETE left faults")
	}
}
