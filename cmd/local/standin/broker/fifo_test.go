package broker

import (
	"maps"
	"testing"
	"time"
)

func fifoQueue(more map[string]string) map[string]string {
	a := map[string]string{attrFIFO: "true"}
	maps.Copy(a, more)
	return a
}

func inGroup(group, body string) Outgoing {
	return Outgoing{Body: body, Group: group, DedupID: body}
}

func (b *bench) sendAll(queue string, messages ...Outgoing) {
	b.Helper()
	for _, m := range messages {
		b.send(queue, m)
	}
}

func TestGroupIsDeliveredInOrderAndLockedWhileOneIsInFlight(t *testing.T) {
	inBubble(t, fifoQueue(nil), func(b *bench) {
		b.sendAll("q.fifo", inGroup("a", "a1"), inGroup("b", "b1"), inGroup("a", "a2"), inGroup("a", "a3"))
		a1 := b.receive("q.fifo", 1, time.Minute, 0)
		b.bodies(a1, "a1")
		b1 := b.receive("q.fifo", 10, time.Minute, 0)
		b.bodies(b1, "b1")
		b.none("q.fifo")
		b.succeeds(b.delete("q.fifo", a1[0]))
		rest := b.receive("q.fifo", 10, time.Minute, 0)
		b.bodies(rest, "a2", "a3")
		if rest[0].Sequence >= rest[1].Sequence || a1[0].Sequence >= rest[0].Sequence {
			t.Errorf("sequence numbers do not rise: %d, %d, %d", a1[0].Sequence, rest[0].Sequence, rest[1].Sequence)
		}
		// The last one comes back first, and has to wait for the other.
		b.succeeds(b.change("q.fifo", rest[1], 0))
		b.none("q.fifo")
		b.succeeds(b.change("q.fifo", rest[0], 0))
		b.bodies(b.receive("q.fifo", 1, time.Minute, 0), "a2")
	})
}

func TestGroupComesBackInOrderAfterItsVisibilityTimeout(t *testing.T) {
	inBubble(t, fifoQueue(nil), func(b *bench) {
		b.sendAll("q.fifo", inGroup("a", "a1"), inGroup("a", "a2"))
		d := b.receive("q.fifo", 2, 30*time.Second, 0)
		b.bodies(d, "a1", "a2")
		p := b.poll(b.Context(), "q.fifo", 10, MaxWait)
		time.Sleep(15 * time.Second)
		b.send("q.fifo", inGroup("a", "a3"))
		b.ends(p, MaxWait) // the group is locked
		b.ends(b.poll(b.Context(), "q.fifo", 10, MaxWait), 10*time.Second, "a1", "a2", "a3")
		b.fails(b.delete("q.fifo", d[0]), InvalidParameterValue)
	})
}

func TestFIFORefusesAReceiptWhoseVisibilityRanOut(t *testing.T) {
	inBubble(t, fifoQueue(nil), func(b *bench) {
		b.send("q.fifo", inGroup("a", "a1"))
		d := b.one("q.fifo", "a1")
		time.Sleep(30 * time.Second)
		b.fails(b.delete("q.fifo", d), InvalidParameterValue)
		d = b.one("q.fifo", "a1")
		b.succeeds(b.delete("q.fifo", d))
		b.succeeds(b.delete("q.fifo", d))
	})
}

func TestDeduplicationLastsFiveMinutesAndOutlivesTheMessage(t *testing.T) {
	inBubble(t, fifoQueue(nil), func(b *bench) {
		first := b.send("q.fifo", inGroup("a", "m"))
		b.succeeds(b.delete("q.fifo", b.one("q.fifo", "m")))
		time.Sleep(5*time.Minute - 1)
		again := b.send("q.fifo", Outgoing{Body: "another body", Group: "a", DedupID: "m"})
		if again.ID != first.ID || again.Sequence != first.Sequence {
			t.Errorf("a duplicate got id %s, want %s", again.ID, first.ID)
		}
		b.none("q.fifo")
		time.Sleep(time.Nanosecond)
		if fresh := b.send("q.fifo", inGroup("a", "m")); fresh.ID == first.ID {
			t.Error("after five minutes it is still a duplicate")
		}
		b.one("q.fifo", "m")
	})
}

func TestContentBasedDeduplicationLooksAtTheBody(t *testing.T) {
	inBubble(t, fifoQueue(map[string]string{attrContentDedup: "true"}), func(b *bench) {
		m := Outgoing{Body: "same", Group: "a"}
		first, second := b.send("q.fifo", m), b.send("q.fifo", m)
		other := b.send("q.fifo", Outgoing{Body: "same", Group: "a", DedupID: "own-id"})
		if first.ID != second.ID || first.ID == other.ID {
			t.Errorf("ids are %s, %s and %s; want the first two equal", first.ID, second.ID, other.ID)
		}
	})
}

func TestDeduplicationScopeCanBeTheGroup(t *testing.T) {
	inBubble(t, fifoQueue(map[string]string{attrDedupScope: scopeGroup}), func(b *bench) {
		a := b.send("q.fifo", Outgoing{Body: "m", Group: "a", DedupID: "1"})
		if other := b.send("q.fifo", Outgoing{Body: "m", Group: "b", DedupID: "1"}); other.ID == a.ID {
			t.Error("another group's message was taken for a duplicate")
		}
	})
}

func TestFIFOChecksWhatItNeeds(t *testing.T) {
	inBubble(t, fifoQueue(map[string]string{attrDelay: "5"}), func(b *bench) {
		for name, test := range map[string]struct {
			message Outgoing
			code    Code
		}{
			"no group":           {Outgoing{Body: "m", DedupID: "1"}, MissingParameter},
			"no deduplication":   {Outgoing{Body: "m", Group: "a"}, InvalidParameterValue},
			"a delay of its own": {Outgoing{Body: "m", Group: "a", DedupID: "1", Delay: new(time.Second)}, InvalidParameterValue},
			"a bad group":        {Outgoing{Body: "m", Group: "a b", DedupID: "1"}, InvalidParameterValue},
		} {
			t.Log(name)
			_, err := b.Send("q.fifo", test.message)
			b.fails(err, test.code)
		}
		b.send("q.fifo", inGroup("a", "m"))
		b.none("q.fifo")
		time.Sleep(5 * time.Second)
		b.one("q.fifo", "m")
	})
}

func TestStandardQueueKeepsAGroupAndRefusesADeduplicationID(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.send("q", Outgoing{Body: "m", Group: "tenant"})
		b.send("q", Outgoing{Body: "m", Group: "tenant"})
		d := b.receive("q", 10, time.Minute, 0)
		b.bodies(d, "m", "m") // a group locks nothing here
		if d[0].Group != "tenant" || d[0].Sequence != 0 {
			t.Errorf("group %q and sequence %d, want tenant and none", d[0].Group, d[0].Sequence)
		}
		_, err := b.Send("q", Outgoing{Body: "m", DedupID: "1"})
		b.fails(err, InvalidParameterValue)
	})
}
