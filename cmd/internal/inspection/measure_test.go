package inspection

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/fake"
)

// float32s describes an input or output.
func float32s(name string, shape ...int64) model.TensorInfo {
	return model.TensorInfo{Name: name, DType: model.Float32, Shape: shape}
}

func signature(name string, in, out model.TensorInfo) *model.Signature {
	return &model.Signature{Name: name, Inputs: []model.TensorInfo{in}, Outputs: []model.TensorInfo{out}}
}

// echo answers each part with its first input.
func echo(part []model.Tensor) ([]model.Tensor, error) { return part[:1], nil }

// measure measures and checks that the whole took no longer than limit.
func measure(t *testing.T, m model.Model, o Options, limit time.Duration) []Signature {
	t.Helper()
	if o.BatchSizes == nil {
		o.BatchSizes = DefaultBatchSizes()
	}
	began := time.Now()
	list, err := Measure(t.Context(), m, o, func(string, []Signature) {})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > limit {
		t.Errorf("it took %v, want at most %v", took, limit)
	}
	return list
}

func TestTheTimesAreThoseOfTheModel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := fake.New("m", "", []*model.Signature{signature("serving_default", float32s("x", -1, 2), float32s("y", -1, 2))},
			fake.Each(echo), fake.Cost(10*time.Millisecond, time.Millisecond))
		got := measure(t, m, Options{Time: 10 * time.Second}, 11*time.Second)[0]
		if len(got.Runs) != 3 || got.Error != "" || got.Input != MadeUp {
			t.Fatalf("%+v", got)
		}
		for i, want := range []struct {
			rows    int
			seconds float64
		}{{1, 0.011}, {8, 0.018}, {32, 0.042}} {
			r := got.Runs[i]
			if r.Rows != want.rows || r.MedianSeconds != want.seconds || r.P99Seconds != want.seconds || int(r.RowsPerSecond) != int(float64(r.Rows)/want.seconds) || r.Times < 75 {
				t.Errorf("%+v, want %+v", r, want)
			}
		}
		if got.Recommended.Rows != 32 {
			t.Errorf("%+v", got.Recommended)
		}
	})
}

func TestASlowModelTakesNoLongerThanItMust(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := fake.New("m", "", []*model.Signature{signature("serving_default", float32s("x", -1, 2), float32s("y", -1, 2))},
			fake.Each(echo), fake.Cost(0, 4*time.Second))
		got := measure(t, m, Options{Time: 10 * time.Second}, 12*time.Second)[0]
		if len(got.Runs) != 1 || got.Runs[0].Times != 1 || len(got.Skipped) != 2 {
			t.Fatalf("%+v", got)
		}
		if s := got.Skipped[0]; s.Rows != 8 || !strings.Contains(s.Reason, "32.0 s") || !strings.Contains(s.Reason, "-time 32s") {
			t.Errorf("%+v", s)
		}
		if got.Recommended.Rows != 1 {
			t.Errorf("%+v", got.Recommended)
		}
	})
}

func TestWhatCannotBeBatchedIsRunAsItMustBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		unbatchable := func(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
			if len(parts) > 1 {
				return nil, &model.UnbatchableError{Output: "y", Shape: []int64{2}, Rows: int64(len(parts))}
			}
			return fake.Each(echo)(ctx, sig, parts)
		}
		for name, c := range map[string]struct {
			sig    *model.Signature
			run    fake.RunFunc
			rows   []int
			reason string
		}{
			"no batch":    {signature("s", float32s("x", 2), float32s("y")), fake.Each(echo), []int{1}, "no batch dimension"},
			"fixed":       {signature("s", float32s("x", 4, 2), float32s("y", 4, 2)), fake.Each(echo), []int{4}, "model's own"},
			"unbatchable": {signature("s", float32s("x", -1, 2), float32s("y", -1, 2)), unbatchable, []int{1}, "one by one"},
		} {
			m := fake.New("m", "", []*model.Signature{c.sig}, c.run, fake.Delay(time.Millisecond))
			got := measure(t, m, Options{Time: time.Second}, 2*time.Second)[0]
			var rows []int
			for _, r := range got.Runs {
				rows = append(rows, r.Rows)
			}
			if !slices.Equal(rows, c.rows) || got.Recommended == nil || !strings.Contains(got.Recommended.Reason, c.reason) || got.Recommended.Rows != rows[0] {
				t.Errorf("%s: ran %v, %+v, %q", name, rows, got.Recommended, got.Error)
			}
		}
	})
}

func TestASignatureThatFailsDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := func(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
			if sig.Name == "bad" && len(parts) > 1 {
				return nil, errors.New("it dislikes ones")
			}
			return fake.Each(echo)(ctx, sig, parts)
		}
		m := fake.New("m", "", []*model.Signature{
			signature("bad", float32s("x", -1), float32s("y", -1)),
			signature("good", float32s("x", -1, -1), float32s("y", -1, -1)),
			signature("again", float32s("x", -1), float32s("y", -1)), // as bad, and before it
		}, run, fake.Delay(time.Millisecond))
		var doing []string
		list, err := Measure(t.Context(), m, Options{Time: time.Second, BatchSizes: []int{1, 2}}, func(s string, sofar []Signature) {
			doing = append(doing, s)
			if sofar[len(sofar)-1].Name == "" {
				t.Error("a signature without a name is told of")
			}
		})
		if err != nil || len(list) != 2 || list[0].Name != "again" || list[1].Name != "good" {
			t.Fatalf("%+v, %v", list, err)
		}
		if len(list[1].Runs) != 2 || !slices.Equal(list[1].Assumed, []string{"x"}) {
			t.Errorf("%+v", list[1])
		}
		if want := []string{"run again with 1 row", "run again with 2 rows", "run good with 1 row", "run good with 2 rows"}; !slices.Equal(doing, want) {
			t.Errorf("it said %q", doing)
		}
		list, err = Measure(t.Context(), m, Options{Time: time.Second, BatchSizes: []int{1, 2}, Signature: "bad"}, func(string, []Signature) {})
		if err != nil || len(list) != 1 || len(list[0].Runs) != 1 || list[0].Error != "2 rows: it dislikes ones" {
			t.Errorf("%+v, %v", list, err)
		}
		if _, err = Measure(t.Context(), m, Options{Time: time.Second, Signature: "best"}, func(string, []Signature) {}); err == nil || !strings.Contains(err.Error(), "again, bad, good") {
			t.Errorf("%v", err)
		}
	})
}

func TestAnInterruptionEndsItBetweenTwoRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := fake.New("m", "", []*model.Signature{signature("s", float32s("x", -1, 2), float32s("y", -1, 2))}, fake.Each(echo), fake.Delay(time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := Measure(ctx, m, Options{Time: time.Hour, BatchSizes: []int{1}}, func(string, []Signature) {})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 6*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestTheRowsOfAFileAreTheInput(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "rows.json")
	if err := os.WriteFile(file, []byte(`{"instances": [[1, 2, 3], [4, 5, 6]]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	var seen [][]model.Tensor
	m := fake.New("m", "", []*model.Signature{signature("s", float32s("x", -1, -1), float32s("y", -1, -1))},
		func(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
			seen = parts
			return fake.Each(echo)(ctx, sig, parts)
		})
	got := measure(t, m, Options{Time: time.Millisecond, BatchSizes: []int{3}, InputFile: file}, time.Minute)[0]
	if got.Error != "" || got.Input != "rows.json" || len(got.Assumed) > 0 || !slices.Equal(got.Shapes[0].Shape, []int64{1, 3}) {
		t.Fatalf("%+v", got)
	}
	if len(seen) != 3 || &seen[0][0].Data[0] != &seen[2][0].Data[0] || &seen[0][0].Data[0] == &seen[1][0].Data[0] {
		t.Errorf("it ran on %v", seen)
	}
	got = measure(t, m, Options{Time: time.Millisecond, InputFile: file + "x"}, time.Minute)[0]
	if !strings.Contains(got.Error, "no such file") || got.Recommended != nil {
		t.Errorf("%+v", got)
	}
	if err := os.WriteFile(file, []byte(`{"instances": [["a"]]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	got = measure(t, m, Options{Time: time.Millisecond, InputFile: file}, time.Minute)[0]
	if !strings.Contains(got.Error, "rows.json: InvalidDType") {
		t.Errorf("%+v", got)
	}
}

func TestABatchThatWouldNotFitInMemoryIsNotRun(t *testing.T) {
	t.Parallel()
	m := fake.New("m", "", []*model.Signature{signature("s", float32s("x", -1, -1), float32s("y", -1, -1))}, fake.Each(echo))
	got := measure(t, m, Options{Time: time.Millisecond, BatchSizes: []int{1 << 16}, Shapes: map[string][]int64{"x": {1, 1 << 20}}}, time.Minute)[0]
	if len(got.Runs) != 0 || len(got.Skipped) != 1 || got.Recommended != nil {
		t.Errorf("%+v", got)
	}
}
