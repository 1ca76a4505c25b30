//go:build servers

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/penstock/penstock/cmd/internal/producer"
	"github.com/penstock/penstock/cmd/internal/producer/proxy"
	"github.com/penstock/penstock/cmd/internal/sweep"
	"github.com/penstock/penstock/storage"
)

// set sets attributes of a queue.
func (l *local) set(ctx context.Context, name string, attributes map[string]string) error {
	url := l.Queues[name]
	_, err := l.sqs.SetQueueAttributes(ctx, &awssqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: attributes})
	return err
}

// object reads an object.
func (l *local) object(t *testing.T, uri string) (string, storage.Info) {
	t.Helper()
	ref, err := storage.ParseRef(uri)
	if err != nil {
		t.Fatal(err)
	}
	o, err := l.store.Get(t.Context(), ref, storage.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	body, err := io.ReadAll(o.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), o.Info
}

func TestInvocationsByHandUnderTheEmulator(t *testing.T) {
	l := startLocal(t)
	f := startFunction(t, l, nil)
	for _, key := range []string{"march/1", "march/2 +", "april/3"} {
		l.put(t, "s3://uploads/in/"+key, "x")
	}
	l.put(t, "s3://lists/sagemaker.json", `[{"prefix":"s3://uploads/in/"},"march/1","april/3"]`)
	l.put(t, "s3://lists/batch.csv", "uploads,in%2Fmarch%2F1\nuploads,in/march/2%20%2B\n")
	l.put(t, "s3://lists/lines.txt", "s3://uploads/in/march/2 +\ns3://uploads/in/april/3\n")
	for _, test := range []struct {
		event string
		want  string
	}{
		{`{"input":"s3://uploads/in/march/1"}`, "march/1"},
		{`["s3://uploads/in/march/1","s3://uploads/in/april/3"]`, "march/1, april/3"},
		{`{"prefix":"s3://uploads/in/march/"}`, "march/1, march/2 +"},
		{`{"manifest":"s3://lists/sagemaker.json"}`, "march/1, april/3"},
		{`{"manifest":"s3://lists/batch.csv"}`, "march/1, march/2 +"},
		{`{"manifest":"s3://lists/lines.txt","model":"digits"}`, "march/2 +, april/3"},
	} {
		result := call[producer.Result](t, f, test.event)
		want := strings.Split(test.want, ", ")
		got := inputs(l.requests(t))
		if result.Enqueued != len(want) || len(got) != len(want) {
			t.Errorf("%s enqueues %v and says %+v, want %q", test.event, got, result, test.want)
		}
		for _, key := range want {
			if got["in/"+key] != 1 {
				t.Errorf("%s does not enqueue %s", test.event, key)
			}
		}
	}
}

func TestAnInlineBodyIsKeptAndAskedForUnderTheEmulator(t *testing.T) {
	l := startLocal(t)
	f := startFunction(t, l, nil)
	image := "\x89PNG\r\n\x1a\n"
	event := fmt.Sprintf(`{"bodyBase64":%q,"contentType":"image/png","id":"order 7","model":"digits"}`, base64.StdEncoding.EncodeToString([]byte(image)))
	first := call[producer.Result](t, f, event)
	again := call[producer.Result](t, f, event)
	if len(first.Requests) != 1 || first.Requests[0] != again.Requests[0] || first.Requests[0].Output != "s3://results/out/requests/order%207.out" {
		t.Fatalf("the answers are %+v and %+v", first, again)
	}
	if body, info := l.object(t, first.Requests[0].Input); body != image || info.ContentType != "image/png" {
		t.Errorf("kept is %q as %q", body, info.ContentType)
	}
	for _, r := range l.requests(t) {
		if r.ID != "order 7" || r.Model != "digits" || r.Input.String() != first.Requests[0].Input {
			t.Errorf("asked for is %+v", r)
		}
	}
	other := strings.Replace(event, "digits", "letters", 1)
	if _, err := f.invoke(t.Context(), []byte(other)); err == nil || !strings.Contains(err.Error(), "EventError") {
		t.Errorf("another request under the same id gives %v", err)
	}
}

// TestAListLongerThanTheFunctionsTimeIsDoneInRounds under the emulator, which
// ends a function at its time as Lambda does.
func TestAListLongerThanTheFunctionsTimeIsDoneInRounds(t *testing.T) {
	const objects = 6_000
	l := startLocal(t)
	f := startFunction(t, l, map[string]string{"AWS_LAMBDA_FUNCTION_TIMEOUT": "2"})
	// Of the calls each is slow, so that the time is up before the list is.
	l.inject(t, `[{"action":"SendMessageBatch","queue":"requests","kind":"delay","wait":20000000,"count":-1}]`)
	var lines strings.Builder
	for i := range objects {
		fmt.Fprintf(&lines, "s3://uploads/in/%05d\n", i)
	}
	l.put(t, "s3://lists/lines.txt", lines.String())
	next, rounds := json.RawMessage(`{"manifest":"s3://lists/lines.txt"}`), 0
	for ; next != nil; rounds++ {
		if rounds > 100 {
			t.Fatal("it does not get on")
		}
		next = call[producer.Result](t, f, string(next)).Continue
	}
	if rounds < 2 {
		t.Errorf("it took %d rounds; the test is too easy", rounds)
	}
	if got := inputs(l.requests(t)); len(got) != objects {
		t.Errorf("%d of %d objects were enqueued, in %d rounds", len(got), objects, rounds)
	}
}

// TestTheScheduleSweeps: what SQS itself has dead-lettered, because workers
// died or there was none, gets its failure object.
func TestTheScheduleSweeps(t *testing.T) {
	l := startLocal(t)
	f := startFunction(t, l, nil)
	l.put(t, "s3://uploads/in/a", "x")
	send(t, l.queue("requests-dead-letter"), "", `{"id":"lost","input":"s3://uploads/in/a"}`)
	counts := call[sweep.Counts](t, f, `{"version":"0","id":"53dc4d37","detail-type":"Scheduled Event","source":"aws.events","time":"2026-03-01T10:00:00Z","region":"us-east-1","resources":["arn:aws:events:us-east-1:123456789012:rule/sweep"],"detail":{}}`)
	if counts.Abandoned != 1 || counts.Explained != 1 {
		t.Errorf("the sweep counts %+v, want one abandoned and explained", counts)
	}
	if body, _ := l.object(t, "s3://results/failed/requests/lost-error.out"); !strings.Contains(body, `"code"`) {
		t.Errorf("the failure object says %s", body)
	}
	if dead := l.drain(t, "requests-dead-letter"); len(dead) != 1 || len(dead[0].Attributes) == 0 {
		t.Errorf("the dead letters are %+v, want the one with its reason", dead)
	}
}

// httpEvent makes a request of a function URL.
func httpEvent(method, path, body string, header map[string]string, base64Encoded bool) string {
	event, _ := json.Marshal(map[string]any{
		"version": "2.0", "rawPath": path, "headers": header, "body": body, "isBase64Encoded": base64Encoded,
		"requestContext": map[string]any{
			"stage": "$default", "domainName": "abc.lambda-url.us-east-1.on.aws",
			"http":       map[string]any{"method": method, "path": path, "sourceIp": "192.0.2.1"},
			"authorizer": map[string]any{"iam": map[string]any{"userArn": "arn:aws:iam::123456789012:user/a"}},
		},
	})
	return string(event)
}

func TestTheFrontDoorAnswersBehindAFunctionURL(t *testing.T) {
	l := startLocal(t)
	f := startFunction(t, l, nil)
	reply := call[proxy.Reply](t, f, httpEvent("POST", "/endpoints/digits/async-invocations", "", map[string]string{
		"x-amzn-sagemaker-inputlocation": "s3://uploads/in/a.png", "x-amzn-sagemaker-inference-id": "7", "host": "abc.lambda-url.us-east-1.on.aws",
	}, false))
	if reply.StatusCode != 202 || !strings.Contains(reply.Body, `"InferenceId":"7"`) {
		t.Errorf("SageMaker's call is answered %+v", reply)
	}
	binary := base64.StdEncoding.EncodeToString([]byte("\x89PNG\r\n\x1a\n"))
	reply = call[proxy.Reply](t, f, httpEvent("POST", "/predict", binary, map[string]string{"content-type": "image/png", "host": "abc.lambda-url.us-east-1.on.aws"}, true))
	var accepted struct{ ID string }
	if err := json.Unmarshal([]byte(reply.Body), &accepted); err != nil || reply.StatusCode != 202 || accepted.ID == "" {
		t.Fatalf("our own is answered %+v, %v", reply, err)
	}
	got := l.requests(t)
	if len(got) != 2 {
		t.Fatalf("%d requests in the queue, want 2", len(got))
	}
	reply = call[proxy.Reply](t, f, httpEvent("GET", "/v1/inferences/"+accepted.ID, "", map[string]string{"host": "x"}, false))
	if reply.StatusCode != 200 || !strings.Contains(reply.Body, "queued") {
		t.Errorf("its status is %+v", reply)
	}
	// A wait ends before the function's time does.
	started := time.Now()
	reply = call[proxy.Reply](t, f, httpEvent("POST", "/predict", binary, map[string]string{"content-type": "image/png", "prefer": "wait=2", "host": "x"}, true))
	if took := time.Since(started); reply.StatusCode != 202 || took < 2*time.Second || took > 10*time.Second {
		t.Errorf("after %v a wait is answered %+v", took, reply)
	}
}

func TestAWaitEndsBeforeTheFunctionsTimeDoes(t *testing.T) {
	l := startLocal(t)
	f := startFunction(t, l, map[string]string{"AWS_LAMBDA_FUNCTION_TIMEOUT": "5"})
	reply := call[proxy.Reply](t, f, httpEvent("POST", "/predict", "1", map[string]string{"content-type": "text/plain", "prefer": "wait=20", "host": "x"}, false))
	if reply.StatusCode != 202 {
		t.Errorf("a wait for longer than the function has is answered %+v", reply)
	}
}

func TestStrangersAreRefusedUnlessTheyHaveAToken(t *testing.T) {
	l := startLocal(t)
	stranger := func(header map[string]string) string {
		return strings.Replace(httpEvent("GET", "/v1/inferences/none", "", header, false), `"userArn"`, `"nobody"`, 1)
	}
	// The authorizer says nothing of who it was.
	none := strings.Replace(stranger(nil), `{"iam":{"nobody":"arn:aws:iam::123456789012:user/a"}}`, `{"iam":null}`, 1)
	f := startFunction(t, l, nil)
	if reply := call[proxy.Reply](t, f, none); reply.StatusCode != 403 {
		t.Errorf("a stranger is answered %+v", reply)
	}
	const secret = "a-token-of-more-than-32-characters-xyz"
	f = startFunction(t, l, map[string]string{"PENSTOCK_TOKEN": secret})
	if reply := call[proxy.Reply](t, f, none); reply.StatusCode != 401 {
		t.Errorf("without a token a stranger is answered %+v", reply)
	}
	withToken := strings.Replace(none, `"headers":null`, `"headers":{"authorization":"Bearer `+secret+`"}`, 1)
	if reply := call[proxy.Reply](t, f, withToken); reply.StatusCode != 404 {
		t.Errorf("with a token it is answered %+v, want 404: nothing is known of that id", reply)
	}
}
