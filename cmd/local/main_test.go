//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/penstock/penstock/cmd/local/standin"
	psqs "github.com/penstock/penstock/queue/sqs"
)

// asChild makes the test binary be the program itself.
const asChild = "PENSTOCK_TEST_LOCAL"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		main()
	}
	for _, v := range os.Environ() { // whoever runs the tests may have settings of a producer
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "PENSTOCK_") {
			os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

// child is the program in a process of its own.
type child struct {
	*testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr *output
	ready  readyLine
	sqs    *sqs.Client
	s3     *s3.Client
}

// output collects what a child says.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// launch starts the program and doesn't wait.
func launch(t *testing.T, args ...string) *child {
	t.Helper()
	c := &child{T: t, cmd: exec.Command(os.Args[0], args...), stderr: &output{}}
	c.cmd.Env = append(os.Environ(), asChild+"=1")
	c.cmd.Stderr = c.stderr
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdout = bufio.NewReader(stdout)
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // if it is still there; once it is gone, its folder can be removed
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	})
	return c
}

// start starts the program and waits until it is ready.
func start(t *testing.T, state string, args ...string) *child {
	t.Helper()
	c := launch(t, append([]string{"-state", state}, args...)...)
	line, err := c.stdout.ReadBytes('\n')
	if err != nil {
		t.Fatalf("it did not become ready: %v\n%s", err, c.stderr)
	}
	if err := json.Unmarshal(line, &c.ready); err != nil {
		t.Fatalf("it said %q: %v", line, err)
	}
	keys := credentials.NewStaticCredentialsProvider(c.ready.AccessKey, c.ready.SecretKey, "")
	c.sqs = sqs.New(sqs.Options{BaseEndpoint: &c.ready.SQS, Region: c.ready.Region, Credentials: keys, Retryer: aws.NopRetryer{}}, psqs.WholeReplies)
	c.s3 = s3.New(s3.Options{BaseEndpoint: &c.ready.S3, Region: c.ready.Region, Credentials: keys, UsePathStyle: true, Retryer: aws.NopRetryer{}})
	return c
}

// ends waits for the end of the program and returns its exit code.
func (c *child) ends() int {
	c.Helper()
	rest, err := io.ReadAll(c.stdout)
	if err != nil || len(rest) > 0 {
		c.Errorf("after its line it said %q (%v)", rest, err)
	}
	err = c.cmd.Wait()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		c.Fatal(err)
	}
	return c.cmd.ProcessState.ExitCode()
}

func (c *child) kill() {
	c.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.Fatal(err)
	}
	c.ends()
}

// faults calls the control path, and gives the faults that are still to strike.
func (c *child) faults(method, list string) string {
	c.Helper()
	r, err := http.NewRequestWithContext(c.Context(), method, c.ready.SQS+standin.FaultsPath, strings.NewReader(list))
	if err != nil {
		c.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		c.Fatal(err)
	}
	defer reply.Body.Close()
	left, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != http.StatusOK {
		c.Fatalf("faults: %s %s %v", reply.Status, left, err)
	}
	return string(left)
}

func TestReadyLineNamesWhatAnswers(t *testing.T) {
	c := start(t, t.TempDir(), "-queues", "jobs, orders.fifo", "-buckets", "input,output")
	buckets, err := c.s3.ListBuckets(t.Context(), &s3.ListBucketsInput{})
	if err != nil || len(buckets.Buckets) != 2 {
		t.Errorf("buckets are %v (%v), want 2", buckets, err)
	}
	for _, name := range []string{"jobs", "jobs-dead-letter", "orders.fifo", "orders-dead-letter.fifo"} {
		out, err := c.sqs.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: new(c.ready.Queues[name]), AttributeNames: []types.QueueAttributeName{"All"}})
		if err != nil {
			t.Fatalf("queue %s: %v", name, err)
		}
		a := out.Attributes
		if a["VisibilityTimeout"] != "30" || a["MessageRetentionPeriod"] != "1209600" || a["MaximumMessageSize"] != "1048576" {
			t.Errorf("%s has attributes %v", name, a)
		}
		dead := strings.Contains(name, "dead-letter")
		if want := `"maxReceiveCount":100}`; strings.HasSuffix(a["RedrivePolicy"], want) == dead {
			t.Errorf("%s has redrive policy %q", name, a["RedrivePolicy"])
		}
	}
	_ = c.stdin.Close()
	if code := c.ends(); code != 0 {
		t.Errorf("after its parent closed the pipe it ended with %d\n%s", code, c.stderr)
	}
}

