package stack_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/cmd/penstock/stack"
)

// roleVariable makes this test binary play one of the stack's programs.
const roleVariable = "PENSTOCK_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "stack":
		playStack()
	}
}

// playStack plays bin/local when it is called with flags, as bin/local is, and
// else a worker.
func playStack() {
	if len(os.Args) > 1 {
		playLocal(os.Args[1:])
	} else {
		playWorker()
	}
}

func playLocal(args []string) {
	if slices.Contains(args, "") {
		os.Exit(2)
	}
	value := func(flag string) string { return args[slices.Index(args, flag)+1] }
	fmt.Fprintln(os.Stderr, "local started with", strings.Join(args, " "))
	if strings.HasSuffix(value("-state"), "broken") {
		fmt.Fprintln(os.Stderr, `{"level":"fatal","msg":"open the queue","error":"state is locked"}`)
		fmt.Fprintln(os.Stderr, `{"level":"info","msg":"good bye"}`)
		os.Exit(1)
	}
	queues := make(map[string]string)
	for name := range strings.SplitSeq(value("-queues"), ",") {
		queues[name] = "http://" + value("-sqs-addr") + "/000000000000/" + name
	}
	urls, _ := json.Marshal(queues)
	fmt.Printf(`{"s3":"http://%s","sqs":"http://%s","queues":%s,"accessKey":"a","secretKey":"b"}`+"\n", value("-s3-addr"), value("-sqs-addr"), urls)
	io.Copy(io.Discard, os.Stdin)
	fmt.Println("local ended")
}

func playWorker() {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	env, _ := json.Marshal(os.Environ())
	fmt.Println(string(env))
	if os.Getenv("PENSTOCK_MODEL") == "missing" {
		fmt.Fprintln(os.Stderr, "no such model")
		fmt.Fprintln(os.Stderr, "I0000 00:00:1795384549.509552   26960 port.cc:153] oneDNN custom operations are on.")
		os.Exit(1)
	}
	http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) { os.Exit(9) })
	go http.ListenAndServe(os.Getenv("PENSTOCK_ADDR"), nil)
	<-terminated
	if os.Getenv("PENSTOCK_MODEL") == "endless" {
		select {}
	}
	fmt.Println("worker drained")
}

func config(t *testing.T) stack.Config {
	t.Helper()
	dir := t.TempDir()
	return stack.Config{
		Local: os.Args[0], Worker: os.Args[0], Model: "digits",
		State: filepath.Join(dir, "state"), Logs: filepath.Join(dir, "logs"),
		Environ: []string{
			roleVariable + "=stack", "PENSTOCK_MAX_BATCH_SIZE=7",
			"AWS_PROFILE=mine", "AWS_ACCESS_KEY_ID=real", "PENSTOCK_INPUT=s3://real/in", "PENSTOCK_STATE=s3://real/state",
			"PENSTOCK_SUCCESS_TOPIC=arn:aws:sns:eu-west-1:1:done", "PENSTOCK_INCLUDE_RESPONSE_IN=success",
		},
	}
}

