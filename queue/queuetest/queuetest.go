// Package queuetest is the conformance suite of package queue: what every
// adapter, on every server, has to do. A check that a server can't pass is
// listed as a gap with its reason, and is reported once it passes.
package queuetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/queue"
)

// MaxReceiveCount is the redrive limit that the queues under test have.
const MaxReceiveCount = 3

// Queue is all that a queue can do.
type Queue interface {
	queue.Receiver
	queue.Sender
	queue.Inspector
}

// Harness is what one check works on. Both queues are empty and no other check
// uses them.
type Harness struct {
	Queue            // redrives to DeadLetter after MaxReceiveCount receives
	DeadLetter Queue // has no redrive
}

// Options fit the suite to a server. The zero value runs every check in real
// time.
type Options struct {
	// Gaps maps names of checks (the part of the test's name behind the slash)
	// to the reason why this server fails them. A listed check must fail.
	Gaps map[string]string
	// Bubble runs each check in a testing/synctest bubble: for queues that
	// live in this process and need no network.
	Bubble bool
}

// check is one promise. It returns how the promise was broken.
type check struct {
	name string
	run  func(ctx context.Context, h Harness) error
}

func checks() []check {
	return slices.Concat(deliveryChecks, leaseChecks, sendChecks, inspectChecks)
}

// Run runs every check as a subtest, each with the queues that open makes for
// it. They run in parallel; in real time the suite takes about 10 seconds on two
// processors.
func Run(t *testing.T, open func(t *testing.T) Harness, opts Options) {
	run(t, checks(), open, opts)
}

func run(t *testing.T, checks []check, open func(t *testing.T) Harness, opts Options) {
	known := maps.Clone(opts.Gaps)
	for _, c := range checks {
		delete(known, c.name)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if opts.Bubble {
				synctest.Test(t, func(t *testing.T) { c.judge(t, open(t), opts.Gaps[c.name]) })
				return
			}
			c.judge(t, open(t), opts.Gaps[c.name])
		})
	}
	for name := range known {
		t.Errorf("a gap is listed for %q, which is no check of the suite", name)
	}
}

func (c check) judge(t *testing.T, h Harness, gap string) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	err := c.run(ctx, h)
	switch {
	case gap == "" && err != nil:
		t.Error(err)
	case gap != "" && err != nil:
		t.Logf("known gap (%s): %v", gap, err)
	case gap != "":
		t.Errorf("the gap %q is closed: take it off the list", gap)
	}
}

// send sends bodies without attributes.
func send(ctx context.Context, q queue.Sender, bodies ...string) error {
	messages := make([]queue.Outgoing, len(bodies))
	for i, body := range bodies {
		messages[i].Body = body
	}
	return errors.Join(q.Send(ctx, messages...)...)
}

// receiveOne waits up to wait for one message.
func receiveOne(ctx context.Context, q queue.Receiver, visibility, wait time.Duration) (*queue.Message, error) {
	messages, err := q.Receive(ctx, 1, visibility, wait)
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, fmt.Errorf("received %d messages within %v, want 1", len(messages), wait)
	}
	return messages[0], nil
}

// receiveNone reports a message that arrives within wait.
func receiveNone(ctx context.Context, q queue.Receiver, wait time.Duration) error {
	messages, err := q.Receive(ctx, queue.MaxBatch, time.Minute, wait)
	if err != nil {
		return err
	}
	if len(messages) > 0 {
		return fmt.Errorf("received message %s (receive count %d), want none within %v", messages[0].ID, messages[0].ReceiveCount, wait)
	}
	return nil
}

// receiveAll collects n messages, which may take several receives.
func receiveAll(ctx context.Context, q queue.Receiver, n int) ([]*queue.Message, error) {
	var all []*queue.Message
	for len(all) < n {
		messages, err := q.Receive(ctx, queue.MaxBatch, time.Minute, 2*time.Second)
		if err != nil {
			return nil, err
		}
		if len(messages) == 0 {
			return nil, fmt.Errorf("received %d messages and then none, want %d", len(all), n)
		}
		all = append(all, messages...)
	}
	return all, nil
}

// pause waits out what only time brings about.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
