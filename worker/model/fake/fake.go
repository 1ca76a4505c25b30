// Package fake is a [model.Model] in plain Go for tests: a [RunFunc] computes,
// and knobs around it delay, fail, hang or record. It holds callers to the
// contract of Run, and waits only by channels and time, so it works inside a
// testing/synctest bubble.
package fake

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/penstock/penstock/worker/model"
)

// RunFunc computes one batch, as [model.Model]'s Run does.
type RunFunc func(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error)

// Each makes a RunFunc of a function that computes one part.
func Each(f func(part []model.Tensor) ([]model.Tensor, error)) RunFunc {
	return func(_ context.Context, _ *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
		results := make([][]model.Tensor, len(parts))
		for i, part := range parts {
			r, err := f(part)
			if err != nil {
				return nil, err
			}
			results[i] = r
		}
		return results, nil
	}
}

// Model is a model.Model whose batches a RunFunc computes.
type Model struct {
	name, version string
	config        *model.Config
	signatures    map[string]*model.Signature
	run           RunFunc
	running       atomic.Int64
	closed        atomic.Bool
}

var _ model.Model = (*Model)(nil)

// New makes a model of run with knobs around it, the first one outermost.
func New(name, version string, sigs []*model.Signature, run RunFunc, knobs ...Knob) *Model {
	m := &Model{
		name:       name,
		version:    version,
		config:     &model.Config{},
		signatures: make(map[string]*model.Signature, len(sigs)),
		run:        run,
	}
	for _, s := range sigs {
		m.signatures[s.Name] = s
	}
	for _, knob := range slices.Backward(knobs) {
		m.run = knob(m.run)
	}
	return m
}

// Double makes the model "double", version "1": its signature
// "serving_default" takes "x" and answers "y", both float32 [-1, width], with
// y = 2x.
func Double(width int64, knobs ...Knob) *Model {
	sig := &model.Signature{
		Name:    "serving_default",
		Inputs:  []model.TensorInfo{{Name: "x", DType: model.Float32, Shape: []int64{-1, width}}},
		Outputs: []model.TensorInfo{{Name: "y", DType: model.Float32, Shape: []int64{-1, width}}},
	}
	return New("double", "1", []*model.Signature{sig}, Each(double), knobs...)
}

func double(part []model.Tensor) ([]model.Tensor, error) {
	x := part[0]
	y := model.Tensor{DType: x.DType, Shape: x.Shape, Data: make([]byte, len(x.Data))}
	for i := 0; i < len(x.Data); i += 4 {
		v := math.Float32frombits(binary.LittleEndian.Uint32(x.Data[i:]))
		binary.LittleEndian.PutUint32(y.Data[i:], math.Float32bits(2*v))
	}
	return []model.Tensor{y}, nil
}

// WithConfig sets what the model's own file says, and returns m. It is called
// before the model is used.
func (m *Model) WithConfig(c *model.Config) *Model {
	m.config = c
	return m
}

// Name is the name given to New.
func (m *Model) Name() string { return m.name }

// Version is the version given to New.
func (m *Model) Version() string { return m.version }

// Signatures are the ones given to New, by name.
func (m *Model) Signatures() map[string]*model.Signature { return m.signatures }

// Config is what WithConfig set, or the zero Config.
func (m *Model) Config() *model.Config { return m.config }

