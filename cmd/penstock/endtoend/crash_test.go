//go:build linux

package endtoend

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/cmd/internal/outcome"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// client uploads digits, good and bad, and keeps a ledger.
type client struct {
	*machine
	digit     []byte
	locations request.Locations

	mu       sync.Mutex
	accepted map[storage.Ref]bool // uploads that were answered
}

func newClient(m *machine) *client {
	m.Helper()
	images, err := filepath.Glob(filepath.Join(root, "worker/model/testdata/digits/images/*.png"))
	if err != nil || len(images) == 0 {
		m.Fatalf("there are no images: %v", err)
	}
	digit, err := os.ReadFile(images[0])
	if err != nil {
		m.Fatal(err)
	}
	locations, err := request.ParseLocations("s3://penstock/in/", "s3://penstock/out/", "s3://penstock/failed/", "")
	if err != nil {
		m.Fatal(err)
	}
	return &client{machine: m, digit: digit, locations: locations, accepted: map[storage.Ref]bool{}}
}

// upload uploads the n-th object of a round. Every tenth is no digit.
func (c *client) upload(store storage.Writer, round string, n int) error {
	ref := storage.Ref{Bucket: "penstock", Key: fmt.Sprintf("in/%s/%03d.png", round, n)}
	body := c.digit
	if n%10 == 9 {
		body = []byte("no image")
	}
	_, err := store.Put(c.Context(), ref, body, storage.PutOptions{})
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.accepted[ref] = true
	}
	return err
}

// perRound is how many objects a round uploads at most.
const perRound = 200

// during uploads objects until S3 is gone, and calls strike when some of them
// have been answered.
func (c *client) during(round string, strike func()) {
	c.Helper()
	s := c.open()
	next := make(chan int)
	var uploaders sync.WaitGroup
	half := make(chan struct{})
	for range 4 {
		uploaders.Go(func() {
			for n := range next {
				if err := c.upload(s.store, round, n); err == nil && n == perRound/2 {
					close(half)
				}
			}
		})
	}
	uploaders.Go(func() {
		defer close(next)
		for n := range perRound {
			next <- n
		}
	})
	select {
	case <-half:
	case <-time.After(patience):
		c.Errorf("upload %d of the round %s was not answered", perRound/2, round)
	}
	strike()
	uploaders.Wait()
}

// unfinished are the inputs without a terminal object of their current
// version, or with two, each with what is wrong.
func (c *client) unfinished(ctx context.Context, store storage.Reader) (list []string) {
	finder := outcome.Finder{Store: store, Locations: c.locations}
	inputs := 0
	for listed, err := range store.List(ctx, c.locations.Inputs[0], "") {
		if err != nil {
			return []string{err.Error()}
		}
		inputs++
		input, err := store.Head(ctx, listed.Ref)
		if err != nil {
			return []string{err.Error()}
		}
		if _, ok, err := finder.Find(ctx, input); !ok || err != nil {
			list = append(list, fmt.Sprintf("%s has none (%v)", input.Ref, err))
			continue
		}
		r := request.Request{Input: listed.Ref}
		_, errOutput := store.Head(ctx, c.locations.OutputOf(r))
		_, errFailure := store.Head(ctx, c.locations.FailureOf(r))
		if errors.Is(errOutput, fs.ErrNotExist) == errors.Is(errFailure, fs.ErrNotExist) {
			list = append(list, fmt.Sprintf("%s: output %v, failure %v", input.Ref, errOutput, errFailure))
		}
	}
	if inputs < len(c.accepted) {
		list = append(list, fmt.Sprintf("there are %d inputs, but %d uploads were answered", inputs, len(c.accepted)))
	}
	return list
}

