package standin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/penstock/penstock/cmd/local/standin"
)

func TestDroppedReplyWasExecuted(t *testing.T) {
	w := onStandIn(t)
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
	if err := w.handler.Inject(list...); err != nil {
		w.Fatal(err)
	}
}

func TestFailedCallWasNotExecuted(t *testing.T) {
	w := onStandIn(t)
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
	w := onStandIn(t)
	sent := w.send("m")
	inject(w, standin.Fault{Action: "ReceiveMessage", Kind: standin.Duplicate})
	first, second := w.receive(1, 0), w.receive(1, 0)
	if len(first) != 1 || len(second) != 1 || *second[0].MessageId != *sent.MessageId || *first[0].ReceiptHandle == *second[0].ReceiptHandle {
		t.Errorf("received %v and %v, want %s twice", first, second, *sent.MessageId)
	}
}

// A chain of copies without an end would take an innocent message to the queue's
// maxReceiveCount.
func TestCopiesOfCopiesComeToAnEnd(t *testing.T) {
	w := onStandIn(t)
	w.send("m")
	inject(w, standin.Fault{Action: "ReceiveMessage", Kind: standin.Duplicate, Count: -1})
	n := 0
	for len(w.receive(1, 0)) > 0 {
		if n++; n > 50 {
			t.Fatal("there is no end of them")
		}
	}
	if n < 10 {
		t.Errorf("it was delivered %d times", n)
	}
}

func TestExpireFaultLosesTheLease(t *testing.T) {
	w := onStandIn(t)
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

func TestExpireFaultAloneDeadLettersNothing(t *testing.T) {
	w := onStandIn(t)
	w.send("m")
	inject(w, standin.Fault{Action: "ReceiveMessage", Kind: standin.Expire, Count: -1})
	n := 0
	for len(w.receive(1, 0)) > 0 {
		if n++; n > 50 {
			t.Fatal("its visibility ends early for ever")
		}
	}
	if n < 10 {
		t.Errorf("it was delivered %d times", n)
	}
}

func TestDelayFaultHoldsTheCall(t *testing.T) {
	w := onStandIn(t)
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
