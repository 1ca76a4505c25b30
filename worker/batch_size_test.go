package worker

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

// rowsOfRuns are the rows of the recorded runs, filling included.
func rowsOfRuns(r *fake.Recorder) (rows []int64) {
	for _, b := range r.Batches() {
		rows = append(rows, b.Rows)
	}
	return rows
}

// ones is n jobs of one row, of numbers from 1 on.
func ones(m model.Model, n int) (works []work) {
	for i := range n {
		works = append(works, wish(m, float32(i+1)))
	}
	return works
}

// observed collects what the batcher measures.
func observed(b *batcher) func() []ran {
	var mu sync.Mutex
	var all []ran
	b.observe = func(r ran) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, r)
	}
	return func() []ran {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// fixedDouble doubles rows of one number, four at a time.
func fixedDouble(knobs ...fake.Knob) *fake.Model {
	sig := *fake.Double(1).Signatures()["serving_default"]
	sig.Inputs = []model.TensorInfo{{Name: "x", DType: model.Float32, Shape: []int64{4, 1}}}
	sig.Outputs = []model.TensorInfo{{Name: "y", DType: model.Float32, Shape: []int64{4, 1}}}
	return fake.New("fixed", "1", []*model.Signature{&sig}, fake.Each(twice), knobs...)
}

func twice(part []model.Tensor) ([]model.Tensor, error) {
	v := values(part[0])
	for i := range v {
		v[i] *= 2
	}
	t := numbers(1, v...)
	t.Shape = part[0].Shape
	return []model.Tensor{t}, nil
}

func TestRunsHaveAllowedSizesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		m := fake.Double(1, r.Knob(), fake.Delay(time.Second)).WithConfig(&model.Config{AllowedBatchSizes: []int{2, 4, 8, 64}})
		b := newBatcher(1, 10, 0, time.Hour) // 64 is more than the worker allows
		ran := observed(b)
		works := append(ones(m, 3), wish(m, 7, 8), wish(m, 9, 10, 11, 12, 13), wish(m), wish(m, make([]float32, 20)...))
		together(t, b, works...)
		b.runners.Wait()
		filled, rows := int64(0), int64(0)
		for _, n := range rowsOfRuns(&r) {
			if n != 2 && n != 4 && n != 8 {
				t.Errorf("a run of %d rows", n)
			}
			rows += n
		}
		for _, run := range ran() {
			filled += run.filled
			if run.padding != run.filled {
				t.Errorf("%d of one element each are filled, and %d of padding", run.filled, run.padding)
			}
		}
		if rows-filled != 30 {
			t.Errorf("%d rows with %d filled, want 30 of the items", rows, filled)
		}
	})
}

func TestAFixedBatchIsFilledAndItsWasteCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		m := fixedDouble(r.Knob(), fake.Delay(time.Second))
		b := newBatcher(1, 2, 0, time.Hour) // the model can't do less than it is made for
		ran := observed(b)
		together(t, b, wish(m, 1), wish(m, 1, 2, 3, 4, 5, 6, 7), wish(m, 3))
		b.runners.Wait()
		if got := rowsOfRuns(&r); !slices.Equal(got, []int64{4, 4, 4}) {
			t.Errorf("runs of %v rows, want 4 each", got)
		}
		if got := ran(); got[0].filled != 3 || got[0].elements != 4 || got[0].padding != 3 {
			t.Errorf("measured %+v, want 3 of 4 elements to be padding", got[0])
		}
	})
}

// A model can fail on rows that nobody would send.
func TestABatchIsFilledWithRowsOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		none := func(part []model.Tensor) bool { return slices.Contains(values(part[0]), 0) }
		m := fake.Double(1, fake.FailWhen(none, errPermanent)).WithConfig(&model.Config{AllowedBatchSizes: []int{8}})
		b := newBatcher(1, 8, time.Second, time.Hour)
		together(t, b, wish(m, 1, 2), wish(m, 3))
		b.runners.Wait()
	})
}