// uploadUntold uploads with local S3 alone: with no producer behind it, no
// event reaches the queue, as when bin/local is killed between the two.
func (c *client) uploadUntold(n int) {
	c.Helper()
	cmd := exec.Command(program(c.TB, "local"), "-state", filepath.Join(c.dir, ".penstock", "local"), "-buckets", "penstock", "-queues", "penstock")
	cmd.Env, cmd.Stderr = c.env, c.said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		c.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		c.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	var ready struct{ S3, SQS, AccessKey, SecretKey string }
	if err = errors.Join(err, json.Unmarshal(line, &ready)); err != nil {
		c.Fatalf("local S3 said %q: %v\n%s", line, err, c.said)
	}
	s := connect(ready.S3, ready.SQS, "", ready.AccessKey, ready.SecretKey)
	for i := range n {
		if err := c.upload(s.store, "untold", i); err != nil {
			c.Fatal(err)
		}
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		c.Fatalf("local S3 ended with %v\n%s", err, c.said)
	}
}

func TestWhateverIsKilledEveryUploadHasOneTerminalObject(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "PENSTOCK_VISIBILITY_TIMEOUT=4s") // what a killed worker held comes back after it
	c := newClient(m)
	c.uploadUntold(20)
	m.start()
	c.during("worker", func() { m.kill(m.child("worker")) })
	c.during("local", func() {
		m.kill(m.child("local"))
		if code := m.end(); code != 4 {
			t.Errorf("without S3 and SQS local mode ends with %d, want 4\n%s", code, m.said)
		}
	})
	m.start()
	c.during("penstock", func() { m.kill(m.cmd.Process.Pid) })
	if code := m.end(); code != -1 {
		t.Errorf("local mode ended with %d before it was killed\n%s", code, m.said)
	}
	m.start() // at once, though its children may be ending still
	c.during("all", m.killAll)
	m.end()
	m.start()
	s := m.open()
	if err := c.upload(s.store, "last", 0); err != nil {
		t.Error(err)
	}
	m.killAll() // right after the answer
	m.end()
	m.eventually(func(context.Context) []string { // as soon as the children are gone too
		if out, err := m.run("get", "s3://penstock/in/last/000.png"); err == nil || !strings.Contains(m.said.String(), "env is of a local mode that was killed") {
			return []string{fmt.Sprintf("word that the settings are old (%q, %v)", out, err)}
		}
		return nil
	})
	m.start()
	s = m.open()
	m.eventually(func(ctx context.Context) []string {
		a, err := s.queue.Attributes(ctx)
		if n := a.Visible + a.InFlight + a.Delayed; n > 0 || err != nil {
			return []string{fmt.Sprintf("there are %d messages in the queue (%v)", n, err)}
		}
		return c.unfinished(ctx, s.store)
	})
	if len(c.accepted) < 4*perRound/2 {
		t.Errorf("only %d uploads were answered", len(c.accepted))
	}
	m.stopped()
	m.cleaned()
}

func TestLocalModeAtRestEndsSoonAfterCtrlC(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	const soon = 4 * time.Second
	var took []time.Duration
	for len(took) < 3 { // the machine may be busy, but not each time
		m.start()
		took = append(took, m.stopped())
		if _, err := os.Stat(filepath.Join(m.dir, ".penstock", "env")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("its settings are still there: %v", err)
		}
		if took[len(took)-1] <= soon {
			return
		}
	}
	t.Errorf("it took %v to end, want %v at most\n%s", took, soon, m.said)
}

// stopped interrupts local mode, which is to end in good order, and gives the
// time that it took. A worker that has to be killed is no good order.
func (m *machine) stopped() time.Duration {
	m.Helper()
	began := time.Now()
	if err := m.cmd.Process.Signal(syscall.SIGINT); err != nil {
		m.Fatal(err)
	}
	if code := m.end(); code != 0 {
		m.Errorf("it ended with %d\n%s", code, m.said)
	}
	return time.Since(began)
}

// cleaned deletes everything by the one command for it.
func (m *machine) cleaned() {
	m.Helper()
	if out, err := m.run("clean"); err != nil {
		m.Errorf("penstock clean: %v, %q\n%s", err, out, m.said)
	}
	left, err := os.ReadDir(m.dir)
	if err != nil || len(left) > 0 {
		m.Errorf("after penstock clean there are %v, %v", left, err)
	}
}
