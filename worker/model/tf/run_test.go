//go:build cgo

package tf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// floats makes a float32 tensor.
func floats(shape []int64, values ...float32) model.Tensor {
	t := model.Tensor{DType: model.Float32, Shape: shape, Data: []byte{}}
	for _, v := range values {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
	}
	return t
}

// values reads a float32 tensor.
func values(t model.Tensor) []float32 {
	list := make([]float32, 0, len(t.Data)/4)
	for b := t.Data; len(b) > 0; b = b[4:] {
		list = append(list, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return list
}

func ints(shape []int64, values ...int32) model.Tensor {
	t := model.Tensor{DType: model.Int32, Shape: shape, Data: []byte{}}
	for _, v := range values {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, uint32(v))
	}
	return t
}

func texts(shape []int64, values ...string) model.Tensor {
	t := model.Tensor{DType: model.String, Shape: shape, Bytes: [][]byte{}}
	for _, v := range values {
		t.Bytes = append(t.Bytes, []byte(v))
	}
	return t
}

func int64s(shape []int64, values ...int64) model.Tensor {
	t := model.Tensor{DType: model.Int64, Shape: shape, Data: []byte{}}
	for _, v := range values {
		t.Data = binary.LittleEndian.AppendUint64(t.Data, uint64(v))
	}
	return t
}

type parts = [][]model.Tensor

func run(t *testing.T, m *Model, batch parts) parts {
	t.Helper()
	results, err := m.Run(t.Context(), m.Signatures()["serving_default"], batch)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func TestABatchComesBackInItsParts(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long enough to be on the heap ", 3)
	for _, c := range []struct {
		model       string
		story       string
		batch, want parts
	}{
		{
			"halfplustwo", "parts of one, two and no rows",
			parts{{floats([]int64{1}, 2)}, {floats([]int64{2}, 4, -4)}, {floats([]int64{0})}},
			parts{{floats([]int64{1}, 3)}, {floats([]int64{2}, 4, 0)}, {floats([]int64{0})}},
		},
		{
			"halfplustwo", "no rows at all",
			parts{{floats([]int64{0})}},
			parts{{floats([]int64{0})}},
		},
		{
			"two_inputs", "inputs in order of name",
			parts{{floats([]int64{1, 2}, 1, 2), ints([]int64{1, 2}, 10, 20)}, {floats([]int64{1, 2}, 3, 4), ints([]int64{1, 2}, 30, 40)}},
			parts{{floats([]int64{1, 2}, 11, 22)}, {floats([]int64{1, 2}, 33, 44)}},
		},
		{
			"fixed_batch", "filled with zero rows and trimmed",
			parts{{floats([]int64{1, 3}, 1, 2, 3)}, {floats([]int64{2, 3}, 4, 5, 6, 7, 8, 9)}},
			parts{{floats([]int64{1, 3}, 2, 4, 6)}, {floats([]int64{2, 3}, 8, 10, 12, 14, 16, 18)}},
		},
		{
			"no_batch", "one part as it is",
			parts{{floats([]int64{3}, 1, 2, 3)}},
			parts{{floats([]int64{}, 6)}},
		},
		{
			"dynamic", "an unknown second dimension",
			parts{{floats([]int64{1, 4}, 1, 2, 3, 4)}, {floats([]int64{1, 4}, 5, 6, 7, 8)}},
			parts{{floats([]int64{1}, 10)}, {floats([]int64{1}, 26)}},
		},
		{
			"string_echo", "strings, empty, long and not UTF-8; outputs in order of name",
			parts{{texts([]int64{2}, "", "a\x00b")}, {texts([]int64{2}, long, "\xff\xfeq")}},
			parts{
				{int64s([]int64{2}, 0, 3), texts([]int64{2}, "", "A\x00B")},
				{int64s([]int64{2}, int64(len(long)), 3), texts([]int64{2}, strings.ToUpper(long), "\xff\xfeQ")},
			},
		},
	} {
		t.Run(c.model+": "+c.story, func(t *testing.T) {
			t.Parallel()
			if got := run(t, open(t, testModel(c.model)), c.batch); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestWhatDoesNotFitNeverReachesTensorFlow(t *testing.T) {
	t.Parallel()
	row := floats([]int64{1, 2}, 1, 2)
	broken := func(shape []int64, size int) model.Tensor {
		return model.Tensor{DType: model.Float32, Shape: shape, Data: make([]byte, size)}
	}
	for _, c := range []struct {
		model string
		batch parts
		want  string
	}{
		{"dynamic", parts{{}}, "takes 1 inputs, part 0 has 0"},
		{"dynamic", parts{{ints([]int64{1, 1}, 1)}}, "takes float32, not int32"},
		{"dynamic", parts{{floats([]int64{2}, 1, 2)}}, "takes shape [-1 -1], not [2]"},
		{"dynamic", parts{{row}, {floats([]int64{1, 1}, 1)}}, "that of another part is"},
		{"dynamic", parts{{broken([]int64{1, 2}, 7)}}, "needs 2 of its elements, there are 1"},
		{"dynamic", parts{{broken([]int64{1, 0}, 4)}}, "needs 0 of its elements"},
		{"dynamic", parts{{broken([]int64{-1, 2}, 8)}}, "negative"},
		{"dynamic", parts{{broken([]int64{1 << 40, 1 << 40}, 0)}}, "too large"},
		{"dynamic", parts{{broken([]int64{1 << 62, 0}, 0)}}, "too large"},
		{"fails_on_negative", parts{{floats([]int64{1, 3}, 1, 2, 3)}}, "takes shape [-1 2], not [1 3]"},
		{"no_batch", parts{{floats([]int64{2}, 1, 2)}}, "takes shape [3], not [2]"},
		{"no_batch", parts{{floats([]int64{3}, 1, 2, 3)}, {floats([]int64{3}, 1, 2, 3)}}, "takes one part, not 2"},
		{"two_inputs", parts{{row, ints([]int64{2, 2}, 1, 2, 3, 4)}}, `input "a" has 1 rows, input "b" has 2`},
	} {
		m := open(t, testModel(c.model))
		_, err := m.Run(t.Context(), m.Signatures()["serving_default"], c.batch)
		wantError(t, err, c.want)
		if e, ok := errors.AsType[*model.Error](err); !ok || !e.Permanent || e.Code != "INVALID_ARGUMENT" {
			t.Errorf("%v is not a permanent INVALID_ARGUMENT", err)
		}
	}
}

func TestCallsAgainstTheContractErr(t *testing.T) {
	t.Parallel()
	m := open(t, testModel("fixed_batch"))
	sig := m.Signatures()["serving_default"]
	five := floats([]int64{5, 3}, make([]float32, 15)...)
	_, err := m.Run(t.Context(), sig, parts{{five}})
	wantError(t, err, "5 rows", "fixed batch of 4")
	_, err = m.Run(t.Context(), sig, nil)
	wantError(t, err, "without parts")
	_, err = m.Run(t.Context(), &model.Signature{Name: "other"}, parts{{five}})
	wantError(t, err, `no signature "other"`)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("draining")
	cancel(cause)
	if _, err := m.Run(ctx, sig, parts{{five}}); !errors.Is(err, cause) {
		t.Errorf("a run in a cancelled context: %v, want %v", err, cause)
	}
}

func TestAFailedAssertionIsAPermanentErrorOfOneLine(t *testing.T) {
	t.Parallel()
	m := open(t, testModel("fails_on_negative"))
	_, err := m.Run(t.Context(), m.Signatures()["serving_default"], parts{{floats([]int64{1, 2}, 1, -1)}})
	wantError(t, err, "INVALID_ARGUMENT: ", "x must not be negative")
	if e, ok := errors.AsType[*model.Error](err); !ok || !e.Permanent || strings.ContainsAny(e.Message, "\n{") {
		t.Errorf("%#v", err)
	}
	if got := run(t, m, parts{{floats([]int64{1, 2}, 1, 2)}}); !slices.Equal(values(got[0][0]), []float32{2, 4}) {
		t.Errorf("after a failure: %v", got)
	}
}

func TestPanicsBecomeErrors(t *testing.T) {
	t.Parallel()
	var nothing map[string]int
	for want, f := range map[string]func(){
		"PANIC: assignment to entry in nil map": func() { nothing["x"] = 1 },
		"PANIC: boom":                           func() { panic("boom") },
		"UNKNOWN: op x not found":               func() { panic(errors.New("op x not found")) },
	} {
		err := recovered(f)
		wantError(t, err, want)
		if e, ok := errors.AsType[*model.Error](err); !ok || e.Permanent {
			t.Errorf("%#v", err)
		}
	}
}

func TestRunsAtOnceDoNotMixTheirRows(t *testing.T) {
	t.Parallel()
	numbers, strs := open(t, testModel("halfplustwo")), open(t, testModel("string_echo"))
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 50 {
				v := float32(worker*1000 + i)
				got, err := numbers.Run(t.Context(), numbers.Signatures()["serving_default"], parts{{floats([]int64{1}, v)}, {floats([]int64{1}, -v)}})
				if err != nil || values(got[0][0])[0] != v/2+2 || values(got[1][0])[0] != -v/2+2 {
					t.Errorf("%v: %v %v", v, got, err)
				}
				s := fmt.Sprintf("A STRING THAT LIES ON THE HEAP %v", v)
				got, err = strs.Run(t.Context(), strs.Signatures()["serving_default"], parts{{texts([]int64{1}, s)}})
				if err != nil || string(got[0][1].Bytes[0]) != s {
					t.Errorf("%s: %v %v", s, got, err)
				}
			}
		})
	}
	wg.Wait()
}
