package frontdoor_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/frontdoor"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model/fake"
)

const (
	one   = `{"instances":[[1]]}`
	two   = `{"predictions":[[2]]}`
	asKey = "Idempotency-Key"
)

func TestABodyIsAcceptedAndItsResultIsThereLater(t *testing.T) {
	in(t, func(h *house) {
		r := h.call("POST", "/v1/inferences", one, "Content-Type", "application/json").want(202).has("Retry-After", "1")
		id := r.text("id")
		r.has("Location", "/v1/inferences/"+id).says(`"status": "queued"`)
		if got, want := r.text("output"), "s3://results/out/requests/"+id+".out"; got != want {
			t.Errorf("the output will be at %s, want %s", got, want)
		}
		h.call("GET", "/v1/inferences/"+id+"/result", "").want(202).has("Retry-After", "1").says(`"queued"`)
		h.works()
		h.call("GET", r.text("links", "result"), "", prefer, "wait=30").want(200).has("Content-Type", "application/json").has("Content-Location", "/v1/inferences/"+id+"/result").says("2.0")
		s := h.call("GET", r.text("links", "self"), "").want(200).says(`"succeeded"`, `"model": "double"`, `"spentMs"`, `"attempts": 1`, `"resultType": "application/json"`)
		if s.member("links", "cancel") != nil {
			t.Errorf("a request that has ended can be cancelled:\n%s", s.body)
		}
		h.call("HEAD", r.text("links", "result"), "").want(200).has("Content-Type", "application/json")
	})
}

func TestPreferWaitAnswersWithTheResultItself(t *testing.T) {
	in(t, func(h *house) {
		h.works(fake.Delay(3 * time.Second))
		began := time.Now()
		h.call("POST", "/predict", one, prefer, "respond-async, wait=10", "Content-Type", "application/x-www-form-urlencoded").want(200).
			has("Preference-Applied", "wait=10").has("Content-Type", "application/json").says("2.0")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v, want little more than the model's 3s", took)
		}
		r := h.call("POST", "/predict", one, prefer, "wait=1").want(202).has("Preference-Applied", "wait=1")
		h.call("GET", r.text("links", "result"), "", prefer, "wait=10").want(200).says("2.0")
		h.call("POST", "/predict", one, prefer, "wait=soon").want(202).has("Preference-Applied", "")
	})
}

func TestAWaitIsBounded(t *testing.T) {
	in(t, func(h *house) {
		began := time.Now()
		h.call("POST", "/predict", one, prefer, "wait=999999999999999999999999").want(202).has("Preference-Applied", "")
		h.call("POST", "/predict", one, prefer, "wait=999999").want(202).has("Preference-Applied", "wait=7")
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("it waited %v, want 7s", took)
		}
	}, func(c *frontdoor.Config) { c.MaxWait = 7 * time.Second })
}

func TestTooManyCallersDoNotWait(t *testing.T) {
	in(t, func(h *house) {
		handler := frontdoor.New(h.config)
		send := func(path, wait string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(h.Context(), "POST", path, strings.NewReader(one))
			r.Header.Set(prefer, wait)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			return w
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if w := send("/predict", "wait=10"); w.Code != 202 || w.Header().Get("Preference-Applied") != "wait=10" {
				h.Errorf("the first: status %d, header %v", w.Code, w.Header())
			}
		})
		synctest.Wait()
		began := time.Now()
		if w := send("/predict", "wait=10"); w.Code != 202 || w.Header().Get("Preference-Applied") != "" {
			h.Errorf("one too many: status %d, header %v", w.Code, w.Header())
		}
		if w := send(live, ""); w.Code != 503 {
			h.Errorf("one too many of SageMaker's: status %d: %s", w.Code, w.Body)
		}
		if took := time.Since(began); took > time.Second {
			h.Errorf("they waited %v", took)
		}
		wg.Wait()
		if w := send("/predict", "wait=1"); w.Header().Get("Preference-Applied") != "wait=1" {
			h.Errorf("when the first had gone: status %d, header %v", w.Code, w.Header())
		}
	}, func(c *frontdoor.Config) { c.MaxWaiting = 1 })
}

func TestWaitsEndWhenTheServerCloses(t *testing.T) {
	closing, closeIt := context.WithCancel(context.Background())
	in(t, func(h *house) {
		began := time.Now()
		time.AfterFunc(2*time.Second, closeIt)
		h.call("POST", "/predict", one, prefer, "wait=60").want(202)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the wait ended after %v, want 2s", took)
		}
		h.call("POST", live, one).want(503).has("x-amzn-ErrorType", "ServiceUnavailable").says("shutting down")
		if told := h.logs.FilterLevelExact(zap.ErrorLevel).All(); len(told) != 0 {
			t.Errorf("a shutdown is no fault, and the log says %v", told)
		}
	}, func(c *frontdoor.Config) { c.Closing = closing })
}

