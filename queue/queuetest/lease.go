package queuetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock/penstock/queue"
)

var leaseChecks = []check{
	{"an extension keeps a message invisible", extension},
	{"a release makes a message visible at once", release},
	{"a release with a delay makes a message visible then", delayedRelease},
	{"a deleted message never comes back", deleted},
	{"deleting twice is no error", deletedTwice},
	{"the lease of a deleted message is lost", leaseOfDeleted},
	{"the lease of a message that timed out is lost", leaseTimedOut},
	{"the receipt of an earlier delivery does not touch a later one", staleReceipt},
	{"a receipt that the queue never gave is a lost lease", madeUpReceipt},
	{"a bad receipt spoils no other entry of a batch", partialFailure},
	{"a call with eleven messages is refused as a whole", elevenMessages},
	{"a call without messages does nothing", noMessages},
	{"a cancelled call has the context's error in each entry", cancelledCalls},
}

// held sends one message and receives it.
func held(ctx context.Context, h Harness, visibility time.Duration) (*queue.Message, error) {
	if err := send(ctx, h, "held"); err != nil {
		return nil, err
	}
	return receiveOne(ctx, h, visibility, 2*time.Second)
}

// wantLost reports anything but lost leases.
func wantLost(errs []error) error {
	for _, err := range errs {
		if !errors.Is(err, queue.ErrLeaseLost) {
			return fmt.Errorf("the error is %v, want ErrLeaseLost", err)
		}
	}
	return nil
}

// wantNilOrLost reports anything but success and lost leases.
func wantNilOrLost(errs []error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, queue.ErrLeaseLost) {
			return fmt.Errorf("the error is %v, want none or ErrLeaseLost", err)
		}
	}
	return nil
}

func extension(ctx context.Context, h Harness) error {
	m, err := held(ctx, h, 3*time.Second)
	if err != nil {
		return err
	}
	if err := errors.Join(h.ChangeVisibility(ctx, 30*time.Second, m)...); err != nil {
		return err
	}
	return receiveNone(ctx, h, 4*time.Second)
}

func release(ctx context.Context, h Harness) error {
	m, err := held(ctx, h, time.Minute)
	if err != nil {
		return err
	}
	if err := errors.Join(h.ChangeVisibility(ctx, 0, m)...); err != nil {
		return err
	}
	again, err := receiveOne(ctx, h, time.Minute, 2*time.Second)
	if err != nil {
		return err
	}
	if again.ReceiveCount != 2 {
		return fmt.Errorf("receive count is %d, want 2", again.ReceiveCount)
	}
	return nil
}

func delayedRelease(ctx context.Context, h Harness) error {
	m, err := held(ctx, h, time.Minute)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := errors.Join(h.ChangeVisibility(ctx, 500*time.Millisecond, m)...); err != nil {
		return err
	}
	if _, err := receiveOne(ctx, h, time.Minute, 4*time.Second); err != nil {
		return err
	}
	if d := time.Since(start); d < 500*time.Millisecond {
		return fmt.Errorf("the message was visible %v after it was released for 500 ms", d)
	}
	return nil
}

func deleted(ctx context.Context, h Harness) error {
	m, err := held(ctx, h, time.Second)
	if err != nil {
		return err
	}
	if err := errors.Join(h.Delete(ctx, m)...); err != nil {
		return err
	}
	return receiveNone(ctx, h, 2*time.Second)
}

func deletedTwice(ctx context.Context, h Harness) error {
	m, err := held(ctx, h, time.Minute)
	if err != nil {
		return err
	}
	return errors.Join(errors.Join(h.Delete(ctx, m)...), errors.Join(h.Delete(ctx, m)...))
}

func leaseOfDeleted(ctx context.Context, h Harness) error {
	m, err := held(ctx, h, time.Minute)
	if err != nil {
		return err
	}
	if err := errors.Join(h.Delete(ctx, m)...); err != nil {
		return err
	}
	return wantLost(h.ChangeVisibility(ctx, time.Minute, m))
}

func leaseTimedOut(ctx context.Context, h Harness) error {
	m, err := held(ctx, h, time.Second)
	if err != nil {
		return err
	}
	if err := pause(ctx, 1500*time.Millisecond); err != nil {
		return err
	}
	return wantLost(h.ChangeVisibility(ctx, time.Minute, m))
}

