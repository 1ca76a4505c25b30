package codec

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

// defaultSignature is what TensorFlow's exporters call the signature to serve.
const defaultSignature = "serving_default"

// chooseSignature is the signature that the request asked for, else the one
// that the body named, else the model file's default, else TensorFlow's, else
// the only one.
func chooseSignature(m model.Model, asked, named string) (*model.Signature, error) {
	all := m.Signatures()
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(name string) bool {
		// Initialisation, not inference: its output has no valid type.
		return strings.HasPrefix(name, "__saved_model_init_op")
	})
	name := asked
	if name == "" {
		name = cmp.Or(named, m.Config().Signature)
	}
	if name == "" {
		name = defaultSignature
		if len(names) == 1 {
			name = names[0]
		}
	}
	switch {
	case !slices.Contains(names, name):
		return nil, &Error{
			Code:    CodeUnknownSignature,
			Message: fmt.Sprintf("model %q has no signature %q; it has: %s", m.Name(), name, strings.Join(names, ", ")),
			Hint:    `name one that it has, in JSON as "signature_name"`,
		}
	case len(all[name].Inputs) == 0:
		return nil, &Error{
			Code:    CodeUnknownSignature,
			Message: fmt.Sprintf("signature %q of model %q takes no inputs", name, m.Name()),
		}
	}
	return all[name], nil
}

// soleInput is the signature and its input for a format that carries one
// tensor.
func soleInput(f string, src Source, m model.Model) (*model.Signature, model.TensorInfo, error) {
	sig, err := chooseSignature(m, src.Signature, "")
	if err != nil {
		return nil, model.TensorInfo{}, err
	}
	if len(sig.Inputs) > 1 {
		return nil, model.TensorInfo{}, &Error{
			Code:    CodeInvalidShape,
			Message: fmt.Sprintf("%s holds one tensor, but signature %q takes %d inputs: %s", f, sig.Name, len(sig.Inputs), inputNames(sig.Inputs)),
			Hint:    `send JSON, {"instances": [{"<input>": ..., ...}]}, or .npz`,
		}
	}
	return sig, sig.Inputs[0], nil
}

func inputNames(inputs []model.TensorInfo) string {
	names := make([]string, len(inputs))
	for i, t := range inputs {
		names[i] = t.Name
	}
	return strings.Join(names, ",")
}

// newInput checks the tensors against what sig declares. It is the last step
// of every decoder.
func newInput(sig *model.Signature, tensors []model.Tensor, column bool) (*Input, error) {
	_, batched := sig.Batch()
	for i, info := range sig.Inputs {
		if !fits(info, tensors[i].Shape, batched) {
			return nil, shapeError(info, tensors[i].Shape, batched)
		}
	}
	in := &Input{Signature: sig, Tensors: tensors, Rows: 1, Column: column}
	if !batched {
		return in, nil
	}
	in.Rows = tensors[0].Rows()
	for i, t := range tensors {
		if t.Rows() != in.Rows {
			return nil, &Error{
				Code:    CodeInvalidShape,
				Message: fmt.Sprintf("input %q has %d rows, but input %q has %d", sig.Inputs[i].Name, t.Rows(), sig.Inputs[0].Name, in.Rows),
				Hint:    "give all inputs the same first dimension",
			}
		}
	}
	if in.Rows == 0 {
		return nil, &Error{Code: CodeEmpty, Message: fmt.Sprintf("input %q has no rows", sig.Inputs[0].Name)}
	}
	return in, nil
}

// fits says whether a tensor of that shape can be what info declares. The
// first dimension of a batched one is free: the worker makes up the batches.
func fits(info model.TensorInfo, shape []int64, batched bool) bool {
	if batched && len(shape) == 0 {
		return false
	}
	if info.UnknownRank {
		return true
	}
	if len(shape) != len(info.Shape) {
		return false
	}
	for i, want := range info.Shape {
		if want >= 0 && want != shape[i] && !(batched && i == 0) {
			return false
		}
	}
	return true
}

func shapeError(info model.TensorInfo, shape []int64, batched bool) *Error {
	want := slices.Clone(info.Shape)
	if batched && len(want) > 0 {
		want[0] = -1
	}
	any := ""
	if slices.Contains(want, -1) {
		any = " (-1 is any size)"
	}
	e := &Error{
		Code:    CodeInvalidShape,
		Message: fmt.Sprintf("the shape of input %q is %v, but the model takes %v%s", info.Name, shape, want, any),
	}
	switch {
	case info.UnknownRank:
		e.Message = fmt.Sprintf("input %q is a single value, but the model takes a list of rows", info.Name)
	case batched && len(shape) == len(want)-1 && fits(info, append([]int64{1}, shape...), batched):
		e.Hint = "the first dimension counts the rows: put a single one into a list of its own"
	case batched && len(shape) == len(want)-1:
		e.Hint = "a dimension is missing; the first one counts the rows"
	case len(shape) == len(want)-1:
		e.Hint = "a dimension is missing"
	case len(shape) == len(want)+1:
		e.Hint = "there is a dimension too many"
	}
	return e
}
