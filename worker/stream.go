package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/model"
)

// stream is an input of many records on its way: read in chunks, which go
// through the batcher several at a time, beside those of other messages, and
// are written in their order. What it holds is bounded, whatever the size of
// the input and its result.
type stream struct {
	*Worker
	it      *item
	input   *codec.Records
	results *codec.Results
	sink    *sink
	strict  bool // a bad record fails the input

	good, bad int64
	first     *codec.Record // bad one
}

// chunksPerBatch is how many chunks of one stream fill a batch: fewer, and its
// chunks would leave no room for others' rows. chunksInFlight keep a runner
// busy while the next batch fills.
const (
	chunksPerBatch = 4
	chunksInFlight = 2 * chunksPerBatch
)

// flight is a chunk on its way through the model.
type flight struct {
	chunk   *codec.Chunk
	replies []reply // of its good records, in order
	landed  chan struct{}
}

// reply is the model's to consecutive good records.
type reply struct {
	rows    int64
	outputs []model.Tensor
	err     *codec.Error // refused, a single record
}

// stream takes an item whose input is records from there to its output. It
// goes on in a drain, as a run of the model does. leave is called when the
// model is done with it.
func (w *Worker) stream(it *item, c *content, leave func()) (err error) {
	defer w.contain(it, request.StageDecode, &err)
	began := time.Now()
	ctx, cancel := context.WithCancel(it.lease.ctx)
	defer cancel()
	s := &stream{Worker: w, it: it, strict: it.strictRecords()}
	var from io.Reader = bytes.NewReader(c.body)
	if !c.whole() {
		rest := w.newSegments(ctx, it, c)
		defer rest.Close()
		from = rest
	}
	if s.input, err = codec.OpenRecords(from, w.source(it, c), it.model); err != nil {
		return problem(request.StageDecode, err)
	}
	defer s.input.Close()
	if s.results, err = codec.NewResults(s.input.Signature(), it.model, it.request.Accept); err != nil {
		return problem(request.StageEncode, err)
	}
	s.sink = &sink{Worker: w, it: it, ctx: ctx, contentType: s.results.ContentType()}
	defer s.sink.close()

	err = s.pump(ctx)
	it.spent.Predict = time.Since(began) // and reading, waiting and writing, all at the same time
	if err != nil {
		return err
	}
	leave()
	return s.finish()
}

// strictRecords says whether a bad record fails the item.
func (it *item) strictRecords() bool {
	if it.request.RecordErrors != "" {
		return it.request.RecordErrors == request.FailOnRecord
	}
	return it.model.Config().RecordErrors == request.FailOnRecord
}

// pump moves all records from the input to the sink.
func (s *stream) pump(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	flights := make(chan *flight, chunksInFlight)
	g.Go(func() error {
		defer close(flights)
		return s.read(ctx, g, flights)
	})
	g.Go(func() error {
		for f := range flights {
			<-f.landed
			if ctx.Err() != nil {
				continue // the group has its error
			}
			if err := s.write(f); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(s.it.lease.ctx)
}

// read sends chunks on their way until there are no more.
func (s *stream) read(ctx context.Context, g *errgroup.Group, flights chan<- *flight) (err error) {
	defer s.contain(s.it, request.StageDecode, &err)
	for {
		most := s.batcher.rowLimit(s.it.model, s.input.Signature())
		chunk, err := s.input.Next(max(1, most/chunksPerBatch))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return problem(request.StageDecode, err)
		}
		f := &flight{chunk: chunk, landed: make(chan struct{})}
		select {
		case flights <- f:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		g.Go(func() (err error) {
			defer close(f.landed)
			defer s.contain(s.it, request.StagePredict, &err)
			if chunk.Input != nil {
				f.replies, err = s.run(ctx, chunk.Input)
			}
			return err
		})
	}
}

// run has the model answer the rows of one chunk. Rows that it refuses are halved
// until the culprit stands alone.
func (s *stream) run(ctx context.Context, in *codec.Input) ([]reply, error) {
	d, err := s.infer(ctx, s.it, in)
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
		return []reply{{rows: 1, err: refused}}, err
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

// write appends a chunk's results to the sink, each record's in its place.
func (s *stream) write(f *flight) (err error) {
	defer s.contain(s.it, request.StageEncode, &err)
	var at int64 // row of the first reply that has not been written
	for i := 0; i < len(f.chunk.Records); {
		r := f.chunk.Records[i]
		if r.Err == nil && f.replies[0].err != nil {
			r.Err = f.replies[0].err
			f.replies = f.replies[1:]
		}
		if r.Err != nil {
			if err := s.fault(r); err != nil {
				return err
			}
			i++
			continue
		}
		a := f.replies[0]
		n := at
		for ; n < a.rows && i < len(f.chunk.Records) && f.chunk.Records[i].Err == nil; i++ {
			n++
		}
		if err := s.sink.add(func(b []byte) ([]byte, error) { return s.results.Rows(b, sliceAll(a.outputs, at, n)) }); err != nil {
			return problem(request.StageEncode, err)
		}
		s.it.ran = true
		s.good += n - at
		if at = n; at == a.rows {
			f.replies, at = f.replies[1:], 0
		}
	}
	return nil
}

// fault writes an error in the place of a bad record, or fails the input.
func (s *stream) fault(r codec.Record) error {
	if s.bad++; s.first == nil {
		s.first = &r
	}
	if s.strict {
		return s.refuse("a record is bad, and the request asks that one fails all")
	}
	return problem(request.StageEncode, s.sink.add(func(b []byte) ([]byte, error) { return s.results.Bad(b, r) }))
}

// refuse is the problem of an input because of its first bad record.
func (s *stream) refuse(why string) error {
	r := s.first
	where := fmt.Sprintf("record %d (at byte %d): ", r.Number, r.Offset)
	return &request.Problem{
		Code: r.Err.Code, Stage: request.StageDecode, Hint: r.Err.Hint,
		Message: why + ": " + where + strings.TrimPrefix(r.Err.Message, where),
	}
}

// finish commits the result.
func (s *stream) finish() error {
	if s.good == 0 { // an input without records has ended with the codec's error
		return s.refuse(fmt.Sprintf("all of the %d records are bad; the first is", s.bad))
	}
	err := s.sink.add(func(b []byte) ([]byte, error) { return s.results.End(b), nil })
	if err != nil {
		return err
	}
	s.it.spent.Records, s.it.spent.BadRecords = s.good+s.bad, s.bad
	if err := s.sink.commit(); err != nil {
		return err
	}
	s.records.WithLabelValues("good").Add(float64(s.good))
	s.records.WithLabelValues("bad").Add(float64(s.bad))
	return nil
}

// newRecords counts the records of results that were written.
func newRecords(r prometheus.Registerer) *prometheus.CounterVec {
	return newResultCounter(r, "penstock_records_total", "Records in results of this worker's: good ones, and bad ones with their error in their place.", "good", "bad")
}
