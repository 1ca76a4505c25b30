package queuetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/penstock/penstock/queue"
)

var deliveryChecks = []check{
	{"a message arrives as it was sent", arrivesAsSent},
	{"a message comes back when its visibility ends", comesBack},
	{"a receive gives no more than it was asked for", honoursLimit},
	{"a receive from an empty queue is empty and no error", emptyReceive},
	{"a long poll wakes as soon as a message is there", longPollWakes},
	{"a cancelled receive ends with the context's error", cancelledReceive},
	{"no two receivers hold a message at a time", exclusive},
	{"a message that was received too often goes to the dead-letter queue", redrive},
	{"a receive for an impossible number is an error", impossibleLimit},
}

func arrivesAsSent(ctx context.Context, h Harness) error {
	out := queue.Outgoing{
		Body:       "{\"key\":\"über/\u6587\U0001F600\"}\r\n\t<&> \uFFFD.",
		Attributes: map[string]string{"enqueued": "1767225600000", "reason": "Größe \u6587 <&>"},
	}
	before := time.Now()
	if err := errors.Join(h.Send(ctx, out)...); err != nil {
		return err
	}
	m, err := receiveOne(ctx, h, time.Minute, 2*time.Second)
	if err != nil {
		return err
	}
	var errs []error
	if m.ID == "" || m.Receipt == "" {
		errs = append(errs, fmt.Errorf("id %q and receipt %q must not be empty", m.ID, m.Receipt))
	}
	if m.Body != out.Body {
		errs = append(errs, fmt.Errorf("body is %q, want %q", m.Body, out.Body))
	}
	if !maps.Equal(m.Attributes, out.Attributes) {
		errs = append(errs, fmt.Errorf("attributes are %q, want %q", m.Attributes, out.Attributes))
	}
	if m.ReceiveCount != 1 {
		errs = append(errs, fmt.Errorf("receive count is %d, want 1", m.ReceiveCount))
	}
	if d := m.Sent.Sub(before); d.Abs() > time.Minute {
		errs = append(errs, fmt.Errorf("sent at %v, want about %v", m.Sent, before))
	}
	if m.Group != "" || m.Source != "" {
		errs = append(errs, fmt.Errorf("group %q and source %q must be empty", m.Group, m.Source))
	}
	return errors.Join(errs...)
}

func comesBack(ctx context.Context, h Harness) error {
	if err := send(ctx, h, "again"); err != nil {
		return err
	}
	first, err := receiveOne(ctx, h, 3*time.Second, 2*time.Second)
	if err != nil {
		return err
	}
	if first.Attributes == nil {
		return errors.New("a message without attributes has a nil map")
	}
	if err := receiveNone(ctx, h, 0); err != nil {
		return err
	}
	second, err := receiveOne(ctx, h, time.Minute, 10*time.Second)
	if err != nil {
		return err
	}
	switch {
	case second.ID != first.ID:
		return fmt.Errorf("id is %q in the second delivery, %q in the first", second.ID, first.ID)
	case second.Receipt == first.Receipt:
		return errors.New("both deliveries have one receipt")
	case second.ReceiveCount != 2:
		return fmt.Errorf("receive count is %d, want 2", second.ReceiveCount)
	case !second.Sent.Equal(first.Sent) || !second.FirstReceived.Equal(first.FirstReceived):
		return fmt.Errorf("sent and first received are %v and %v in the second delivery, %v and %v in the first",
			second.Sent, second.FirstReceived, first.Sent, first.FirstReceived)
	case first.ReceiveCount != 1:
		return errors.New("the second delivery changed the first one's message")
	}
	return nil
}

func honoursLimit(ctx context.Context, h Harness) error {
	if err := send(ctx, h, "1", "2", "3", "4", "5"); err != nil {
		return err
	}
	for left := 5; left > 0; {
		messages, err := h.Receive(ctx, 2, time.Minute, 2*time.Second)
		if err != nil {
			return err
		}
		if len(messages) == 0 || len(messages) > 2 {
			return fmt.Errorf("received %d messages with %d left, want 1 or 2", len(messages), left)
		}
		left -= len(messages)
	}
	return receiveNone(ctx, h, 0)
}

