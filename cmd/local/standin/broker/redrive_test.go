package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func redriveTo(b *bench, queue, target string, receives int) {
	b.Helper()
	policy := fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":"%d"}`, b.ARN(target), receives)
	b.succeeds(b.SetAttributes(queue, map[string]string{attrRedrive: policy}))
}

func TestMessageReceivedTooOftenGoesToTheDeadLetterQueue(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.create("dead", nil)
		redriveTo(b, "q", "dead", 2)
		sent := b.send("q", Outgoing{Body: "m"})
		for range 2 {
			b.one("q", "m")
			time.Sleep(30 * time.Second)
		}
		b.none("dead")
		p := b.poll(b.Context(), "dead", 1, MaxWait)
		b.none("q") // the receive that would have been one too many moves it
		b.ends(p, 0, "m")
		d := p.got[0]
		if d.ID != sent.ID || d.Source != b.ARN("q") || !d.Sent.Equal(time.Now().Add(-time.Minute)) {
			t.Errorf("dead letter: id %s, source %s, sent %v", d.ID, d.Source, d.Sent)
		}
		names, err := b.DeadLetterSources("dead")
		b.succeeds(err)
		if len(names) != 1 || names[0] != "q" {
			t.Errorf("sources of the dead-letter queue are %v, want q", names)
		}
	})
}

func TestFIFORedriveUnlocksTheGroup(t *testing.T) {
	inBubble(t, fifoQueue(nil), func(b *bench) {
		b.create("dead.fifo", fifoQueue(nil))
		redriveTo(b, "q.fifo", "dead.fifo", 1)
		b.sendAll("q.fifo", inGroup("a", "a1"), inGroup("a", "a2"))
		b.succeeds(b.change("q.fifo", b.receive("q.fifo", 1, time.Minute, 0)[0], 0))
		b.one("q.fifo", "a2")
		d := b.one("dead.fifo", "a1")
		if d.Group != "a" {
			t.Errorf("the dead letter's group is %q, want a", d.Group)
		}
	})
}

func TestRedrivePolicyIsChecked(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.create("dead.fifo", fifoQueue(nil))
		for _, policy := range []string{
			`{`,
			`{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:none","maxReceiveCount":3}`,
			fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":3}`, b.ARN("dead.fifo")),
			fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":0}`, b.ARN("q")),
			fmt.Sprintf(`{"deadLetterTargetArn":%q}`, b.ARN("q")),
			`{"maxReceiveCount":3}`,
		} {
			t.Log(policy)
			b.fails(b.SetAttributes("q", map[string]string{attrRedrive: policy}), InvalidParameterValue)
		}
		b.create("dead", nil)
		redriveTo(b, "q", "dead", 3)
		b.succeeds(b.SetAttributes("q", map[string]string{attrRedrive: ""}))
		if a, _ := b.Attributes("q", []string{attrAll}); a[attrRedrive] != "" {
			t.Errorf("the policy is still %s", a[attrRedrive])
		}
	})
}

// deadLetters puts n messages of q into the queue dead.
func deadLetters(b *bench, n int) {
	b.Helper()
	b.create("dead", nil)
	redriveTo(b, "q", "dead", 1)
	for range n {
		b.send("q", Outgoing{Body: "m"})
		b.receive("q", 10, 0, 0)
	}
	b.none("q")
	b.counts("dead", n, 0, 0)
}

func (b *bench) task() MoveTask {
	b.Helper()
	tasks, err := b.Moves(b.ARN("dead"))
	b.succeeds(err)
	return tasks[0]
}

func TestMoveTaskReturnsMessagesAsNewOnes(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		deadLetters(b, 250)
		_, err := b.StartMove(b.ARN("dead"), "", 0)
		b.succeeds(err)
		synctest.Wait()
		if task := b.task(); task.Status != MoveCompleted || task.Moved != 250 || task.ToMove != 250 {
			t.Errorf("task is %+v", task)
		}
		b.counts("dead", 0, 0, 0)
		b.counts("q", 250, 0, 0)
		d := b.receive("q", 1, time.Minute, 0)[0]
		if d.Receives != 1 || d.Source != "" || !d.Sent.Equal(time.Now()) {
			t.Errorf("a moved message has %d receives, source %q, sent %v", d.Receives, d.Source, d.Sent)
		}
	})
}

func TestMoveTaskKeepsItsRateAndCanBeCancelled(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		deadLetters(b, 10)
		b.create("other", nil)
		handle, err := b.StartMove(b.ARN("dead"), b.ARN("other"), 2)
		b.succeeds(err)
		_, err = b.StartMove(b.ARN("dead"), "", 0)
		b.fails(err, UnsupportedOperation)
		time.Sleep(1900 * time.Millisecond)
		b.counts("other", 4, 0, 0)
		moved, err := b.CancelMove(handle)
		b.succeeds(err)
		synctest.Wait()
		if task := b.task(); moved != 4 || task.Status != MoveCancelled {
			t.Errorf("moved %d, task is %+v; want 4, cancelled", moved, task)
		}
		b.counts("other", 4, 0, 0)
		_, err = b.CancelMove(handle)
		b.fails(err, UnsupportedOperation)
		_, err = b.CancelMove("none")
		b.fails(err, ResourceNotFound)
	})
}

func TestMoveTaskFailsWhenAMessageHasNoSource(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		deadLetters(b, 1)
		b.receive("dead", 1, time.Hour, 0)
		b.send("dead", Outgoing{Body: "sent here"})
		_, err := b.StartMove(b.ARN("dead"), "", 0)
		b.succeeds(err)
		synctest.Wait()
		if task := b.task(); task.Status != MoveFailed || task.Failure != "CouldNotDetermineMessageSource" {
			t.Errorf("task is %+v", task)
		}
	})
}

func TestMoveTaskChecksItsQueues(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		deadLetters(b, 1)
		b.create("q.fifo", fifoQueue(nil))
		for name, test := range map[string]struct {
			source, destination string
			code                Code
		}{
			"no source":             {b.ARN("none"), "", ResourceNotFound},
			"not a dead-letter one": {b.ARN("q"), "", InvalidParameterValue},
			"no destination":        {b.ARN("dead"), b.ARN("none"), ResourceNotFound},
			"itself":                {b.ARN("dead"), b.ARN("dead"), InvalidParameterValue},
			"another type":          {b.ARN("dead"), b.ARN("q.fifo"), InvalidParameterValue},
		} {
			t.Log(name)
			_, err := b.StartMove(test.source, test.destination, 0)
			b.fails(err, test.code)
		}
	})
}
