package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/penstock/penstock/cmd/internal/settings"
)

// TestMain plays the programs of a stack when this test binary is called by
// their names.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "local":
		playLocal()
	case "worker":
		playWorker()
	default:
		os.Exit(m.Run())
	}
}

func playLocal() {
	value := func(flag string) string { return os.Args[slices.Index(os.Args, flag)+1] }
	fmt.Printf(`{"s3":"http://%s","sqs":"http://%[2]s","queues":{"penstock":"http://%[2]s/q","penstock-batch":"http://%[2]s/b"},"accessKey":"a","secretKey":"b"}`+"\n", value("-s3-addr"), value("-sqs-addr"))
	io.Copy(io.Discard, os.Stdin)
}

func playWorker() {
	if strings.HasSuffix(os.Getenv("PENSTOCK_MODEL"), "broken") {
		fmt.Fprintln(os.Stderr, "loading")
		fmt.Fprintln(os.Stderr, `{"level":"fatal","msg":"load the model","error":"no saved_model.pb"}`)
		os.Exit(1)
	}
	switch os.Getenv("PENSTOCK_MAX_BATCH_SIZE") {
	case "0":
		fmt.Fprintln(os.Stderr, "worker: max-batch-size is 0; it must be at least 1")
		os.Exit(2)
	case "panic":
		panic("a fault of its own")
	case "abort": // as TensorFlow may
		signal.Reset(syscall.SIGABRT)
		syscall.Kill(os.Getpid(), syscall.SIGABRT)
		select {}
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	go http.ListenAndServe(os.Getenv("PENSTOCK_ADDR"), nil)
	<-terminated
	fmt.Println("drained")
}

// install puts the programs and a model where the program looks for them.
func (c *console) install(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(c.bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"local", "worker"} {
		if err := os.Symlink(self, filepath.Join(c.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	c.file(t, "worker/model/testdata/digits/1/saved_model.pb", "x")
	c.file(t, "broken/saved_model.pb", "x")
}

// trigger is a writer that calls a function when a text has been written.
type trigger struct {
	io.Writer
	text string
	then func()
}

func (w *trigger) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	if strings.Contains(string(b), w.text) {
		w.then()
	}
	return n, err
}

func TestLocalRunsUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.install(t)
	ctx, interrupt := context.WithCancelCause(t.Context())
	env := filepath.Join(c.dir, settings.FileName)
	var file *settings.File
	c.program.stdout = &trigger{&c.stdout, "aws s3 cp my.png", func() {
		var err error
		if file, err = settings.Find(c.dir); err != nil {
			t.Error(err)
		}
		interrupt(errInterrupted)
	}}
	code := c.run(ctx, strings.Fields("local -s3-port 0 -sqs-port 0"))
	if code != exitOK {
		t.Errorf("exit code %d, standard error %q", code, c.stderr.String())
	}
	if v, _ := file.Lookup("PENSTOCK_INPUT"); v != "s3://penstock/in/" {
		t.Errorf("%s had the input location %q", settings.FileName, v)
	}
	if _, err := os.Stat(env); err == nil {
		t.Errorf("%s is still there", env)
	}
	for _, want := range []string{"export AWS_ENDPOINT_URL_S3=http://127.0.0.1:", "export AWS_SESSION_TOKEN=\n", "bin/penstock submit my.png", ".penstock/worker.log", "worker/model/testdata/digits"} {
		if !strings.Contains(c.stdout.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, c.stdout.String())
		}
	}
	if log, err := os.ReadFile(filepath.Join(c.dir, ".penstock/worker.log")); string(log) != "drained\n" {
		t.Errorf("the worker's log is %q, error %v; want that it drained", log, err)
	}
}

func TestLocalShowsTheLastWordsOfAWorkerThatCannotStart(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.install(t)
	code, stdout, stderr := c.call(t, strings.Fields("local -s3-port 0 -sqs-port 0 -model broken")...)
	if code != exitTrouble || stdout != "" {
		t.Errorf("exit code %d, standard output %q", code, stdout)
	}
	for _, want := range []string{"  | loading\n", "penstock: worker ended (exit status 1): load the model: no saved_model.pb; its log is "} {
		if !strings.Contains(stderr, want) {
			t.Errorf("standard error does not say %q:\n%s", want, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(c.dir, settings.FileName)); err == nil {
		t.Error("it left its settings behind")
	}
}

func TestLocalRunsOnceADirectory(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.install(t)
	held, err := lock(t.Context(), c.lockPath())
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("local mode runs in this directory already: the lock is held by process %d (", os.Getpid())
	if code, _, stderr := c.call(t, "local"); code != exitTrouble || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d, standard error %q", code, stderr)
	}
	held.release()
	again, err := lock(t.Context(), c.lockPath())
	if err != nil {
		t.Fatalf("the lock was not given back: %v", err)
	}
	again.release()
}

func TestLocalReportsAllThatIsMissingAtOnce(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	code, _, stderr := c.call(t, "local", "-model", "nowhere", "-workers", "0", "-s3-port", port, "-sqs-port", "70000")
	if code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{
		"-model nowhere: no such file or directory", "local and worker is not in", "make build", "-workers is 0",
		"-s3-port: port " + port + " is taken", "-sqs-port is 70000",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("standard error does not say %q:\n%s", want, stderr)
		}
	}
}

func TestAPortThatNobodyAskedForGivesWay(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	got, err := c.port("s3-port", taken, false)
	if got != 0 || err != nil || !strings.Contains(c.stderr.String(), "a free one is used in its place") {
		t.Errorf("port %d, error %v, standard error %q", got, err, c.stderr.String())
	}
}

// digits gives the demo images: an image is its label, in this test's worker.
func (c *console) digits(files map[string]string) {
	c.images = func(string) (fs.FS, error) {
		m := fstest.MapFS{}
		for name, content := range files {
			m[name] = &fstest.MapFile{Data: []byte(content)}
		}
		return m, nil
	}
}

func TestDemoShowsWhatTheModelMadeOfTheDigits(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.install(t)
	c.environ = []string{"AWS_PROFILE=mine"}
	c.digits(map[string]string{"0001-label-7.png": "7", "0002-label-4.png": "9", "README.md": "not an image"})
	code, stdout, stderr := c.call(t, "demo")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, standard error %q, standard output\n%s", code, stderr, stdout)
	}
	for _, want := range []string{
		"✓ local S3 and SQS ready", "✓ worker ready, model loaded", "✓ 2 digits uploaded, 2 results", "✓ all stopped",
		"0001-label-7.png 7 99.8 % 0 ms", "0002-label-4.png 9 ✗ not 4 99.8 % 0 ms", "1 of 2 right",
	} {
		if !strings.Contains(strings.Join(strings.Fields(stdout), " "), want) {
			t.Errorf("it does not say %q:\n%s", want, stdout)
		}
	}
	if want := "\n\nmake up\nbin/penstock submit my.png\n"; !strings.HasSuffix(stdout, want) {
		t.Errorf("it does not end with %q:\n%s", want, stdout)
	}
	if c.vars["AWS_PROFILE"] != "" || c.vars["AWS_ACCESS_KEY_ID"] != "a" {
		t.Errorf("S3 was opened with %v, want the stack's settings alone", c.vars)
	}
}

