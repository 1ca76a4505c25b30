package queuetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/penstock/penstock/queue"
)

var inspectChecks = []check{
	{"the attributes tell how the queue is set up", setUp},
	{"the attributes tell the queue's limits", limits},
	{"the attributes count messages by their state", counts},
	{"a dead letter names the queue that it came from", deadLetterSource},
}

func setUp(ctx context.Context, h Harness) error {
	a, err := h.Attributes(ctx)
	if err != nil {
		return err
	}
	dead, err := h.DeadLetter.Attributes(ctx)
	if err != nil {
		return err
	}
	switch {
	case !strings.HasPrefix(a.ARN, "arn:aws"):
		return fmt.Errorf("the ARN is %q", a.ARN)
	case a.VisibilityTimeout <= 0:
		return fmt.Errorf("the visibility timeout is %v", a.VisibilityTimeout)
	case a.DeadLetterARN != dead.ARN || a.MaxReceiveCount != MaxReceiveCount:
		return fmt.Errorf("the redrive is to %q after %d receives, want %q after %d", a.DeadLetterARN, a.MaxReceiveCount, dead.ARN, MaxReceiveCount)
	case dead.DeadLetterARN != "" || dead.MaxReceiveCount != 0:
		return fmt.Errorf("the dead-letter queue has a redrive to %q", dead.DeadLetterARN)
	}
	return nil
}

func limits(ctx context.Context, h Harness) error {
	a, err := h.Attributes(ctx)
	if err != nil {
		return err
	}
	if a.RetentionPeriod < time.Minute || a.MaximumMessage < 1<<10 {
		return fmt.Errorf("the retention period is %v and the maximum message %d bytes", a.RetentionPeriod, a.MaximumMessage)
	}
	return nil
}

// counts waits a while, for SQS counts by and by.
func counts(ctx context.Context, h Harness) error {
	if err := send(ctx, h, "1", "2", "3"); err != nil {
		return err
	}
	if _, err := receiveOne(ctx, h, time.Minute, 2*time.Second); err != nil {
		return err
	}
	if err := errors.Join(h.Send(ctx, queue.Outgoing{Body: "later", Delay: time.Minute})...); err != nil {
		return err
	}
	var a queue.Attributes
	for range 30 {
		var err error
		if a, err = h.Attributes(ctx); err != nil {
			return err
		}
		if a.Visible == 2 && a.InFlight == 1 && a.Delayed == 1 {
			return nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	return fmt.Errorf("%d visible, %d in flight, %d delayed; want 2, 1 and 1", a.Visible, a.InFlight, a.Delayed)
}

func deadLetterSource(ctx context.Context, h Harness) error {
	if err := send(ctx, h, "poison"); err != nil {
		return err
	}
	for range MaxReceiveCount {
		m, err := receiveOne(ctx, h, time.Minute, 2*time.Second)
		if err != nil {
			return err
		}
		if err := errors.Join(h.ChangeVisibility(ctx, 0, m)...); err != nil {
			return err
		}
	}
	if err := receiveNone(ctx, h, 0); err != nil {
		return err
	}
	dead, err := receiveOne(ctx, h.DeadLetter, time.Minute, 2*time.Second)
	if err != nil {
		return err
	}
	a, err := h.Attributes(ctx)
	if err != nil {
		return err
	}
	if dead.Source != a.ARN {
		return fmt.Errorf("the source is %q, want %q", dead.Source, a.ARN)
	}
	return nil
}
