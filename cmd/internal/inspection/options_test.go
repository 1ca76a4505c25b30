package inspection

import (
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/worker/model"
)

func TestOptionsComeThroughTheCommandLine(t *testing.T) {
	t.Parallel()
	for _, want := range []Options{
		{Dir: "m", BatchSizes: DefaultBatchSizes(), Time: DefaultTime, Shapes: map[string][]int64{}},
		{
			Dir: "-dir with spaces", ModelFile: "a=b/penstock.json", Signature: "-predict", BatchSizes: []int{2, 64}, Time: 90 * time.Second,
			Shapes: map[string][]int64{"x=y": {1, 224, 224, 3}, "": {0}}, InputFile: "-input.npy",
		},
	} {
		got, err := Parse(want.Args(), io.Discard)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
	}
	for _, bad := range []string{"", "a b", "-shape x=1,a d", "-batch-sizes 0 d", "-batch-sizes 1,,2 d", "-batch-sizes 65537 d", "-shape x=1 -shape x=2 d", "-what d"} {
		if o, err := Parse(strings.Fields(bad), io.Discard); err == nil {
			t.Errorf("%q is taken as %+v", bad, o)
		}
	}
	sizes, err := ParseBatchSizes("8, 1,8")
	if err != nil || !slices.Equal(sizes, []int{1, 8}) {
		t.Errorf("%v, %v", sizes, err)
	}
}

func TestRowsHaveTheShapeThatIsGivenOrOnes(t *testing.T) {
	t.Parallel()
	image := signature("s", float32s("x", -1, -1, -1, 3), float32s("y", -1))
	tokens := signature("s", float32s("x", -1, -1), float32s("y", -1))
	fixed := signature("s", float32s("x", 4, 3), float32s("y", 4, 3))
	whole := signature("s", float32s("x", -1, 3), float32s("y"))
	anyRank := signature("s", model.TensorInfo{Name: "x", DType: model.Float32, UnknownRank: true}, float32s("y", -1))
	huge := signature("s", float32s("x", -1, 1<<40, 1<<40), float32s("y", -1))
	for name, c := range map[string]struct {
		sig     *model.Signature
		given   []int64
		want    []int64
		assumed bool
		err     string
	}{
		"open":          {sig: image, want: []int64{1, 224, 224, 3}, assumed: true},
		"a sequence":    {sig: tokens, want: []int64{1, 64}, assumed: true},
		"given":         {sig: image, given: []int64{1, 224, 200, 3}, want: []int64{1, 224, 200, 3}},
		"a row":         {sig: image, given: []int64{224, 200, 3}, want: []int64{1, 224, 200, 3}},
		"other channel": {sig: image, given: []int64{1, 224, 200, 1}, err: "the model takes [1, ?, ?, 3] for one row"},
		"two rows":      {sig: image, given: []int64{2, 224, 200, 3}, err: "the model takes [1, ?, ?, 3]"},
		"fixed":         {sig: fixed, want: []int64{1, 3}},
		"no batch":      {sig: whole, want: []int64{64, 3}, assumed: true},
		"no batch, 7":   {sig: whole, given: []int64{7, 3}, want: []int64{7, 3}},
		"any rank":      {sig: anyRank, want: []int64{1}, assumed: true},
		"any rank, 2":   {sig: anyRank, given: []int64{2}, err: "write 1 there"},
		"too large":     {sig: image, given: []int64{1, 1 << 30, 1 << 30, 3}, err: "more than 1 GiB"},
		"declared huge": {sig: huge, err: "more than 1 GiB"},
	} {
		given := map[string][]int64{}
		if c.given != nil {
			given[""] = c.given
		}
		shapes, assumed, err := Row(c.sig, given)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", name, err, c.err)
			}
			continue
		}
		if err != nil || !slices.Equal(shapes[0].Shape, c.want) || (len(assumed) > 0) != c.assumed {
			t.Errorf("%s: %v, assumed %v, %v", name, shapes, assumed, err)
		}
	}
}

