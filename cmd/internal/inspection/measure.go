package inspection

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/model"
)

// Measure runs the signatures of a model on batches of each size, for about
// o.Time in all. A row is an item of its own, as in the worker: it is copied
// into its batch and out of it. say is called before each step, with what is
// known so far. What is wrong with one signature is in its Error; the error
// returned is that of the options, or of ctx.
//
// A run can't be interrupted: ctx is looked at between two.
func Measure(ctx context.Context, m model.Model, o Options, say func(doing string, sofar []Signature)) ([]Signature, error) {
	all := slices.Collect(maps.Values(m.Signatures()))
	chosen, _, err := Choose(all, o.Signature)
	if err != nil {
		return nil, err
	}
	if err := CheckShapes(all, o.Shapes); err != nil {
		return nil, err
	}
	meter := meter{model: m, options: o, limit: time.Now().Add(o.Time)}
	for _, sig := range chosen {
		meter.left += len(sizes(sig, o.BatchSizes))
	}
	var list []Signature
	for _, sig := range chosen {
		s := meter.signature(ctx, sig, func(doing string, s Signature) {
			say(doing, append(slices.Clip(list), s))
		})
		list = append(list, s)
		if ctx.Err() != nil {
			return list, context.Cause(ctx)
		}
	}
	return list, nil
}

// sizes are the batch sizes that the signature can be run with.
func sizes(sig *model.Signature, wanted []int) []int {
	switch rows, ok := Batch(sig); {
	case !ok:
		return []int{1}
	case rows >= 0:
		return []int{int(min(rows, MaxBatchSize))}
	}
	return wanted
}

// Batch is the signature's Batch, which one without inputs has none of.
func Batch(sig *model.Signature) (rows int64, ok bool) {
	if len(sig.Inputs) == 0 {
		return 0, false
	}
	return sig.Batch()
}

// meter measures one model.
type meter struct {
	model   model.Model
	options Options
	limit   time.Time // when all should be done
	left    int       // batch sizes to measure
}

// signature measures one signature.
func (m *meter) signature(ctx context.Context, sig *model.Signature, say func(string, Signature)) Signature {
	s := Signature{Name: sig.Name, Input: MadeUp, Runs: []Run{}}
	batches := sizes(sig, m.options.BatchSizes)
	defer func(left int) { m.left = left }(m.left - len(batches))
	rows, err := m.rows(ctx, sig, &s)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	for _, n := range batches {
		if why := m.tooMuch(s.Runs, rows, n); why != "" {
			s.Skipped = append(s.Skipped, Skipped{n, why})
			m.left--
			continue
		}
		say(fmt.Sprintf("run %s with %s", sig.Name, Rows(n)), s)
		times, err := m.times(ctx, sig, batch(rows, n))
		m.left--
		if ctx.Err() != nil {
			return s
		}
		if e, ok := errors.AsType[*model.UnbatchableError](err); ok && len(s.Runs) > 0 {
			s.Recommended = &Recommendation{1, fmt.Sprintf("output %s has shape %s for %s, so rows are run one by one", e.Output, FormatShape(e.Shape), Rows(n))}
			return s
		}
		if err != nil {
			s.Error = fmt.Sprintf("%s: %v", Rows(n), err)
			break
		}
		s.Runs = append(s.Runs, Summarize(n, times))
	}
	if len(s.Runs) > 0 {
		s.Recommended = recommend(sig, s.Runs)
	}
	return s
}

// recommend is Recommend, but where the model leaves no choice.
func recommend(sig *model.Signature, runs []Run) *Recommendation {
	switch rows, ok := Batch(sig); {
	case !ok:
		return &Recommendation{1, "the signature has no batch dimension: rows are run one by one"}
	case rows >= 0:
		return &Recommendation{int(rows), "the model's own: every run has this many rows, filled up where there are fewer"}
	}
	return new(Recommend(runs))
}

