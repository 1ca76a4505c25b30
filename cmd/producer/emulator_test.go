//go:build servers

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/penstock/penstock/cmd/internal/clients"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/queue/sqs"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
)

// These tests run the built bootstrap as Lambda does, under AWS's own Runtime
// Interface Emulator, on local S3 and SQS. `make test-servers` says where all
// three are.

func built(t testing.TB, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf("%s does not say where it is: make test-servers builds it", variable)
	}
	return path
}

// local is bin/local: S3 and SQS, for one test.
type local struct {
	S3, SQS string
	Queues  map[string]string

	store *s3.Store
	sqs   *awssqs.Client
}

// startLocal starts S3 and SQS, which end with the test.
func startLocal(t testing.TB) *local {
	t.Helper()
	cmd := exec.Command(built(t, "PENSTOCK_TEST_BIN_LOCAL"), "-state", t.TempDir(), "-memory-queues", "-faults",
		"-buckets", "uploads,results,lists", "-queues", "requests,source,requests.fifo,source.fifo")
	stdin, err := cmd.StdinPipe() // its end ends the process
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log output
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	l := new(local)
	if err := json.NewDecoder(stdout).Decode(l); err != nil {
		t.Fatalf("bin/local does not say that it is ready: %v\n%s", err, log.String())
	}
	for name, value := range map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": l.S3, "AWS_ENDPOINT_URL_SQS": l.SQS, "AWS_ACCESS_KEY_ID": "penstock", "AWS_SECRET_ACCESS_KEY": "penstock-local",
	} {
		t.Setenv(name, value)
	}
	c, err := clients.Open(t.Context(), clients.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.store, l.sqs = s3.New(c.S3), c.SQS
	return l
}

func (l *local) queue(name string) *sqs.Queue { return sqs.New(l.sqs, l.Queues[name]) }