func TestAFailureInTimeIsAProblemWithItsReason(t *testing.T) {
	in(t, func(h *house) {
		h.works()
		for body, want := range map[string]struct {
			code int
			says []string
		}{
			`{"instances":[["x"]]}`: {422, []string{`"code": "InvalidDType"`, `"stage": "decode"`, `"failure": "s3://results/failed/requests/`, `"inferenceId"`, `"retryable": false`}},
			`{"instances":[[13]]}`:  {422, []string{`"code": "ModelError"`, "bad luck"}},
			`{"instances":[[14]]}`:  {500, []string{`"code": "ModelError"`, "out of order", `"retryable": true`}},
			"\x00\x01":              {422, []string{`"code": "UnsupportedMediaType"`, `"hint"`}},
		} {
			r := h.call("POST", "/predict", body, prefer, "wait=60").want(want.code).has("Content-Type", "application/problem+json").says(want.says...)
			status := r.header.Get("Content-Location")
			h.call("GET", status, "").want(200).says(`"failed"`, `"error"`)
			h.call("GET", status+"/result", "").want(want.code).says(want.says...)
		}
	})
}

func TestARequestThatExpiresOrIsCancelledSaysSo(t *testing.T) {
	in(t, func(h *house) {
		h.call("POST", "/predict?ttl=60", one, asKey, "late").want(202)
		h.call("POST", "/predict", one, asKey, "unwanted").want(202)
		h.call("DELETE", "/v1/inferences/unwanted", "").want(202).says(`"queued"`, `"cancelRequested": true`)
		time.Sleep(2 * time.Minute)
		h.works()
		h.call("GET", "/v1/inferences/late/result", "", prefer, "wait=60").want(504).says(`"Expired"`)
		h.call("GET", "/v1/inferences/unwanted/result", "", prefer, "wait=60").want(410).says(`"Cancelled"`)
		h.call("GET", "/v1/inferences/late", "").want(200).says(`"status": "expired"`)
		h.call("GET", "/v1/inferences/unwanted", "").want(200).says(`"status": "cancelled"`)
		h.call("DELETE", "/v1/inferences/unwanted", "").want(200).says(`"cancelled"`)
		h.call("POST", "/predict", one, asKey, "done", prefer, "wait=60").want(200)
		h.call("DELETE", "/v1/inferences/done", "").want(200).says(`"succeeded"`)
	})
}

func TestWhatIsAcceptedIsNoErrorThoughItsResultCanNotBeLookedFor(t *testing.T) {
	in(t, func(h *house) {
		h.store.OnCall(func(_ context.Context, verb string, _ storage.Ref, call func() error) error {
			if verb == "put" {
				return call()
			}
			return errBroken
		})
		r := h.call("POST", "/predict", one, prefer, "wait=60").want(202).has("Preference-Applied", "").says(`"queued"`)
		h.heals()
		h.works()
		h.call("GET", r.text("links", "result"), "", prefer, "wait=60").want(200)
	})
}

