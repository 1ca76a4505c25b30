//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// scenario is one trial: workers under load, faults by a schedule, and what
// must have become of every input at the end.
type scenario struct {
	name  string // short, for -only
	fault string // for the table
	short bool   // is part of the short form

	workers  int
	inputs   int            // of the full form; the short form has fewer
	special  map[kind]int   // how many of the inputs are not ordinary
	settings []string       // flags of the workers, beside those of all
	deaths   map[string]int // ends of workers that an input causes, and how many of each at most
	copies   bool           // messages are delivered at the same time: each can become a dead letter

	plan func(*plan)
}

// plan is a schedule in the making. Its dice are thrown in an order that
// depends on the seed alone.
type plan struct {
	dice    *rand.Rand
	short   bool
	workers int
	steps   []step
	clock   time.Duration // the end of the last step
}

// step is a fault in a schedule.
type step struct {
	what  string
	lead  time.Duration // how long before the fault its load is sent
	at    time.Duration // from the schedule's start
	lasts time.Duration
	act   act
	after bool // it also waits for the end of the one before, should that be late
}

// act makes a fault begin. undo ends it and says how often it has struck.
type act func(ctx context.Context, f *field) (undo func(context.Context) (times int, err error), err error)

// between is a time from the dice.
func (p *plan) between(least, most time.Duration) time.Duration {
	return least + time.Duration(p.dice.Int64N(int64(most-least)))
}

// times is how often or how long: full, or less in the short form.
func (p *plan) times(full, short int) int {
	if p.short {
		return short
	}
	return full
}

func (p *plan) seconds(full, short int) time.Duration {
	return time.Duration(p.times(full, short)) * time.Second
}

// anyone is a worker from the dice.
func (p *plan) anyone() int { return p.dice.IntN(p.workers) }

// then adds a step after those before, a while later.
func (p *plan) then(what string, lasts time.Duration, a act) {
	at := p.clock + p.between(2*time.Second, 4*time.Second)
	p.add(what, at, lasts, a)
	p.steps[len(p.steps)-1].after = true
}

// add adds a step at a time of its own; it may overlap others.
func (p *plan) add(what string, at, lasts time.Duration, a act) {
	p.steps = append(p.steps, step{
		what: what, lead: p.between(50*time.Millisecond, 400*time.Millisecond), at: at, lasts: lasts, act: a,
	})
	p.clock = max(p.clock, at+lasts)
}

// all are the numbers of all workers.
func (p *plan) all() []int {
	list := make([]int, p.workers)
	for i := range list {
		list[i] = i
	}
	return list
}

// String is the step as the log of a run shows it.
func (s step) String() string {
	if s.lasts == 0 {
		return s.what
	}
	return fmt.Sprintf("%s for %v", s.what, s.lasts.Round(time.Second))
}
