package main

import (
	"iter"
	"sync"
)

// inOrder runs work for each job, and done for each of them in the order of the
// jobs, as soon as it and all before it are ready. At most window jobs are
// under way or wait for their turn, so that any number of them take bounded
// memory. It returns when all is done.
func inOrder[J, T any](jobs iter.Seq[J], window int, work func(J) T, done func(J, T)) {
	type begun struct {
		job    J
		result chan T
	}
	free := make(chan struct{}, window)
	order := make(chan begun, window)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(order)
		for job := range jobs {
			free <- struct{}{}
			b := begun{job, make(chan T, 1)}
			order <- b
			wg.Go(func() { b.result <- work(job) })
		}
	})
	for b := range order {
		done(b.job, <-b.result)
		<-free
	}
	wg.Wait()
}