func TestMadeUpInputIsSafe(t *testing.T) {
	t.Parallel()
	sig := &model.Signature{Inputs: []model.TensorInfo{
		{Name: "f", DType: model.Float32}, {Name: "i", DType: model.Int16}, {Name: "s", DType: model.String}, {Name: "d", DType: model.Float64},
	}}
	shape := []int64{1, 2}
	got := MakeUp(sig, []Shape{{"f", shape}, {"i", shape}, {"s", shape}, {"d", shape}})
	for i, want := range []model.Tensor{
		{DType: model.Float32, Shape: shape, Data: []byte("\x00\x00\x80\x3f\x00\x00\x80\x3f")},
		{DType: model.Int16, Shape: shape, Data: make([]byte, 4)},
		{DType: model.String, Shape: shape, Bytes: make([][]byte, 2)},
		{DType: model.Float64, Shape: shape, Data: []byte("\x00\x00\x00\x00\x00\x00\xf0\x3f\x00\x00\x00\x00\x00\x00\xf0\x3f")},
	} {
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("%+v, want %+v", got[i], want)
		}
	}
}

func TestAShapeOfNoInputIsReported(t *testing.T) {
	t.Parallel()
	one := signature("one", float32s("x", -1), float32s("y", -1))
	two := &model.Signature{Name: "two", Inputs: []model.TensorInfo{float32s("a", -1), float32s("b", -1)}}
	for _, c := range []struct {
		sigs  []*model.Signature
		name  string
		fault string
	}{
		{[]*model.Signature{one, two}, "b", ""},
		{[]*model.Signature{one, two}, "", ""},
		{[]*model.Signature{two}, "", "Name it: one of a, b"},
		{[]*model.Signature{one, two}, "c", `there is no input "c"; there is a, b, x`},
	} {
		err := CheckShapes(c.sigs, map[string][]int64{c.name: {1}})
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%q: %v", c.name, err)
		}
	}
}

func TestTheSmallestBatchThatIsNearlyTheBestIsRecommended(t *testing.T) {
	t.Parallel()
	runs := func(rps ...float64) []Run {
		var list []Run
		for i, r := range rps {
			rows := 1 << (2 * i)
			list = append(list, Run{Rows: rows, RowsPerSecond: r, MedianSeconds: float64(rows) / r})
		}
		return list
	}
	for _, c := range []struct {
		runs   []Run
		rows   int
		reason string
	}{
		{runs(100), 1, "the only one measured"},
		{runs(100, 90, 80), 1, "time grows with the rows"},
		{runs(100, 105, 106), 1, "94 % of the rows/s of 16, in 10.0 ms instead of 151 ms"},
		{runs(100, 380, 400), 4, "95 % of the rows/s of 16, in 10.5 ms instead of 40.0 ms"},
		{runs(100, 400, 300), 4, "the best rows/s; 16 rows take 53.3 ms instead of 10.0 ms"},
		{runs(100, 300, 900), 16, "3.0 times the rows/s of 4; larger ones may give more still: try -batch-sizes 32,64"},
	} {
		got := Recommend(c.runs)
		if got.Rows != c.rows || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%+v, want %d: %s", got, c.rows, c.reason)
		}
	}
}

func TestQuantilesAreTimesThatWereMeasured(t *testing.T) {
	t.Parallel()
	var times []time.Duration
	for i := range 200 {
		times = append(times, time.Duration(200-i)*time.Millisecond)
	}
	got := Summarize(10, times)
	got.RowsPerSecond = math.Round(got.RowsPerSecond)
	if want := (Run{Rows: 10, Times: 200, MedianSeconds: 0.1, P99Seconds: 0.198, RowsPerSecond: 100}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := Summarize(1, []time.Duration{time.Second, 3 * time.Second}); got.P99Seconds != 3 || got.MedianSeconds != 1 {
		t.Errorf("%+v", got)
	}
}

func TestNumbersAreWrittenForPeople(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[float64]string{0.0000236: "23.6 µs", 0.00021: "210 µs", 0.0174: "17.4 ms", 0.001: "1.00 ms", 1.32: "1.32 s", 250: "250 s"} {
		if got := Duration(seconds); got != want {
			t.Errorf("%v is %q, want %q", seconds, got, want)
		}
	}
	for n, want := range map[float64]string{0.0312: "0.0312", 7.25: "7.25", 99.9: "99.9", 129.4: "129", 12943: "12,943", 1234567: "1,234,567"} {
		if got := Number(n); got != want {
			t.Errorf("%v is %q, want %q", n, got, want)
		}
	}
}
