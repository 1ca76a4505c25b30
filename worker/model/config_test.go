package model

import (
	"strings"
	"testing"
)

func TestAModelFileIsReadWhole(t *testing.T) {
	t.Parallel()
	c, err := ParseConfig([]byte(`{"labels":["a","b"],"label_output":"p","top_k":2,"max_batch_size":16,
		"image":{"input":"x","height":8,"width":9,"channels":3,"scale":1,"mean":[1,2,3],"std":[4],"invert":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Labels) != 2 || c.LabelOutput != "p" || c.TopK != 2 || c.MaxBatchSize != 16 ||
		c.Image.Width != 9 || len(c.Image.Mean) != 3 || !c.Image.Invert {
		t.Errorf("got %+v with %+v", c, c.Image)
	}
}

func TestAllFaultsOfAModelFileAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := ParseConfig([]byte(`{"labels":["a","a",""],"top_k":-1,"max_batch_size":-1,
		"image":{"height":-1,"channels":2,"mean":[1,2,3],"std":[0]}}`))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"number 1", "number 2", "top_k", "max_batch_size", "height", "channels", "mean", "std"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

func TestAModelFileWithAMistypedMemberIsRefused(t *testing.T) {
	t.Parallel()
	for _, file := range []string{`{"lables":["a"]}`, `{"image":{"hight":3}}`, `{} {}`, `[]`, ``, `{"label_output":"x"}`} {
		if c, err := ParseConfig([]byte(file)); err == nil {
			t.Errorf("%s was read as %+v", file, c)
		}
	}
}

func TestASignatureKnowsItsBatch(t *testing.T) {
	t.Parallel()
	info := func(shape ...int64) TensorInfo { return TensorInfo{Name: "t", DType: Float32, Shape: shape} }
	unknown := TensorInfo{Name: "t", DType: Float32, UnknownRank: true}
	for _, c := range []struct {
		name    string
		in, out []TensorInfo
		rows    int64
		ok      bool
	}{
		{"free", []TensorInfo{info(-1, 3)}, []TensorInfo{info(-1)}, -1, true},
		{"fixed", []TensorInfo{info(4, 3)}, []TensorInfo{info(4)}, 4, true},
		{"unknown rank", []TensorInfo{unknown}, []TensorInfo{info(-1)}, -1, true},
		{"scalar output", []TensorInfo{info(3)}, []TensorInfo{info()}, 0, false},
		{"different", []TensorInfo{info(-1, 3)}, []TensorInfo{info(7)}, 0, false},
	} {
		rows, ok := (&Signature{Inputs: c.in, Outputs: c.out}).Batch()
		if ok != c.ok || ok && rows != c.rows {
			t.Errorf("%s: got %d, %v; want %d, %v", c.name, rows, ok, c.rows, c.ok)
		}
	}
}

func TestRowsAreCutAndJoinedAgain(t *testing.T) {
	t.Parallel()
	numbers := Tensor{DType: Uint8, Shape: []int64{3, 2}, Data: []byte{1, 2, 3, 4, 5, 6}}
	words := Tensor{DType: String, Shape: []int64{3}, Bytes: [][]byte{[]byte("a"), nil, []byte("c")}}
	var parts [][]Tensor
	for i := range int64(3) {
		parts = append(parts, []Tensor{numbers.Slice(i, i+1), words.Slice(i, i+1)})
	}
	got, err := Concat(parts)
	if err != nil {
		t.Fatal(err)
	}
	if string(got[0].Data) != string(numbers.Data) || got[0].Shape[0] != 3 || len(got[1].Bytes) != 3 || string(got[1].Bytes[2]) != "c" {
		t.Errorf("got %+v", got)
	}
	if string(numbers.Data) != "\x01\x02\x03\x04\x05\x06" {
		t.Errorf("joining changed its input: %v", numbers.Data)
	}
	wide := Tensor{DType: Uint8, Shape: []int64{1, 3}, Data: []byte{7, 8, 9}}
	if _, err := Concat([][]Tensor{{numbers}, {wide}}); err == nil {
		t.Error("rows of different widths were joined")
	}
}
