package worker

import (
	"context"
	"errors"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/model"
)

// runContained is run, of which a panic is the input's failure.
func (s *stream) runContained(ctx context.Context, in *codec.Input) (replies []reply, err error) {
	defer s.contain(s.it, request.StagePredict, &err)
	return s.run(ctx, in)
}

// run has the model answer the rows of one chunk. Rows that it refuses are halved
// until the culprit stands alone.
func (s *stream) run(ctx context.Context, in *codec.Input) ([]reply, error) {
	d, err := s.inferAmong(ctx, in)
	if err != nil {
		return nil, err
	}
	switch {
	case d.err == nil && in.Rows == 1:
		return []reply{{rows: 1, outputs: oneRow(d.outputs)}}, nil
	case d.err == nil && perRow(d.outputs, in.Rows):
		return []reply{{rows: in.Rows, outputs: d.outputs}}, nil
	case d.err != nil && in.Rows == 1:
		refused, err := s.refusal(d.err)
		if err != nil {
			return nil, err
		}
		return []reply{{rows: 1, err: refused}}, nil
	case errors.Is(d.err, errOverrun):
		return nil, d.err
	}
	half := in.Rows / 2
	a, err := s.run(ctx, rowsOf(in, 0, half))
	if err != nil {
		return nil, err
	}
	b, err := s.run(ctx, rowsOf(in, half, in.Rows))
	return append(a, b...), err
}

// inferAmong is infer in a place beside what else runs: pieces of a range and what
// runs alone have theirs, and of any other item each run takes its own.
func (s *stream) inferAmong(ctx context.Context, in *codec.Input) (done, error) {
	if s.it.lane() != solo && !s.excerpt {
		leave, err := s.room(ctx, 1)
		if err != nil {
			return done{}, err
		}
		defer leave()
	}
	return s.infer(ctx, s.it, in)
}

// refusal is what is said in the place of a record that the model failed on.
// What may pass is an attempt of the whole input, until its last.
func (s *stream) refusal(err error) (*codec.Error, error) {
	if a, ok := errors.AsType[*attempt](err); ok && s.it.history.total()+1 >= s.cfg.MaxAttempts {
		return &codec.Error{Code: a.Code, Message: a.Message, Hint: a.Hint}, nil
	}
	if p, ok := errors.AsType[*request.Problem](err); ok {
		return &codec.Error{Code: p.Code, Message: p.Message, Hint: p.Hint}, nil
	}
	return nil, err
}

// oneRow makes the outputs of a run on a single record its row: as they are
// when they have one, else whole.
func oneRow(outputs []model.Tensor) []model.Tensor {
	if perRow(outputs, 1) {
		return outputs
	}
	whole := make([]model.Tensor, len(outputs))
	for i, t := range outputs {
		whole[i] = t
		whole[i].Shape = append([]int64{1}, t.Shape...)
	}
	return whole
}

// perRow says whether every output has a row for each of n.
func perRow(outputs []model.Tensor, n int64) bool {
	for _, t := range outputs {
		if len(t.Shape) == 0 || t.Shape[0] != n {
			return false
		}
	}
	return true
}

// rowsOf is rows [from, to) of in.
func rowsOf(in *codec.Input, from, to int64) *codec.Input {
	part := *in
	part.Rows = to - from
	part.Tensors = sliceAll(in.Tensors, from, to)
	return &part
}

func sliceAll(tensors []model.Tensor, from, to int64) []model.Tensor {
	slices := make([]model.Tensor, len(tensors))
	for i, t := range tensors {
		slices[i] = t.Slice(from, to)
	}
	return slices
}

// blamed is why not all records could be run, of which err was met first. Where
// a run of theirs has hung it is that, though what they met first may have been
// that nothing starts any more. A range of a file is tried again, and its strikes
// narrow the culprit down; any other input would only be begun anew.
func (s *stream) blamed(err error) error {
	hung, alone := s.batcher.hungOver(&s.it.flow)
	switch {
	case !hung:
		return err
	case alone && !s.excerpt:
		return s.timedOut(s.it)
	}
	return errOverrun
}