func staleReceipt(ctx context.Context, h Harness) error {
	first, err := held(ctx, h, time.Second)
	if err != nil {
		return err
	}
	second, err := receiveOne(ctx, h, time.Minute, 4*time.Second)
	if err != nil {
		return err
	}
	if err := wantNilOrLost(h.Delete(ctx, first)); err != nil {
		return fmt.Errorf("delete with the first receipt: %w", err)
	}
	if err := wantNilOrLost(h.ChangeVisibility(ctx, 0, first)); err != nil {
		return fmt.Errorf("release with the first receipt: %w", err)
	}
	if err := receiveNone(ctx, h, 0); err != nil {
		return fmt.Errorf("after the release with the first receipt: %w", err)
	}
	if err := errors.Join(h.ChangeVisibility(ctx, 0, second)...); err != nil {
		return fmt.Errorf("release with the second receipt: %w", err)
	}
	_, err = receiveOne(ctx, h, time.Minute, 2*time.Second)
	return err
}

func madeUpReceipt(ctx context.Context, h Harness) error {
	m := &queue.Message{ID: "made-up", Receipt: "made-up"}
	if err := wantLost(h.ChangeVisibility(ctx, time.Minute, m)); err != nil {
		return fmt.Errorf("change visibility: %w", err)
	}
	if err := wantNilOrLost(h.Delete(ctx, m)); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

func partialFailure(ctx context.Context, h Harness) error {
	if err := send(ctx, h, "one", "two"); err != nil {
		return err
	}
	good, err := receiveAll(ctx, h, 2)
	if err != nil {
		return err
	}
	batch := []*queue.Message{good[0], {ID: "made-up", Receipt: "made-up"}, good[1]}
	errs := h.ChangeVisibility(ctx, time.Minute, batch...)
	if len(errs) != 3 || errs[0] != nil || errs[1] == nil || errs[2] != nil {
		return fmt.Errorf("change visibility: the results are %v, want an error for the second entry only", errs)
	}
	errs = h.Delete(ctx, batch...)
	if len(errs) != 3 || errs[0] != nil || errs[2] != nil {
		return fmt.Errorf("delete: the results are %v, want none for the first and the last entry", errs)
	}
	return wantLost(h.ChangeVisibility(ctx, time.Minute, good...))
}

func elevenMessages(ctx context.Context, h Harness) error {
	m, err := held(ctx, h, time.Minute)
	if err != nil {
		return err
	}
	batch := make([]*queue.Message, queue.MaxBatch+1)
	for i := range batch {
		batch[i] = m
	}
	for step, errs := range map[string][]error{
		"change visibility": h.ChangeVisibility(ctx, 0, batch...),
		"delete":            h.Delete(ctx, batch...),
	} {
		if len(errs) != len(batch) {
			return fmt.Errorf("%s: %d results for %d messages", step, len(errs), len(batch))
		}
		for i, err := range errs {
			if err == nil {
				return fmt.Errorf("%s: entry %d has no error", step, i)
			}
		}
	}
	return receiveNone(ctx, h, 0)
}

func noMessages(ctx context.Context, h Harness) error {
	if n := len(h.Send(ctx)) + len(h.ChangeVisibility(ctx, 0)) + len(h.Delete(ctx)); n != 0 {
		return fmt.Errorf("%d results for no messages", n)
	}
	return nil
}

func cancelledCalls(ctx context.Context, h Harness) error {
	m, err := held(ctx, h, time.Minute)
	if err != nil {
		return err
	}
	dead, cancel := context.WithCancel(ctx)
	cancel()
	for step, errs := range map[string][]error{
		"send":              h.Send(dead, queue.Outgoing{Body: "1"}, queue.Outgoing{Body: "2"}),
		"change visibility": h.ChangeVisibility(dead, 0, m, m),
		"delete":            h.Delete(dead, m, m),
	} {
		if len(errs) != 2 || !errors.Is(errs[0], context.Canceled) || !errors.Is(errs[1], context.Canceled) {
			return fmt.Errorf("%s: the results are %v, want two that are context.Canceled", step, errs)
		}
	}
	return receiveNone(ctx, h, 0)
}
