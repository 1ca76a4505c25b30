package job

import (
	"context"
	"errors"
	"fmt"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
)

// message is that of items of one part. Its group lets SQS see to it that a job
// doesn't keep others' messages waiting (fair queues).
func message(id string, items []request.Request) (queue.Outgoing, error) {
	body, err := request.Encode(items...)
	return queue.Outgoing{Body: body, Group: "job-" + id}, err
}

// sendAll sends messages, each until the queue has it. One that the queue has
// though its reply was lost is sent twice, which workers bear.
func (p *Planner) sendAll(ctx context.Context, messages []queue.Outgoing) error {
	wait := firstPause
	for n := 1; len(messages) > 0; n++ {
		var left []queue.Outgoing
		var fault error
		for i, err := range p.Queue.Send(ctx, messages...) {
			switch {
			case errors.Is(err, queue.ErrInvalid):
				return fmt.Errorf("send: %w", err)
			case err != nil:
				left, fault = append(left, messages[i]), err
			}
		}
		p.tell(func(d *Planned) { d.Sent += len(messages) - len(left) })
		if len(left) < len(messages) { // it is no outage
			n, wait = 1, firstPause
		}
		messages = left
		if fault == nil {
			break
		}
		if n == tries || ctx.Err() != nil {
			return fmt.Errorf("send: %w", fault)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, mostPause)
	}
	return nil
}
