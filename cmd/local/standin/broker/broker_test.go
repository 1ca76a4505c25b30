package broker

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a journal that keeps its tables in maps, so that a second broker
// can be opened on what a first one left.
type memory struct {
	mu     sync.Mutex
	tables [Tables]map[string][]byte
	fail   error
	closed bool
}

func (j *memory) Commit(mutations []Mutation) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return j.fail
	}
	for _, m := range mutations {
		t := &j.tables[m.Table]
		if *t == nil {
			*t = make(map[string][]byte)
		}
		if m.Value == nil {
			delete(*t, string(m.Key))
			continue
		}
		(*t)[string(m.Key)] = bytes.Clone(m.Value)
	}
	return nil
}

func (j *memory) Get(t Table, key []byte) ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Clone(j.tables[t][string(key)]), nil
}

func (j *memory) Each(t Table, fn func(key, value []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(j.tables[t])) {
		if err := fn([]byte(key), j.tables[t][key]); err != nil {
			return err
		}
	}
	return nil
}

func (j *memory) Close() error { j.closed = true; return nil }

// bench is a broker on a journal with a queue "q", for one test.
type bench struct {
	*testing.T
	*Broker
	journal *memory
}

// inBubble runs a test on fake time.
func inBubble(t *testing.T, attributes map[string]string, test func(*bench)) {
	t.Helper()
	name := "q"
	if attributes[attrFIFO] == "true" {
		name = "q.fifo"
	}
	synctest.Test(t, func(t *testing.T) {
		b := open(t, &memory{})
		defer func() { _ = b.Close() }() // of the broker that is open by then
		b.create(name, attributes)
		test(b)
	})
}

func open(t *testing.T, j *memory) *bench {
	t.Helper()
	b, err := New(Config{}, j)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t, b, j}
}

// reopen is a restart.
func (b *bench) reopen() {
	b.Helper()
	if err := b.Close(); err != nil {
		b.Fatal(err)
	}
	b.Broker = open(b.T, b.journal).Broker
}

