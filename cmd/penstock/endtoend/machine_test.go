//go:build linux

package endtoend

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/queue/sqs"
	"github.com/penstock/penstock/storage/s3"
)

// root is the module's directory.
const root = "../../.."

// program is the path of a built one.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("this test runs the built programs, and bin/%s is not there: make build", name)
	}
	return path
}

// machine is a directory with a local mode that runs in it, or does not.
type machine struct {
	testing.TB
	dir  string
	env  []string
	cmd  *exec.Cmd
	said *text // on standard error
}

// text gathers what a program writes.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *text) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

func (w *text) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// newMachine gives one. Its environment is this process's, without what would
// lead to another installation, and with more.
func newMachine(t testing.TB, more ...string) *machine {
	t.Helper()
	for _, name := range []string{"penstock", "local", "worker"} {
		program(t, name)
	}
	m := &machine{TB: t, dir: t.TempDir(), said: &text{}}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(v, "PENSTOCK_") {
			m.env = append(m.env, v)
		}
	}
	m.env = append(m.env, more...)
	return m
}

// start starts local mode, with more flags, and waits until it says that it runs.
func (m *machine) start(more ...string) {
	m.Helper()
	m.cmd = exec.Command(program(m.TB, "penstock"), append([]string{"local", "-s3-port", "0", "-sqs-port", "0", "-http-port", "0"}, more...)...)
	m.cmd.Dir, m.cmd.Env, m.cmd.Stderr = m.dir, m.env, m.said
	stdout, err := m.cmd.StdoutPipe()
	if err != nil {
		m.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { _ = m.cmd.Process.Kill() }) // if it is still there
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if strings.Contains(lines.Text(), "aws s3 cp s3://") { // the last line
			return
		}
	}
	m.Fatalf("local mode did not start (%v):\n%s", m.cmd.Wait(), m.said)
}

// end waits for the end of local mode, and returns its exit code: -1 when it
// was killed.
func (m *machine) end() int {
	m.Helper()
	_ = m.cmd.Wait() // the exit code says more
	return m.cmd.ProcessState.ExitCode()
}

// child is the process of that name that local mode started.
func (m *machine) child(name string) int {
	m.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", m.cmd.Process.Pid))
	if err != nil {
		m.Fatal(err)
	}
	for _, task := range tasks {
		children, _ := os.ReadFile(task) // a thread may have ended
		for pid := range strings.FieldsSeq(string(children)) {
			if comm, _ := os.ReadFile("/proc/" + pid + "/comm"); strings.TrimSpace(string(comm)) == name {
				n, err := strconv.Atoi(pid)
				if err != nil {
					m.Fatal(err)
				}
				return n
			}
		}
	}
	m.Fatalf("local mode has no child %q", name)
	return 0
}

// kill kills processes as nothing can prevent.
func (m *machine) kill(pids ...int) {
	m.Helper()
	for _, pid := range pids {
		// One whose parent was killed first may be gone.
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			m.Fatal(err)
		}
	}
}

// killAll kills local mode and all that it has started. It is the first: had it
// the time to see that S3 and SQS are gone, it would end in good order.
func (m *machine) killAll() {
	m.Helper()
	m.kill(m.cmd.Process.Pid, m.child("local"), m.child("worker"))
}

// run runs another command of penstock in the directory.
func (m *machine) run(args ...string) (stdout string, err error) {
	cmd := exec.CommandContext(m.Context(), program(m.TB, "penstock"), args...)
	cmd.Dir, cmd.Env, cmd.Stderr = m.dir, m.env, m.said
	out, err := cmd.Output()
	return string(out), err
}

// services are those of an installation.
type services struct {
	store *s3.Store
	queue *sqs.Queue
}

// open opens the services that the settings file names, without retries: what
// is not answered was not accepted.
func (m *machine) open() services {
	m.Helper()
	f, err := settings.Find(m.dir)
	if err != nil || f == nil {
		m.Fatalf("there are no settings: %v", err)
	}
	return connect(f.Values["AWS_ENDPOINT_URL_S3"], f.Values["AWS_ENDPOINT_URL_SQS"], f.Values["PENSTOCK_QUEUE_URL"], f.Values["AWS_ACCESS_KEY_ID"], f.Values["AWS_SECRET_ACCESS_KEY"])
}

func connect(s3URL, sqsURL, queueURL, access, secret string) services {
	keys := credentials.NewStaticCredentialsProvider(access, secret, "")
	return services{
		store: s3.New(awss3.New(awss3.Options{BaseEndpoint: &s3URL, Region: "us-east-1", Credentials: keys, UsePathStyle: true, Retryer: aws.NopRetryer{}})),
		queue: sqs.New(awssqs.New(awssqs.Options{BaseEndpoint: &sqsURL, Region: "us-east-1", Credentials: keys, Retryer: aws.NopRetryer{}}), queueURL),
	}
}

// patience is how long these tests wait for what must come at last. It is no
// promise: most of it comes within seconds, and on a machine that is busy with
// other tests within a minute.
const patience = 3 * time.Minute

// eventually waits until nothing is missing any more.
func (m *machine) eventually(missing func(context.Context) []string) {
	m.Helper()
	deadline := time.After(patience)
	for {
		list := missing(m.Context())
		if len(list) == 0 {
			return
		}
		select {
		case <-deadline:
			log, _ := os.ReadFile(filepath.Join(m.dir, ".penstock", "worker.log"))
			m.Fatalf("after %v %d are missing, such as\n%s\nlocal mode said:\n%s\nthe worker's log ends with\n%s",
				patience, len(list), strings.Join(list[:min(len(list), 10)], "\n"), m.said, log[max(len(log)-4000, 0):])
		case <-time.After(100 * time.Millisecond): // other processes are at work
		}
	}
}
