package broker

import (
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRestartKeepsMessagesDeadlinesAndReceipts(t *testing.T) {
	inBubble(t, map[string]string{attrVisibility: "60"}, func(b *bench) {
		sent := b.send("q", Outgoing{
			Body: "in flight", Group: "tenant", Sender: "me", Trace: "Root=1",
			Attributes: map[string]Attribute{"a": {Type: "String", String: "v"}, "b": {Type: "Binary", Binary: []byte{0, 1}}},
		})
		before := b.one("q", "in flight")
		b.send("q", Outgoing{Body: "delayed", Delay: new(10 * time.Second)})
		b.send("q", Outgoing{Body: "visible"})
		deleted := b.send("q", Outgoing{Body: "deleted"})
		for _, d := range b.receive("q", 2, 0, 0) {
			if d.ID == deleted.ID {
				b.succeeds(b.delete("q", d))
			}
		}
		b.reopen()
		b.counts("q", 1, 1, 1)
		b.succeeds(b.delete("q", b.one("q", "visible")))
		time.Sleep(10 * time.Second)
		b.succeeds(b.delete("q", b.one("q", "delayed")))
		b.succeeds(b.change("q", before, 25*time.Second)) // a receipt from before the restart
		time.Sleep(25*time.Second - 1)
		b.none("q")
		time.Sleep(time.Nanosecond)
		d := b.one("q", "in flight")
		if d.ID != sent.ID || d.Receives != 2 || d.Group != "tenant" || d.Sender != "me" || d.Trace != "Root=1" || !d.FirstReceived.Equal(before.FirstReceived) {
			t.Errorf("after a restart it is %+v", d)
		}
		if got := AttributesMD5(d.Attributes); got != sent.AttributesMD5 {
			t.Errorf("attributes changed: %v", d.Attributes)
		}
		b.succeeds(b.delete("q", before)) // stale by now
		b.counts("q", 0, 1, 0)
	})
}

func TestRestartKeepsQueues(t *testing.T) {
	inBubble(t, map[string]string{attrVisibility: "60"}, func(b *bench) {
		b.create("dead", nil)
		redriveTo(b, "q", "dead", 1)
		b.succeeds(b.Tag("q", map[string]string{"team": "a", "stage": "test"}))
		b.succeeds(b.Untag("q", []string{"stage"}))
		b.create("gone", nil)
		b.send("gone", Outgoing{Body: "m"})
		b.succeeds(b.DeleteQueue("gone"))
		b.send("q", Outgoing{Body: "m"})
		b.receive("q", 1, 0, 0)
		b.none("q")
		before, err := b.Attributes("q", []string{attrAll})
		b.succeeds(err)
		b.reopen()
		after, err := b.Attributes("q", []string{attrAll})
		b.succeeds(err)
		if !maps.Equal(before, after) {
			t.Errorf("attributes were %v and are %v", before, after)
		}
		tags, err := b.Tags("q")
		b.succeeds(err)
		if !maps.Equal(tags, map[string]string{"team": "a"}) {
			t.Errorf("tags are %v", tags)
		}
		b.fails(b.Exists("gone"), QueueDoesNotExist)
		if d := b.one("dead", "m"); d.Source != b.ARN("q") {
			t.Errorf("dead letter's source is %q", d.Source)
		}
	})
}

func TestRestartKeepsDeduplicationAndOrder(t *testing.T) {
	inBubble(t, fifoQueue(nil), func(b *bench) {
		b.sendAll("q.fifo", inGroup("a", "a1"), inGroup("b", "b1"), inGroup("a", "a2"))
		a1 := b.receive("q.fifo", 1, time.Minute, 0)[0]
		time.Sleep(time.Second)
		b.reopen()
		b.sendAll("q.fifo", inGroup("a", "a1"), inGroup("a", "a2"), inGroup("a", "a3"))
		b.one("q.fifo", "b1")
		b.succeeds(b.delete("q.fifo", a1))
		b.bodies(b.receive("q.fifo", 10, time.Minute, 0), "a2", "a3")
		time.Sleep(6 * time.Minute)
		b.counts("q.fifo", 3, 0, 0)
		if n := len(b.journal.tables[Dedups]); n != 0 {
			t.Errorf("%d deduplications outlive their five minutes in the journal", n)
		}
	})
}

func TestMoveTaskGoesOnAfterARestart(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		deadLetters(b, 5)
		handle, err := b.StartMove(b.ARN("dead"), "", 1)
		b.succeeds(err)
		time.Sleep(1500 * time.Millisecond)
		b.counts("q", 2, 0, 0)
		b.reopen()
		if task := b.task(); task.Handle != handle || task.Status != MoveRunning {
			t.Errorf("after a restart the task is %+v", task)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if task := b.task(); task.Status != MoveCompleted || task.Moved != 5 {
			t.Errorf("at the end the task is %+v", task)
		}
		b.counts("q", 5, 0, 0)
	})
}