func TestAnIDIsOneRequestHoweverOftenItIsSent(t *testing.T) {
	in(t, func(h *house) {
		h.call("POST", "/predict", one, asKey, "a b/c").want(202).has("Location", "/v1/inferences/a%20b%2Fc")
		h.call("POST", "/predict?id=a+b/c", one).want(202)
		h.call("POST", "/predict", `{"instances":[[2]]}`, asKey, "a b/c").want(409).says(`"IdConflict"`)
		h.call("POST", "/predict?signature=other", one, asKey, "a b/c").want(409)
		h.call("GET", "/v1/inferences/a%20b%2Fc", "").want(200).says(`"id": "a b/c"`)
		h.works()
		h.call("GET", "/v1/inferences/a%20b%2Fc/result", "", prefer, "wait=9").want(200)
		h.call("POST", "/predict", one, asKey, "a b/c").want(202).says(`"succeeded"`)
		h.call("POST", "/predict", one, asKey, "a b/c", prefer, "wait=1").want(200).says("2.0")
		time.Sleep(time.Minute)
		if n := h.waiting(); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

func TestAnIDSaysNothingOfTheContent(t *testing.T) {
	in(t, func(h *house) {
		h.works()
		h.call("POST", "/predict?id=rows.csv", one, prefer, "wait=60").want(200).says("2.0")
	})
}

func TestWhatTheQueryAndHeadersSayReachesTheWorker(t *testing.T) {
	in(t, func(h *house) {
		h.works(fake.Delay(5 * time.Second))
		for target, want := range map[string]struct {
			headers []string
			code    int
			says    string
		}{
			"/predict?signature=other":                      {nil, 422, "UnknownSignature"},
			"/predict?model=other":                          {nil, 422, "UnknownModel"},
			"/v1/models/other/inferences":                   {nil, 422, "UnknownModel"},
			"/v1/models/double/inferences":                  {nil, 200, "2.0"},
			"/v1/models/double@1/inferences?model=double@1": {nil, 200, "2.0"},
			"/predict?timeout=2s":                           {nil, 504, "Timeout"},
			"/predict":                                      {[]string{"Accept", "text/csv"}, 200, "2.0\n"},
			"/predict?accept=application/jsonlines":         {[]string{"Accept", "text/csv"}, 200, "2.0"},
			"/predict?":                                     {[]string{"Accept", "image/png"}, 422, "NotAcceptable"},
			"/predict?ttl=1h":                               {[]string{"Accept", "*/*", "Content-Type", "text/csv"}, 422, ""},
			"/predict?record-errors=fail":                   {[]string{"Content-Type", "application/jsonlines"}, 200, "2.0"},
		} {
			r := h.call("POST", target, one, append(want.headers, prefer, "wait=60")...)
			if r.code != want.code || !strings.Contains(r.body, want.says) {
				t.Errorf("%s: status %d, want %d with %q:\n%s", target, r.code, want.code, want.says, r.body)
			}
		}
	})
}

func TestFaultsOfACallAreToldAtOnce(t *testing.T) {
	in(t, func(h *house) {
		r := h.call("POST", "/v1/models/a/inferences?model=b&ttl=never&timeout=-1&id=x&id=y&modle=z&input=http://x&record-errors=maybe", one, asKey, "z").want(400).
			has("Content-Type", "application/problem+json").says(`"errors"`, `no parameter \"modle\"`, "ttl is", "timeout is", "id is given 2 times", "model is", "not an S3 URI")
		if r.text("title") != "Bad Request" || r.member("status") != 400.0 {
			t.Errorf("title and status are %v and %v", r.text("title"), r.member("status"))
		}
		for target, says := range map[string]string{
			"/predict?input=s3://uploads/in/x":             "there is a body",
			"/predict?input=s3://uploads/in/x&upload=y":    "both input and upload",
			"/predict?id=%2e%2e":                           "can't stand in a URL",
			"/predict?id=" + strings.Repeat("x", 257):      "at most 256",
			"/predict?id=%0a":                              "printable",
			"/predict?record-errors=maybe":                 "report",
			"/predict?ttl=%zz":                             "can't be read",
			"/predict?accept=" + strings.Repeat("x", 2000): "1024",
		} {
			h.call("POST", target, one).want(400).says(says)
		}
		h.call("POST", "/predict?accept=%00&signature=%00&record-errors=maybe", one).want(400).says("there are 3 faults", "accept must", "signature must", "recordErrors")
		h.call("POST", "/predict", "").want(400).says("there is no input")
		h.call("POST", "/predict?input=s3://elsewhere/x", "").want(400).says("s3://uploads/in/")
		h.call("POST", "/predict?input=s3://results/.penstock/requests/x", "").want(400)
		h.call("POST", "/predict", one, "Content-Type", "multipart/form-data; boundary=x").want(415).says("--data-binary")
		h.call("GET", "/v1/inferences", "").want(400).says("?input=")
		h.call("GET", "/v1/inferences?input=x", "").want(400)
		h.call("GET", "/v1/inferences?input=s3://results/out/x", "").want(400).says("none of the input locations")
		if n := h.waiting(); n != 0 {
			t.Errorf("%d messages were sent", n)
		}
	})
}

func TestABodyThatIsTooLargeIsToldTheWayOfUploads(t *testing.T) {
	in(t, func(h *house) {
		h.call("POST", "/predict", strings.Repeat("x", 1001)).want(413).says("more than 1000 bytes", "/v1/uploads", `"BodyTooLarge"`)
		h.call("POST", "/predict", strings.Repeat("1", 1000)).want(202)
	}, func(c *frontdoor.Config) { c.MaxBody = 1000 })
}

func TestAnUploadIsOneRequest(t *testing.T) {
	in(t, func(h *house) {
		h.works()
		r := h.call("POST", "/v1/uploads", "").want(201)
		id := r.text("id")
		if got, want := r.text("url"), "https://put/results/.penstock/uploads/"+id+"?1h0m0s"; got != want || r.text("method") != "PUT" {
			t.Errorf("it is to be sent by %s to %s, want PUT to %s", r.text("method"), got, want)
		}
		h.call("POST", r.text("next"), "").want(400).says("nothing has been uploaded")
		h.put(r.text("input"), one, "application/json")
		h.call("POST", r.text("next"), "", prefer, "wait=60").want(200).says("2.0")
		h.call("POST", r.text("next"), "", prefer, "wait=60").want(200).says("2.0")
		h.call("GET", "/v1/inferences/"+id, "").want(200).says(`"attempts": 1`)
	})
}

func TestAnObjectInAnInputLocationIsRunByItsName(t *testing.T) {
	in(t, func(h *house) {
		h.works()
		h.put("s3://uploads/in/a b.json", one, "application/json")
		h.call("POST", "/predict?input=s3://uploads/in/a%20b.json", "", prefer, "wait=60").want(200).says("2.0")
		h.call("GET", "/v1/inferences?input=s3://uploads/in/a+b.json", "").want(200).says(`"queued"`, `"self": "/v1/inferences?input=s3%3A%2F%2Fuploads%2Fin%2Fa+b.json"`)
		h.call("GET", "/v1/inferences?input=s3://uploads/in/none", "").want(404)
	})
}

func TestResultsThatAreTooLargeAreElsewhere(t *testing.T) {
	in(t, func(h *house) {
		h.works()
		h.call("POST", "/predict?id=x", one, prefer, "wait=60").want(303).has("Location", "https://get/results/out/requests/x.out?15m0s").says(`"succeeded"`)
		h.call("POST", "/endpoints/digits/invocations", one, "Content-Type", "application/json").want(424).says("read it from s3://results/out/requests/")
	}, func(c *frontdoor.Config) { c.MaxResult = 3 })
}

func TestWhatIsNotServedIsSaidInTheWordsOfTheAPI(t *testing.T) {
	in(t, func(h *house) {
		h.call("GET", "/v1/inferences/nobody", "").want(404).says(`"NotFound"`)
		h.call("GET", "/v1/inferences/nobody/result", "", prefer, "wait=60").want(404)
		h.call("DELETE", "/v1/inferences/nobody", "").want(404)
		h.call("GET", "/v2/x", "").want(404).has("Content-Type", "application/problem+json").says("/openapi.json")
		h.call("PUT", "/predict", one).want(405).has("Allow", "POST").says("answered to POST")
		h.call("POST", "/v1/inferences/x", one).want(405).has("Allow", "DELETE, GET, HEAD")
		h.call("GET", "/endpoints/digits/invocations", "").want(405).has("x-amzn-ErrorType", "MethodNotAllowed")
		h.call("POST", "/endpoints/digits/invocations-response-stream", "").want(404).says("Message")
		h.call("GET", "/openapi.json", "").want(200).says(`"openapi": "3.1.0"`)
	})
}

func TestFaultsOfTheSurroundingsTellNoSecretsAndWhatToDo(t *testing.T) {
	in(t, func(h *house) {
		h.breaks()
		for _, call := range [][]string{
			{"POST", "/predict", one},
			{"GET", "/v1/inferences/x", ""},
			{"GET", "/v1/inferences/x/result", ""},
			{"GET", "/v1/inferences?input=s3://uploads/in/x", ""},
			{"DELETE", "/v1/inferences/x", ""},
			{"POST", "/endpoints/digits/async-invocations", one},
			{"POST", "/endpoints/digits/invocations", one},
		} {
			r := h.call(call[0], call[1], call[2]).want(503)
			if strings.Contains(r.body, "10.1.2.3") {
				t.Errorf("%s tells of what is behind it:\n%s", call[1], r.body)
			}
		}
		if h.logs.FilterMessageSnippet("can't serve").Len() == 0 {
			t.Error("the log does not say why")
		}
		h.heals()
		h.call("POST", "/predict", one).want(202)
	})
}

func TestACallOfAnotherSitesPageIsRefused(t *testing.T) {
	in(t, func(h *house) {
		h.call("POST", "/predict", one, "Sec-Fetch-Site", "cross-site").want(403).says(`"CrossOrigin"`)
		h.call("POST", "/predict", one, "Sec-Fetch-Site", "same-origin").want(202)
	})
}

func TestEachCallIsALineInTheLog(t *testing.T) {
	in(t, func(h *house) {
		r := h.call("POST", "/predict", one, asKey, "mine").want(202)
		lines := h.logs.FilterMessage("call").All()
		if len(lines) != 1 {
			t.Fatalf("%d lines, want 1", len(lines))
		}
		m := lines[0].ContextMap()
		if m["id"] != "mine" || m["status"] != int64(http.StatusAccepted) || m["path"] != "/predict" || m["request"] != r.header.Get("X-Request-Id") || m["caller"] != "anonymous" {
			t.Errorf("the line is %v", m)
		}
	})
}