func start(t *testing.T, c stack.Config) *stack.Stack {
	t.Helper()
	s, err := stack.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// workerEnvironment is that which the worker found, by its own log.
func workerEnvironment(t *testing.T, log string) map[string]string {
	t.Helper()
	line, err := bufio.NewReader(strings.NewReader(read(t, log))).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(line, &list); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for _, v := range list {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	return env
}

func TestAStackStartsAndEndsInOrder(t *testing.T) {
	t.Parallel()
	c := stack.Patient(config(t))
	s := start(t, c)
	if err := s.StartWorkers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log := read(t, s.WorkerLogs()); !strings.HasSuffix(log, "worker drained\n") {
		t.Errorf("the worker did not drain; its log is\n%s", log)
	}
	log := read(t, s.LogPath("local.log"))
	if !strings.HasSuffix(log, "local ended\n") {
		t.Errorf("S3 and SQS were not ended by their input; their log is\n%s", log)
	}
	if want := "-state " + c.State + " "; !strings.Contains(log, want) {
		t.Errorf("S3 and SQS were not started with %s; their log is\n%s", want, log)
	}
}

func TestAWorkerSeesThisStackAndNoOther(t *testing.T) {
	t.Parallel()
	s := start(t, config(t))
	if err := s.StartWorkers(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	env := workerEnvironment(t, s.WorkerLogs())
	for name, value := range s.Settings() {
		if env[name] != value || value == "" {
			t.Errorf("%s is %q, want %q", name, env[name], value)
		}
	}
	for name, want := range map[string]string{
		"PENSTOCK_MODEL": "digits", "PENSTOCK_MAX_BATCH_SIZE": "7", "AWS_PROFILE": "", "PENSTOCK_STATE": "",
		"PENSTOCK_SUCCESS_TOPIC": "", "PENSTOCK_INCLUDE_RESPONSE_IN": "",
		"PENSTOCK_QUEUE_URL": s.QueueURL, "PENSTOCK_BATCH_QUEUE_URL": s.BatchURL, "AWS_ENDPOINT_URL_S3": s.S3,
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
}

func TestALeaseIsShortUnlessThePersonChoseOne(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ environ, want string }{{"", "12s"}, {"PENSTOCK_VISIBILITY_TIMEOUT=3m", "3m"}} {
		c := config(t)
		c.Environ = append(c.Environ, test.environ)
		s := start(t, c)
		if err := s.StartWorkers(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer s.Close(t.Context())
		if got := workerEnvironment(t, s.WorkerLogs())["PENSTOCK_VISIBILITY_TIMEOUT"]; got != test.want {
			t.Errorf("with %q it is %q, want %q", test.environ, got, test.want)
		}
	}
}

func TestAWorkerThatDiesIsStartedAgain(t *testing.T) {
	t.Parallel()
	c := config(t)
	said := make(chan string, 1)
	c.Say = func(line string) { said <- line }
	s := start(t, c)
	if err := s.StartWorkers(t.Context()); err != nil {
		t.Fatal(err)
	}
	addr := workerEnvironment(t, s.WorkerLogs())["PENSTOCK_ADDR"]
	if len(s.Workers) != 1 || s.Workers[0] != addr {
		t.Errorf("the workers' addresses are %q, want %s", s.Workers, addr)
	}
	_, _ = http.Get("http://" + addr + "/crash") // it dies over its answer
	if line := <-said; !strings.Contains(line, "worker ended (exit status 9)") || !strings.Contains(line, s.WorkerLogs()) {
		t.Errorf("it said %q", line)
	}
	waitReady(t, addr)
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func waitReady(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		res, err := http.Get("http://" + addr + "/readyz")
		if err == nil {
			res.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the worker did not come back: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAWorkerThatIsNeverReadyIsAnErrorWithItsLastWords(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Model = "missing"
	c.Say = func(line string) { t.Errorf("it said %q", line) }
	s := start(t, c)
	err := s.StartWorkers(t.Context())
	died, ok := errors.AsType[*stack.DiedError](err)
	if !ok {
		t.Fatalf("error is %v, want a DiedError", err)
	}
	if want := "worker ended (exit status 1): no such model; its log is " + s.WorkerLogs(); died.Error() != want {
		t.Errorf("error is %q, want %q", died, want)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSeveralWorkersHaveAnAddressAndALogEach(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Workers = 2
	s := start(t, c)
	if err := s.StartWorkers(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	first := workerEnvironment(t, s.LogPath("worker-1.log"))["PENSTOCK_ADDR"]
	second := workerEnvironment(t, s.LogPath("worker-2.log"))["PENSTOCK_ADDR"]
	if first == second {
		t.Errorf("both listen on %s", first)
	}
}

func TestStartFailsWithTheLastWordsOfTheServers(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.State = filepath.Join(t.TempDir(), "broken")
	_, err := stack.Start(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "local S3 and SQS ended (exit status 1): open the queue: state is locked; its log is ") {
		t.Errorf("error is %v", err)
	}
}

func TestStartNamesAProgramThatIsNotBuilt(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Local = filepath.Join(t.TempDir(), "local")
	if _, err := stack.Start(t.Context(), c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func TestCloseKillsWhatDoesNotEndOnceItMayNotWait(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Model = "endless"
	s := start(t, c)
	if err := s.StartWorkers(t.Context()); err != nil {
		t.Fatal(err)
	}
	hard, kill := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { kill(errors.New("second signal")) })
	if err := s.Close(hard); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("error is %v, want one that says the worker was killed", err)
	}
	select {
	case <-s.Failed():
	default:
		t.Error("S3 and SQS live on")
	}
}
