package codec

import (
	"slices"

	"github.com/penstock/penstock/worker/model"
)

// largestChunk is about how much memory a chunk takes, in bytes; the record
// that passes it still belongs to it.
const largestChunk = 8 << 20

// What a record takes beside its tensors' bytes.
const (
	recordBytes    = 64
	badRecordBytes = 1 << 10
)

// chunk is a Chunk that is being built.
type chunk struct {
	rows    *rows
	texts   texts
	records []Record
	bad     int
	whole   bool // the only record is an input and not a row of one
}

// chunkSize is what the chunk before had, so that the next takes its memory at
// once.
type chunkSize struct {
	rows    int64
	columns []columnMark
}

// begin is the chunk that was held back, or an empty one.
func (r *Records) begin(most int64) *chunk {
	if c := r.held; c != nil {
		r.held = nil
		return c
	}
	c := &chunk{rows: newRows(r.reader.sig)}
	c.rows.form = r.spare.form
	if n := min(r.last.rows, most); n > 0 {
		c.records = make([]Record, 0, n)
		for i, column := range c.rows.columns {
			was := r.last.columns[i]
			if column.info.DType == model.String {
				column.bytes = make([][]byte, 0, int64(was.bytes)*n/r.last.rows)
			} else {
				column.data = make([]byte, 0, int64(was.data)*n/r.last.rows)
			}
		}
	}
	return c
}

// add reads a record, if it is good, and forgets it else.
func (c *chunk) add(r *recordReader, record frame) (isRow bool, f *fault) {
	c.rows.mark()
	isRow, f = r.add(c.rows, record)
	if isRow && !r.batched && record.fault == nil {
		f = c.single(r, record, f)
	}
	if f != nil {
		c.rows.undo()
	} else {
		c.texts.keep(c.rows)
	}
	return isRow, f
}

// single has the only record of c, of a signature without a batch dimension, be
// what the model takes: as a row, which is how Decode reads a file of one
// record, else as the whole input. As a row it was added with the fault f.
func (c *chunk) single(r *recordReader, record frame, f *fault) *fault {
	if f == nil {
		f = c.rows.misfit(r.sig, false)
	}
	if f == nil || f.fatal {
		return f
	}
	whole := &model.Signature{Inputs: slices.Clone(r.sig.Inputs)}
	for i := range whole.Inputs {
		info := &whole.Inputs[i]
		info.Shape = slices.Concat([]int64{1}, info.Shape)
	}
	rows := newRows(whole)
	rows.form = c.rows.before.form
	rows.mark()
	if _, other := r.add(rows, record); other != nil || rows.misfit(whole, false) != nil {
		return f
	}
	c.rows, c.whole = rows, true
	return nil
}

// size is about how much memory the chunk takes.
func (c *chunk) size() int {
	return c.rows.size() + c.texts.bytes + recordBytes*len(c.records) + badRecordBytes*c.bad
}

// finish is the finished chunk.
func (r *Records) finish(c *chunk) *Chunk {
	done := &Chunk{Records: c.records, End: r.reader.frames.at.offset}
	if r.held != nil {
		done.End = r.held.records[0].Offset
	}
	r.spare.form = c.rows.form
	if c.rows.n == 0 {
		return done
	}
	r.last.rows, r.last.columns = c.rows.n, r.last.columns[:0]
	for _, column := range c.rows.columns {
		r.last.columns = append(r.last.columns, columnMark{data: len(column.data), bytes: len(column.bytes)})
	}
	in := &Input{Signature: r.reader.sig, Rows: c.rows.n}
	for _, column := range c.rows.columns {
		in.Tensors = append(in.Tensors, column.tensor(!c.whole))
	}
	done.Input = in
	return done
}