// At a time when nine rows wait and runs of 8 and of 16 are allowed, it is the
// model that says what is best.
func TestTheLearnedCostSaysHowFarABatchIsFilled(t *testing.T) {
	for _, c := range []struct {
		story  string
		run    time.Duration // of any run, and 10 ms for each row
		config model.Config
		waits  int
		want   []int64
	}{
		{"runs are dear", time.Second, model.Config{AllowedBatchSizes: []int{1, 8, 16}}, 9, []int64{16}},
		{"rows are dear", time.Millisecond, model.Config{AllowedBatchSizes: []int{1, 8, 16}}, 9, []int64{8, 1}},
		{"nothing is won", time.Millisecond, model.Config{AllowedBatchSizes: []int{8, 16}}, 9, []int64{16}},
		{"a size fits", time.Millisecond, model.Config{AllowedBatchSizes: []int{1, 8, 16}}, 8, []int64{8}},
		{"any size goes", time.Millisecond, model.Config{}, 9, []int64{9}},
	} {
		t.Run(c.story, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r fake.Recorder
				m := fake.Double(1, r.Knob(), fake.Cost(c.run, 10*time.Millisecond)).WithConfig(&c.config)
				b := newBatcher(1, 16, 0, time.Hour)
				for _, n := range []int{1, 8, 16, 1, 8, 16} { // it learns
					together(t, b, wish(m, make([]float32, n)...))
				}
				before := len(r.Batches())
				together(t, b, append([]work{wish(m, make([]float32, 16)...)}, ones(m, c.waits)...)...)
				if got := rowsOfRuns(&r)[before+1:]; !slices.Equal(got, c.want) {
					t.Errorf("runs of %v, want %v", got, c.want)
				}
				b.runners.Wait()
			})
		})
	}
}

func TestAnItemStaysInOneRunWhateverSizeIsChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		m := fake.Double(1, r.Knob(), fake.Cost(time.Millisecond, time.Second)).WithConfig(&model.Config{AllowedBatchSizes: []int{2, 4, 8}})
		b := newBatcher(1, 8, 0, time.Hour)
		together(t, b, wish(m, 1), wish(m, 1, 2, 3, 4, 5), wish(m, 6))
		for _, batch := range r.Batches() {
			if batch.Rows != 2 && batch.Rows != 8 {
				t.Errorf("a run of %d rows", batch.Rows)
			}
		}
		b.runners.Wait()
	})
}

func TestAModelsOwnTimeoutReplacesTheWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for timeout, want := range map[*int64]time.Duration{
			nil: time.Second, new(int64(0)): 0, new(int64(2_000_000)): 2 * time.Second,
		} {
			m := fake.Double(1).WithConfig(&model.Config{BatchTimeoutMicros: timeout})
			b := newBatcher(1, 4, time.Second, time.Hour)
			began := time.Now()
			together(t, b, wish(m, 1))
			if took := time.Since(began); took != want {
				t.Errorf("it took %v, want %v", took, want)
			}
			b.runners.Wait()
		}
	})
}

func TestAModelHasNoMoreRunsAtOnceThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var greedy, other fake.Recorder
		a := fake.Double(1, greedy.Knob(), fake.Delay(time.Minute)).WithConfig(&model.Config{MaxConcurrentBatches: 1, MaxBatchSize: 1})
		sig := fake.Double(1).Signatures()["serving_default"]
		z := fake.New("other", "1", []*model.Signature{sig}, fake.Each(twice), other.Knob(), fake.Delay(time.Second))
		b := newBatcher(3, 4, 0, time.Hour)
		var wg sync.WaitGroup
		wg.Go(func() { together(t, b, ones(a, 4)...) })
		time.Sleep(time.Second)
		began := time.Now()
		together(t, b, wish(z, 1))
		if took := time.Since(began); took != time.Second {
			t.Errorf("the other model's item took %v, want its second", took)
		}
		wg.Wait()
		b.runners.Wait()
		if n := greedy.MostConcurrent(); n != 1 {
			t.Errorf("%d runs at once, want 1", n)
		}
		if b.idle != 3 {
			t.Errorf("%d runners are idle, want 3", b.idle)
		}
	})
}
