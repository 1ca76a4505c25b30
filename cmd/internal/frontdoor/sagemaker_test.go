package frontdoor_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model/fake"
)

const (
	async = "/endpoints/digits/async-invocations"
	live  = "/endpoints/digits/invocations"
	amzn  = "X-Amzn-SageMaker-"
)

func TestInvokeEndpointAsyncAnswersAsSageMakerDoes(t *testing.T) {
	in(t, func(h *house) {
		r := h.call("POST", async, one, amzn+"Content-Type", "application/json", amzn+"Inference-Id", "my id").want(202).
			has("Content-Type", "application/json").
			has(amzn+"OutputLocation", "s3://results/out/requests/my%20id.out").
			has(amzn+"FailureLocation", "s3://results/failed/requests/my%20id-error.out")
		if r.body != `{"InferenceId":"my id"}`+"\n" {
			t.Errorf("the body is %s", r.body)
		}
		uuid := regexp.MustCompile(`^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$`)
		if ids := r.values("x-amzn-RequestId"); len(ids) != 1 || !uuid.MatchString(ids[0]) {
			t.Errorf("the request id is %q, want a UUID", ids)
		}
		if id := h.call("POST", async, one).want(202).text("InferenceId"); !uuid.MatchString(id) {
			t.Errorf("the id that was made is %q, want a UUID", id)
		}
		h.call("POST", async, one, amzn+"Content-Type", "application/json", amzn+"Inference-Id", "my id").want(202)
		h.call("POST", async, two, amzn+"Content-Type", "application/json", amzn+"Inference-Id", "my id").want(400).has("x-amzn-ErrorType", "ValidationError").says("another request")
		h.works()
		h.call("GET", "/v1/inferences/my%20id/result", "", prefer, "wait=60").want(200).says("2.0")
	})
}

func TestARequestKnowsTheEndpointThatItCameBy(t *testing.T) {
	in(t, func(h *house) {
		// The longest of everything fits into the record of an inline body.
		long := strings.Repeat("e", 63)
		h.config.Endpoints[long] = "double"
		h.call("POST", "/endpoints/"+long+"/async-invocations", one, amzn+"Inference-Id", strings.Repeat("!", 64), amzn+"Content-Type", strings.Repeat("c", 1024),
			amzn+"Accept", strings.Repeat("a", 1024), amzn+"S3OutputPathExtension", strings.Repeat("p", 512), amzn+"Filename", strings.Repeat("f", 32)).want(202)
		m, err := h.queue.Receive(h.Context(), 1, time.Minute, 0)
		if err != nil || len(m) != 1 {
			h.Fatal(m, err)
		}
		if r, err := request.Decode(m[0].Body); err != nil || r[0].Endpoint != long || r[0].Model != "double" {
			h.Errorf("the request is %+v, %v; want the endpoint %s and its model", r, err, long)
		}
	})
}

