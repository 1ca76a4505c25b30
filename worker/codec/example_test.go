package codec_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/model"
)

// halfPlusTwo is a model of one signature, x float32[-1] to y float32[-1].
type halfPlusTwo struct {
	model.Model // its other methods are not called here
}

func (halfPlusTwo) Name() string          { return "half_plus_two" }
func (halfPlusTwo) Config() *model.Config { return &model.Config{} }

func (halfPlusTwo) Signatures() map[string]*model.Signature {
	return map[string]*model.Signature{"serving_default": {
		Name:    "serving_default",
		Inputs:  []model.TensorInfo{{Name: "x", DType: model.Float32, Shape: []int64{-1}}},
		Outputs: []model.TensorInfo{{Name: "y", DType: model.Float32, Shape: []int64{-1}}},
	}}
}

func ExampleDecode() {
	body := []byte(`{"instances": [1.0, 2.0, 5.0]}`)
	in, err := codec.Decode(context.Background(), body, codec.Source{ContentType: "application/json"}, halfPlusTwo{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(in.Signature.Inputs[0], "takes", in.Rows, "rows:", in.Tensors[0].Data)
	// Output:
	// x float32[-1] takes 3 rows: [0 0 128 63 0 0 0 64 0 0 160 64]
}

// A CSV file is read without a header, or with one.
func ExampleDecode_csv() {
	body := []byte("temperature\n1.0\n2.0\nfive\n")
	_, err := codec.Decode(context.Background(), body, codec.Source{Name: "in/a.csv"}, halfPlusTwo{})
	fmt.Println(err)
	// Output:
	// InvalidDType: line 4: column 1 ("temperature") is "five", but input "x" takes float32
}

// An error says what is wrong, where, and what to do.
func ExampleError() {
	body := []byte(`{"instances": [1.0, "2.0", 5.0]}`)
	_, err := codec.Decode(context.Background(), body, codec.Source{}, halfPlusTwo{})
	fmt.Println(err)

	_, err = codec.Decode(context.Background(), []byte(`[1.0, 2.0]`), codec.Source{Name: "in/a.json"}, halfPlusTwo{})
	if e, ok := errors.AsType[*codec.Error](err); ok {
		fmt.Println(e.Code, "-", e.Message, "-", e.Hint)
	}
	// Output:
	// InvalidDType: instances[1] is a string ("2.0"), but input "x" takes float32
	// MalformedInput - the input is not a JSON object but a list - wrap it: {"instances": [...]}
}

func ExampleEncode() {
	m := halfPlusTwo{}
	in := &codec.Input{Signature: m.Signatures()["serving_default"], Rows: 2}
	y := model.Tensor{DType: model.Float32, Shape: []int64{2}, Data: []byte{0, 0, 32, 64, 0, 0, 64, 64}}
	body, contentType, err := codec.Encode(in, []model.Tensor{y}, m, "application/json, */*;q=0.1")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(contentType)
	fmt.Printf("%s", body)
	// Output:
	// application/json
	// {"predictions":[2.5,
	// 3.0]}
}