// Sequence numbers order a FIFO queue and name messages in receipts, so a
// restart must not hand one out again even when nothing is left of it.
func TestRestartNeverReusesASequenceNumber(t *testing.T) {
	inBubble(t, fifoQueue(nil), func(b *bench) {
		last := b.send("q.fifo", inGroup("a", "m"))
		b.succeeds(b.delete("q.fifo", b.one("q.fifo", "m")))
		time.Sleep(time.Hour)
		b.none("q.fifo") // forgets the deduplication
		b.reopen()
		if next := b.send("q.fifo", inGroup("a", "n")); next.Sequence <= last.Sequence {
			t.Errorf("sequence %d follows %d", next.Sequence, last.Sequence)
		}
	})
}

func TestPayloadsBeyondTheCacheAreReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, err := New(Config{CacheBytes: 10}, &memory{})
		if err != nil {
			t.Fatal(err)
		}
		defer core.Close()
		b := &bench{T: t, Broker: core}
		b.create("q", nil)
		for _, body := range []string{"12345678", "too much", "9"} {
			b.send("q", Outgoing{Body: body})
		}
		d := b.receive("q", 10, time.Minute, 0)
		b.bodies(d, "12345678", "too much", "9")
		for _, m := range d {
			b.succeeds(b.delete("q", m))
		}
		if core.cached != 0 {
			t.Errorf("%d bytes are still counted as cached", core.cached)
		}
	})
}

func TestFailedJournalStopsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, &memory{})
		b.create("q", nil)
		full := errors.New("no space left on device")
		b.journal.fail = full
		_, err := b.Send("q", Outgoing{Body: "m"})
		b.fails(err, InternalError)
		b.journal.fail = nil
		_, err = b.Receive(t.Context(), "q", ReceiveOptions{})
		b.fails(err, InternalError)
		if !strings.Contains(err.Error(), full.Error()) {
			t.Errorf("the error does not say why: %v", err)
		}
		if err := b.Close(); !errors.Is(err, full) {
			t.Errorf("close answers %v, want the journal's error", err)
		}
		if !b.journal.closed {
			t.Error("the journal was left open")
		}
	})
}

// stalling is a journal whose disk is full for one commit, which takes a while.
type stalling struct {
	*memory
	stall chan error // nil: it does not
}

func (j *stalling) Commit(mutations []Mutation) error {
	if stall := j.stall; stall != nil {
		j.stall = nil
		if err := <-stall; err != nil {
			return err
		}
	}
	return j.memory.Commit(mutations)
}

// What is collected while a commit is on its way rests on it: a receive of a
// message, on that it was sent.
func TestWhatRestsOnAFailedCommitFailsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &stalling{memory: &memory{}}
		b, err := New(Config{}, j)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.CreateQueue("q", nil, nil); err != nil {
			t.Fatal(err)
		}
		j.stall = make(chan error)
		stall := j.stall
		var calls sync.WaitGroup
		calls.Go(func() {
			if _, err := b.Send("q", Outgoing{Body: "m"}); err == nil {
				t.Error("a message was taken that is not in the journal")
			}
		})
		synctest.Wait()
		calls.Go(func() {
			if d, err := b.Receive(t.Context(), "q", ReceiveOptions{}); err == nil {
				t.Errorf("%d messages were handed over that are not in the journal", len(d))
			}
		})
		synctest.Wait()
		stall <- errors.New("no space left on device")
		calls.Wait()
		_ = b.Close() // it says so
		if n := len(j.tables[States]); n != 0 {
			t.Errorf("the journal has the state of %d messages of which it has no payload", n)
		}
	})
}

func TestDamagedJournalIsReported(t *testing.T) {
	for name, damage := range map[string]Mutation{
		"queue":         {Queues, seqKey(1), []byte("{")},
		"message":       {States, seqKey(1), []byte{1}},
		"lost queue":    {States, seqKey(1), (&message{queue: &queue{id: 7}}).encode()},
		"deduplication": {Dedups, []byte("short"), []byte{1}},
		"move task":     {Moves, []byte("x"), []byte("{")},
	} {
		t.Run(name, func(t *testing.T) {
			j := &memory{}
			if err := j.Commit([]Mutation{damage}); err != nil {
				t.Fatal(err)
			}
			if _, err := New(Config{}, j); !errors.Is(err, errRecord) {
				t.Errorf("error is %v, want one that says the record is damaged", err)
			}
			if !j.closed {
				t.Error("the journal was left open")
			}
		})
	}
}