func TestAnInputLocationIsTakenAsItIsSent(t *testing.T) {
	in(t, func(h *house) {
		h.works()
		for i, key := range []string{"plain.json", "a b+c%20.json", "é/ü.json", "question?x=y#z"} {
			h.put("s3://uploads/in/"+key, one, "application/json")
			id := fmt.Sprint("id", i)
			h.call("POST", async, "", amzn+"InputLocation", "s3://uploads/in/"+key, amzn+"Inference-Id", id).want(202)
			h.call("GET", "/v1/inferences/"+id+"/result", "", prefer, "wait=60").want(200).says("2.0")
		}
		h.call("POST", async, "", amzn+"InputLocation", "s3://uploads/in/\xe9/\xfc.json", amzn+"Inference-Id", "latin").want(202)
		for i, host := range []string{"uploads.s3.amazonaws.com/in", "uploads.s3.eu-west-1.amazonaws.com/in", "s3.eu-west-1.amazonaws.com/uploads/in", "s3-eu-west-1.amazonaws.com/uploads/in"} {
			id := fmt.Sprint("https", i)
			h.call("POST", async, "", amzn+"InputLocation", "https://"+host+"/a%20b%2Bc%2520.json", amzn+"Inference-Id", id).want(202)
			h.call("GET", "/v1/inferences/"+id, "").want(200).says(`"input": "s3://uploads/in/a b+c%20.json"`)
		}
		h.call("POST", async, "", amzn+"InputLocation", "https://uploads.s3.amazonaws.com/in/x?versionId=v1", amzn+"Inference-Id", "version").want(202)
		if rec, err := intake.ReadRecord(h.Context(), h.store, locations.RecordOf("version")); err != nil || rec.Request.Input != (storage.Ref{Bucket: "uploads", Key: "in/x", Version: "v1"}) {
			h.Errorf("the version of an input is %+v, %v", rec.Request.Input, err)
		}
		for location, says := range map[string]string{
			"s3://elsewhere/x":         "s3://uploads/in/",
			"s3://uploads/other/x":     "s3://uploads/in/",
			"s3://results/.penstock/x": "s3://uploads/in/",
			"s3://uploads/in/":         "folder",
			"s3://UP/x":                "InputLocation must be an S3 URI",
			"https://example.com/x":    "InputLocation must be an S3 URI",
			"file:///etc/passwd":       "regular expression",

			"https://uploads.s3.amazonaws.com/in/x?y=z": "more than a host, a key and a versionId",
			"https://x@uploads.s3.amazonaws.com/in/x":   "more than a host, a key and a versionId",
			"https://uploads.s3.amazonaws.com/in/x#y":   "more than a host, a key and a versionId",
			"s3://" + strings.Repeat("x", 1100):         "length less than or equal to 1024",
		} {
			h.call("POST", async, "", amzn+"InputLocation", location).want(400).has("x-amzn-ErrorType", "ValidationError").says(says)
		}
	})
}

func TestEveryHeaderIsCheckedAsSageMakerChecksIt(t *testing.T) {
	in(t, func(h *house) {
		long := func(n int) string { return strings.Repeat("x", n) }
		for _, test := range []struct{ header, value, says string }{
			{"Content-Type", long(1024), ""},
			{"Content-Type", long(1025), "at 'contentType' failed to satisfy constraint: Member must have length less than or equal to 1024"},
			{"Content-Type", "é", "at 'contentType'"},
			{"Accept", "application/json, text/csv", ""},
			{"Accept", long(1025), "at 'accept'"},
			{"Custom-Attributes", long(1024), ""},
			{"Custom-Attributes", long(1025), "at 'customAttributes'"},
			{"Custom-Attributes", "tfs-method=classify", "tfs-method must be predict"},
			{"Custom-Attributes", "tfs-model-version=2", "needs tfs-model-name"},
			{"Inference-Id", long(64), ""},
			{"Inference-Id", long(65), "at 'inferenceId' failed to satisfy constraint: Member must have length less than or equal to 64"},
			{"Inference-Id", "é", "at 'inferenceId'"},
			{"RequestTTLSeconds", "60", ""},
			{"RequestTTLSeconds", "21600", ""},
			{"RequestTTLSeconds", "59", "Value '59' at 'requestTTLSeconds' failed to satisfy constraint: Member must have value greater than or equal to 60"},
			{"RequestTTLSeconds", "21601", "less than or equal to 21600"},
			{"RequestTTLSeconds", "1h", "must be an integer"},
			{"InvocationTimeoutSeconds", "1", ""},
			{"InvocationTimeoutSeconds", "3600", ""},
			{"InvocationTimeoutSeconds", "0", "at 'invocationTimeoutSeconds'"},
			{"InvocationTimeoutSeconds", "3601", "at 'invocationTimeoutSeconds'"},
			{"S3OutputPathExtension", "a/b-c_(d)'!*.", ""},
			{"S3OutputPathExtension", long(513), "at 's3OutputPathExtension'"},
			{"S3OutputPathExtension", "s3://b/k", "at 's3OutputPathExtension'"},
			{"S3OutputPathExtension", "a b", "at 's3OutputPathExtension'"},
			{"S3OutputPathExtension", "a/../b", "segment of dots"},
			{"Filename", "result-1_a.json", ""},
			{"Filename", long(32), ""},
			{"Filename", long(33), "at 'filename'"},
			{"Filename", "a.b.c", "at 'filename'"},
			{"Filename", ".x", "at 'filename'"},
			{"Filename", "a/b", "at 'filename'"},
		} {
			r := h.call("POST", async, one, amzn+test.header, test.value)
			switch {
			case test.says == "":
				r.want(202)
			default:
				r.want(400).has("x-amzn-ErrorType", "ValidationError").says("1 validation error detected: ", test.says)
			}
		}
		h.call("POST", async, one, amzn+"RequestTTLSeconds", "60", amzn+"RequestTTLSeconds", "1").want(400).says("Value '60, 1' at 'requestTTLSeconds'")
		h.call("POST", async, one, amzn+"RequestTTLSeconds", "1", amzn+"Filename", "a.b.c", amzn+"InputLocation", "x").want(400).
			says("3 validation errors detected: ", "'requestTTLSeconds'", "'filename'", "'inputLocation'")
	})
}

