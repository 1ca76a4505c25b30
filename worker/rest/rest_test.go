package rest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	smem "github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/worker"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
	"github.com/penstock/penstock/worker/rest"
)

// largest is the largest request that a worker here takes: with all its memory.
const (
	memory  = 16 << 20
	largest = memory/4 - 64<<10
)

// idle gives a worker, which does not run yet, with a model that doubles
// numbers: "double", version 1.
func idle(t *testing.T, knobs ...fake.Knob) (*worker.Worker, model.Set) {
	t.Helper()
	locations, err := request.ParseLocations("s3://uploads/", "s3://results/o/", "s3://results/f/", "")
	if err != nil {
		t.Fatal(err)
	}
	q := qmem.New(qmem.Options{Name: "q"})
	models := model.Fixed(fake.Double(1, knobs...))
	w, err := worker.New(worker.Config{
		Queue: q, Requests: q, Store: smem.New("uploads", "results"), Locations: locations, Models: models,
		MemoryLimit: memory, MaxObjectSize: largest,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, models
}

// serving runs an idle worker, and gives its handler. stop drains the worker.
func serving(t *testing.T, knobs ...fake.Knob) (h http.Handler, stop func()) {
	t.Helper()
	w, models := idle(t, knobs...)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return rest.New(w, models, time.Minute), stop
}

func ask(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	return send(h, method, path, strings.NewReader(body), int64(len(body)), header...)
}

// send is ask with a body of size bytes that is on its way; -1 does not say how many.
func send(h http.Handler, method, path string, body io.Reader, size int64, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, body)
	r.ContentLength = size
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPredictAnswersAsTensorFlowServing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := serving(t)
		for _, c := range []struct{ path, body, contentType, want string }{
			{"/v1/models/double:predict", `{"instances":[[1],[2.5]]}`, "application/json", `{"predictions":[[2.0],[5.0]]}`},
			{"/v1/models/double/versions/1:predict", `{"inputs":[[1]]}`, "application/x-www-form-urlencoded", `{"outputs":[[2.0]]}`},
			{"/V1/MODELS/double:predict", `{"instances":[[1]],"signature_name":"serving_default"}`, "", `{"predictions":[[2.0]]}`},
		} {
			w := ask(h, "POST", c.path, c.body, "Content-Type", c.contentType, "Accept", "*/*")
			if got := strings.Join(strings.Fields(w.Body.String()), ""); w.Code != http.StatusOK || got != c.want || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s: %d %s %q, want %s", c.path, w.Code, w.Header().Get("Content-Type"), got, c.want)
			}
		}
	})
}

func TestWhatIsWrongIsSaidAsTensorFlowServingDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := serving(t, fake.FailWhen(func(part []model.Tensor) bool { return part[0].Rows() == 3 },
			&model.Error{Code: "INVALID_ARGUMENT", Message: "no three", Permanent: true}))
		for _, c := range []struct {
			method, path, body string
			status             int
			says               string
		}{
			{"POST", "/v1/models/other:predict", `{"instances":[[1]]}`, 404, "other"},
			{"POST", "/v1/models/double/versions/9:predict", `{"instances":[[1]]}`, 404, "double@9"},
			{"POST", "/v1/models/double/labels/canary:predict", `{"instances":[[1]]}`, 404, "labels"},
			{"POST", "/v1/models/double:predict", `{"instances":`, 400, "JSON"},
			{"POST", "/v1/models/double:predict", `{"instances":[[1],[2],[3]]}`, 400, "no three"},
			{"POST", "/v1/models/double:predict", strings.Repeat("x", largest+1), 413, strconv.Itoa(largest)},
			{"POST", "/v1/models/double:classify", `{}`, 501, "predict"},
			{"GET", "/v1/models/double:predict", ``, 405, "POST"},
			{"POST", "/v1/models/double", ``, 405, "GET"},
			{"POST", "/v2/models/double/infer", `{}`, 404, "Malformed request"},
		} {
			w := ask(h, c.method, c.path, c.body)
			var said struct{ Error string }
			if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || w.Code != c.status || !strings.Contains(said.Error, c.says) {
				t.Errorf("%s %s: %d %s, want %d with %q", c.method, c.path, w.Code, w.Body, c.status, c.says)
			}
		}
	})
}

func TestStatusAndMetadataDescribeTheModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := serving(t)
		w := ask(h, "GET", "/v1/models/double", "")
		if want := `{"model_version_status":[{"state":"AVAILABLE","status":{"error_code":"OK","error_message":""},"version":"1"}]}`; w.Code != 200 || strings.TrimSpace(w.Body.String()) != want {
			t.Errorf("the status is %d %s", w.Code, w.Body)
		}
		var got struct {
			Spec struct{ Name, Version string } `json:"model_spec"`
			Meta struct {
				Def struct {
					Def map[string]struct {
						Inputs map[string]struct {
							DType string
							Shape struct{ Dim []struct{ Size string } } `json:"tensor_shape"`
						}
					} `json:"signature_def"`
				} `json:"signature_def"`
			} `json:"metadata"`
		}
		w = ask(h, "GET", "/v1/models/double/versions/1/metadata", "")
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Spec.Name != "double" || got.Spec.Version != "1" {
			t.Fatalf("the metadata is %d %s: %v", w.Code, w.Body, err)
		}
		for _, in := range got.Meta.Def.Def["serving_default"].Inputs {
			if in.DType != "DT_FLOAT" || len(in.Shape.Dim) != 2 || in.Shape.Dim[0].Size != "-1" {
				t.Errorf("the input is %+v", in)
			}
		}
	})
}

