package queuetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/penstock/penstock/queue"
)

var sendChecks = []check{
	{"more than ten messages are sent in one go", manyMessages},
	{"large messages are sent in several batches", largeMessages},
	{"the largest message arrives whole", largestMessage},
	{"a bad message is refused alone", badMessages},
	{"a delayed message arrives after its delay", delayed},
	{"a group arrives with its message", group},
}

func manyMessages(ctx context.Context, h Harness) error {
	const n = 25
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprint(i)
	}
	if err := send(ctx, h, bodies...); err != nil {
		return err
	}
	messages, err := receiveAll(ctx, h, n)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, m := range messages {
		seen[m.Body] = true
	}
	if len(seen) != n {
		return fmt.Errorf("received %d different messages, want %d", len(seen), n)
	}
	return nil
}

func largeMessages(ctx context.Context, h Harness) error {
	big := strings.Repeat("x", 600<<10)
	if err := send(ctx, h, big+"1", big+"2", big+"3"); err != nil {
		return err
	}
	_, err := receiveAll(ctx, h, 3)
	return err
}

func largestMessage(ctx context.Context, h Harness) error {
	m := queue.Outgoing{Attributes: map[string]string{"name": "value"}}
	m.Body = strings.Repeat("x", queue.MaxMessageBytes-m.Size())
	if err := errors.Join(h.Send(ctx, m)...); err != nil {
		return err
	}
	got, err := receiveOne(ctx, h, time.Minute, 2*time.Second)
	if err != nil {
		return err
	}
	if got.Body != m.Body {
		return fmt.Errorf("the body has %d bytes, want %d", len(got.Body), len(m.Body))
	}
	return nil
}

func badMessages(ctx context.Context, h Harness) error {
	tooMany := map[string]string{}
	for i := range queue.MaxAttributes + 1 {
		tooMany[fmt.Sprint("a", i)] = "x"
	}
	bad := []queue.Outgoing{
		{Body: ""},
		{Body: "a NUL \x00"},
		{Body: "not UTF-8 \xff"},
		{Body: "a non-character \uFFFF"},
		{Body: strings.Repeat("x", queue.MaxMessageBytes+1)},
		{Body: "an empty value", Attributes: map[string]string{"a": ""}},
		{Body: "a bad name", Attributes: map[string]string{"a b": "x"}},
		{Body: "a reserved name", Attributes: map[string]string{"AWS.a": "x"}},
		{Body: "too many attributes", Attributes: tooMany},
		{Body: "too long a delay", Delay: queue.MaxDelay + time.Second},
		{Body: "a bad group", Group: "a b"},
	}
	var batch []queue.Outgoing
	for i, m := range bad {
		batch = append(batch, m, queue.Outgoing{Body: fmt.Sprint("good ", i)})
	}
	for i, err := range h.Send(ctx, batch...) {
		wantBad := i%2 == 0
		if wantBad != errors.Is(err, queue.ErrInvalid) || !wantBad && err != nil {
			return fmt.Errorf("message %.20q: the error is %v; is it to be ErrInvalid: %t", batch[i].Body, err, wantBad)
		}
	}
	if _, err := receiveAll(ctx, h, len(bad)); err != nil {
		return err
	}
	return receiveNone(ctx, h, 0)
}

func delayed(ctx context.Context, h Harness) error {
	start := time.Now()
	if err := errors.Join(h.Send(ctx, queue.Outgoing{Body: "later", Delay: 1500 * time.Millisecond})...); err != nil {
		return err
	}
	if _, err := receiveOne(ctx, h, time.Minute, 5*time.Second); err != nil {
		return err
	}
	if d := time.Since(start); d < 1500*time.Millisecond {
		return fmt.Errorf("it arrived after %v", d)
	}
	return nil
}

func group(ctx context.Context, h Harness) error {
	if err := errors.Join(h.Send(ctx, queue.Outgoing{Body: "fair", Group: "tenant-7"})...); err != nil {
		return err
	}
	m, err := receiveOne(ctx, h, time.Minute, 2*time.Second)
	if err != nil {
		return err
	}
	if m.Group != "tenant-7" {
		return fmt.Errorf("the group is %q, want %q", m.Group, "tenant-7")
	}
	return nil
}
