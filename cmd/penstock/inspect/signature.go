package inspect

import (
	"fmt"
	"slices"

	"github.com/penstock/penstock/cmd/internal/inspection"
	"github.com/penstock/penstock/worker/model"
)

func newSignature(s *model.Signature) Signature {
	return Signature{Name: s.Name, Inputs: tensors(s.Inputs), Outputs: tensors(s.Outputs), Batch: batch(s)}
}

func tensors(infos []model.TensorInfo) []Tensor {
	list := make([]Tensor, len(infos))
	for i, t := range infos {
		list[i] = Tensor{t.Name, t.DType.String(), t.Shape}
		if t.UnknownRank {
			list[i].Shape = nil
		}
	}
	return list
}

func batch(s *model.Signature) Batch {
	switch rows, ok := inspection.Batch(s); {
	case !ok:
		return Batch{Kind: NoBatch, Why: whyNot(s)}
	case rows >= 0:
		return Batch{Kind: FixedBatch, Rows: rows}
	}
	return Batch{Kind: AnyBatch}
}

// whyNot says why a signature has no batch dimension.
func whyNot(s *model.Signature) string {
	if len(s.Inputs) == 0 {
		return "it has no inputs"
	}
	type side struct {
		name string
		model.TensorInfo
	}
	var all []side
	for _, t := range s.Inputs {
		all = append(all, side{"input", t})
	}
	for _, t := range s.Outputs {
		all = append(all, side{"output", t})
	}
	scalar := slices.IndexFunc(all, func(t side) bool { return !t.UnknownRank && len(t.Shape) == 0 })
	if scalar >= 0 {
		return fmt.Sprintf("%s %s is a single value, without rows", all[scalar].name, all[scalar].Name)
	}
	first := func(t side) int64 {
		if t.UnknownRank {
			return -1
		}
		return t.Shape[0]
	}
	for _, t := range all[1:] {
		if first(t) != first(all[0]) {
			return fmt.Sprintf("the first dimension of %s %s is %s, that of %s %s is %s",
				all[0].name, all[0].Name, length(first(all[0])), t.name, t.Name, length(first(t)))
		}
	}
	return ""
}

func length(n int64) string {
	if n < 0 {
		return "open"
	}
	return fmt.Sprint(n)
}
