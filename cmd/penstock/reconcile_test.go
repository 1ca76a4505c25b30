package main

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/storage"
)

// missed gives an installation with an upload that has a result, one that has
// a failure, and two that no worker knows of.
func missed(t *testing.T) *console {
	t.Helper()
	vars := maps.Clone(places)
	vars["PENSTOCK_QUEUE_URL"] = "http://127.0.0.1:1/0/penstock"
	c := setup(t, vars)
	for _, key := range []string{"good.png", "bad.png", "slow-1.png", "slow-2.png"} {
		if _, err := c.store.Put(t.Context(), storage.Ref{Bucket: "penstock", Key: "in/" + key}, []byte("7"), storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *console) queued(t *testing.T) int {
	t.Helper()
	a, err := c.queue.Attributes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a.Visible
}

func TestReconcileEnqueuesWhatHasNoResult(t *testing.T) {
	t.Parallel()
	c := missed(t)
	code, stdout, stderr := c.call(t, "reconcile", "-older-than", "0s")
	if want := "looked at 4: 1 with a result, 1 with a failure, 2 enqueued\n"; code != exitOK || stdout != want || stderr != "" {
		t.Errorf("exit code %d, standard output %q, want %q, standard error %q", code, stdout, want, stderr)
	}
	if n := c.queued(t); n != 2 {
		t.Errorf("%d messages are in the queue, want 2", n)
	}
}

func TestReconcileGivesAFIFOQueueItsGroups(t *testing.T) {
	t.Parallel()
	c := missed(t)
	c.vars["PENSTOCK_QUEUE_URL"] += ".fifo"
	if code, _, stderr := c.call(t, "reconcile", "-older-than", "0s"); code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	messages, err := c.queue.Receive(t.Context(), queue.MaxBatch, time.Minute, 0)
	if err != nil || len(messages) != 2 || messages[0].Group == "" || messages[0].Group == messages[1].Group {
		t.Errorf("in the queue is %+v (%v), want two messages, each of a group of its own", messages, err)
	}
}

func TestReconcileLeavesNewUploadsToTheirEvents(t *testing.T) {
	t.Parallel()
	c := missed(t)
	code, stdout, _ := c.call(t, "reconcile")
	if want := "looked at 4: 0 with a result, 0 with a failure, 0 enqueued, 4 newer than 1m0s\n"; code != exitOK || stdout != want {
		t.Errorf("exit code %d, standard output %q, want %q", code, stdout, want)
	}
}

func TestReconcilePrintsInADryRunWhatItWouldEnqueue(t *testing.T) {
	t.Parallel()
	c := missed(t)
	delete(c.vars, "PENSTOCK_QUEUE_URL")
	code, stdout, stderr := c.call(t, "reconcile", "-dry-run", "-older-than", "0s", "-prefix", "slow")
	if want := "s3://penstock/in/slow-1.png\ns3://penstock/in/slow-2.png\n"; code != exitOK || stdout != want {
		t.Errorf("exit code %d, standard output %q, want %q", code, stdout, want)
	}
	if want := "looked at 2: 0 with a result, 0 with a failure, 2 to enqueue\n"; stderr != want {
		t.Errorf("standard error %q, want %q", stderr, want)
	}
	if n := c.queued(t); n != 0 {
		t.Errorf("%d messages are in the queue, want none", n)
	}
}

func TestReconcileGivesItsCountsToPrograms(t *testing.T) {
	t.Parallel()
	c := missed(t)
	code, stdout, stderr := c.call(t, "reconcile", "-o", "json", "-older-than", "0s")
	var got map[string]int
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"lookedAt": 4, "results": 1, "failures": 1, "enqueued": 2, "tooNew": 0, "ignored": 0, "troubled": 0}
	if code != exitOK || !maps.Equal(got, want) || stderr != "" {
		t.Errorf("exit code %d, counts %v, want %v, standard error %q", code, got, want, stderr)
	}
}

// deaf is a queue that takes nothing.
type deaf struct{ messageQueue }

func (deaf) Send(_ context.Context, messages ...queue.Outgoing) []error {
	errs := make([]error, len(messages))
	for i := range errs {
		errs[i] = errAway
	}
	return errs
}

func TestReconcileTellsOfWhatItCouldNotEnqueue(t *testing.T) {
	t.Parallel()
	c := missed(t)
	open := c.open
	c.open = func(ctx context.Context) (services, error) {
		s, err := open(ctx)
		s.queue = func(string) messageQueue { return deaf{c.queue} }
		return s, err
	}
	code, stdout, stderr := c.call(t, "reconcile", "-older-than", "0s")
	if code != exitTrouble || !strings.Contains(stdout, "0 enqueued, 2 in trouble") {
		t.Errorf("exit code %d, standard output %q", code, stdout)
	}
	for _, want := range []string{"penstock: s3://penstock/in/slow-1.png: enqueue it: the network is down\n", "penstock: s3://penstock/in/slow-2.png: "} {
		if !strings.Contains(stderr, want) {
			t.Errorf("standard error does not say %q:\n%s", want, stderr)
		}
	}
}
