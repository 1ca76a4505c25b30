//go:build cgo

package tf

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/savedmodel"
)

// WarmUp runs every signature once, on zeros and empty strings, so that the
// first request doesn't pay for TensorFlow's preparations. It errs only when
// the model can never run because its variables are missing; that a signature
// dislikes made-up input is logged, and no fault.
func (m *Model) WarmUp(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(m.signatures)) {
		sig := m.signatures[name]
		_, err := m.Run(ctx, sig, [][]model.Tensor{synthetic(sig)})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			continue
		}
		if lacksVariables(err) {
			return fmt.Errorf("warm up model %s: signature %q: %w; %s", m.opts.Name, name, err, m.remedy())
		}
		m.opts.Logger.Warn("the warm-up run failed, which need not matter: it ran on zeros",
			zap.String("model", m.opts.Name), zap.String("signature", name), zap.Error(err))
	}
	return nil
}

// synthetic is one part of one row, unknown dimensions 1.
func synthetic(sig *model.Signature) []model.Tensor {
	_, batched := sig.Batch()
	part := make([]model.Tensor, len(sig.Inputs))
	for i, in := range sig.Inputs {
		shape := slices.Clone(in.Shape)
		if in.UnknownRank {
			shape = []int64{1}
		}
		for d, n := range shape {
			if n < 0 || d == 0 && batched {
				shape[d] = 1
			}
		}
		t := model.Tensor{DType: in.DType, Shape: shape}
		if n := model.Elements(shape); in.DType == model.String {
			t.Bytes = make([][]byte, n)
		} else {
			t.Data = make([]byte, n*int64(in.DType.Size()))
		}
		part[i] = t
	}
	return part
}

// lacksVariables recognises the error of a model whose variables were never
// restored: tf.saved_model.save writes a Keras 3 model so.
func lacksVariables(err error) bool {
	e, ok := errors.AsType[*model.Error](err)
	return ok && e.Code == failedPrecondition && strings.Contains(e.Message, "Could not find variable")
}

func (m *Model) remedy() string {
	if !savedmodel.HasVariables(m.dir) {
		return "the directory has no variables/variables.index: copy the whole SavedModel again"
	}
	return `tf.saved_model.save writes a Keras 3 model without its variables: export it with model.export("DIR")`
}