func emptyReceive(ctx context.Context, h Harness) error {
	if err := receiveNone(ctx, h, 0); err != nil {
		return err
	}
	start := time.Now()
	if err := receiveNone(ctx, h, time.Second); err != nil {
		return err
	}
	if d := time.Since(start); d < 900*time.Millisecond {
		return fmt.Errorf("a poll of 1 s ended after %v", d)
	}
	return nil
}

func longPollWakes(ctx context.Context, h Harness) error {
	type result struct {
		messages []*queue.Message
		err      error
		at       time.Time
	}
	received := make(chan result, 1)
	go func() {
		messages, err := h.Receive(ctx, 1, time.Minute, 10*time.Second)
		received <- result{messages, err, time.Now()}
	}()
	if err := pause(ctx, time.Second); err != nil { // let it begin to wait
		return err
	}
	sent := time.Now()
	sendErr := send(ctx, h, "wake up")
	r := <-received
	switch {
	case sendErr != nil || r.err != nil:
		return errors.Join(sendErr, r.err)
	case len(r.messages) != 1:
		return fmt.Errorf("received %d messages, want 1", len(r.messages))
	case r.at.Sub(sent) > 5*time.Second:
		return fmt.Errorf("the message was received %v after it was sent", r.at.Sub(sent))
	}
	return nil
}

func cancelledReceive(ctx context.Context, h Harness) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	start := time.Now()
	_, err := h.Receive(ctx, 1, time.Minute, 20*time.Second)
	if !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the error is %v, want the context's", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		return fmt.Errorf("it took %v to end", d)
	}
	return nil
}

func exclusive(ctx context.Context, h Harness) error {
	const receivers, n = 4, 60
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprint(i)
	}
	if err := send(ctx, h, bodies...); err != nil {
		return err
	}
	var (
		wg         sync.WaitGroup
		mu         sync.Mutex
		deliveries = map[string]int{}
		errs       []error
	)
	for range receivers {
		wg.Go(func() {
			for {
				messages, err := h.Receive(ctx, queue.MaxBatch, time.Minute, time.Second)
				mu.Lock()
				errs = append(errs, err)
				for _, m := range messages {
					deliveries[m.Body]++
				}
				mu.Unlock()
				if err != nil || len(messages) == 0 {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, body := range bodies {
		if deliveries[body] != 1 {
			errs = append(errs, fmt.Errorf("message %s was delivered %d times, want once", body, deliveries[body]))
		}
	}
	return errors.Join(errs...)
}

func redrive(ctx context.Context, h Harness) error {
	if err := errors.Join(h.Send(ctx, queue.Outgoing{Body: "poison", Attributes: map[string]string{"a": "b"}})...); err != nil {
		return err
	}
	var last *queue.Message
	for n := 1; n <= MaxReceiveCount; n++ {
		m, err := receiveOne(ctx, h, time.Minute, 2*time.Second)
		if err != nil {
			return fmt.Errorf("receive %d: %w", n, err)
		}
		if m.ReceiveCount != n {
			return fmt.Errorf("receive count is %d, want %d", m.ReceiveCount, n)
		}
		if err := errors.Join(h.ChangeVisibility(ctx, 0, m)...); err != nil {
			return fmt.Errorf("release %d: %w", n, err)
		}
		last = m
	}
	if err := receiveNone(ctx, h, time.Second); err != nil {
		return err
	}
	dead, err := receiveOne(ctx, h.DeadLetter, time.Minute, 2*time.Second)
	if err != nil {
		return fmt.Errorf("from the dead-letter queue: %w", err)
	}
	if dead.ID != last.ID || dead.Body != last.Body || !maps.Equal(dead.Attributes, last.Attributes) {
		return fmt.Errorf("the dead letter is %s %q with %q, want %s %q with %q",
			dead.ID, dead.Body, dead.Attributes, last.ID, last.Body, last.Attributes)
	}
	return nil
}

func impossibleLimit(ctx context.Context, h Harness) error {
	for _, limit := range []int{-1, 0, queue.MaxBatch + 1} {
		if _, err := h.Receive(ctx, limit, time.Minute, 0); err == nil {
			return fmt.Errorf("a receive of at most %d messages is no error", limit)
		}
	}
	return nil
}
