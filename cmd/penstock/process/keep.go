package process

import (
	"context"
	"fmt"
	"time"
)

// Keeper runs a program and starts it again whenever it ends by itself.
type Keeper struct {
	Program Program
	// Died is told each time how the program ended and when it is started
	// again.
	Died func(how string, again time.Duration)
	// Grace is how long the program may take to end once it is asked to.
	Grace time.Duration
}

// How a Keeper paces itself: the pause before a new start doubles with each
// end, until the program has run for a while.
const (
	firstPause = 500 * time.Millisecond
	maxPause   = 30 * time.Second
	stable     = time.Minute
)

// Run keeps the program running until ctx is done. Then it asks the program to
// end by SIGTERM, and returns when it has ended: with an error when it had to
// be killed, after Grace or when the context hard was done. A program that
// can't be started at all is an error at once.
func (k Keeper) Run(ctx, hard context.Context) error {
	pause := firstPause
	for {
		began := time.Now()
		child, err := Start(k.Program)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			grace, cancel := context.WithTimeoutCause(hard, k.Grace, fmt.Errorf("it was given %v", k.Grace))
			defer cancel()
			return child.Terminate(grace)
		case <-child.Done():
		}
		if time.Since(began) > stable {
			pause = firstPause
		}
		k.Died(child.Ended(), pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}