func TestDemoFailsWhenARequestDoes(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.install(t)
	c.digits(map[string]string{"0001-label-7.png": "7", "0002-label-4.png": "bad"})
	code, stdout, stderr := c.call(t, "demo")
	if code != exitFailed || !strings.Contains(stdout, "1 of 2 right") || !strings.Contains(stderr, "penstock: 0002-label-4.png: InvalidShape") {
		t.Errorf("exit code %d, standard error %q, standard output\n%s", code, stderr, stdout)
	}
	_, kept, _ := strings.Cut(strings.TrimSpace(stderr), "the demo's logs are kept in ")
	if _, err := os.Stat(filepath.Join(kept, "logs", "worker.log")); err != nil {
		t.Error(err)
	}
	os.RemoveAll(kept)
}

func TestDemoStopsWhenItIsInterrupted(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.install(t)
	c.store.Store = nil // nothing may be uploaded
	c.digits(map[string]string{"0001-label-7.png": "7"})
	ctx, interrupt := context.WithCancelCause(t.Context())
	c.program.stdout = &trigger{&c.stdout, "local S3 and SQS ready", func() { interrupt(errInterrupted) }}
	code := c.run(ctx, []string{"demo"})
	if code != exitInterrupted || c.stderr.String() != "penstock: interrupted\n" {
		t.Errorf("exit code %d, standard error %q, standard output\n%s", code, c.stderr.String(), c.stdout.String())
	}
}

func TestLocalSaysWhoseSettingsAWorkerRefuses(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]struct {
		code int
		says string
	}{
		"0":     {exitUsage, "worker: max-batch-size is 0; it must be at least 1; its log is "},
		"panic": {exitTrouble, "  | panic: a fault of its own\n"}, // it ends with 2 as well
		"abort": {exitTrouble, "worker ended (exit status 2)"},
	} {
		c := setup(t, nil)
		c.install(t)
		c.program.environ = []string{"PENSTOCK_MAX_BATCH_SIZE=" + value}
		code, _, stderr := c.call(t, strings.Fields("local -s3-port 0 -sqs-port 0 -http-port 0")...)
		if code != want.code || !strings.Contains(stderr, want.says) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s", value, code, want.code, want.says, stderr)
		}
	}
}

func TestLocalWarnsOfAMisspeltSetting(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.install(t)
	c.program.environ = []string{"PENSTOCK_MAX_BATCH_SIZ=7"}
	ctx, interrupt := context.WithCancelCause(t.Context())
	c.program.stdout = &trigger{&c.stdout, "aws s3 cp my.png", func() { interrupt(errInterrupted) }}
	if code := c.run(ctx, strings.Fields("local -s3-port 0 -sqs-port 0 -http-port 0")); code != exitOK || !strings.Contains(c.stderr.String(), "penstock: PENSTOCK_MAX_BATCH_SIZ is set, and no program of Penstock has such a setting; did you mean PENSTOCK_MAX_BATCH_SIZE?\n") {
		t.Errorf("exit code %d, standard error %q", code, c.stderr.String())
	}
}
