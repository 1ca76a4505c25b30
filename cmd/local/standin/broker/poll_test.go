package broker

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// poll is a long poll under way.
type poll struct {
	got  []Delivery
	took time.Duration
	done chan struct{}
}

func (b *bench) poll(ctx context.Context, queue string, n int, wait time.Duration) *poll {
	p := &poll{done: make(chan struct{})}
	start := time.Now()
	go func() {
		defer close(p.done)
		var err error
		p.got, err = b.Receive(ctx, queue, ReceiveOptions{Max: n, Wait: &wait, Visibility: new(time.Minute)})
		if err != nil {
			b.Error(err)
		}
		p.took = time.Since(start)
	}()
	synctest.Wait()
	return p
}

// ends checks when a poll ended and with what.
func (b *bench) ends(p *poll, took time.Duration, bodies ...string) {
	b.Helper()
	<-p.done
	if p.took != took {
		b.Errorf("the poll took %v, want %v", p.took, took)
	}
	b.bodies(p.got, bodies...)
}

func TestLongPollReturnsAtOnceWhenAMessageIsSent(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		p := b.poll(b.Context(), "q", 1, MaxWait)
		time.Sleep(7 * time.Second)
		b.send("q", Outgoing{Body: "m"})
		b.ends(p, 7*time.Second, "m")
	})
}

func TestLongPollReturnsWhenADelayOrAVisibilityTimeoutEnds(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.send("q", Outgoing{Body: "delayed", Delay: new(3 * time.Second)})
		b.ends(b.poll(b.Context(), "q", 1, MaxWait), 3*time.Second, "delayed")
		b.send("q", Outgoing{Body: "m"})
		d := b.receive("q", 1, 15*time.Second, 0)[0]
		p := b.poll(b.Context(), "q", 1, MaxWait)
		b.succeeds(b.change("q", d, 2*time.Second)) // sooner than the poll could know
		b.ends(p, 2*time.Second, "m")
	})
}

func TestLongPollEndsEmptyAfterItsWait(t *testing.T) {
	inBubble(t, map[string]string{attrWait: "5"}, func(b *bench) {
		b.ends(b.poll(b.Context(), "q", 1, 20*time.Second), 20*time.Second)
		start := time.Now()
		d, err := b.Receive(b.Context(), "q", ReceiveOptions{})
		b.succeeds(err)
		b.bodies(d)
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("the poll took %v, want the queue's 5s", took)
		}
	})
}

// Whether it is woken first or its time is up first is chance.
func TestLongPollTakesWhatBecomesVisibleAtItsEnd(t *testing.T) {
	for range 50 {
		inBubble(t, nil, func(b *bench) {
			b.send("q", Outgoing{Body: "m", Delay: new(5 * time.Second)})
			b.ends(b.poll(b.Context(), "q", 1, 5*time.Second), 5*time.Second, "m")
		})
	}
}

func TestEachMessageWakesOnePoll(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		first := b.poll(b.Context(), "q", 1, MaxWait)
		second := b.poll(b.Context(), "q", 1, MaxWait)
		third := b.poll(b.Context(), "q", 1, MaxWait)
		time.Sleep(time.Second)
		if _, err := b.SendBatch("q", []Outgoing{{Body: "m"}, {Body: "m"}}); err != nil {
			t.Fatal(err)
		}
		b.ends(first, time.Second, "m")
		b.ends(second, time.Second, "m")
		b.ends(third, MaxWait)
	})
}

func TestCancelledPollTakesNothing(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		ctx, cancel := context.WithCancel(b.Context())
		gone := b.poll(ctx, "q", 1, MaxWait)
		stays := b.poll(b.Context(), "q", 1, MaxWait)
		cancel()
		b.ends(gone, 0)
		b.send("q", Outgoing{Body: "m"})
		b.ends(stays, 0, "m")
		if d, err := b.Receive(ctx, "q", ReceiveOptions{}); err != nil || len(d) != 0 {
			t.Errorf("a poll of a caller that is gone received %v, %v", d, err)
		}
	})
}

// A poll that is woken at the moment it is cancelled must hand its wake-up on,
// or a message waits while somebody waits for it.
func TestNoWakeUpIsLost(t *testing.T) {
	for range 200 {
		inBubble(t, nil, func(b *bench) {
			ctx, cancel := context.WithCancel(b.Context())
			gone := b.poll(ctx, "q", 1, MaxWait)
			stays := b.poll(b.Context(), "q", 1, MaxWait)
			var race sync.WaitGroup
			race.Go(cancel)
			race.Go(func() { b.send("q", Outgoing{Body: "m"}) })
			race.Wait()
			<-gone.done
			if len(gone.got) == 0 {
				b.ends(stays, 0, "m")
			}
		})
	}
}

func TestDeletedQueueEndsItsPolls(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		done := make(chan error)
		go func() {
			_, err := b.Receive(b.Context(), "q", ReceiveOptions{Wait: new(MaxWait)})
			done <- err
		}()
		synctest.Wait()
		b.succeeds(b.DeleteQueue("q"))
		b.fails(<-done, QueueDoesNotExist)
	})
}

func TestShutdownEndsPollsAtOnceWithoutAnError(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		p := b.poll(b.Context(), "q", 1, MaxWait)
		b.EndPolls()
		b.ends(p, 0)
		b.ends(b.poll(b.Context(), "q", 1, MaxWait), 0)
		b.send("q", Outgoing{Body: "m"}) // other calls go on
		b.ends(b.poll(b.Context(), "q", 1, MaxWait), 0, "m")
	})
}

func TestCloseEndsPollsAtOnceWithoutAnError(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		p := b.poll(b.Context(), "q", 1, MaxWait)
		b.succeeds(b.Close())
		b.ends(p, 0)
	})
}