func (b *bench) create(name string, attributes map[string]string) {
	b.Helper()
	if err := b.CreateQueue(name, attributes, nil); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) send(queue string, o Outgoing) Sent {
	b.Helper()
	s, err := b.Send(queue, o)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func (b *bench) receive(queue string, n int, visibility, wait time.Duration) []Delivery {
	b.Helper()
	d, err := b.Receive(b.Context(), queue, ReceiveOptions{Max: n, Visibility: &visibility, Wait: &wait})
	if err != nil {
		b.Fatal(err)
	}
	return d
}

// one receives exactly one message with this body.
func (b *bench) one(queue, body string) Delivery {
	b.Helper()
	d := b.receive(queue, 10, 30*time.Second, 0)
	b.bodies(d, body)
	return d[0]
}

func (b *bench) none(queue string) {
	b.Helper()
	b.bodies(b.receive(queue, 10, 30*time.Second, 0))
}

func (b *bench) bodies(d []Delivery, want ...string) {
	b.Helper()
	var got []string
	for _, m := range d {
		got = append(got, m.Body)
	}
	if !slices.Equal(got, want) {
		b.Fatalf("received %q, want %q", got, want)
	}
}

func (b *bench) delete(queue string, d Delivery) error {
	b.Helper()
	r, err := b.Delete(queue, []string{d.Receipt})
	if err != nil {
		b.Fatal(err)
	}
	return r[0]
}

func (b *bench) change(queue string, d Delivery, timeout time.Duration) error {
	b.Helper()
	r, err := b.ChangeVisibility(queue, []VisibilityChange{{d.Receipt, timeout}})
	if err != nil {
		b.Fatal(err)
	}
	return r[0]
}

// counts checks visible, in flight and delayed.
func (b *bench) counts(queue string, visible, flying, delayed int) {
	b.Helper()
	a, err := b.Attributes(queue, []string{attrAll})
	if err != nil {
		b.Fatal(err)
	}
	got := []string{a[attrVisible], a[attrNotVisible], a[attrDelayed]}
	want := []string{strconv.Itoa(visible), strconv.Itoa(flying), strconv.Itoa(delayed)}
	if !slices.Equal(got, want) {
		b.Fatalf("visible, in flight, delayed are %v, want %v", got, want)
	}
}

func (b *bench) fails(err error, code Code) {
	b.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != code {
		b.Fatalf("error is %v, want %s", err, code)
	}
}

func (b *bench) succeeds(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func TestReceivedMessageIsHiddenUntilItsVisibilityTimeout(t *testing.T) {
	inBubble(t, map[string]string{attrVisibility: "60"}, func(b *bench) {
		sent := b.send("q", Outgoing{Body: "m"})
		first, err := b.Receive(b.Context(), "q", ReceiveOptions{})
		b.succeeds(err)
		b.bodies(first, "m")
		b.counts("q", 0, 1, 0)
		time.Sleep(60*time.Second - 1)
		b.none("q")
		time.Sleep(time.Nanosecond)
		again := b.one("q", "m")
		if again.ID != sent.ID || again.Receives != 2 || again.Receipt == first[0].Receipt {
			t.Errorf("second delivery: id %s, receives %d; want %s, 2 and a new receipt", again.ID, again.Receives, sent.ID)
		}
		if !again.FirstReceived.Equal(first[0].FirstReceived) {
			t.Errorf("first received moved from %v to %v", first[0].FirstReceived, again.FirstReceived)
		}
		b.succeeds(b.delete("q", again))
		b.counts("q", 0, 0, 0)
	})
}

func TestChangeVisibilityExtendsAndReleases(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.send("q", Outgoing{Body: "m"})
		d := b.one("q", "m")
		time.Sleep(29 * time.Second)
		b.succeeds(b.change("q", d, 30*time.Second))
		time.Sleep(29 * time.Second)
		b.none("q")
		b.succeeds(b.change("q", d, 0))
		b.counts("q", 1, 0, 0)
		b.fails(b.change("q", d, time.Second), MessageNotInflight)
		d = b.one("q", "m")
		time.Sleep(30 * time.Second)
		b.fails(b.change("q", d, time.Second), MessageNotInflight)
	})
}

func TestVisibilityNeverExceedsTwelveHoursFromReceive(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.send("q", Outgoing{Body: "m"})
		d := b.receive("q", 1, 11*time.Hour, 0)[0]
		time.Sleep(10 * time.Hour)
		b.succeeds(b.change("q", d, 2*time.Hour))
		b.fails(b.change("q", d, 2*time.Hour+time.Second), InvalidParameterValue)
		b.fails(b.change("q", d, 12*time.Hour+time.Second), InvalidParameterValue)
	})
}

func TestStaleReceiptDeletesNothingOnAStandardQueue(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.send("q", Outgoing{Body: "m"})
		old := b.one("q", "m")
		time.Sleep(30 * time.Second)
		latest := b.one("q", "m")
		b.succeeds(b.delete("q", old))
		b.fails(b.change("q", old, time.Second), MessageNotInflight)
		b.counts("q", 0, 1, 0)
		time.Sleep(30 * time.Second)
		b.counts("q", 1, 0, 0)
		b.succeeds(b.delete("q", latest)) // ran out, but nobody has it since
		b.counts("q", 0, 0, 0)
		b.succeeds(b.delete("q", latest))
		b.fails(b.change("q", latest, time.Second), InvalidParameterValue)
	})
}

func TestReceiptOfAnotherQueueIsInvalid(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.create("other", nil)
		b.send("q", Outgoing{Body: "m"})
		d := b.one("q", "m")
		b.fails(b.delete("other", d), ReceiptHandleIsInvalid)
		b.fails(b.delete("q", Delivery{Receipt: d.Receipt[1:]}), ReceiptHandleIsInvalid)
		b.fails(b.change("q", Delivery{Receipt: "?"}, 0), ReceiptHandleIsInvalid)
	})
}

