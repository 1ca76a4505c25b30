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
	padding        *model.Padding
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
		t, err := c.join(i, p, column)
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
	return c.results(p, parts, outputs)
}

// results copies the outputs into one list a part.
func (c *callable) results(p plan, parts [][]model.Tensor, outputs []*tensorflow.Tensor) ([][]model.Tensor, error) {
	results := make([][]model.Tensor, len(parts))
	for o, out := range c.Outputs {
		whole, err := view(outputs[o])
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", out.Name, err)
		}
		switch {
		case p.asIs:
			results[0] = append(results[0], owned(whole))
			continue
		case len(whole.Shape) > 0 && whole.Shape[0] == p.total:
		case len(parts) == 1 && p.rows[0] == p.total:
			results[0] = append(results[0], owned(whole))
			continue
		default:
			return nil, &model.UnbatchableError{Output: out.Name, Shape: whole.Shape, Rows: p.total}
		}
		from := int64(0)
		for k, n := range p.rows {
			t, copied := c.padding.Cut(o, whole.Slice(from, from+n), parts[k], p.shapes)
			if !copied {
				t = owned(t)
			}
			results[k] = append(results[k], t)
			from += n
		}
	}
	return results, nil
}

// plan says how the parts of one run share its rows.
type plan struct {
	asIs   bool      // one part, without a batch dimension; the rest is zero
	rows   []int64   // of each part
	total  int64     // of the run: the parts' rows, or the fixed batch
	shapes [][]int64 // of a row of each input
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
			if err := c.check(i, t); err != nil {
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
	p := plan{rows: make([]int64, len(parts)), shapes: make([][]int64, len(c.Inputs))}
	for i, t := range parts[0] {
		p.shapes[i] = c.padding.RowShape(i, t)
	}
	for k, part := range parts {
		p.rows[k] = part[0].Rows()
		p.total += p.rows[k]
		for i, t := range part {
			if t.Rows() != p.rows[k] {
				return plan{}, invalid(fmt.Sprintf("input %q has %d rows, input %q has %d", c.Inputs[0].Name, p.rows[k], c.Inputs[i].Name, t.Rows()))
			}
			if !slices.Equal(c.padding.RowShape(i, t), p.shapes[i]) {
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
func (c *callable) check(i int, t model.Tensor) error {
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
