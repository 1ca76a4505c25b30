package mem_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/queuetest"
)

func TestConformance(t *testing.T) {
	queuetest.Run(t, func(*testing.T) queuetest.Harness {
		dead := mem.New(mem.Options{Name: "dead"})
		return queuetest.Harness{
			Queue:      mem.New(mem.Options{DeadLetter: dead, MaxReceiveCount: queuetest.MaxReceiveCount}),
			DeadLetter: dead,
		}
	}, queuetest.Options{Bubble: true})
}

// receive takes one message, which must be there.
func receive(t *testing.T, q *mem.Queue, visibility time.Duration) *queue.Message {
	t.Helper()
	messages, err := q.Receive(t.Context(), 1, visibility, 0)
	if err != nil || len(messages) != 1 {
		t.Fatalf("Receive gave %d messages and %v, want one", len(messages), err)
	}
	return messages[0]
}

func send(t *testing.T, q *mem.Queue, messages ...queue.Outgoing) {
	t.Helper()
	if err := errors.Join(q.Send(t.Context(), messages...)...); err != nil {
		t.Fatal(err)
	}
}

func TestLeaseEndsTwelveHoursAfterReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New(mem.Options{})
		send(t, q, queue.Outgoing{Body: "long"})
		m := receive(t, q, time.Hour)
		for range 11 {
			time.Sleep(59 * time.Minute)
			if err := q.ChangeVisibility(t.Context(), time.Hour, m)[0]; err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(59 * time.Minute)
		if err := q.ChangeVisibility(t.Context(), time.Hour, m)[0]; !errors.Is(err, queue.ErrLeaseLost) {
			t.Errorf("an extension past 12 hours gave %v, want ErrLeaseLost", err)
		}
		if err := q.ChangeVisibility(t.Context(), 0, m)[0]; err != nil {
			t.Errorf("the release after that: %v", err)
		}
	})
}

func TestDeleteAfterTimeoutWorksUntilTheNextReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New(mem.Options{})
		send(t, q, queue.Outgoing{Body: "late"})
		m := receive(t, q, time.Second)
		time.Sleep(2 * time.Second)
		if err := q.Delete(t.Context(), m)[0]; err != nil {
			t.Fatal(err)
		}
		if n := q.Len(); n != 0 {
			t.Errorf("%d messages are left, want none", n)
		}
	})
}

func TestMessagesVanishAfterTheRetentionPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New(mem.Options{RetentionPeriod: time.Hour})
		send(t, q, queue.Outgoing{Body: "old"})
		time.Sleep(time.Hour)
		send(t, q, queue.Outgoing{Body: "new"})
		if n := q.Len(); n != 1 {
			t.Errorf("%d messages are left, want 1", n)
		}
		if m := receive(t, q, time.Minute); m.Body != "new" {
			t.Errorf("received %q, want the new one", m.Body)
		}
	})
}

func TestSnapshotTellsTheStateOfEveryMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New(mem.Options{})
		send(t, q, queue.Outgoing{Body: "a"}, queue.Outgoing{Body: "b", Delay: time.Minute}, queue.Outgoing{Body: "c"})
		receive(t, q, time.Hour)
		var got []string
		for _, s := range q.Snapshot() {
			got = append(got, fmt.Sprintf("%s %s in %v, received %d times", s.Message.Body, s.State, time.Until(s.VisibleAt), s.Message.ReceiveCount))
		}
		want := []string{
			"a in flight in 1h0m0s, received 1 times",
			"b delayed in 1m0s, received 0 times",
			"c visible in 0s, received 0 times",
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestDeadLetterWakesWhoWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := mem.New(mem.Options{Name: "dead"})
		q := mem.New(mem.Options{Name: "live", DeadLetter: dead, MaxReceiveCount: 1})
		send(t, q, queue.Outgoing{Body: "poison"})
		receive(t, q, time.Second)
		time.Sleep(time.Second)
		woken := make(chan []*queue.Message, 1)
		go func() {
			messages, _ := dead.Receive(t.Context(), 1, time.Minute, 20*time.Second)
			woken <- messages
		}()
		synctest.Wait()
		if messages, err := q.Receive(t.Context(), 1, time.Second, 0); err != nil || len(messages) != 0 {
			t.Fatalf("the live queue gave %d messages and %v, want none", len(messages), err)
		}
		if got := <-woken; len(got) != 1 || got[0].Body != "poison" || got[0].Source != "arn:aws:sqs:mem:000000000000:live" {
			t.Errorf("the dead-letter queue gave %+v, want the poison with its source", got)
		}
	})
}
