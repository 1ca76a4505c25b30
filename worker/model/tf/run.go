//go:build cgo

package tf

import (
	"context"
	"errors"
	"fmt"
	"slices"

	tensorflow "github.com/galeone/tensorflow/tensorflow/go"

	"github.com/penstock/penstock/worker/model"
)

// callable is a signature with the loaded graph's tensors behind it.
type callable struct {
	*model.Signature
	feeds, fetches []tensorflow.Output // in the order of Inputs and Outputs
}

// Run runs one batch, as [model.Model] says. What is wrong with the parts
// themselves is an *model.Error as well, found without a run.
func (m *Model) Run(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if m.closed.Load() {
		return nil, fmt.Errorf("model %s is closed", m.opts.Name)
	}
	c, ok := m.callables[sig.Name]
	if !ok {
		return nil, fmt.Errorf("model %s has no signature %q", m.opts.Name, sig.Name)
	}
	p, err := c.plan(parts)
	if err != nil {
		return nil, err
	}
	return m.run(c, p, parts)
}

func (m *Model) run(c *callable, p plan, parts [][]model.Tensor) ([][]model.Tensor, error) {
	feed := make(feeds, len(c.feeds))
	var native []*tensorflow.Tensor
	defer func() { free(native) }()
	for i, in := range c.Inputs {
		column := make([]model.Tensor, len(parts))
		for k, part := range parts {
			column[k] = part[i]
		}
		t, err := join(in.DType, p.shape(column[0]), column)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", in.Name, err)
		}
		native = append(native, t)
		feed[c.feeds[i]] = t
	}
	outputs, err := execModel(m.graph, c.fetches, feed)
	if err != nil {
		return nil, err
	}
	native = append(native, outputs...)
	return c.results(p, outputs)
}

// results copies the outputs into one list a part.
func (c *callable) results(p plan, outputs []*tensorflow.Tensor) ([][]model.Tensor, error) {
	results := make([][]model.Tensor, max(len(p.rows), 1))
	for i, out := range c.Outputs {
		if shape := outputs[i].Shape(); !p.asIs && (len(shape) == 0 || shape[0] != p.total) {
			return nil, &model.Error{
				Code: failedPrecondition,
				Message: fmt.Sprintf("output %q has shape %v for %d rows; its first dimension must be the batch's, "+
					"so this model can't be batched: give its outputs a fixed first dimension", out.Name, shape, p.total),
				Permanent: true,
			}
		}
		tensors, err := split(outputs[i], p.rows)
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", out.Name, err)
		}
		for k, t := range tensors {
			results[k] = append(results[k], t)
		}
	}
	return results, nil
}

// plan says how the parts of one run share its rows.
type plan struct {
	asIs  bool    // one part, without a batch dimension; the rest is zero
	rows  []int64 // of each part
	total int64   // of the run: the parts' rows, or the fixed batch
}

// shape is the shape of an input whose first part is t.
func (p plan) shape(t model.Tensor) []int64 {
	shape := slices.Clone(t.Shape)
	if !p.asIs {
		shape[0] = p.total
	}
	return shape
}

// plan checks the parts, so that nothing which doesn't fit reaches native
// memory.
func (c *callable) plan(parts [][]model.Tensor) (plan, error) {
	if len(parts) == 0 {
		return plan{}, errors.New("a batch without parts")
	}
	limit, batched := c.Batch()
	if len(c.Inputs) == 0 {
		batched = false // the parts have no rows
	}
	for k, part := range parts {
		if len(part) != len(c.Inputs) {
			return plan{}, invalid(fmt.Sprintf("signature %q takes %d inputs, part %d has %d", c.Name, len(c.Inputs), k, len(part)))
		}
		for i, t := range part {
			if err := c.check(i, t, parts[0][i]); err != nil {
				return plan{}, invalid(fmt.Sprintf("input %q: %v", c.Inputs[i].Name, err))
			}
			// A scalar for an input of unknown rank has no rows to join.
			batched = batched && len(t.Shape) > 0
		}
	}
	if !batched {
		if len(parts) > 1 {
			return plan{}, invalid(fmt.Sprintf("signature %q has no batch dimension and takes one part, not %d", c.Name, len(parts)))
		}
		return plan{asIs: true}, nil
	}
	return c.share(parts, limit)
}

// share adds up the rows of the parts of a signature with a batch dimension.
func (c *callable) share(parts [][]model.Tensor, limit int64) (plan, error) {
	p := plan{rows: make([]int64, len(parts))}
	for k, part := range parts {
		p.rows[k] = part[0].Rows()
		p.total += p.rows[k]
		for i, t := range part {
			if t.Rows() != p.rows[k] {
				return plan{}, invalid(fmt.Sprintf("input %q has %d rows, input %q has %d", c.Inputs[0].Name, p.rows[k], c.Inputs[i].Name, t.Rows()))
			}
			if !slices.Equal(t.Shape[1:], parts[0][i].Shape[1:]) {
				return plan{}, invalid(fmt.Sprintf("input %q has shape %v, that of another part is %v", c.Inputs[i].Name, t.Shape, parts[0][i].Shape))
			}
		}
	}
	if limit >= 0 {
		if p.total > limit {
			return plan{}, fmt.Errorf("%d rows for signature %q, which has a fixed batch of %d", p.total, c.Name, limit)
		}
		p.total = limit
	}
	return p, nil
}

// check compares a tensor with what input i declares, but for the first
// dimension of a batch.
func (c *callable) check(i int, t, first model.Tensor) error {
	in := c.Inputs[i]
	if t.DType != in.DType {
		return fmt.Errorf("it takes %s, not %s", in.DType, t.DType)
	}
	if err := checkTensor(t); err != nil {
		return err
	}
	if in.UnknownRank {
		return nil
	}
	_, batched := c.Batch()
	if len(t.Shape) != len(in.Shape) {
		return fmt.Errorf("it takes shape %v, not %v", in.Shape, t.Shape)
	}
	for d, n := range in.Shape {
		if n >= 0 && n != t.Shape[d] && (d > 0 || !batched) {
			return fmt.Errorf("it takes shape %v, not %v", in.Shape, t.Shape)
		}
	}
	return nil
}
