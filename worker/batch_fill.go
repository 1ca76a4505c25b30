package worker

import (
	"slices"

	"github.com/penstock/penstock/worker/model"
)

// assembled is a batch as it goes into the model.
type assembled struct {
	parts             [][]model.Tensor // one a share, and then those that fill the batch
	rows, filled      int64
	elements, padding int64
}

// assemble makes a batch of shares, and fills it up to a size that a run may
// have.
//
// It is filled with rows of its own, over and over, and not with zeros: a
// model can fail on a row that nobody would send, as on an empty string for an
// encoded image, and would then fail batches whose rows are all good. A row
// that fails would have failed its batch anyway. Where there is no row, as for
// an item without any, zeros have to do.
func assemble(p *policy, shares []*share) assembled {
	var r assembled
	own := int64(0)
	for _, s := range shares {
		part := s.part()
		r.parts = append(r.parts, part)
		r.rows += s.length()
		sent, run := p.elements(part)
		own, r.elements = own+sent, r.elements+run
	}
	r.filled = p.size(r.rows) - r.rows
	if r.filled == 0 {
		r.padding = r.elements - own
		return r
	}
	real := r.parts
	if r.rows == 0 {
		real = [][]model.Tensor{blankRow(r.parts[0])}
	}
	for left, i := r.filled, 0; left > 0; i++ {
		part := real[i%len(real)]
		if n := min(left, part[0].Rows()); n > 0 {
			part = sliceAll(part, 0, n)
			_, run := p.elements(part)
			r.parts, r.elements, left = append(r.parts, part), r.elements+run, left-n
		}
	}
	r.padding = r.elements - own
	return r
}

// blankRow gives one row of zeros or empty strings, of the shapes of part.
func blankRow(part []model.Tensor) []model.Tensor {
	row := slices.Clone(part)
	for i := range row {
		t := &row[i]
		t.Shape = slices.Clone(t.Shape)
		t.Shape[0] = 1
		n := model.Elements(t.Shape)
		if t.DType == model.String {
			t.Bytes = make([][]byte, n)
		} else {
			t.Data = make([]byte, n*int64(t.DType.Size()))
		}
	}
	return row
}

// shared says whether outputs are of the run's rows, so that rows of several
// items would get their own of them.
func (r assembled) shared(outputs []model.Tensor) bool {
	return !slices.ContainsFunc(outputs, func(t model.Tensor) bool { return len(t.Shape) == 0 || t.Shape[0] != r.rows })
}
