//go:build cgo

package tf_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/tf"
)

// A model that computes x/2 + 2 runs one batch of two parts.
func ExampleLoad() {
	ctx := context.Background()
	m, err := tf.Load("../testdata/halfplustwo", tf.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	if err := m.WarmUp(ctx); err != nil {
		fmt.Println(err)
		return
	}
	part := func(x float32) []model.Tensor {
		data := binary.LittleEndian.AppendUint32(nil, math.Float32bits(x))
		return []model.Tensor{{DType: model.Float32, Shape: []int64{1}, Data: data}}
	}
	sig := m.Signatures()["serving_default"]
	results, err := m.Run(ctx, sig, [][]model.Tensor{part(1), part(10)})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range results {
		fmt.Println(sig.Outputs[0].Name, math.Float32frombits(binary.LittleEndian.Uint32(r[0].Data)))
	}
	// Output:
	// y 2.5
	// y 7
}
