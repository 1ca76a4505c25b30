package worker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model/fake"
)

// topics remembers what was published.
type topics struct {
	mu   sync.Mutex
	sent []published
	fail int // so many calls are refused first
}

type published struct {
	topic   string
	message map[string]any
}

func (p *topics) Publish(_ context.Context, topic, message, group, dedup string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail > 0 {
		p.fail--
		return errors.New("no topic now")
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(message), &m); err != nil || group == "" || dedup == "" {
		return errors.Join(err, errors.New("a broken message"))
	}
	p.sent = append(p.sent, published{topic, m})
	return nil
}

func (p *topics) messages() []published {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.sent)
}

// tells publishes to the topics "ok" and "bad", bodies included.
func tells(p *topics) option {
	return with(func(c *Config) {
		c.Notify = Notify{Topics: p, Success: "ok", Failure: "bad", SuccessBody: true, FailureBody: true, Region: "eu-west-1"}
	})
}

func TestTheEndOfARequestIsToldInSageMakersWords(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		var told topics
		w := p.start(tells(&told))
		info := p.upload("x", row(2))
		p.api(request.Request{ID: "good one", Input: info.Ref, ContentType: "application/json", Accept: "application/json"})
		p.settled()
		bad := p.upload("y", "no json")
		p.api(request.Request{ID: "bad one", Input: bad.Ref})
		p.settled()

		sent := told.messages()
		if len(sent) != 2 || sent[0].topic != "ok" || sent[1].topic != "bad" {
			t.Fatalf("sent were %v", sent)
		}
		for key, want := range map[string]string{
			"awsRegion": "eu-west-1", "invocationStatus": "Completed", "inferenceId": "good one",
			"eventVersion": "1.0", "eventSource": "aws:sagemaker", "eventName": "InferenceResult",
		} {
			if sent[0].message[key] != want {
				t.Errorf("%s is %v, want %s", key, sent[0].message[key], want)
			}
		}
		response := sent[0].message["responseParameters"].(map[string]any)
		if response["outputLocation"] != "s3://results/out/requests/good%20one.out" || response["contentType"] != "application/json" {
			t.Errorf("the response is %v", response)
		}
		body, err := base64.StdEncoding.DecodeString(sent[0].message["responseBody"].(map[string]any)["content"].(string))
		if err != nil || string(body) != `{"predictions":[[4.0]]}` && !strings.Contains(string(body), "4") {
			t.Errorf("the body is %q, %v", body, err)
		}
		if sent[1].message["invocationStatus"] != "Failed" || !strings.Contains(sent[1].message["failureReason"].(string), "MalformedInput") || sent[1].message["responseParameters"] != nil {
			t.Errorf("the failure is told as %v", sent[1].message)
		}
		if w.counter("penstock_notifications_total", "sent") != 2 {
			t.Error("the counter does not tell of two messages")
		}
	})
}

func TestATopicThatFailsChangesNoVerdict(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		told := topics{fail: 1 << 20}
		w := p.start(tells(&told))
		p.submit("x", row(2))
		p.settled()
		p.wantOutput("x", 2)
		if w.counter("penstock_notifications_total", "failed") != 1 || w.logs.FilterMessageSnippet("nobody was told").Len() != 1 {
			t.Error("the failure to tell is not to be seen")
		}
		told.mu.Lock()
		told.fail = 1 // passes
		told.mu.Unlock()
		p.submit("y", row(3))
		p.settled()
		if len(told.messages()) != 1 {
			t.Errorf("sent were %v, want one", told.messages())
		}
	})
}

// A worker that dies between the commit and the message leaves the telling to
// the one that finds the terminal object.
func TestAnEndIsToldAtLeastOnceThoughAWorkerDiesOverIt(t *testing.T) {
	for name, input := range map[string]string{"success": row(2), "failure": "no json"} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				var told topics
				first := p.start(runs(fake.Delay(0)))
				first.store.onCall(func(_ context.Context, verb string, r ref, call func() error) error {
					err := call()
					if verb == "put" {
						first.kill()
					}
					return err
				})
				p.submit("x", input)
				p.eventually("the first worker dies", first.dead.Load)
				p.start(tells(&told))
				p.settled()
				sent := told.messages()
				if len(sent) != 1 || sent[0].message["responseBody"] == nil {
					t.Fatalf("sent were %v, want one with its body", sent)
				}
				if failed := name == "failure"; (sent[0].topic == "bad") != failed || (sent[0].message["failureReason"] != nil) != failed {
					t.Errorf("a %s was told as %v", name, sent[0])
				}
			})
		})
	}
}

func TestANotificationNamesTheEndpointThatWasCalled(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		var told topics
		p.start(tells(&told))
		info := p.upload("x", row(2))
		p.api(request.Request{ID: "a", Input: info.Ref, Model: "double"})
		p.api(request.Request{ID: "b", Input: info.Ref, Model: "double", Endpoint: "my-endpoint"})
		p.settled()
		names := make(map[any]any)
		for _, m := range told.messages() {
			names[m.message["inferenceId"]] = m.message["requestParameters"].(map[string]any)["endpointName"]
		}
		if names["a"] != "double" || names["b"] != "my-endpoint" {
			t.Errorf("the endpoints are %v", names)
		}
	})
}

func TestARequestThatTheSweepLetExpireIsToldByTheWorkerThatReceivesIt(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		info := p.upload("x", row(2))
		r := request.Request{ID: "late", Input: info.Ref, TTL: time.Minute, Enqueued: time.Now()}
		p.api(r)
		time.Sleep(10 * time.Minute)
		ref := locations.FailureOf(r)
		prov := request.Provenance{Identity: r.IdentifyUnread(), InferenceID: r.ID, Input: r.Input}
		body := request.Failure{Error: request.Problem{Code: request.CodeExpired}}.JSON()
		if _, err := p.store.Put(t.Context(), ref, body, storage.PutOptions{Metadata: prov.Metadata(ref)}); err != nil {
			t.Fatal(err)
		}
		var told topics
		w := p.start(tells(&told))
		p.settled()
		w.wantOutcomes(map[outcome]int{outcomeDuplicate: 1})
		if sent := told.messages(); len(sent) != 1 || sent[0].topic != "bad" || !strings.Contains(sent[0].message["failureReason"].(string), request.CodeExpired) {
			t.Errorf("sent were %v", sent)
		}
	})
}

// A client below the store repeats a write whose reply was lost, and is told that
// something is there: the request's own result, which is news all the same.
func TestAnEndIsToldThoughItsWriteMetItsOwnEffect(t *testing.T) {
	for name, c := range map[string]struct {
		input  string
		folder string
		want   outcome
	}{
		"success": {row(2), "out/", outcomeSucceeded},
		"failure": {"no json", "failed/", outcomeFailed},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				var told topics
				w := p.start(tells(&told), hooked(always(on("put", c.folder), func(_ context.Context, _ string, _ ref, call func() error) error {
					_ = call() // its reply is what gets lost
					return call()
				})))
				p.submit("x", c.input)
				p.settled()
				if n := len(told.messages()); n != 1 {
					t.Errorf("%d messages, want one", n)
				}
				w.wantOutcomes(map[outcome]int{c.want: 1})
			})
		})
	}
}