func TestDelayedMessageCannotBeReceivedBefore(t *testing.T) {
	inBubble(t, map[string]string{attrDelay: "10"}, func(b *bench) {
		b.send("q", Outgoing{Body: "queue's delay"})
		b.send("q", Outgoing{Body: "own delay", Delay: new(5 * time.Second)})
		b.send("q", Outgoing{Body: "no delay", Delay: new(time.Duration(0))})
		b.one("q", "no delay")
		b.counts("q", 0, 1, 2)
		time.Sleep(5 * time.Second)
		b.one("q", "own delay")
		time.Sleep(5 * time.Second)
		b.one("q", "queue's delay")
		_, err := b.Send("q", Outgoing{Body: "m", Delay: new(MaxDelay + time.Second)})
		b.fails(err, InvalidParameterValue)
	})
}

func TestMessageIsDroppedAfterTheRetentionPeriod(t *testing.T) {
	inBubble(t, map[string]string{attrRetention: "60"}, func(b *bench) {
		b.send("q", Outgoing{Body: "old"})
		time.Sleep(30 * time.Second)
		b.send("q", Outgoing{Body: "new"})
		time.Sleep(30 * time.Second)
		b.one("q", "new")
		time.Sleep(31 * time.Second)
		b.counts("q", 0, 0, 0) // also what is in flight
		if n := len(b.journal.tables[Payloads]) + len(b.journal.tables[States]); n != 0 {
			t.Errorf("%d records are left in the journal", n)
		}
		b.send("q", Outgoing{Body: "kept"})
		b.succeeds(b.SetAttributes("q", map[string]string{attrRetention: "3600"}))
		time.Sleep(59 * time.Minute)
		b.one("q", "kept")
	})
}

func TestInFlightLimitIsAnErrorOnAShortPollAndSilenceOnALongOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, err := New(Config{MaxInFlight: 2}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer core.Close()
		b := &bench{T: t, Broker: core}
		b.create("q", nil)
		for range 3 {
			b.send("q", Outgoing{Body: "m"})
		}
		d := b.receive("q", 10, time.Minute, 0)
		b.bodies(d, "m", "m")
		_, err = b.Receive(t.Context(), "q", ReceiveOptions{Wait: new(time.Duration(0))})
		b.fails(err, OverLimit)
		b.bodies(b.receive("q", 1, time.Minute, time.Second))
		b.succeeds(b.delete("q", d[0]))
		b.one("q", "m")
	})
}

func TestPurgeDropsEverythingAtMostOnceAMinute(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.send("q", Outgoing{Body: "visible"})
		b.one("q", "visible")
		b.send("q", Outgoing{Body: "delayed", Delay: new(time.Minute)})
		b.succeeds(b.PurgeQueue("q"))
		b.counts("q", 0, 0, 0)
		b.fails(b.PurgeQueue("q"), PurgeQueueInProgress)
		time.Sleep(time.Minute)
		b.succeeds(b.PurgeQueue("q"))
	})
}

func TestDuplicateHasALifeOfItsOwn(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		sent := b.send("q", Outgoing{Body: "m"})
		d := b.receive("q", 1, time.Minute, 0)
		b.succeeds(b.Duplicate("q", d))
		copied := b.one("q", "m")
		if copied.ID != sent.ID {
			t.Errorf("copy has id %s, want %s", copied.ID, sent.ID)
		}
		b.succeeds(b.delete("q", d[0]))
		b.counts("q", 0, 1, 0)
		b.succeeds(b.delete("q", copied))
		b.counts("q", 0, 0, 0)
	})
}

func TestClosedBrokerRefusesCalls(t *testing.T) {
	b, err := New(Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.CreateQueue("q", nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("create: %v, want ErrClosed", err)
	}
	if _, err := b.Receive(context.Background(), "q", ReceiveOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("receive: %v, want ErrClosed", err)
	}
}