func TestThereIsExactlyOneInput(t *testing.T) {
	in(t, func(h *house) {
		h.call("POST", async, "").want(400).says("exactly one of Body and InputLocation", "neither")
		h.call("POST", async, one, amzn+"InputLocation", "s3://uploads/in/x").want(400).says("both")
		h.call("POST", live, "").want(400).says("Member must not be null")
		h.call("POST", async, strings.Repeat("x", 128_000)).want(202)
		h.call("POST", async, strings.Repeat("x", 128_001)).want(400).says("128000", "InputLocation")
		h.call("POST", live, strings.Repeat("x", 6_291_457)).want(400).says("6291456", "InvokeEndpointAsync")
	})
}

func TestAnEndpointThatIsNotThereIsAnErrorInSageMakersWords(t *testing.T) {
	in(t, func(h *house) {
		for _, path := range []string{"/endpoints/other/async-invocations", "/endpoints/other/invocations"} {
			r := h.call("POST", path, one).want(400).has("x-amzn-ErrorType", "ValidationError").has("Content-Type", "application/json")
			if got, want := r.text("Message"), "Endpoint other of account 000000000000 not found."; got != want {
				t.Errorf("the message is %q, want %q", got, want)
			}
		}
		h.call("POST", "/endpoints/-x/async-invocations", one).want(400).says("at 'endpointName'")
		h.call("POST", "/endpoints/"+strings.Repeat("x", 64)+"/async-invocations", one).want(400).says("at 'endpointName' failed to satisfy constraint: Member must have length less than or equal to 63")
	})
}

func TestTheOutputLiesWhereTheCallerWantsIt(t *testing.T) {
	in(t, func(h *house) {
		for _, test := range []struct{ id, extension, file, want string }{
			{"a", "", "x.json", "x.json"},
			{"b", "day/1", "x", "day/1/x.out"},
			{"c", "/day//2/", "", "day/2/c.out"},
			{"d e", "day", "", "day/*.out"},
			{"f", strings.Repeat("x", 512), strings.Repeat("y", 32), strings.Repeat("x", 512) + "/" + strings.Repeat("y", 32) + ".out"},
			{strings.Repeat("g", 64), strings.Repeat("x", 512), "", strings.Repeat("x", 512) + "/*.out"},
		} {
			headers := []string{amzn + "Inference-Id", test.id}
			if test.extension != "" {
				headers = append(headers, amzn+"S3OutputPathExtension", test.extension)
			}
			if test.file != "" {
				headers = append(headers, amzn+"Filename", test.file)
			}
			got := strings.Join(h.call("POST", async, one, headers...).want(202).header.Values(amzn+"OutputLocation"), "")
			pattern := strings.ReplaceAll(regexp.QuoteMeta("s3://results/out/requests/"+test.want), `\*`, "[0-9a-f]{32}")
			if !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
				t.Errorf("extension %.20q and file %q: the output will be at %s, want %s", test.extension, test.file, got, test.want)
			}
		}
	})
}

func TestTheModelIsChosenByEndpointAndByAttributes(t *testing.T) {
	in(t, func(h *house) {
		h.works()
		for _, test := range []struct {
			endpoint, attributes string
			code                 int
		}{
			{"digits", "", 200},
			{"named", "", 200},
			{"wrong", "", 424},
			{"wrong", "tfs-model-name=double", 200},
			{"wrong", "x=1,tfs-model-name=double,tfs-model-version=1,tfs-method=predict", 200},
			{"digits", "tfs-model-name=double,tfs-model-version=2", 424},
			{"digits", "anything at all", 200},
		} {
			r := h.call("POST", "/endpoints/"+test.endpoint+"/invocations", one, amzn+"Custom-Attributes", test.attributes)
			if r.code != test.code {
				t.Errorf("endpoint %s with %q: status %d, want %d:\n%s", test.endpoint, test.attributes, r.code, test.code, r.body)
			}
			if r.code == 200 {
				r.has(amzn+"Custom-Attributes", test.attributes)
			}
		}
		h.call("POST", "/endpoints/wrong/invocations", one, amzn+"Target-Model", "double.tar.gz").want(200)
		h.call("POST", live, one, amzn+"Target-Variant", "B").want(400).says("AllTraffic")
		h.call("POST", live, one, amzn+"Session-Id", "NEW_SESSION").want(400).says("SessionId")
	})
}

