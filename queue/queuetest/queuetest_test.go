package queuetest

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/mem"
)

// Each of these queues breaks one promise.
type (
	keepsDeleted    struct{ Queue }
	ignoresExtend   struct{ Queue }
	forgetsAttrs    struct{ Queue }
	doublesMessages struct{ Queue }
	pollsSlowly     struct{ Queue }
	sendsNothing    struct{ Queue }
)

func (keepsDeleted) Delete(_ context.Context, m ...*queue.Message) []error {
	return make([]error, len(m))
}

func (ignoresExtend) ChangeVisibility(_ context.Context, _ time.Duration, m ...*queue.Message) []error {
	return make([]error, len(m))
}

func (q forgetsAttrs) Receive(ctx context.Context, limit int, visibility, wait time.Duration) ([]*queue.Message, error) {
	messages, err := q.Queue.Receive(ctx, limit, visibility, wait)
	for _, m := range messages {
		m.Attributes = nil
	}
	return messages, err
}

func (q doublesMessages) Send(ctx context.Context, m ...queue.Outgoing) []error {
	q.Queue.Send(ctx, m...)
	return q.Queue.Send(ctx, m...)
}

func (q pollsSlowly) Receive(ctx context.Context, limit int, visibility, wait time.Duration) ([]*queue.Message, error) {
	if err := pause(ctx, wait); err != nil {
		return nil, err
	}
	return q.Queue.Receive(ctx, limit, visibility, 0)
}

func (sendsNothing) Send(_ context.Context, m ...queue.Outgoing) []error {
	return make([]error, len(m))
}

func TestSuiteCatchesBrokenQueues(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(Queue) Queue
		caught string
	}{
		"delete does nothing":     {func(q Queue) Queue { return keepsDeleted{q} }, "a deleted message never comes back"},
		"extend does nothing":     {func(q Queue) Queue { return ignoresExtend{q} }, "an extension keeps a message invisible"},
		"attributes are lost":     {func(q Queue) Queue { return forgetsAttrs{q} }, "a message arrives as it was sent"},
		"messages are doubled":    {func(q Queue) Queue { return doublesMessages{q} }, "no two receivers hold a message at a time"},
		"a poll wakes at its end": {func(q Queue) Queue { return pollsSlowly{q} }, "a long poll wakes as soon as a message is there"},
		"messages are lost":       {func(q Queue) Queue { return sendsNothing{q} }, "more than ten messages are sent in one go"},
	} {
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(checks(), func(c check) bool { return c.name == test.caught })
			if i < 0 {
				t.Fatalf("there is no check %q", test.caught)
			}
			synctest.Test(t, func(t *testing.T) {
				h := Harness{Queue: test.damage(mem.New(mem.Options{})), DeadLetter: mem.New(mem.Options{})}
				if err := checks()[i].run(t.Context(), h); err == nil {
					t.Errorf("the check %q found nothing", test.caught)
				}
			})
		})
	}
}

// reverses has the messages of a receive in the wrong order.
type reverses struct{ Queue }

func (q reverses) Receive(ctx context.Context, limit int, visibility, wait time.Duration) ([]*queue.Message, error) {
	messages, err := q.Queue.Receive(ctx, limit, visibility, wait)
	slices.Reverse(messages)
	return messages, err
}

// TestFIFOChecksCatchAStandardQueue has no need of a FIFO queue: a standard
// one breaks what is particular to them.
func TestFIFOChecksCatchAStandardQueue(t *testing.T) {
	broken := map[string]bool{
		"a group's messages arrive in the order they were sent":             true,
		"a group is locked while a message of it is in flight":              true,
		"a message that timed out comes before the later ones of its group": true,
		"a message sent again under its id is not there twice":              true,
		"a message without a group is refused alone":                        true,
	}
	for _, c := range fifoChecks {
		if !broken[c.name] {
			continue
		}
		delete(broken, c.name)
		synctest.Test(t, func(t *testing.T) {
			dead := mem.New(mem.Options{})
			h := Harness{Queue: reverses{mem.New(mem.Options{DeadLetter: dead, MaxReceiveCount: MaxReceiveCount})}, DeadLetter: dead}
			if err := c.run(t.Context(), h); err == nil {
				t.Errorf("the check %q found nothing", c.name)
			}
		})
	}
	for name := range broken {
		t.Errorf("there is no check %q", name)
	}
}
