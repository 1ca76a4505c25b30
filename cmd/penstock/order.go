package main

import "sync"

// inOrder runs work for 0 to n-1, at most limit at a time, and done for each
// of them in that order, as soon as it and all before it are ready. It returns
// when all is done.
func inOrder[T any](n, limit int, work func(int) T, done func(int, T)) {
	free := make(chan struct{}, limit)
	ready := make([]chan T, n)
	for i := range ready {
		ready[i] = make(chan T, 1)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			free <- struct{}{}
			wg.Go(func() {
				defer func() { <-free }()
				ready[i] <- work(i)
			})
		}
	})
	for i, c := range ready {
		done(i, <-c)
	}
	wg.Wait()
}