// rows gives rows to run on, at least one, each as one part, and notes in s
// what they are.
func (m *meter) rows(ctx context.Context, sig *model.Signature, s *Signature) ([][]model.Tensor, error) {
	if m.options.InputFile == "" {
		var err error
		if s.Shapes, s.Assumed, err = Row(sig, m.options.Shapes); err != nil {
			return nil, err
		}
		return [][]model.Tensor{MakeUp(sig, s.Shapes)}, nil
	}
	s.Input = filepath.Base(m.options.InputFile)
	body, err := os.ReadFile(m.options.InputFile)
	if err != nil {
		return nil, err
	}
	in, err := codec.Decode(ctx, body, codec.Source{Name: s.Input, Signature: sig.Name}, m.model)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Input, err)
	}
	rows := split(in, slices.Max(sizes(sig, m.options.BatchSizes)))
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s: it has no rows", s.Input)
	}
	for i, t := range rows[0] {
		s.Shapes = append(s.Shapes, Shape{sig.Inputs[i].Name, t.Shape})
	}
	return rows, nil
}

// split makes up to limit parts of one row.
func split(in *codec.Input, limit int) [][]model.Tensor {
	if _, ok := Batch(in.Signature); !ok {
		return [][]model.Tensor{in.Tensors}
	}
	rows := make([][]model.Tensor, 0, min(in.Rows, int64(limit)))
	for i := range min(in.Rows, int64(limit)) {
		row := make([]model.Tensor, len(in.Tensors))
		for k, t := range in.Tensors {
			row[k] = t.Slice(i, i+1)
		}
		rows = append(rows, row)
	}
	return rows
}

// batch is n rows: those there are, over and over.
func batch(rows [][]model.Tensor, n int) [][]model.Tensor {
	parts := make([][]model.Tensor, n)
	for i := range parts {
		parts[i] = rows[i%len(rows)]
	}
	return parts
}

// maxBatchBytes bounds the input of one run.
const maxBatchBytes = 4 << 30

// tooMuch says why n rows are not run, or nothing. What they will take is
// guessed from the runs before: at most so much more as there are more rows.
func (m *meter) tooMuch(runs []Run, rows [][]model.Tensor, n int) string {
	var size int64
	for _, t := range rows[0] {
		size += t.NumBytes()
	}
	if size > maxBatchBytes/int64(n) {
		return fmt.Sprintf("their input would take more than %d GiB", maxBatchBytes>>30)
	}
	if len(runs) == 0 {
		return ""
	}
	last := runs[len(runs)-1]
	if guess := last.MedianSeconds * float64(n) / float64(last.Rows); guess > 2*m.options.Time.Seconds() {
		return fmt.Sprintf("a run may take %s; with -time %v it is measured all the same", Duration(guess), time.Duration(guess*float64(time.Second)).Round(time.Second))
	}
	return ""
}

// What is enough to be measured.
const (
	fewest = 3
	most   = 100_000
)

// times runs a batch until its share of the time is over. The first run, in
// which TensorFlow makes its preparations for a new shape, is not counted.
func (m *meter) times(ctx context.Context, sig *model.Signature, parts [][]model.Tensor) ([]time.Duration, error) {
	began := time.Now()
	share := time.Until(m.limit) / time.Duration(max(m.left, 1))
	if _, err := m.model.Run(ctx, sig, parts); err != nil {
		return nil, err
	}
	wanted := fewest
	if time.Since(began) > share {
		wanted = 1
	}
	var times []time.Duration
	for len(times) < wanted || time.Since(began) < share && len(times) < most {
		start := time.Now()
		if _, err := m.model.Run(ctx, sig, parts); err != nil {
			return nil, err
		}
		times = append(times, time.Since(start))
	}
	return times, nil
}

// Rows is "1 row" or "8 rows".
func Rows(n int) string {
	if n == 1 {
		return "1 row"
	}
	return fmt.Sprintf("%d rows", n)
}
