package worker

import (
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

func TestWasteAndCostAreMeasuredByModel(t *testing.T) {
	in(t, func(t *testing.T, p *plant) {
		padded := fake.Double(1, p.recorder.Knob(), fake.Cost(2*time.Second, 10*time.Millisecond)).
			WithConfig(&model.Config{AllowedBatchSizes: []int{1, 8}})
		w := p.start(with(func(c *Config) { c.Models = model.Fixed(padded) }))
		p.submitMany(20)
		p.settled()
		p.submitMany(1)
		p.settled()
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		rows, run := 21.0, 0.0
		for _, b := range p.recorder.Batches() {
			run += float64(b.Rows)
		}
		for name, want := range map[string]float64{
			"penstock_batch_filled_rows_total":      run - rows,
			"penstock_batch_elements_total":         run,
			"penstock_batch_padding_elements_total": run - rows,
		} {
			if got := w.counter(name, "double"); got != want || want == 0 {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		a, b := w.counter("penstock_batch_row_cost_seconds", "double"), w.counter("penstock_batch_run_cost_seconds", "double")
		if math.Abs(a-0.010) > 0.003 || math.Abs(b-2) > 0.1 {
			t.Errorf("the cost is said to be %.4f s a row and %.3f s a run, want 0.010 and 2", a, b)
		}
	})
}

// Who sends a client away must be able to say for how long.
func TestTheWorkThatIsQueuedIsKnownInSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fake.Double(1, fake.Cost(time.Second, 100*time.Millisecond))
		b := newBatcher(1, 10, 0, time.Hour)
		seconds := func(want float64) {
			t.Helper()
			if got := b.seconds(); math.Abs(got-want) > 0.1+want/50 {
				t.Errorf("%.2f s of work are queued, want %.2f", got, want)
			}
		}
		seconds(0)
		together(t, b, wish(m, 0), wish(m, make([]float32, 10)...), wish(m, make([]float32, 5)...), wish(m, 0))
		seconds(0)
		var wg sync.WaitGroup
		for _, w := range slices.Concat(ones(m, 1), ones(m, 25), []work{wish(m, make([]float32, 95)...)}) {
			wg.Go(func() {
				d, err := b.Do(t.Context(), t.Context(), w)
				doubled(t, w, d, err)
			})
			synctest.Wait()
		}
		seconds(1.1 + 12*2) // one run of a row, and 120 rows in twelve
		time.Sleep(500 * time.Millisecond)
		seconds(0.6 + 12*2)
		wg.Wait()
		seconds(0)
		b.runners.Wait()
	})
}
