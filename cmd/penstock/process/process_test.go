package process_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/cmd/penstock/process"
)

// roleVariable makes this test binary play a child when it is set.
const roleVariable = "PENSTOCK_TEST_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	switch role {
	case "polite": // ends when it is asked to
		fmt.Println("started")
		<-terminated
		fmt.Fprintln(os.Stderr, "drained")
	case "stubborn": // ends for nothing but a kill
		fmt.Println("started")
		select {}
	case "reader": // ends with its input
		fmt.Println("started")
		io.Copy(io.Discard, os.Stdin)
		fmt.Println("input closed")
	case "failing":
		fmt.Fprintln(os.Stderr, "no model")
		os.Exit(7)
	case "parent": // starts a stubborn child, and ends for nothing but a kill
		_, err := process.Start(process.Program{Name: "child", Path: os.Args[0], Env: environment("stubborn"), Output: os.Stdout})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		select {}
	}
}

func environment(role string) []string {
	return append(os.Environ(), roleVariable+"="+role)
}

// output gathers what a child writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // one element when there is more
}

func newOutput() *output { return &output{more: make(chan struct{}, 1)} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// waitFor waits until the text is there.
func (o *output) waitFor(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.more:
		case <-deadline:
			t.Fatalf("the child wrote %q, but never %q", o.String(), text)
		}
	}
}

func program(role string, out io.Writer) process.Program {
	return process.Program{Name: "child", Path: os.Args[0], Env: environment(role), Output: out}
}

func start(t *testing.T, role string) (*process.Child, *output) {
	t.Helper()
	out := newOutput()
	c, err := process.Start(program(role, out))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		killed, cancel := context.WithCancel(context.Background())
		cancel()
		_ = c.Terminate(killed)
	})
	return c, out
}

func TestTerminateLetsAChildEndByItself(t *testing.T) {
	t.Parallel()
	c, out := start(t, "polite")
	out.waitFor(t, "started")
	if how := c.Ended(); how != "" {
		t.Fatalf("a running child ended with %q", how)
	}
	if err := c.Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "started\ndrained\n" || c.Ended() != "exit status 0" {
		t.Errorf("the child wrote %q and ended with %q", got, c.Ended())
	}
	if err := c.Terminate(t.Context()); err != nil {
		t.Errorf("a second Terminate: %v", err)
	}
}

func TestTerminateKillsAChildThatDoesNotEndInTime(t *testing.T) {
	t.Parallel()
	c, out := start(t, "stubborn")
	out.waitFor(t, "started")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := c.Terminate(ctx); err == nil || !strings.Contains(err.Error(), "stop child") {
		t.Errorf("error is %v, want one that says the child was killed", err)
	}
	if c.Ended() != "signal: killed" {
		t.Errorf("it ended with %q", c.Ended())
	}
}

func TestCloseInputEndsAChildThatReadsIt(t *testing.T) {
	t.Parallel()
	c, out := start(t, "reader")
	out.waitFor(t, "started")
	if err := c.CloseInput(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "started\ninput closed\n" {
		t.Errorf("the child wrote %q", got)
	}
}

func TestFirstTakesTheFirstLineOfTheStandardOutput(t *testing.T) {
	t.Parallel()
	out, first := newOutput(), make(chan string, 1)
	p := program("reader", out)
	p.First = func(line string) { first <- line }
	c, err := process.Start(p)
	if err != nil {
		t.Fatal(err)
	}
	if line := <-first; line != "started" {
		t.Errorf("the first line is %q", line)
	}
	if err := c.CloseInput(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "input closed\n" {
		t.Errorf("the rest is %q", got)
	}
}

func TestAChildHoldsAFileOpenAsLongAsItRuns(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	locked := open()
	if err := syscall.Flock(int(locked.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	p := program("reader", newOutput())
	p.Hold = []*os.File{locked}
	c, err := process.Start(p)
	if err != nil {
		t.Fatal(err)
	}
	locked.Close()
	other := open()
	defer other.Close()
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
		t.Error("the lock is free though the child runs")
	}
	if err := c.CloseInput(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The child of another test has copies of all files until it runs its own
	// program: there is none while this lock is held.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Errorf("the lock is held though the child has ended: %v", err)
	}
}

func TestStartNamesAProgramThatIsNotThere(t *testing.T) {
	t.Parallel()
	if _, err := process.Start(process.Program{Name: "worker", Path: "/nowhere/worker"}); err == nil || !strings.HasPrefix(err.Error(), "start worker: ") {
		t.Errorf("error is %v", err)
	}
}

func TestKeeperStartsAProgramAgain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	out := newOutput()
	var deaths []string
	var pauses []time.Duration
	k := process.Keeper{Program: program("failing", out), Grace: time.Minute, Died: func(how string, again time.Duration) {
		deaths, pauses = append(deaths, how), append(pauses, again)
		if len(deaths) == 2 {
			cancel()
		}
	}}
	if err := k.Run(ctx, t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(deaths) != 2 || deaths[0] != "exit status 7" || pauses[1] <= pauses[0] {
		t.Errorf("it died %q, with pauses %v; want two deaths, the second pause longer", deaths, pauses)
	}
	if got := out.String(); got != "no model\nno model\n" {
		t.Errorf("it wrote %q", got)
	}
}

func TestKeeperLetsTheProgramDrainAtTheEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	out, result := newOutput(), make(chan error, 1)
	k := process.Keeper{Program: program("polite", out), Grace: time.Minute, Died: func(how string, _ time.Duration) { t.Errorf("it died: %s", how) }}
	go func() { result <- k.Run(ctx, context.WithoutCancel(ctx)) }()
	out.waitFor(t, "started")
	cancel()
	if err := <-result; err != nil {
		t.Error(err)
	}
	if got := out.String(); got != "started\ndrained\n" {
		t.Errorf("it wrote %q", got)
	}
}

func TestKeeperKillsAProgramWhenItsGraceIsOver(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		grace time.Duration
		hard  bool
	}{{"after the grace", 50 * time.Millisecond, false}, {"when it is told to", time.Hour, true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			hard, kill := context.WithCancel(context.WithoutCancel(ctx))
			defer kill()
			out, result := newOutput(), make(chan error, 1)
			k := process.Keeper{Program: program("stubborn", out), Grace: test.grace}
			go func() { result <- k.Run(ctx, hard) }()
			out.waitFor(t, "started")
			cancel()
			if test.hard {
				kill()
			}
			if err := <-result; err == nil || !strings.Contains(err.Error(), "killed") {
				t.Errorf("error is %v", err)
			}
		})
	}
}
