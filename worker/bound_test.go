package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model/fake"
)

// held watches how many input bytes, by weight, are between the start of
// their read and the end of their write.
type held struct{ now, most atomic.Int64 }

func (h *held) watch(w *process, sizes map[string]int64) {
	w.store.onCall(func(_ context.Context, verb string, r ref, call func() error) error {
		key := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(r.Key, "in/"), "out/"), ".out")
		switch {
		case verb == "get" && strings.HasPrefix(r.Key, "in/"):
			now := h.now.Add(weight(sizes[key]))
			for most := h.most.Load(); now > most && !h.most.CompareAndSwap(most, now); most = h.most.Load() {
			}
			return call()
		case verb == "put" && strings.HasPrefix(r.Key, "out/"):
			h.now.Add(-weight(sizes[key]))
		}
		return call()
	})
}

func TestInputsInMemoryNeverExceedTheLimit(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		const limit = 4 << 20
		w := p.start(runs(fake.Delay(time.Second)), with(func(c *Config) { c.MemoryLimit, c.MaxObjectSize = limit, 512<<10 }))
		sizes := make(map[string]int64)
		for i := range 40 {
			sizes[fmt.Sprint(i)] = int64(20_000 * (i % 20))
		}
		var h held
		h.watch(w, sizes)
		for i := range 40 {
			p.submit(fmt.Sprint(i), row(float32(i))+strings.Repeat(" ", int(sizes[fmt.Sprint(i)])))
		}
		p.settled()
		p.wantOutputs(40)
		if most := h.most.Load(); most > limit || most < limit/4 {
			t.Errorf("at most %d bytes were held, want a good part of %d and no more", most, limit)
		}
	})
}

func TestASizeThatTheSenderGotWrongIsCorrected(t *testing.T) {
	for name, hint := range map[string]int64{"too small": 1, "too large": 1 << 50, "none": 0} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, p *plant) {
				w := p.start(with(func(c *Config) { c.MemoryLimit, c.MaxObjectSize = 2<<20, 400<<10 }))
				info := p.upload("x", row(1)+strings.Repeat(" ", 300<<10))
				info.Size = hint
				p.send(event(info))
				p.submit("y", row(2))
				p.settled()
				p.wantOutput("x", 1)
				p.wantOutput("y", 2)
				if !w.memory.TryAcquire(2 << 20) {
					t.Error("memory was not given back")
				}
			})
		})
	}
}

func TestAnObjectThatGrowsBetweenItsReadsIsReadWhole(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		w.store.onCall(times(3, on("get", "in/x"), func(_ context.Context, _ string, _ ref, call func() error) error {
			err := call()
			info, _ := p.store.Head(t.Context(), ref{Bucket: "uploads", Key: "in/x"})
			p.upload("x", row(1)+strings.Repeat(" ", int(info.Size)+200<<10))
			return err
		}))
		p.submit("x", row(1))
		p.settled()
		p.wantOutput("x", 1)
	})
}

func TestASmallInputOfUnknownSizeIsReadOnce(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start()
		var gets atomic.Int64
		w.store.onCall(always(on("get", ""), func(_ context.Context, _ string, _ ref, call func() error) error {
			gets.Add(1)
			return call()
		}))
		p.api(request.Request{ID: "a", Input: p.upload("x", row(1)).Ref})
		p.settled()
		if n := gets.Load(); n != 1 {
			t.Errorf("%d reads, want 1", n)
		}
	})
}

func TestCapacityIsTakenBeforeTheReceive(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		var asked []int
		limits := func(pr *process, c *Config) { c.MaxInFlight = 13 }
		w := p.start(runs(fake.Delay(time.Minute)), limits)
		w.queue.set(func(q *queueShim) {
			q.receive = func(_ context.Context, call func() ([]*queue.Message, error)) ([]*queue.Message, error) {
				m, err := call()
				asked = append(asked, len(m))
				return m, err
			}
		})
		p.submitMany(50)
		for p.queue.Len() > 0 {
			time.Sleep(500 * time.Millisecond)
			if n := w.counter("penstock_messages_in_flight"); n > 13 {
				t.Fatalf("%v messages are held, want at most 13", n)
			}
		}
		p.settled()
		p.wantOutputs(50)
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		if most := slices.Max(asked); most > 10 {
			t.Errorf("%d messages in one receive", most)
		}
		if !w.slots.TryAcquire(13) {
			t.Error("slots were not given back")
		}
	})
}

// After any story the worker has its whole capacity again.
func TestEveryBoundIsGivenBack(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		w := p.start(runs(fake.FailWhen(first(3), errPermanent), fake.FailWhen(first(5), errSoft), fake.Delay(time.Second)))
		w.store.onCall(times(20, on("", ""), cutOff))
		p.submitMany(30)
		p.submit("bad", "no json")
		p.send(event(storage.Info{Ref: ref{Bucket: "uploads", Key: "in/gone"}}))
		for i := range 10 {
			p.send(event(p.upload(fmt.Sprint("s", i), row(1))), attrSuspect, "1")
		}
		p.settled()
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		if !w.slots.TryAcquire(int64(w.cfg.MaxInFlight)) || !w.memory.TryAcquire(w.cfg.MemoryLimit) ||
			!w.decoding.TryAcquire(decoders()) || !w.isolation.TryAcquire(everybody) || !w.quarter.TryAcquire(maxSuspects) {
			t.Error("some capacity was not given back")
		}
		if len(w.flights.up) != 0 || w.live.leases.count() != 0 {
			t.Errorf("%d flights and %d leases are left", len(w.flights.up), w.live.leases.count())
		}
	})
}
