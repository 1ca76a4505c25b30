package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

// lengths is a model that doubles rows of any length, filled up with 9 to the
// next of 4 and 8.
func lengths(c model.Config, knobs ...fake.Knob) *fake.Model {
	sig := &model.Signature{
		Name:    "serving_default",
		Inputs:  []model.TensorInfo{{Name: "x", DType: model.Float32, Shape: []int64{-1, -1}}},
		Outputs: []model.TensorInfo{{Name: "y", DType: model.Float32, Shape: []int64{-1, -1}}},
	}
	c.Pad = map[string]model.Pad{"x": {Value: 9.0, Sizes: []int64{4, 8}}}
	c.Trim = map[string]string{"y": "x"}
	return fake.New("lengths", "1", []*model.Signature{sig}, fake.Each(twice), knobs...).WithConfig(&c)
}

// row of the given numbers, as work on m.
func rowOf(m model.Model, v ...float32) work {
	w := wish(m)
	w.tensors, w.rows = []model.Tensor{numbers(int64(len(v)), v...)}, 1
	return w
}

func TestRowsOfDifferentLengthsShareARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		m := lengths(model.Config{}, r.Knob())
		b := newBatcher(1, 8, time.Second, time.Hour)
		ran := observed(b)
		together(t, b, rowOf(m, 1), rowOf(m, 1, 2, 3), rowOf(m, 1, 2, 3, 4), rowOf(m, 1, 2, 3, 4, 5))
		b.runners.Wait()
		if got, want := partsOf(&r), []int{3, 1}; !slices.Equal(got, want) {
			t.Errorf("batches of %v, want %v", got, want)
		}
		if got := ran(); got[0].elements != 12 || got[0].padding != 4 || got[1].elements != 8 || got[1].padding != 3 {
			t.Errorf("measured %+v", got)
		}
	})
}

func TestAnItemOfTheWrongShapeIsToldOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := lengths(model.Config{AllowedBatchSizes: []int{4}})
		b := newBatcher(1, 8, time.Second, time.Hour)
		w := wish(m)
		w.tensors, w.rows = []model.Tensor{{DType: model.Float32, Shape: []int64{1, 3, 1}, Data: make([]byte, 12)}}, 1
		var wg sync.WaitGroup
		wg.Go(func() { together(t, b, rowOf(m, 1, 2, 3)) })
		d, err := b.Do(t.Context(), t.Context(), w)
		if err != nil || d.err == nil || !strings.Contains(d.err.Error(), "shape [1 3 1]") {
			t.Errorf("got %v and %v, want the item's own shape", err, d.err)
		}
		wg.Wait()
		b.runners.Wait()
	})
}

func TestBisectionHoldsWithPaddingAndAllowedSizes(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			c := model.Config{AllowedBatchSizes: []int{2, 8, 16}}
			var r fake.Recorder
			bad := func(part []model.Tensor) bool { return slices.Contains(values(part[0]), 13*2) }
			m := lengths(c, r.Knob(), fake.FailWhen(bad, errPermanent), fake.Cost(time.Millisecond, time.Millisecond))
			b := newBatcher(1+rnd.IntN(2), 16, 0, time.Hour)
			var wg sync.WaitGroup
			for i := range 100 {
				n, width := 1+rnd.IntN(3), 1+rnd.IntN(9)
				if i%10 == 0 {
					n = 20 + rnd.IntN(30) // goes in several runs
				}
				v := make([]float32, n*width)
				for k := range v {
					v[k] = float32(rnd.IntN(12))
				}
				poisoned := rnd.IntN(10) == 0
				if poisoned {
					v[rnd.IntN(len(v))] = 13 * 2
				}
				w := wish(m)
				w.tensors, w.rows = []model.Tensor{numbers(int64(width), v...)}, int64(n)
				wg.Go(func() {
					d, err := b.Do(t.Context(), t.Context(), w)
					if !poisoned {
						doubled(t, w, d, err)
						if err == nil && d.err == nil && !slices.Equal(d.outputs[0].Shape, w.tensors[0].Shape) {
							t.Errorf("%v came back as %v", w.tensors[0].Shape, d.outputs[0].Shape)
						}
					} else if !errors.Is(d.err, errPermanent) || !d.alone {
						t.Errorf("a culprit has %v and %v, alone %t", err, d.err, d.alone)
					}
				})
			}
			wg.Wait()
			b.runners.Wait()
			for _, run := range r.Batches() {
				if !slices.Contains(c.AllowedBatchSizes, int(run.Rows)) {
					t.Errorf("a run of %d rows", run.Rows)
				}
			}
		})
	}
}

