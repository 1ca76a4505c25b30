package codec

import (
	"slices"

	"github.com/penstock/penstock/worker/model"
)

// oneString says whether sig takes strings, one a row: it has a single input
// of them, and a row is one element. shape is a row's, as a tensor.
func oneString(sig *model.Signature) (shape []int64, ok bool) {
	info := sig.Inputs[0]
	_, batched := sig.Batch()
	switch {
	case len(sig.Inputs) != 1 || info.DType != model.String:
		return nil, false
	case info.UnknownRank:
		return []int64{1}, true
	case !batched && slices.ContainsFunc(info.Shape, func(d int64) bool { return d != 1 && d != -1 }):
		return nil, false
	case len(info.Shape) > 1 && slices.ContainsFunc(info.Shape[1:], func(d int64) bool { return d != 1 }):
		return nil, false
	}
	return slices.Repeat([]int64{1}, len(info.Shape)), true
}
