package model

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// bytesOf is a tensor of uint8.
func bytesOf(shape []int64, v ...byte) Tensor { return Tensor{DType: Uint8, Shape: shape, Data: v} }

func input(dtype DType, shape ...int64) TensorInfo {
	return TensorInfo{Name: "x", DType: dtype, Shape: shape}
}

// paddingOf is the padding of a signature of an input x and an output y.
func paddingOf(t *testing.T, x, y TensorInfo, pad Pad) *Padding {
	t.Helper()
	y.Name = "y"
	p, err := NewPadding(&Signature{Inputs: []TensorInfo{x}, Outputs: []TensorInfo{y}},
		&Config{Pad: map[string]Pad{"x": pad}, Trim: map[string]string{"y": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRowsAreFilledUpToTheLeastSizeThatIsLargeEnough(t *testing.T) {
	open := input(Uint8, -1, -1)
	for _, c := range []struct {
		in    TensorInfo
		sizes []int64
		shape []int64
		want  []int64
	}{
		{open, nil, []int64{7, 5}, []int64{8}},
		{open, nil, []int64{7, 8}, []int64{8}},
		{open, nil, []int64{7, 0}, []int64{1}},
		{open, []int64{4, 6}, []int64{7, 5}, []int64{6}},
		{open, []int64{4, 6}, []int64{7, 9}, []int64{9}},
		{input(Uint8, -1, 3, -1), nil, []int64{1, 3, 3}, []int64{3, 4}},
		{TensorInfo{Name: "x", UnknownRank: true}, nil, []int64{1, 3, 5}, []int64{4, 8}},
		// What is not of the input's shape stays what it is.
		{open, nil, []int64{1, 3, 3}, []int64{3, 3}},
		{input(Uint8, -1, 3, -1), nil, []int64{1, 5, 3}, []int64{5, 3}},
		{input(Uint8, -1, 5), nil, []int64{1, 3}, []int64{3}},
		{open, nil, []int64{1 << 30, 1<<40 + 1}, []int64{1<<40 + 1}}, // more than can be
		{input(Uint8, -1), nil, []int64{3}, []int64{}},
	} {
		p := paddingOf(t, c.in, open, Pad{Sizes: c.sizes})
		if got := p.RowShape(0, Tensor{Shape: c.shape}); !slices.Equal(got, c.want) {
			t.Errorf("%v in %v with sizes %v becomes %v, want %v", c.shape, c.in, c.sizes, got, c.want)
		}
	}
}

func TestPaddingComesOffTheOutputAgain(t *testing.T) {
	for _, c := range []struct {
		story        string
		in, out      TensorInfo
		tensor, want Tensor
	}{
		{
			"one open dimension", input(Uint8, -1, -1), input(Uint8, -1, -1),
			bytesOf([]int64{2, 3}, 1, 2, 3, 4, 5, 6),
			bytesOf([]int64{2, 4}, 1, 2, 3, 9, 4, 5, 6, 9),
		},
		{
			"two", input(Uint8, -1, -1, -1), input(Uint8, -1, -1, -1),
			bytesOf([]int64{1, 3, 3}, 1, 2, 3, 4, 5, 6, 7, 8, 9),
			bytesOf([]int64{1, 4, 4}, 1, 2, 3, 9, 4, 5, 6, 9, 7, 8, 9, 9, 9, 9, 9, 9),
		},
		{
			"one before a fixed one", input(Uint8, -1, -1, 2), input(Uint8, -1, -1, 2),
			bytesOf([]int64{2, 1, 2}, 1, 2, 3, 4),
			bytesOf([]int64{2, 1, 2}, 1, 2, 3, 4), // a power of two already
		},
		{
			"no rows", input(Uint8, -1, -1), input(Uint8, -1, -1),
			bytesOf([]int64{0, 3}),
			bytesOf([]int64{0, 4}),
		},
		{
			"rows of nothing", input(Uint8, -1, -1), input(Uint8, -1, -1),
			bytesOf([]int64{2, 0}),
			bytesOf([]int64{2, 1}, 9, 9),
		},
	} {
		p := paddingOf(t, c.in, c.out, Pad{Value: 9.0})
		rows := [][]int64{p.RowShape(0, c.tensor)}
		grown := p.Grow(0, c.tensor, rows[0])
		if !slices.Equal(grown.Shape, c.want.Shape) || !slices.Equal(grown.Data, c.want.Data) {
			t.Errorf("%s: filled up to %v, want %v", c.story, grown, c.want)
		}
		back, cut := p.Cut(0, grown, []Tensor{c.tensor}, rows)
		if !slices.Equal(back.Shape, c.tensor.Shape) || !slices.Equal(back.Data, c.tensor.Data) || cut != !slices.Equal(back.Shape, grown.Shape) {
			t.Errorf("%s: cut back to %v, want %v", c.story, back, c.tensor)
		}
	}
}

func TestStringsAreFilledUpAndCutBack(t *testing.T) {
	s := input(String, -1, -1)
	p := paddingOf(t, s, s, Pad{Value: "-", Sizes: []int64{3}})
	in := Tensor{DType: String, Shape: []int64{2, 1}, Bytes: [][]byte{[]byte("a"), []byte("b")}}
	rows := [][]int64{p.RowShape(0, in)}
	grown := p.Grow(0, in, rows[0])
	if got := strings.Join(strs(grown), ""); got != "a--b--" {
		t.Errorf("filled up to %s", got)
	}
	if back, _ := p.Cut(0, grown, []Tensor{in}, rows); !reflect.DeepEqual(back, in) {
		t.Errorf("cut back to %v", back)
	}
}

func strs(t Tensor) (list []string) {
	for _, b := range t.Bytes {
		list = append(list, string(b))
	}
	return list
}

func TestOnlyADimensionThatStemsFromTheInputIsCut(t *testing.T) {
	in := bytesOf([]int64{1, 3, 5}, make([]byte, 15)...) // filled up to 4 and 8
	for _, c := range []struct {
		out       []int64 // as declared
		got, want []int64
	}{
		{[]int64{-1, -1, -1}, []int64{1, 4, 8}, []int64{1, 3, 5}},
		{[]int64{-1, -1, -1}, []int64{1, 8, 4}, []int64{1, 5, 3}}, // turned
		{[]int64{-1, -1}, []int64{1, 8}, []int64{1, 5}},           // one of them left
		{[]int64{-1, -1}, []int64{1, 2}, []int64{1, 2}},           // another length
		{[]int64{-1, 4, -1}, []int64{1, 4, 8}, []int64{1, 4, 5}},  // 4 is declared
		{[]int64{-1, -1, -1}, []int64{1, 4, 4}, []int64{1, 3, 4}}, // a dimension stands for one
		{[]int64{-1}, []int64{1}, []int64{1}},
	} {
		p := paddingOf(t, input(Uint8, -1, -1, -1), input(Uint8, c.out...), Pad{})
		out := bytesOf(c.got, make([]byte, Elements(c.got))...)
		got, _ := p.Cut(0, out, []Tensor{in}, [][]int64{p.RowShape(0, in)})
		if !slices.Equal(got.Shape, c.want) || int64(len(got.Data)) != Elements(c.want) {
			t.Errorf("%v, declared %v, is cut to %v of %d bytes, want %v", c.got, c.out, got.Shape, len(got.Data), c.want)
		}
	}
}

func TestAPadValueIsOfItsInputsType(t *testing.T) {
	for _, c := range []struct {
		dtype DType
		value any
		want  []byte // nil is refused
	}{
		{Float32, 1.0, []byte{0, 0, 128, 63}},
		{Float64, -2.0, []byte{0, 0, 0, 0, 0, 0, 0, 192}},
		{Int64, -1.0, []byte{255, 255, 255, 255, 255, 255, 255, 255}},
		{Int64, json.Number("258"), []byte{2, 1, 0, 0, 0, 0, 0, 0}},
		{Int8, -128.0, []byte{128}},
		{Uint8, 255.0, []byte{255}},
		{Uint16, nil, []byte{0, 0}},
		{Bool, true, []byte{1}},
		{String, "[PAD]", []byte("[PAD]")},
		{String, nil, []byte{}},
		{Uint8, 256.0, nil},
		{Uint8, -1.0, nil},
		{Int8, 128.0, nil},
		{Int32, 0.5, nil},
		{Int32, "0", nil},
		{Int32, json.Number("x"), nil},
		{Bool, 1.0, nil},
		{String, 1.0, nil},
		{Float32, true, nil},
		{Float32, []any{}, nil},
	} {
		got, err := c.dtype.element(c.value)
		if c.want == nil && err == nil || c.want != nil && (err != nil || !slices.Equal(got, c.want)) {
			t.Errorf("%v as %s gives %v and %v, want %v", c.value, c.dtype, got, err, c.want)
		}
	}
	x := input(Int32, -1, -1)
	_, err := NewPadding(&Signature{Inputs: []TensorInfo{x}}, &Config{Pad: map[string]Pad{"x": {Value: "no"}}})
	if err == nil || !strings.Contains(err.Error(), `input "x": value no is no int32`) {
		t.Errorf("got %v", err)
	}
}