// mean is a model whose output is not of the rows that went in, and says so
// nowhere.
func mean(knobs ...fake.Knob) *fake.Model {
	run := func(_ context.Context, _ *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
		var all []float32
		for _, part := range parts {
			all = append(all, values(part[0])...)
		}
		if len(parts) > 1 && len(all) > 1 {
			return nil, &model.UnbatchableError{Output: "y", Shape: []int64{1, 1}, Rows: int64(len(all))}
		}
		sum := float32(0)
		for _, v := range all {
			sum += v
		}
		return [][]model.Tensor{{numbers(1, sum/float32(len(all)))}}, nil
	}
	return fake.New("mean", "1", []*model.Signature{fake.Double(1).Signatures()["serving_default"]}, run, knobs...)
}

// logged makes the batcher log into what is returned.
func logged(b *batcher) *observer.ObservedLogs {
	core, logs := observer.New(zap.InfoLevel)
	b.log = zap.New(core)
	return logs
}

func TestASignatureWhoseOutputsAreNoBatchsRunsItemByItem(t *testing.T) {
	for story, c := range map[string]struct {
		config model.Config
		first  [][]float32 // items that come first, together
	}{
		"several items":                        {first: [][]float32{{1, 2, 3}, {5}, {7, 9}}},
		"one item":                             {first: [][]float32{{1, 2, 3}}},
		"an item larger than a batch":          {first: [][]float32{{1, 2, 3, 4, 5, 6, 7, 8, 9}}},
		"large ones with others":               {first: [][]float32{{1}, {1, 2, 3, 4, 5, 6, 7, 8, 9}, {3, 2, 1, 5, 6, 7}, {1, 3}}},
		"a batch that is filled up":            {config: model.Config{AllowedBatchSizes: []int{4}}, first: [][]float32{{1, 2, 3}}},
		"and one of which every run is filled": {config: model.Config{AllowedBatchSizes: []int{4}}, first: [][]float32{{1, 2, 3, 4, 5, 6}, {1}}},
	} {
		for _, runners := range []int{1, 2} {
			t.Run(story, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var r fake.Recorder
					m := mean(r.Knob(), fake.Delay(time.Second)).WithConfig(&c.config)
					b := newBatcher(runners, 4, 0, time.Hour)
					logs := logged(b)
					for _, items := range [][][]float32{c.first, {{1, 2}, {3}, {4, 5, 6, 7, 8, 9}}} {
						var wg sync.WaitGroup
						for _, v := range items {
							wg.Go(func() {
								d, err := b.Do(t.Context(), t.Context(), wish(m, v...))
								sum := float32(0)
								for _, x := range v {
									sum += x
								}
								if err != nil || d.err != nil || !slices.Equal(values(d.outputs[0]), []float32{sum / float32(len(v))}) {
									t.Errorf("%v gave %v, %v and %v", v, d.outputs, err, d.err)
								}
							})
						}
						wg.Wait()
					}
					b.runners.Wait()
					if n := logs.FilterMessageSnippet("one item at a time from now on").Len(); n != 1 {
						t.Errorf("it was said %d times, want once", n)
					}
					for _, run := range r.Batches()[len(r.Batches())-3:] {
						if run.Parts != 1 {
							t.Errorf("a run of %d parts, once it was known", run.Parts)
						}
					}
				})
			})
		}
	}
}

func TestASignatureThatDeclaresNoBatchRunsItemByItemFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r fake.Recorder
		sig := &model.Signature{
			Name:    "serving_default",
			Inputs:  []model.TensorInfo{{Name: "x", DType: model.Float32, Shape: []int64{-1, 1}}},
			Outputs: []model.TensorInfo{{Name: "y", DType: model.Float32, Shape: []int64{}}},
		}
		m := fake.New("sum", "1", []*model.Signature{sig}, fake.Each(twice), r.Knob(), fake.Delay(time.Second))
		b := newBatcher(1, 4, 0, time.Hour)
		logs := logged(b)
		works := ones(m, 3)
		works[1] = wish(m, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		together(t, b, works...)
		b.runners.Wait()
		if got := partsOf(&r); !slices.Equal(got, []int{1, 1, 1}) {
			t.Errorf("batches of %v", got)
		}
		if n := logs.FilterMessageSnippet("one item at a time").Len(); n != 1 {
			t.Errorf("it was said %d times, want once", n)
		}
	})
}

// A fixed batch can't be run without its filling.
func TestAFixedBatchWithOutputsOfNoBatchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := func(next fake.RunFunc) fake.RunFunc {
			return func(context.Context, *model.Signature, [][]model.Tensor) ([][]model.Tensor, error) {
				return nil, &model.UnbatchableError{Output: "y", Shape: []int64{1}, Rows: 4}
			}
		}
		m := fixedDouble(refuse)
		b := newBatcher(1, 4, time.Second, time.Hour)
		var wg sync.WaitGroup
		for _, w := range ones(m, 2) {
			wg.Go(func() {
				d, err := b.Do(t.Context(), t.Context(), w)
				if e, ok := errors.AsType[*model.Error](d.err); err != nil || !ok || !e.Permanent {
					t.Errorf("got %v and %v, want a permanent error", err, d.err)
				}
			})
		}
		wg.Wait()
		b.runners.Wait()
	})
}
