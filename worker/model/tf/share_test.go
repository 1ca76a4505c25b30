//go:build cgo

package tf

import (
	"errors"
	"reflect"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// openWith opens a test model with a model file that says so much.
func openWith(t *testing.T, name string, c *model.Config) *Model {
	t.Helper()
	m, err := Load(testModel(name), Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func TestRowsOfDifferentLengthsShareARunAndComeBackAtTheirOwn(t *testing.T) {
	t.Parallel()
	m := openWith(t, "tokens", &model.Config{
		Pad: map[string]model.Pad{"ids": {Value: -1.0}}, Trim: map[string]string{"next": "ids"},
	})
	got := run(t, m, parts{
		{ints([]int64{1, 3}, 1, 2, 3)},
		{ints([]int64{2, 4}, 4, 5, 6, 7, 8, 9, 10, 11)},
	})
	want := parts{
		{ints([]int64{1}, 3), ints([]int64{1, 3}, 2, 3, 4)}, // known: the padding isn't
		{ints([]int64{2}, 4, 4), ints([]int64{2, 4}, 5, 6, 7, 8, 9, 10, 11, 12)},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	_, err := m.Run(t.Context(), m.Signatures()["serving_default"], parts{{ints([]int64{1, 3}, 1, 2, 3)}, {ints([]int64{1, 5}, 1, 2, 3, 4, 5)}})
	wantError(t, err, "input \"ids\" has shape [1 5], that of another part is [1 3]")
	_, err = m.Run(t.Context(), m.Signatures()["serving_default"], parts{{ints([]int64{1, 3, 1}, 1, 2, 3)}})
	wantError(t, err, "takes shape [-1 -1], not [1 3 1]")
}

func TestAPadValueThatIsNotOfItsInputsTypeFailsTheLoad(t *testing.T) {
	t.Parallel()
	_, err := Load(testModel("tokens"), Options{Config: &model.Config{Pad: map[string]model.Pad{"ids": {Value: 0.5}}}})
	wantError(t, err, `signature "serving_default": penstock.json: pad: input "ids": value 0.5 is no int32`)
}

func TestAnOutputThatIsNotOfTheBatchsRowsIsTold(t *testing.T) {
	t.Parallel()
	m := openWith(t, "mean", nil)
	sig := m.Signatures()["serving_default"]
	if rows, ok := sig.Batch(); rows != -1 || !ok {
		t.Fatalf("the model declares %d, %t: the test is about one that keeps it to itself", rows, ok)
	}
	one, two := []model.Tensor{floats([]int64{1, 2}, 1, 2)}, []model.Tensor{floats([]int64{2, 2}, 3, 4, 5, 6)}
	_, err := m.Run(t.Context(), sig, parts{one, two})
	if e, ok := errors.AsType[*model.UnbatchableError](err); !ok || e.Output != "mean" || e.Rows != 3 {
		t.Errorf("two parts: %#v, want an UnbatchableError", err)
	}
	if e, ok := errors.AsType[*model.Error](err); !ok || !e.Permanent {
		t.Errorf("two parts: %v, want a permanent error", err)
	}
	if got := run(t, m, parts{two}); !reflect.DeepEqual(got, parts{{floats([]int64{1, 2}, 4, 5)}}) {
		t.Errorf("one part: %v, want what the model gave", got)
	}
}