func TestInvokeEndpointAnswersWithTheResult(t *testing.T) {
	in(t, func(h *house) {
		h.works(fake.Delay(20 * time.Second))
		h.call("POST", live, one, "Content-Type", "application/json", "Accept", "*/*", amzn+"Inference-Id", "again").want(200).
			has("Content-Type", "application/json").has("x-Amzn-Invoked-Production-Variant", "AllTraffic").says("2.0")
		h.call("POST", live, `{"instances":[[3]]}`, "Content-Type", "application/json", "Accept", "text/csv", amzn+"Inference-Id", "again").want(200).says("6.0")
	})
}

func TestAModelThatFailsIsAModelError(t *testing.T) {
	in(t, func(h *house) {
		h.works()
		for body, want := range map[string]struct {
			original float64
			says     string
		}{
			"nonsense":             {400, "UnsupportedMediaType"},
			`{"instances":[[13]]}`: {400, "bad luck"},
			`{"instances":[[14]]}`: {500, "out of order"},
		} {
			r := h.call("POST", live, body).want(424).has("x-amzn-ErrorType", "ModelError").says("s3://results/failed/requests/")
			if got := r.member("OriginalStatusCode"); got != want.original {
				t.Errorf("the original status is %v, want %v", got, want.original)
			}
			if m := r.text("OriginalMessage"); !strings.Contains(m, want.says) {
				t.Errorf("the original message is %q, want one with %q", m, want.says)
			}
		}
	})
}

func TestNoWorkerRunsForACallerWhoHasGone(t *testing.T) {
	in(t, func(h *house) {
		recorder := new(fake.Recorder)
		began := time.Now()
		h.call("POST", live, one).want(424).has("x-amzn-ErrorType", "ModelError").says("timed out")
		if took := time.Since(began); took != time.Minute {
			t.Errorf("it waited %v, want a minute", took)
		}
		for info := range h.store.List(h.Context(), locations.Cancels(), "") {
			t.Errorf("%s is there for workers to list, though the request's time is over", info.Ref)
		}
		ctx, leave := context.WithCancel(h.Context())
		time.AfterFunc(5*time.Second, leave)
		began = time.Now()
		h.do(ctx, "POST", live, one)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it went on for %v after the caller had gone", took)
		}
		h.works(recorder.Knob())
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := len(recorder.Batches()); n != 0 {
			t.Errorf("%d runs for nobody", n)
		}
		if n := h.waiting(); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

func TestACallThatIsRefusedIsNotCancelled(t *testing.T) {
	in(t, func(h *house) {
		h.breaks()
		h.call("POST", live, one, "Content-Type", "a\tb").want(400).says("contentType must be")
		if told := h.logs.FilterMessageSnippet("could not be cancelled").All(); len(told) != 0 {
			h.Errorf("it was looked for though nothing was accepted: %v", told)
		}
	})
}

func TestTimeToLiveAndTimeoutReachTheWorker(t *testing.T) {
	in(t, func(h *house) {
		h.call("POST", async, one, amzn+"RequestTTLSeconds", "60", amzn+"Inference-Id", "late").want(202)
		time.Sleep(61 * time.Second)
		h.works(fake.Delay(5 * time.Second))
		h.call("GET", "/v1/inferences/late/result", "", prefer, "wait=60").want(504).says(request.CodeExpired)
		h.call("POST", async, one, amzn+"InvocationTimeoutSeconds", "2", amzn+"Inference-Id", "slow").want(202)
		h.call("GET", "/v1/inferences/slow/result", "", prefer, "wait=60").want(504).says(request.CodeTimeout)
	})
}