func TestQueriesShareBatchesAndEndWithTheWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs fake.Recorder
		h, stop := serving(t, runs.Knob(), fake.Delay(time.Second))
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if w := ask(h, "POST", "/v1/models/double:predict", `{"instances":[[1]]}`); w.Code != 200 {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		}
		wg.Wait()
		if n := len(runs.Batches()); n > 3 {
			t.Errorf("20 queries at once took %d runs", n)
		}
		stop()
		if w := ask(h, "POST", "/v1/models/double:predict", `{"instances":[[1]]}`); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("after the end: %d %s", w.Code, w.Body)
		}
	})
}

func TestAQueryWithoutATurnIsGivenUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := serving(t, fake.Delay(3*time.Minute))
		first := make(chan int)
		go func() { first <- ask(h, "POST", "/v1/models/double:predict", `{"instances":[[1]]}`).Code }()
		time.Sleep(time.Second)
		began := time.Now()
		w := ask(h, "POST", "/v1/models/double:predict", `{"instances":[[1]]}`)
		if w.Code != http.StatusGatewayTimeout || time.Since(began) > time.Minute+time.Second {
			t.Errorf("%d %s after %v", w.Code, w.Body, time.Since(began))
		}
		<-first
		time.Sleep(3 * time.Minute) // the run ends
	})
}

// Who stops in the middle of a request does not keep its bytes here for good.
func TestARequestThatDoesNotComeToItsEndIsGivenUp(t *testing.T) {
	w, models := idle(t)
	server := httptest.NewServer(rest.New(w, models, 50*time.Millisecond))
	defer server.Close()
	body, tail := io.Pipe()
	defer tail.Close()
	go tail.Write([]byte(`{"instances":[`)) // and no more
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/models/double:predict", body)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusRequestTimeout {
		t.Errorf("the status is %d, want %d", reply.StatusCode, http.StatusRequestTimeout)
	}
}

const doubling = "/v1/models/double:predict"

// wantAllMemory checks that nothing holds memory any more: a request that needs
// all of it is answered.
func wantAllMemory(t *testing.T, h http.Handler) {
	t.Helper()
	body := `{"instances":[[1]]}`
	if w := ask(h, "POST", doubling, body+strings.Repeat(" ", largest-len(body))); w.Code != http.StatusOK {
		t.Errorf("the largest request is answered with %d %s", w.Code, w.Body)
	}
}

// Many clients at a time wait outside of memory, and not for ever.
func TestARequestIsReadWhenThereIsMemoryForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := serving(t)
		body, tail := io.Pipe()
		first := make(chan int)
		go func() { first <- send(h, "POST", doubling, body, largest).Code }()
		_, _ = tail.Write([]byte("{")) // and the rest is on its way

		next := strings.NewReader(`{"instances":[[1]]}`)
		unread := next.Len()
		began := time.Now()
		w := send(h, "POST", doubling, next, int64(unread))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Header().Get("Connection") != "close" || !strings.Contains(w.Body.String(), `{"error":"there is no memory`) {
			t.Errorf("without memory: %d %v %s", w.Code, w.Header(), w.Body)
		}
		if next.Len() != unread || time.Since(began) != time.Minute {
			t.Errorf("without memory %d bytes were read, and it waited for %v", unread-next.Len(), time.Since(began))
		}
		go func() {
			time.Sleep(time.Second)
			_ = tail.CloseWithError(io.ErrUnexpectedEOF)
		}()
		if w := ask(h, "POST", doubling, `{"instances":[[1]]}`); w.Code != http.StatusOK {
			t.Errorf("when there is memory again: %d %s", w.Code, w.Body)
		}
		if code := <-first; code != http.StatusBadRequest {
			t.Errorf("a request that breaks off is answered with %d", code)
		}
		wantAllMemory(t, h)
	})
}

func TestARequestOfUnknownLengthTakesMemoryAsItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := serving(t)
		long := `{"instances":[[1]]}` + strings.Repeat(" ", largest/2)
		if w := send(h, "POST", doubling, strings.NewReader(long), -1); w.Code != http.StatusOK {
			t.Errorf("alone: %d %s", w.Code, w.Body)
		}
		if w := send(h, "POST", doubling, strings.NewReader(strings.Repeat(" ", largest+1)), -1); w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("too large: %d %s", w.Code, w.Body)
		}
		wantAllMemory(t, h)

		body, tail := io.Pipe()
		first := make(chan int)
		go func() { first <- send(h, "POST", doubling, body, largest/2).Code }()
		_, _ = tail.Write([]byte("{"))
		w := send(h, "POST", doubling, strings.NewReader(long), -1)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "Content-Length") {
			t.Errorf("beside another: %d %s", w.Code, w.Body)
		}
		_ = tail.CloseWithError(io.ErrUnexpectedEOF)
		<-first
		wantAllMemory(t, h)
	})
}
