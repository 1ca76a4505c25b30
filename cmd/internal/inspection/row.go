package inspection

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

// Row says which shapes the inputs of one row of sig have, in the order of its
// inputs. given holds the shapes of inputs with open dimensions, by name, with
// or without the batch's dimension in front; the name may be empty when there
// is one input. assumed names the inputs whose open dimensions are in no shape
// and were made up. All that is wrong with given is reported at once.
func Row(sig *model.Signature, given map[string][]int64) (shapes []Shape, assumed []string, err error) {
	_, batched := sig.Batch()
	var errs []error
	for _, in := range sig.Inputs {
		shape, ok := given[in.Name]
		if !ok && len(sig.Inputs) == 1 {
			shape, ok = given[""]
		}
		if !ok {
			var open bool
			shape, open = assume(in, batched)
			if open {
				assumed = append(assumed, in.Name)
			}
		} else if shape, err = fit(in, batched, shape); err != nil {
			errs = append(errs, fmt.Errorf("input %q: %w", in.Name, err))
		}
		if err := bounded(in, shape); err != nil {
			errs = append(errs, fmt.Errorf("input %q: %w", in.Name, err))
		}
		shapes = append(shapes, Shape{in.Name, shape})
	}
	return shapes, assumed, errors.Join(errs...)
}

// What open dimensions are taken as: a usual size of images, and for all else
// something that is not so small that its times mean nothing.
const (
	assumedPixels = 224
	assumedLength = 64
)

// assume makes up the shape of one row of an input.
func assume(in model.TensorInfo, batched bool) (shape []int64, open bool) {
	if in.UnknownRank {
		return []int64{1}, true
	}
	shape = slices.Clone(in.Shape)
	for d, n := range shape {
		switch {
		case d == 0 && batched:
			shape[d] = 1
		case n < 0 && isImage(in):
			shape[d], open = assumedPixels, true
		case n < 0:
			shape[d], open = assumedLength, true
		}
	}
	return shape, open
}

// isImage says whether an input looks like a batch of images: four dimensions
// with one, three or four channels.
func isImage(in model.TensorInfo) bool {
	channels := func(n int64) bool { return n == 1 || n == 3 || n == 4 }
	return len(in.Shape) == 4 && (channels(in.Shape[3]) || channels(in.Shape[1]))
}

// fit completes a shape that was given for an input.
func fit(in model.TensorInfo, batched bool, shape []int64) ([]int64, error) {
	if in.UnknownRank {
		if batched && shape[0] != 1 {
			return shape, fmt.Errorf("shape %s: the first dimension is the batch's; write 1 there", FormatShape(shape))
		}
		return shape, nil
	}
	if batched && len(shape) == len(in.Shape)-1 {
		shape = append([]int64{1}, shape...)
	}
	want := slices.Clone(in.Shape)
	if batched {
		want[0] = 1
	}
	ok := len(shape) == len(want)
	for d := range want {
		ok = ok && (want[d] < 0 || want[d] == shape[d])
	}
	if !ok {
		return shape, fmt.Errorf("shape %s: the model takes %s for one row", FormatShape(shape), FormatShape(want))
	}
	return shape, nil
}

// maxRowBytes bounds one made-up row.
const maxRowBytes = 1 << 30

func bounded(in model.TensorInfo, shape []int64) error {
	size := int64(24) // a string's header
	if in.DType != model.String {
		size = int64(in.DType.Size())
	}
	for _, d := range shape {
		if d > 0 && size > maxRowBytes/d {
			return fmt.Errorf("shape %s: one row would take more than 1 GiB", FormatShape(shape))
		}
		size *= d
	}
	return nil
}

// FormatShape writes a shape as people do: [?, 28, 28, 1].
func FormatShape(shape []int64) string {
	parts := make([]string, len(shape))
	for i, d := range shape {
		if parts[i] = fmt.Sprint(d); d < 0 {
			parts[i] = "?"
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// Choose says which signatures to run, the default one first: the one that is
// wanted, or all but those with the inputs and outputs of one before, which
// are in same with its name.
func Choose(signatures []*model.Signature, wanted string) (chosen []*model.Signature, same map[string]string, err error) {
	all := slices.SortedStableFunc(slices.Values(signatures), func(a, b *model.Signature) int {
		switch {
		case a.Name == DefaultSignature:
			return -1
		case b.Name == DefaultSignature:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	same = make(map[string]string)
	for _, sig := range all {
		if wanted == sig.Name {
			return []*model.Signature{sig}, nil, nil
		}
		i := slices.IndexFunc(chosen, func(other *model.Signature) bool { return alike(sig, other) })
		if i >= 0 {
			same[sig.Name] = chosen[i].Name
			continue
		}
		chosen = append(chosen, sig)
	}
	if wanted != "" {
		names := slices.Collect(func(yield func(string) bool) {
			for _, sig := range all {
				if !yield(sig.Name) {
					return
				}
			}
		})
		return nil, nil, fmt.Errorf("there is no signature %q; there is %s", wanted, strings.Join(names, ", "))
	}
	return chosen, same, nil
}

// DefaultSignature is the signature that is run unless another is named.
const DefaultSignature = "serving_default"

func alike(a, b *model.Signature) bool {
	equal := func(x, y model.TensorInfo) bool {
		return x.Name == y.Name && x.DType == y.DType && x.UnknownRank == y.UnknownRank && slices.Equal(x.Shape, y.Shape)
	}
	return slices.EqualFunc(a.Inputs, b.Inputs, equal) && slices.EqualFunc(a.Outputs, b.Outputs, equal)
}

// CheckShapes reports shapes of inputs that none of the signatures has.
func CheckShapes(signatures []*model.Signature, given map[string][]int64) error {
	known := make(map[string]bool)
	single := false
	for _, sig := range signatures {
		single = single || len(sig.Inputs) == 1
		for _, in := range sig.Inputs {
			known[in.Name] = true
		}
	}
	var errs []error
	names := strings.Join(slices.Sorted(maps.Keys(known)), ", ")
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch {
		case name == "" && !single:
			errs = append(errs, fmt.Errorf("which input has shape %s? Name it: one of %s", FormatShape(given[name]), names))
		case name != "" && !known[name]:
			errs = append(errs, fmt.Errorf("there is no input %q; there is %s", name, names))
		}
	}
	return errors.Join(errs...)
}

// MakeUp makes up the inputs of one row: ones where they are floating-point
// numbers, and else zeros, which are safe as indices, false and empty strings.
func MakeUp(sig *model.Signature, shapes []Shape) []model.Tensor {
	row := make([]model.Tensor, len(sig.Inputs))
	for i, in := range sig.Inputs {
		t := model.Tensor{DType: in.DType, Shape: shapes[i].Shape}
		n := model.Elements(t.Shape)
		var one []byte
		switch in.DType {
		case model.String:
			t.Bytes = make([][]byte, n)
		case model.Float32:
			one = binary.LittleEndian.AppendUint32(nil, math.Float32bits(1))
		case model.Float64:
			one = binary.LittleEndian.AppendUint64(nil, math.Float64bits(1))
		default:
			one = make([]byte, in.DType.Size())
		}
		if one != nil {
			t.Data = bytes.Repeat(one, int(n))
		}
		row[i] = t
	}
	return row
}
