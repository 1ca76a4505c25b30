//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// What a worker may take more after the faults than before them. Memory that
// was used is given back to the system late and not to the last byte; a leak
// of what passes through in a scenario is more.
const (
	moreMemory     = 48 << 20
	moreGoroutines = 2 // a poll that begins, a connection that is opened
)

// comingDown is how long workers get to come down to their levels. Go collects
// the garbage of a process that is idle every two minutes, no sooner.
const comingDown = 3 * time.Minute

// settle is how long idle workers take to come to rest once their connections
// were cut: the poll that was under way then has ended at the server too, and
// takes no message into the void.
const settle = 1500 * time.Millisecond

// levels are those of the idle workers, by slot. Connections are cut before,
// since each that is kept is two goroutines.
func (f *field) levels(ctx context.Context) ([]level, error) {
	if err := f.fleet.hangUp(); err != nil {
		return nil, err
	}
	if err := sleep(ctx, settle); err != nil {
		return nil, err
	}
	list := make([]level, len(f.fleet.slots))
	for i, s := range f.fleet.slots {
		w, err := s.working(ctx)
		if err == nil {
			list[i], err = w.level(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// judgeLevels reports workers that take more than the most that any took
// before the faults. It gives them a while to come down.
func (t *trial) judgeLevels(ctx context.Context, f *field, before []level) error {
	base := highest(before)
	var top level
	for began := time.Now(); ; {
		after, err := f.levels(ctx)
		if err != nil {
			return err
		}
		top = highest(after)
		if time.Since(began) > comingDown || top.rss <= base.rss+moreMemory && top.goroutines <= base.goroutines+moreGoroutines {
			break
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	t.levels = fmt.Sprintf("RSS %d → %d MB, goroutines %d → %d", base.rss>>20, top.rss>>20, base.goroutines, top.goroutines)
	if top.rss > base.rss+moreMemory {
		t.found.add(&t.found.other, "a worker's memory is not back at its level: RSS was %d MB and is %d MB", base.rss>>20, top.rss>>20)
	}
	if top.goroutines > base.goroutines+moreGoroutines {
		t.found.add(&t.found.other, "goroutines were left: an idle worker had %d and has %d", base.goroutines, top.goroutines)
	}
	return nil
}

func highest(list []level) level {
	var top level
	for _, l := range list {
		top = level{max(top.rss, l.rss), max(top.goroutines, l.goroutines)}
	}
	return top
}
