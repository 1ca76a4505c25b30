//go:build unix

package main

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// ledger is what clients were told.
type ledger struct {
	mu       sync.Mutex
	sent     map[string]bool // acknowledged sends
	deleting map[string]bool // deletes begun
	deleted  map[string]bool // acknowledged deletes
	receives map[string]int  // deliveries that arrived
}

func (l *ledger) note(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// acknowledged are the sends and deletes that were.
func (l *ledger) acknowledged() (sends, deletes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sent), len(l.deleted)
}

// sender sends until the process is killed.
func (l *ledger) sender(ctx context.Context, c *child, url string) {
	for i := 0; ; i++ {
		out, err := c.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &url, MessageBody: new(strconv.Itoa(i))})
		if err != nil {
			return
		}
		l.note(func() { l.sent[*out.MessageId] = true })
	}
}

// worker receives, and deletes every other message, until the process is
// killed.
func (l *ledger) worker(ctx context.Context, c *child, url string) {
	for {
		out, err := c.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 2, WaitTimeSeconds: 1, VisibilityTimeout: 1})
		if err != nil {
			return
		}
		for i, m := range out.Messages {
			l.note(func() { l.receives[*m.MessageId]++ })
			if i%2 == 1 {
				continue
			}
			l.note(func() { l.deleting[*m.MessageId] = true })
			if _, err := c.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
				return
			}
			l.note(func() { l.deleted[*m.MessageId] = true })
		}
	}
}

// check drains the queue and compares it with the ledger.
func (l *ledger) check(t *testing.T, c *child, url string) {
	found := make(map[string]int) // receive counts
	for {
		out, err := c.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
			QueueUrl: &url, MaxNumberOfMessages: 10, WaitTimeSeconds: 2, VisibilityTimeout: 600,
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{"ApproximateReceiveCount"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			break // longer than the workers' visibility time-out
		}
		for _, m := range out.Messages {
			found[*m.MessageId], err = strconv.Atoi(m.Attributes["ApproximateReceiveCount"])
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for id := range l.sent {
		if _, ok := found[id]; !ok && !l.deleting[id] {
			t.Errorf("message %s was acknowledged and is lost", id)
		}
	}
	for id := range l.deleted {
		if _, ok := found[id]; ok {
			t.Errorf("message %s was deleted and came back", id)
		}
	}
	for id, n := range found {
		if told := l.receives[id]; n <= told {
			t.Errorf("message %s was delivered %d times and counts %d with this one", id, told, n)
		}
	}
	t.Logf("%d sends and %d deletes acknowledged, %d messages left", len(l.sent), len(l.deleted), len(found))
}

func TestNothingAcknowledgedIsLostByAKill(t *testing.T) {
	state := t.TempDir()
	l := &ledger{sent: map[string]bool{}, deleting: map[string]bool{}, deleted: map[string]bool{}, receives: map[string]int{}}
	for round := range 5 {
		c := start(t, state, "-queues", "jobs")
		url := c.ready.Queues["jobs"]
		sends, deletes := l.acknowledged()
		var load sync.WaitGroup
		for range 6 {
			load.Go(func() { l.sender(t.Context(), c, url) })
		}
		for range 4 {
			load.Go(func() { l.worker(t.Context(), c, url) })
		}
		// Some load, however long that takes in another process; and then the
		// kill comes at any moment.
		for began := time.Now(); ; time.Sleep(time.Millisecond) {
			if s, d := l.acknowledged(); s >= sends+20 && d >= deletes+20 {
				break
			}
			if time.Since(began) > 2*time.Minute {
				t.Fatalf("there is no load\n%s", c.stderr)
			}
		}
		time.Sleep(time.Duration(100+90*round) * time.Millisecond)
		c.kill()
		load.Wait()
	}
	c := start(t, state, "-queues", "jobs")
	l.check(t, c, c.ready.Queues["jobs"])
}
