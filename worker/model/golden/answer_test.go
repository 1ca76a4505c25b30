//go:build cgo

package golden

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// answer is what a model said, by output. It is read by code of its own, so that
// the codec under test is not judged by itself.
type answer map[string]array

// array has numbers or strings, in row-major order.
type array struct {
	dtype   string // NumPy's name, as f4; empty when the format has only numbers and strings
	shape   []int
	numbers []float64 // float32 too; none is larger than what float64 holds exactly
	strings []string
}

// far is the largest difference of two arrays: absolute where Python's number is
// below 1, relative above. Strings and whole numbers must be the same, and types
// and shapes, or it is infinite.
func far(got, want array) (largest float64) {
	if got.dtype != "" && got.dtype != want.dtype || !slices.Equal(got.shape, want.shape) ||
		len(got.numbers) != len(want.numbers) || !slices.Equal(got.strings, want.strings) {
		return math.Inf(1)
	}
	for i, w := range want.numbers {
		g := got.numbers[i]
		if want.dtype == "f4" {
			g = float64(float32(g)) // JSON has the fewest digits that mean it
		}
		switch d := math.Abs(g-w) / max(1, math.Abs(w)); {
		case g == w || math.IsNaN(g) && math.IsNaN(w):
		case !strings.HasPrefix(want.dtype, "f") || math.IsNaN(d):
			return math.Inf(1)
		default:
			largest = max(largest, d)
		}
	}
	return largest
}

func TestDifferencesOfAnswersAreSeen(t *testing.T) {
	t.Parallel()
	want := array{dtype: "f4", shape: []int{2}, numbers: []float64{0.5, 2000}}
	for _, c := range []struct {
		name string
		got  array
		far  float64
	}{
		{"the same", array{shape: []int{2}, numbers: []float64{0.5, 2000}}, 0},
		{"a little less", array{dtype: "f4", shape: []int{2}, numbers: []float64{0.25, 2000}}, 0.25},
		{"more, of a large number", array{dtype: "f4", shape: []int{2}, numbers: []float64{0.5, 2500}}, 0.25},
		{"no number", array{dtype: "f4", shape: []int{2}, numbers: []float64{0.5, math.NaN()}}, math.Inf(1)},
		{"another shape", array{dtype: "f4", shape: []int{2, 1}, numbers: []float64{0.5, 2000}}, math.Inf(1)},
		{"another type", array{dtype: "f8", shape: []int{2}, numbers: []float64{0.5, 2000}}, math.Inf(1)},
		{"nothing", array{}, math.Inf(1)},
	} {
		if d := far(c.got, want); d != c.far {
			t.Errorf("%s: %v, want %v", c.name, d, c.far)
		}
	}
	words := array{dtype: "S3", shape: []int{1}, strings: []string{"yes"}}
	if d := far(array{shape: []int{1}, strings: []string{"Yes"}}, words); !math.IsInf(d, 1) {
		t.Errorf("another string: %v", d)
	}
	whole := array{dtype: "i8", shape: []int{1}, numbers: []float64{7}}
	if d := far(array{shape: []int{1}, numbers: []float64{7.000001}}, whole); !math.IsInf(d, 1) {
		t.Errorf("another whole number: %v", d)
	}
}

// readJSON reads a result in TensorFlow Serving's row or column format.
func readJSON(t *testing.T, body []byte, sig *model.Signature) answer {
	t.Helper()
	var result struct {
		Predictions []any
		Outputs     any
	}
	if err := json.Unmarshal(body, &result); err != nil {
		t.Fatal(err)
	}
	one := len(sig.Outputs) == 1
	got := make(answer)
	for _, out := range sig.Outputs {
		var values any
		switch {
		case result.Predictions == nil && one:
			values = result.Outputs
		case result.Predictions == nil:
			values = member(result.Outputs, out.Name)
		case one:
			values = result.Predictions
		default:
			rows := make([]any, len(result.Predictions))
			for i, row := range result.Predictions {
				rows[i] = member(row, out.Name)
			}
			values = rows
		}
		var a array
		if err := a.add(values, 0); err != nil {
			t.Fatalf("output %q: %v", out.Name, err)
		}
		got[out.Name] = a
	}
	return got
}

// member gives nil where there is none, which add refuses.
func member(object any, name string) any {
	m, _ := object.(map[string]any)
	return m[name]
}

// add appends a value at that depth of nested lists.
func (a *array) add(value any, depth int) error {
	switch v := value.(type) {
	case float64:
		a.numbers = append(a.numbers, v)
	case string:
		a.strings = append(a.strings, v)
	case []any:
		if depth == len(a.shape) {
			a.shape = append(a.shape, len(v))
		}
		if a.shape[depth] != len(v) {
			return fmt.Errorf("a list of %d beside one of %d", len(v), a.shape[depth])
		}
		for _, part := range v {
			if err := a.add(part, depth+1); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("neither list nor number nor string: %v", value)
	}
	return nil
}

// readNPZ reads arrays as NumPy writes them.
func readNPZ(t *testing.T, body []byte) answer {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	got := make(answer)
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r) // which verifies the checksum
		if err != nil {
			t.Fatal(err)
		}
		a, err := readNPY(b)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		got[strings.TrimSuffix(f.Name, ".npy")] = a
	}
	return got
}

var npyHeader = regexp.MustCompile(`^\{'descr': '[<|](\w+)', 'fortran_order': False, 'shape': \(([\d, ]*)\)`)

func readNPY(b []byte) (a array, err error) {
	if len(b) < 10 || !bytes.HasPrefix(b, []byte("\x93NUMPY\x01")) {
		return a, fmt.Errorf("begins with %.10q", b)
	}
	size := 10 + int(binary.LittleEndian.Uint16(b[8:]))
	h := npyHeader.FindSubmatch(b[10:min(size, len(b))])
	if h == nil {
		return a, fmt.Errorf("the header is %.100q", b[10:])
	}
	a.dtype, b = string(h[1]), b[size:]
	count := 1
	for dim := range strings.FieldsFuncSeq(string(h[2]), func(c rune) bool { return c == ',' || c == ' ' }) {
		n, err := strconv.Atoi(dim)
		if err != nil {
			return a, err
		}
		a.shape, count = append(a.shape, n), count*n
	}
	width, err := strconv.Atoi(a.dtype[1:])
	if err != nil || len(b) != width*count {
		return a, fmt.Errorf("%d bytes for shape %v of %s", len(b), a.shape, a.dtype)
	}
	for e := range slices.Chunk(b, max(width, 1)) {
		switch a.dtype {
		case "f4":
			a.numbers = append(a.numbers, float64(math.Float32frombits(binary.LittleEndian.Uint32(e))))
		case "f8":
			a.numbers = append(a.numbers, math.Float64frombits(binary.LittleEndian.Uint64(e)))
		case "i4":
			a.numbers = append(a.numbers, float64(int32(binary.LittleEndian.Uint32(e))))
		case "i8":
			a.numbers = append(a.numbers, float64(int64(binary.LittleEndian.Uint64(e))))
		default:
			if a.dtype[0] != 'S' {
				return a, fmt.Errorf("no reader for %s", a.dtype)
			}
			a.strings = append(a.strings, strings.TrimRight(string(e), "\x00"))
		}
	}
	return a, nil
}
