//go:build cgo

package golden

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/model"
)

// many is how many rows a batch has that is made of an input again and again.
const many = 32

const (
	asJSON = "application/json;raw=true" // the numbers, where the model file has labels
	asNPZ  = "application/x-npz"
)

// runner takes decoded inputs through a model and back to bytes.
type runner struct{ m model.Model }

// alone runs each input by itself and writes the result in every way that its
// types allow.
func (r runner) alone(t *testing.T, inputs []*input) (difference float64) {
	t.Helper()
	for _, in := range inputs {
		outputs := r.run(t, []*input{in})[0]
		difference = max(difference, in.check(t, "as JSON", r.encode(t, in, outputs, asJSON)))
		if numeric(outputs) {
			difference = max(difference, in.check(t, "as NPZ", r.encode(t, in, outputs, asNPZ)))
		}
	}
	return difference
}

// batches runs the inputs that can share a run together, in both orders, and
// each with copies of itself.
func (r runner) batches(t *testing.T, inputs []*input) (difference float64) {
	t.Helper()
	groups := make(map[string][]*input)
	for _, in := range inputs {
		key := r.key(t, in)
		groups[key] = append(groups[key], in)
	}
	for _, group := range groups {
		others := slices.Clone(group)
		slices.Reverse(others)
		batches := [][]*input{group, others}
		for _, in := range group {
			batches = append(batches, slices.Repeat([]*input{in}, max(2, many/int(in.Rows))))
		}
		for _, batch := range batches {
			for _, part := range fitting(batch) {
				for i, outputs := range r.run(t, part) {
					accept := asNPZ
					if !numeric(outputs) {
						accept = asJSON
					}
					how := fmt.Sprintf("number %d of %d", i+1, len(part))
					difference = max(difference, part[i].check(t, how, r.encode(t, part[i], outputs, accept)))
				}
			}
		}
	}
	return difference
}

// key is the same for inputs that can share a run: one signature, and one shape
// of rows once those are padded.
func (r runner) key(t *testing.T, in *input) string {
	t.Helper()
	padding, err := model.NewPadding(in.Signature, r.m.Config())
	if err != nil {
		t.Fatal(err)
	}
	var key strings.Builder
	key.WriteString(in.Signature.Name)
	for i, tensor := range in.Tensors {
		key.WriteString(fmt.Sprint(padding.RowShape(i, tensor)))
	}
	return key.String()
}

// fitting cuts a batch where a signature's fixed number of rows is reached.
func fitting(batch []*input) (parts [][]*input) {
	limit, ok := batch[0].Signature.Batch()
	if !ok || limit < 0 {
		return [][]*input{batch}
	}
	rows := limit
	for _, in := range batch {
		if rows+in.Rows > limit {
			parts, rows = append(parts, nil), 0
		}
		rows += in.Rows
		parts[len(parts)-1] = append(parts[len(parts)-1], in)
	}
	return parts
}

func (r runner) run(t *testing.T, batch []*input) (outputs [][]model.Tensor) {
	t.Helper()
	parts := make([][]model.Tensor, len(batch))
	for i, in := range batch {
		parts[i] = in.Tensors
	}
	outputs, err := r.m.Run(t.Context(), batch[0].Signature, parts)
	if err != nil {
		t.Fatalf("%s and %d others: %v", batch[0].name, len(batch)-1, err)
	}
	return outputs
}

func (r runner) encode(t *testing.T, in *input, outputs []model.Tensor, accept string) answer {
	t.Helper()
	body, _, err := codec.Encode(in.Input, outputs, r.m, accept)
	if err != nil {
		t.Fatalf("%s: %v", in.name, err)
	}
	if accept == asNPZ {
		return readNPZ(t, body)
	}
	return readJSON(t, body, in.Signature)
}

func numeric(outputs []model.Tensor) bool {
	return !slices.ContainsFunc(outputs, func(t model.Tensor) bool { return t.DType == model.String })
}