// put writes an object.
func (l *local) put(t testing.TB, uri, body string) {
	t.Helper()
	ref, err := storage.ParseRef(uri)
	if err == nil {
		_, err = l.store.Put(t.Context(), ref, []byte(body), storage.PutOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// drain takes all messages out of a queue.
func (l *local) drain(t testing.TB, name string) []*queue.Message {
	t.Helper()
	var all []*queue.Message
	for q := l.queue(name); ; {
		messages, err := q.Receive(t.Context(), queue.MaxBatch, time.Minute, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(messages) == 0 {
			if a, err := q.Attributes(t.Context()); err != nil || a.Visible+a.InFlight == 0 {
				return all
			}
			continue // a short poll may come back empty
		}
		if err := errors.Join(q.Delete(t.Context(), messages...)...); err != nil {
			t.Fatal(err)
		}
		all = append(all, messages...)
	}
}

// requests takes all requests out of the queue that the producer sends to.
func (l *local) requests(t testing.TB) []request.Request {
	t.Helper()
	var all []request.Request
	for _, m := range l.drain(t, "requests") {
		requests, err := request.Decode(m.Body)
		if err != nil || len(requests) != 1 {
			t.Fatalf("the message %s holds %d requests, error %v", m.Body, len(requests), err)
		}
		all = append(all, requests[0])
	}
	return all
}

// inject makes calls to SQS fail.
func (l *local) inject(t testing.TB, faults string) {
	t.Helper()
	reply, err := http.Post(l.SQS+"/_penstock/faults", "application/json", strings.NewReader(faults))
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if reply.StatusCode >= 300 {
		b, _ := io.ReadAll(reply.Body)
		t.Fatalf("inject faults: %s %s", reply.Status, b)
	}
}

// output is what a process wrote so far.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}

// function is the bootstrap under the emulator.
type function struct {
	url string
	log *output
}

// startFunction starts the emulator, which starts the bootstrap at the first
// invocation. Both end with the test.
func startFunction(t testing.TB, l *local, more map[string]string) *function {
	t.Helper()
	env := map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "penstock", "AWS_SECRET_ACCESS_KEY": "penstock-local",
		"AWS_ENDPOINT_URL_S3": l.S3, "AWS_ENDPOINT_URL_SQS": l.SQS, "AWS_LAMBDA_FUNCTION_TIMEOUT": "30", "AWS_LAMBDA_FUNCTION_NAME": "producer",
		"PENSTOCK_QUEUE_URL": l.Queues["requests"], "PENSTOCK_INPUT": "s3://uploads/in/", "PENSTOCK_OUTPUT": "s3://results/out/", "PENSTOCK_FAILURE": "s3://results/failed/",
		"PENSTOCK_ENDPOINTS": "digits",
	}
	maps.Copy(env, more)
	addresses := freeAddresses(t, 2)
	bootstrap, err := filepath.Abs(built(t, "PENSTOCK_TEST_BOOTSTRAP"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(built(t, "PENSTOCK_TEST_EMULATOR"), "--runtime-interface-emulator-address", addresses[0], "--runtime-api-address", addresses[1], bootstrap)
	cmd.Dir = t.TempDir()
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	f := &function{url: "http://" + addresses[0] + "/2015-03-31/functions/function/invocations", log: new(output)}
	cmd.Stdout, cmd.Stderr = f.log, f.log
	cmd.WaitDelay = 5 * time.Second // the bootstrap holds the output open
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		gone := time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		gone.Stop()
		if t.Failed() {
			t.Logf("the function's log:\n%s", f.log.String())
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addresses[0])
		if err == nil {
			_ = conn.Close()
			return f
		}
		if time.Now().After(deadline) {
			t.Fatalf("the emulator does not listen: %v\n%s", err, f.log.String())
		}
	}
}

// freeAddresses are of this machine alone.
func freeAddresses(t testing.TB, n int) []string {
	t.Helper()
	var all []string
	for range n {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return all
}

// functionError is an error that a function answered.
type functionError struct {
	Message string `json:"errorMessage"`
	Type    string `json:"errorType"`
}

func (e *functionError) Error() string { return e.Type + ": " + e.Message }

// invoke invokes the function, and gives its answer or a *functionError. One
// invocation runs at a time, as in one of Lambda's environments.
func (f *function) invoke(ctx context.Context, event []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(event))
	if err != nil {
		return nil, err
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return nil, err
	}
	var failed functionError
	if json.Unmarshal(body, &failed) == nil && failed.Type != "" {
		return nil, &failed
	}
	if reply.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the emulator answers %s: %s", reply.Status, body)
	}
	return body, nil
}

// call invokes the function and reads its answer.
func call[T any](t testing.TB, f *function, event string) T {
	t.Helper()
	var answer T
	body, err := f.invoke(t.Context(), []byte(event))
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err != nil {
		t.Fatalf("%.200s gives %v", event, err)
	}
	return answer
}

// TestTheBootstrapTakesEveryEventOfAnUpload gives it the documents of the
// producer's golden tests, and wants what is beside them.
func TestTheBootstrapTakesEveryEventOfAnUpload(t *testing.T) {
	l := startLocal(t)
	f := startFunction(t, l, nil)
	events := filepath.Join("..", "internal", "producer", "testdata", "events")
	files, err := filepath.Glob(filepath.Join(events, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	given := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		kind, _, _ := strings.Cut(name, "-")
		if !slices.Contains([]string{"s3", "eventbridge", "sns", "sqs", "other"}, kind) || name == "sqs-own-queue" || name == "sqs-own-requests" || name == "other-text" {
			continue // other tests' matter; what is no JSON can't reach a function
		}
		given++
		t.Run(name, func(t *testing.T) {
			event, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden, err := os.ReadFile(filepath.Join(events, name+".golden"))
			if err != nil {
				t.Fatal(err)
			}
			want := readGolden(string(golden))
			body, err := f.invoke(t.Context(), event)
			if failed, ok := errors.AsType[*functionError](err); ok {
				if failed.Type != want.errorType || failed.Message != want.message {
					t.Errorf("it fails with %v, want %s: %s", failed, want.errorType, want.message)
				}
			} else if err != nil {
				t.Fatal(err)
			} else if want.errorType != "" || !sameJSON(body, want.answer) {
				t.Errorf("it answers %s, want %s and the error %q", body, want.answer, want.message)
			}
			var got []string
			for _, r := range l.requests(t) {
				r.Enqueued = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // as the golden files have it
				encoded, _ := request.Encode(r)
				got = append(got, encoded)
			}
			slices.Sort(got)
			if slices.Sort(want.queue); !slices.Equal(got, want.queue) {
				t.Errorf("in the queue is\n%q, want\n%q", got, want.queue)
			}
		})
	}
	if given < 20 {
		t.Errorf("only %d documents were given to it", given)
	}
}

// told is what a golden file says.
type told struct {
	answer             []byte
	queue              []string
	errorType, message string
}

func readGolden(text string) told {
	var w told
	for _, part := range regexp.MustCompile(`(?m)^(answer|queue|EventError|QueueError): `).FindAllStringIndex(text, -1) {
		head := strings.TrimSuffix(text[part[0]:part[1]], ": ")
		rest := text[part[1]:]
		if next := regexp.MustCompile(`(?m)^(answer|queue|EventError|QueueError): `).FindStringIndex(rest); next != nil {
			rest = rest[:next[0]]
		}
		switch rest = strings.TrimSuffix(rest, "\n"); head {
		case "answer":
			w.answer = []byte(rest)
		case "queue":
			w.queue = append(w.queue, rest)
		default:
			w.errorType, w.message = head, rest
		}
	}
	return w
}

func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && x.String() == y.String()
}

func TestABootstrapWithFaultySettingsNamesThemAll(t *testing.T) {
	f := startFunction(t, startLocal(t), map[string]string{"PENSTOCK_OUTPUT": "s3://uploads/in/out/", "PENSTOCK_FILTER_MIN_SIZE": "big"})
	_, err := f.invoke(t.Context(), []byte(`{"sweep":true}`))
	if err == nil {
		t.Error("the invocation gives no error")
	}
	for _, want := range []string{"Runtime.ExitError", "lies in input", "filter-min-size"} {
		if !strings.Contains(f.log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

var initReport = regexp.MustCompile(`INIT REPORT\(durationMs: ([0-9.]+)\)`)

// TestTheBootstrapStartsQuickly tells how long its init takes, from the
// process's start to its asking for the first event.
func TestTheBootstrapStartsQuickly(t *testing.T) {
	l := startLocal(t)
	var all []time.Duration
	for range 7 {
		f := startFunction(t, l, nil)
		if _, err := f.invoke(t.Context(), []byte(`{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"uploads"}`)); err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(strings.NewReader(f.log.String())); lines.Scan(); {
			if m := initReport.FindStringSubmatch(lines.Text()); m != nil {
				took, err := time.ParseDuration(m[1] + "ms")
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, took)
			}
		}
	}
	if len(all) != 7 {
		t.Fatalf("the emulator told of %d starts, want 7", len(all))
	}
	slices.Sort(all)
	t.Logf("init takes %v at the median, %v at most", all[len(all)/2], all[len(all)-1])
	if median := all[len(all)/2]; median > time.Second {
		t.Errorf("init takes %v at the median; Lambda's clients wait for it", median)
	}
}