func TestRestartKeepsObjectsAndChangedQueues(t *testing.T) {
	state := t.TempDir()
	args := []string{"-queues", "jobs", "-buckets", "input"}
	c := start(t, state, args...)
	if _, err := c.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: new("input"), Key: new("a"), Body: strings.NewReader("body")}); err != nil {
		t.Fatal(err)
	}
	_, err := c.sqs.SetQueueAttributes(t.Context(), &sqs.SetQueueAttributesInput{QueueUrl: new(c.ready.Queues["jobs"]), Attributes: map[string]string{"VisibilityTimeout": "77"}})
	if err != nil {
		t.Fatal(err)
	}
	c.kill()
	c = start(t, state, args...)
	got, err := c.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: new("input"), Key: new("a")})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if body, err := io.ReadAll(got.Body); err != nil || string(body) != "body" {
		t.Errorf("the object is %q (%v)", body, err)
	}
	out, err := c.sqs.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: new(c.ready.Queues["jobs"]), AttributeNames: []types.QueueAttributeName{"VisibilityTimeout"}})
	if err != nil || out.Attributes["VisibilityTimeout"] != "77" {
		t.Errorf("attributes are %v (%v), want what was set", out, err)
	}
}

func TestMemoryQueuesAreGoneAtTheEndAndTouchNoOthers(t *testing.T) {
	state := t.TempDir()
	start(t, state, "-queues", "kept").kill()
	start(t, state, "-queues", "passing", "-memory-queues").kill()
	c := start(t, state)
	out, err := c.sqs.ListQueues(t.Context(), &sqs.ListQueuesInput{})
	if err != nil || len(out.QueueUrls) != 2 || !strings.HasSuffix(out.QueueUrls[0], "/kept") {
		t.Errorf("queues are %v (%v), want kept and its dead-letter queue", out, err)
	}
}

func TestSIGTERMAnswersLongPollsAndEnds(t *testing.T) {
	c := start(t, t.TempDir(), "-queues", "jobs", "-faults")
	// A delay of nothing, which tells when the poll has arrived.
	c.faults(http.MethodPost, `[{"action":"ReceiveMessage","kind":"delay"}]`)
	type answer struct {
		out *sqs.ReceiveMessageOutput
		err error
	}
	answers := make(chan answer, 1)
	url := c.ready.Queues["jobs"]
	go func() {
		out, err := c.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20})
		answers <- answer{out, err}
	}()
	for c.faults(http.MethodGet, "") != "[]" {
		time.Sleep(time.Millisecond)
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if a := <-answers; a.err != nil || len(a.out.Messages) != 0 {
		t.Errorf("the poll is answered with %v, %v; want nothing and no error", a.out, a.err)
	}
	// It would not be 0 had the poll gone on: the end waits half as long for it.
	if code := c.ends(); code != 0 {
		t.Errorf("it ended with %d\n%s", code, c.stderr)
	}
}

func TestSettingsOfTheProducerThatAreWrongAreToldAsSuch(t *testing.T) {
	for name, value := range map[string]string{
		"PENSTOCK_INPUT": "s3://bucket/in/", "PENSTOCK_OUTPUT": "s3://bucket/out/", "PENSTOCK_FAILURE": "s3://bucket/failed/", "PENSTOCK_GROUP_BY": "tenant",
	} {
		t.Setenv(name, value)
	}
	c := launch(t, "-state", t.TempDir(), "-buckets", "bucket", "-queues", "jobs")
	if code := c.ends(); code != 2 || !strings.Contains(c.stderr.String(), "group-by") {
		t.Errorf("it ended with %d, want 2:\n%s", code, c.stderr)
	}
}

func TestSecondProcessOnAStateFolderIsRefused(t *testing.T) {
	state := t.TempDir()
	first := start(t, state)
	second := launch(t, "-state", state)
	if code := second.ends(); code != 1 {
		t.Errorf("the second ended with %d, want 1", code)
	}
	for _, want := range []string{fmt.Sprintf("in use by process %d", first.ready.PID), "-state"} {
		if !strings.Contains(second.stderr.String(), want) {
			t.Errorf("it said %q, which lacks %q", second.stderr, want)
		}
	}
	first.kill()
	start(t, state) // a lock does not outlive its process
}

func TestFlagsAreChecked(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"-h"}, 0, []string{"-state", "-s3-addr", "-sqs-addr", "-queues", "-buckets", "penstock-local"}},
		{[]string{"-s3-addr", "0.0.0.0:0", "-sqs-addr", ":80"}, 2, []string{"-s3-addr", "-sqs-addr", "-allow-remote"}},
		{[]string{"-sqs-addr", "nowhere", "-region", ""}, 2, []string{"-sqs-addr", "127.0.0.1:0", "-region"}},
		{[]string{"-what"}, 2, []string{"-what"}},
		{[]string{"start"}, 2, []string{`"start"`}},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), test.args, nil, &stdout, &stderr); code != test.code || stdout.Len() > 0 {
			t.Errorf("%v ends with %d and says %q on standard output; want %d and nothing", test.args, code, &stdout, test.code)
		}
		for _, want := range test.want {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%v says %q, which lacks %q", test.args, &stderr, want)
			}
		}
	}
	if s, err := parseSettings([]string{"-s3-addr", "0.0.0.0:0", "-allow-remote"}, io.Discard); err != nil || !s.allowRemote {
		t.Errorf("-allow-remote: %v", err)
	}
}
