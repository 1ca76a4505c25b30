package worker

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/worker/model/fake"
)

// BenchmarkDo is what the batcher itself costs an item, among so many that
// come at a time.
func BenchmarkDo(b *testing.B) {
	for _, clients := range []int{1, 64, 2048} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			m := fake.Double(1)
			bt := newBatcher(1, 32, 0, time.Hour)
			b.ReportAllocs()
			items := make(chan struct{})
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					w := wish(m, 1)
					for range items {
						if d, err := bt.Do(b.Context(), b.Context(), w); err != nil || d.err != nil {
							b.Error(err, d.err)
						}
					}
				})
			}
			for b.Loop() {
				items <- struct{}{}
			}
			close(items)
			wg.Wait()
		})
	}
}

// BenchmarkDoHuge is what it costs a row of an item in many runs.
func BenchmarkDoHuge(b *testing.B) {
	const rows = 100_000
	m := fake.Double(1)
	w := wish(m, make([]float32, rows)...)
	bt := newBatcher(1, 32, 0, time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if d, err := bt.Do(b.Context(), b.Context(), w); err != nil || d.err != nil {
			b.Fatal(err, d.err)
		}
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
