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
	"github.com/penstock/penstock/worker/job"
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
	next    func(most int64) (*codec.Chunk, error) // input's, as far as it is to be read
	sink    interface {
		add(write func([]byte) ([]byte, error)) error
	}
	report func(bad codec.Record) error // puts its error in its place
	strict string                       // who asks that a bad record fails the input; empty where nobody does

	excerpt   bool // input is a part of a file
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
	landed  chan struct{}
	replies []reply // of its good records, in order; once it has landed
	err     error   // why there are none
}

// reply is the model's to consecutive good records.
type reply struct {
	rows    int64
	outputs []model.Tensor
	err     *codec.Error // refused, a single record
}

// stream takes an item whose input is records from there to its output. It
// goes on in a drain, as a run of the model does. leave is called when the
// model is done with it. An item that does not run alone makes room between its
// runs for one that waits to, or all would wait for its end.
func (w *Worker) stream(it *item, c *content, leave func()) (err error) {
	defer w.contain(it, request.StageDecode, &err)
	if it.lane() != solo {
		it.makeRoom()
	}
	began := time.Now()
	ctx, cancel := context.WithCancel(it.lease.ctx)
	defer cancel()
	s := &stream{Worker: w, it: it, strict: it.strictRecords()}
	var from io.Reader = bytes.NewReader(c.body)
	if !c.whole() {
		rest := w.newSegments(ctx, it, c.body, 0, c.total)
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
	sink := &sink{Worker: w, it: it, ctx: ctx, contentType: s.results.ContentType()}
	defer sink.close()
	s.next, s.sink = s.input.Next, sink
	s.report = func(r codec.Record) error {
		return sink.add(func(b []byte) ([]byte, error) { return s.results.Bad(b, r) })
	}
	err = s.pump(ctx)
	it.spent.Predict = time.Since(began) // and reading, waiting and writing, all at the same time
	if err != nil {
		return err
	}
	leave()
	return s.finish(sink)
}

// strictRecords is who asks that a bad record fails the item, or empty.
func (it *item) strictRecords() string {
	who, asked := "the request", it.request.RecordErrors
	if asked == "" {
		who, asked = "the model file", it.model.Config().RecordErrors
	}
	if asked != request.FailOnRecord {
		return ""
	}
	return who
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
			if f.err != nil {
				return f.err // the group is about to hear of it
			}
			if err := s.write(f); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return s.blamed(err)
	}
	return context.Cause(s.it.lease.ctx)
}

// read sends chunks on their way until there are no more.
func (s *stream) read(ctx context.Context, g *errgroup.Group, flights chan<- *flight) (err error) {
	defer s.contain(s.it, request.StageDecode, &err)
	for {
		most := s.batcher.rowLimit(s.it.model, s.input.Signature()) / chunksPerBatch
		if s.it.single && s.excerpt {
			most = 1
		}
		chunk, err := s.next(max(1, most))
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
		g.Go(func() error {
			defer close(f.landed)
			f.replies, f.err = s.fly(ctx, chunk)
			return f.err
		})
	}
}

// fly has the model answer the good records of a chunk, if there are any.
func (s *stream) fly(ctx context.Context, chunk *codec.Chunk) (replies []reply, err error) {
	defer s.contain(s.it, request.StagePredict, &err)
	if chunk.Input == nil {
		return nil, nil
	}
	return s.run(ctx, chunk.Input)
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
		if err := s.rows(a.outputs, at, n, f.chunk.Records[i-int(n-at):i]); err != nil {
			return err
		}
		if at = n; at == a.rows {
			f.replies, at = f.replies[1:], 0
		}
	}
	return nil
}

// rows writes rows [at, n) of outputs, which are those of the records. One of
// which a filter finds nothing turns out to be bad.
func (s *stream) rows(outputs []model.Tensor, at, n int64, of []codec.Record) error {
	s.it.ran = true
	for at < n {
		written := n - at
		err := s.sink.add(func(b []byte) ([]byte, error) { return s.results.Rows(b, sliceAll(outputs, at, n), of...) })
		row, bad := errors.AsType[*codec.RowError](err)
		switch {
		case bad:
			written = row.Row
		case err != nil:
			return problem(request.StageEncode, err)
		}
		s.good += written
		at, of = at+written, of[written:]
		if !bad {
			continue
		}
		r := of[0]
		r.Err = row.Err
		if err := s.fault(r); err != nil {
			return err
		}
		at, of = at+1, of[1:]
	}
	return nil
}

// fault writes an error in the place of a bad record, or fails the input.
func (s *stream) fault(r codec.Record) error {
	if s.bad++; s.first == nil {
		s.first = &r
	}
	if s.strict != "" {
		return s.refuse("a record is bad, and " + s.strict + " asks that one fails all")
	}
	return problem(request.StageEncode, s.report(r))
}

// refuse is the problem of an input because of its first bad record.
func (s *stream) refuse(why string) error {
	r := s.first
	where := fmt.Sprintf("record %d (at byte %d): ", r.Number, r.Offset)
	if s.excerpt {
		where = "" // its message has the byte, and nobody knows the number
	}
	return &request.Problem{
		Code: r.Err.Code, Stage: request.StageDecode, Hint: r.Err.Hint,
		Message: why + ": " + where + strings.TrimPrefix(r.Err.Message, where),
	}
}

// finish commits the result.
func (s *stream) finish(sink *sink) error {
	if s.good == 0 { // an input without records has ended with the codec's error
		return s.refuse(job.NothingGood(s.bad))
	}
	err := sink.add(func(b []byte) ([]byte, error) { return s.results.End(b), nil })
	if err != nil {
		return err
	}
	s.it.spent.Records, s.it.spent.BadRecords = s.good+s.bad, s.bad
	if err := sink.commit(); err != nil {
		return err
	}
	s.count()
	return nil
}

// count adds the records of a result that was written to those of the worker.
func (s *stream) count() {
	s.records.WithLabelValues("good").Add(float64(s.good))
	s.records.WithLabelValues("bad").Add(float64(s.bad))
}

// newRecords counts the records of results that were written.
func newRecords(r prometheus.Registerer) *prometheus.CounterVec {
	return newResultCounter(r, "penstock_records_total", "Records in results of this worker's: good ones, and bad ones with their error in their place.", "good", "bad")
}
