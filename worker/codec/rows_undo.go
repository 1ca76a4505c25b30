package codec

import (
	"slices"

	"github.com/penstock/penstock/worker/model"
)

// mark remembers what r holds, for undo.
func (r *rows) mark() {
	r.before.n, r.before.form = r.n, r.form
	r.before.columns = r.before.columns[:0]
	for _, c := range r.columns {
		r.before.columns = append(r.before.columns, columnMark{c.rows, len(c.data), len(c.bytes)})
	}
}

// undo forgets what was read since mark.
func (r *rows) undo() {
	r.n, r.form = r.before.n, r.before.form
	for i, c := range r.columns {
		was := r.before.columns[i]
		c.rows, c.data, c.bytes = was.rows, c.data[:was.data], c.bytes[:was.bytes]
		if c.rows == 0 {
			c.shape, c.ranked, c.flat = nil, false, 0
		}
	}
}

// misfit is the fault of the first row if it is none that sig takes.
func (r *rows) misfit(sig *model.Signature, batched bool) *fault {
	for i, info := range sig.Inputs {
		shape := slices.Concat([]int64{1}, r.columns[i].shape)
		if !fits(info, shape, batched) {
			e := shapeError(info, shape, batched)
			return &fault{code: e.Code, text: ": " + e.Message, hint: e.Hint}
		}
	}
	return nil
}

// size is about how many bytes of memory the rows take.
func (r *rows) size() int {
	n := 0
	for _, c := range r.columns {
		n += len(c.data) + stringHeader*len(c.bytes)
	}
	return n
}

// stringHeader is the memory that a string takes beside its bytes.
const stringHeader = 24

// texts holds the bytes of the strings of a chunk, whose records are
// overwritten by those that follow.
type texts struct {
	block []byte
	bytes int // held in all blocks
}

// Sizes of a block: each is twice as large as the one before.
const (
	firstBlock   = 1 << 10
	largestBlock = 1 << 20
)

// keep copies the strings that were read since mark.
func (t *texts) keep(r *rows) {
	for i, c := range r.columns {
		for k := r.before.columns[i].bytes; k < len(c.bytes); k++ {
			c.bytes[k] = t.copy(c.bytes[k])
		}
	}
}

func (t *texts) copy(s []byte) []byte {
	if cap(t.block)-len(t.block) < len(s) {
		size := min(max(2*cap(t.block), firstBlock), largestBlock)
		t.block = make([]byte, 0, max(size, len(s)))
	}
	at := len(t.block)
	t.block = append(t.block, s...)
	t.bytes += len(s)
	return t.block[at:len(t.block):len(t.block)]
}
