package sweep_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/sweep"
	qmem "github.com/penstock/penstock/queue/mem"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	smem "github.com/penstock/penstock/storage/mem"
	"github.com/penstock/penstock/storage/storagetest"
)

// BenchmarkSweep sweeps 100,000 records, a half of which have ended: at first
// as if for the first time, then when all is known. It counts calls to the
// store, and the bytes that one sweep leaves to the next.
func BenchmarkSweep(b *testing.B) {
	const records = 100_000
	for b.Loop() {
		b.StopTimer()
		ctx, store := context.Background(), smem.New("uploads", "results")
		in := intake.Intake{Store: store, Queue: qmem.New(qmem.Options{}), Locations: locations}
		for n := range records {
			a, err := in.Accept(ctx, intake.Submission{Request: request.Request{ID: fmt.Sprintf("%d-of-many-requests-%d", n, n), TTL: time.Hour}, Body: []byte("[1]")})
			if err != nil {
				b.Fatal(err)
			}
			if n%2 == 0 {
				p := request.Provenance{Identity: a.Request.IdentifyUnread(), InferenceID: a.Request.ID, Input: a.Request.Input}
				if _, err := store.Put(ctx, a.Output, []byte("{}"), storage.PutOptions{Metadata: p.Metadata(a.Output)}); err != nil {
					b.Fatal(err)
				}
			}
		}
		var calls atomic.Int64
		shim := &storagetest.Hooked{Store: store}
		shim.OnCall(func(_ context.Context, _ string, _ storage.Ref, call func() error) error {
			calls.Add(1)
			return call()
		})
		sweeper := sweep.Sweeper{Store: shim, Locations: locations, Now: func() time.Time { return time.Now().Add(10 * time.Minute) }}
		b.StartTimer()
		for _, what := range []string{"first", "next"} {
			began := time.Now()
			c, err := sweeper.Run(ctx)
			if err != nil || c.Pending != records/2 || c.Expired != 0 {
				b.Fatalf("%+v, %v", c, err)
			}
			b.ReportMetric(float64(time.Since(began).Milliseconds()), what+"-ms")
			b.ReportMetric(float64(calls.Swap(0)), what+"-calls")
		}
		b.StopTimer()
		info, err := store.Head(ctx, locations.SweepOf())
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size)/1e6, "memory-object-MB")
		b.StartTimer()
	}
}
