package queuetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
)

var fifoChecks = []check{
	{"a group's messages arrive in the order they were sent", fifoOrder},
	{"a group is locked while a message of it is in flight", fifoLock},
	{"a released message comes before the later ones of its group", fifoRelease},
	{"a message that timed out comes before the later ones of its group", fifoTimeout},
	{"a message sent again under its id is not there twice", fifoDuplicate},
	{"a message without a group is refused alone", fifoNoGroup},
	{"a dead letter lets its group go on", fifoRedrive},
	{"the lease of a deleted message is lost", fifoLost},
}

// RunFIFO runs the checks of FIFO queues, in the way of Run. Both queues of
// the harness are FIFO queues without deduplication by content.
func RunFIFO(t *testing.T, open func(t *testing.T) Harness, opts Options) {
	run(t, fifoChecks, open, opts)
}

// inGroup is a message whose deduplication id is its body.
func inGroup(group, body string) queue.Outgoing {
	return queue.Outgoing{Body: body, Group: group, DedupID: body}
}

// sendInGroups sends messages named for their group: "a1" is of group a.
func sendInGroups(ctx context.Context, q queue.Sender, bodies ...string) error {
	messages := make([]queue.Outgoing, len(bodies))
	for i, body := range bodies {
		messages[i] = inGroup(body[:1], body)
	}
	return errors.Join(q.Send(ctx, messages...)...)
}

// receiveBody waits for one message and wants it to be this one.
func receiveBody(ctx context.Context, q queue.Receiver, visibility time.Duration, want string) (*queue.Message, error) {
	m, err := receiveOne(ctx, q, visibility, 4*time.Second)
	if err != nil {
		return nil, fmt.Errorf("want %s: %w", want, err)
	}
	if m.Body != want || m.Group != want[:1] {
		return nil, fmt.Errorf("received %s of group %q, want %s", m.Body, m.Group, want)
	}
	return m, nil
}

// fifoOrder sends in batches of both groups and receives by whatever numbers.
func fifoOrder(ctx context.Context, h Harness) error {
	const n = 15
	var bodies []string
	for i := range n {
		bodies = append(bodies, fmt.Sprintf("a%02d", i), fmt.Sprintf("b%02d", i))
	}
	if err := sendInGroups(ctx, h, bodies...); err != nil {
		return err
	}
	next := map[string]int{}
	for received := 0; received < 2*n; {
		messages, err := h.Receive(ctx, 7, time.Minute, 2*time.Second)
		if err != nil {
			return err
		}
		if len(messages) == 0 {
			return fmt.Errorf("received %d messages and then none, want %d", received, 2*n)
		}
		for _, m := range messages {
			if want := fmt.Sprintf("%s%02d", m.Group, next[m.Group]); m.Body != want {
				return fmt.Errorf("received %s, want %s", m.Body, want)
			}
			next[m.Group]++
		}
		received += len(messages)
		if err := errors.Join(h.Delete(ctx, messages...)...); err != nil {
			return err
		}
	}
	return nil
}

func fifoLock(ctx context.Context, h Harness) error {
	if err := sendInGroups(ctx, h, "a1", "a2", "b1"); err != nil {
		return err
	}
	first, err := receiveBody(ctx, h, time.Minute, "a1")
	if err != nil {
		return err
	}
	if _, err := receiveBody(ctx, h, time.Minute, "b1"); err != nil {
		return fmt.Errorf("while group a is locked: %w", err)
	}
	if err := receiveNone(ctx, h, time.Second); err != nil {
		return fmt.Errorf("while both groups are locked: %w", err)
	}
	if err := errors.Join(h.Delete(ctx, first)...); err != nil {
		return err
	}
	_, err = receiveBody(ctx, h, time.Minute, "a2")
	return err
}

func fifoRelease(ctx context.Context, h Harness) error {
	if err := sendInGroups(ctx, h, "a1", "a2"); err != nil {
		return err
	}
	first, err := receiveBody(ctx, h, time.Minute, "a1")
	if err != nil {
		return err
	}
	if err := errors.Join(h.ChangeVisibility(ctx, 0, first)...); err != nil {
		return err
	}
	again, err := receiveBody(ctx, h, time.Minute, "a1")
	if err == nil && again.ReceiveCount != 2 {
		err = fmt.Errorf("receive count is %d, want 2", again.ReceiveCount)
	}
	return err
}

func fifoTimeout(ctx context.Context, h Harness) error {
	if err := sendInGroups(ctx, h, "a1", "a2"); err != nil {
		return err
	}
	if _, err := receiveBody(ctx, h, time.Second, "a1"); err != nil {
		return err
	}
	_, err := receiveBody(ctx, h, time.Minute, "a1")
	return err
}

// fifoDuplicate sends a message again while it waits, while it is in flight
// and when it is deleted, in another group and with another body as well.
func fifoDuplicate(ctx context.Context, h Harness) error {
	again := func() error {
		other := inGroup("b", "other")
		other.DedupID = "a1"
		return errors.Join(h.Send(ctx, inGroup("a", "a1"), other)...)
	}
	if err := errors.Join(sendInGroups(ctx, h, "a1"), again()); err != nil {
		return err
	}
	m, err := receiveBody(ctx, h, time.Minute, "a1")
	if err != nil {
		return err
	}
	if err := errors.Join(again(), errors.Join(h.Delete(ctx, m)...), again(), sendInGroups(ctx, h, "a2")); err != nil {
		return err
	}
	if _, err := receiveBody(ctx, h, time.Minute, "a2"); err != nil {
		return err
	}
	return receiveNone(ctx, h, time.Second)
}

func fifoNoGroup(ctx context.Context, h Harness) error {
	errs := h.Send(ctx, inGroup("a", "a1"), queue.Outgoing{Body: "none", DedupID: "none"}, inGroup("a", "a2"))
	if errs[0] != nil || !errors.Is(errs[1], queue.ErrInvalid) || errs[2] != nil {
		return fmt.Errorf("the results are %v, want ErrInvalid for the second only", errs)
	}
	m, err := receiveBody(ctx, h, time.Minute, "a1")
	if err != nil {
		return err
	}
	if err := errors.Join(h.Delete(ctx, m)...); err != nil {
		return err
	}
	_, err = receiveBody(ctx, h, time.Minute, "a2")
	return err
}

func fifoRedrive(ctx context.Context, h Harness) error {
	if err := sendInGroups(ctx, h, "a1", "a2"); err != nil {
		return err
	}
	for n := range MaxReceiveCount {
		m, err := receiveBody(ctx, h, time.Minute, "a1")
		if err != nil {
			return fmt.Errorf("receive %d: %w", n+1, err)
		}
		if err := errors.Join(h.ChangeVisibility(ctx, 0, m)...); err != nil {
			return err
		}
	}
	if _, err := receiveBody(ctx, h, time.Minute, "a2"); err != nil {
		return err
	}
	_, err := receiveBody(ctx, h.DeadLetter, time.Minute, "a1")
	return err
}

func fifoLost(ctx context.Context, h Harness) error {
	if err := sendInGroups(ctx, h, "a1"); err != nil {
		return err
	}
	m, err := receiveBody(ctx, h, time.Minute, "a1")
	if err != nil {
		return err
	}
	if err := errors.Join(h.Delete(ctx, m)...); err != nil {
		return err
	}
	return wantLost(h.ChangeVisibility(ctx, time.Minute, m))
}