// Run checks that the call keeps to the contract and computes it.
func (m *Model) Run(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([][]model.Tensor, error) {
	m.running.Add(1)
	defer m.running.Add(-1)
	if m.closed.Load() {
		return nil, errors.New("fake model: Run after Close")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	padding, err := model.NewPadding(sig, m.config)
	if err != nil {
		return nil, fmt.Errorf("fake model: %w", err)
	}
	grown, shapes := grow(padding, parts)
	if err := check(sig, grown); err != nil {
		return nil, fmt.Errorf("fake model: %w", err)
	}
	results, err := m.run(ctx, sig, grown)
	if err != nil || padding == nil {
		return results, err
	}
	for k, outputs := range results {
		for o := range outputs {
			outputs[o], _ = padding.Cut(o, outputs[o], parts[k], shapes)
		}
	}
	return results, nil
}

// grow fills rows up, and gives the shape that those of each input have then.
func grow(p *model.Padding, parts [][]model.Tensor) (grown [][]model.Tensor, shapes [][]int64) {
	if p == nil {
		return parts, nil
	}
	grown = make([][]model.Tensor, len(parts))
	for k, part := range parts {
		shapes = nil
		for i, t := range part {
			shapes = append(shapes, p.RowShape(i, t))
			grown[k] = append(grown[k], p.Grow(i, t, shapes[i]))
		}
	}
	return grown, shapes
}

// Close errs when it is called twice or during a run.
func (m *Model) Close() error {
	if m.closed.Swap(true) {
		return errors.New("fake model: closed twice")
	}
	if n := m.running.Load(); n > 0 {
		return fmt.Errorf("fake model: closed during %d runs", n)
	}
	return nil
}

// Closed says whether Close was called.
func (m *Model) Closed() bool { return m.closed.Load() }

// check says how a call breaks the contract of Run.
func check(sig *model.Signature, parts [][]model.Tensor) error {
	if len(parts) == 0 {
		return errors.New("no parts")
	}
	limit, batched := sig.Batch()
	if !batched && len(parts) != 1 {
		return fmt.Errorf("%d parts for signature %q, which has no batch dimension", len(parts), sig.Name)
	}
	total := int64(0)
	for i, part := range parts {
		if len(part) != len(sig.Inputs) {
			return fmt.Errorf("part %d has %d tensors for %d inputs", i, len(part), len(sig.Inputs))
		}
		for j, t := range part {
			if err := checkTensor(sig.Inputs[j], t, parts[0][j], batched); err != nil {
				return fmt.Errorf("part %d: %w", i, err)
			}
			if batched && t.Rows() != part[0].Rows() {
				return fmt.Errorf("part %d: %q has %d rows, %q has %d",
					i, sig.Inputs[0].Name, part[0].Rows(), sig.Inputs[j].Name, t.Rows())
			}
		}
		if batched {
			total += part[0].Rows()
		}
	}
	if batched && limit >= 0 && total > limit {
		return fmt.Errorf("%d rows for a fixed batch of %d", total, limit)
	}
	return nil
}

// checkTensor compares t with the input's description and with the same
// input's tensor in the first part.
func checkTensor(in model.TensorInfo, t, first model.Tensor, batched bool) error {
	if t.DType != in.DType {
		return fmt.Errorf("%q is %s, not %s", in.Name, t.DType, in.DType)
	}
	n := model.Elements(t.Shape)
	if t.DType == model.String && int64(len(t.Bytes)) != n ||
		t.DType != model.String && int64(len(t.Data)) != n*int64(t.DType.Size()) {
		return fmt.Errorf("%q: its data does not fill shape %v", in.Name, t.Shape)
	}
	if !in.UnknownRank && !fits(in.Shape, t.Shape, batched) {
		return fmt.Errorf("%q has shape %v, not %v", in.Name, t.Shape, in.Shape)
	}
	if batched && (len(t.Shape) == 0 || !slices.Equal(t.Shape[1:], first.Shape[1:])) {
		return fmt.Errorf("%q has shape %v, the first part's has %v", in.Name, t.Shape, first.Shape)
	}
	return nil
}

// fits says whether got is of the declared shape; the batch dimension is for
// the caller to look at.
func fits(declared, got []int64, batched bool) bool {
	if len(declared) != len(got) {
		return false
	}
	for i, d := range declared {
		if d >= 0 && d != got[i] && (i > 0 || !batched) {
			return false
		}
	}
	return true
}
