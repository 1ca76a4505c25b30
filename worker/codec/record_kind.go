package codec

import (
	"fmt"
	"io"

	"github.com/penstock/penstock/worker/model"
)

// recordKind is how the records of a file are found and read.
type recordKind struct {
	format  string // its name
	sig     *model.Signature
	unit    string // what a record is called, with its number: "line" or "record"
	cut     cutter
	decoder recordDecoder
	nothing string // what is wrong with a file of no records
}

// recordDecoder makes rows of the records of one file, in their order.
type recordDecoder interface {
	// reserve makes room in r for the rows that text, the whole file, may have:
	// memory stays in proportion to it.
	reserve(r *rows, text []byte)
	// add makes a row of one record, or none of one that holds nothing, such as
	// a blank line. Strings share the record's memory. A fault leaves r in
	// disorder.
	add(r *rows, record []byte) (isRow bool, f *fault)
	// lost is told of a record that can't be given to add, and what is wrong
	// with it.
	lost(f *fault) *fault
}

// pick has the records be read as far as p selects; nil selects all. The error is
// an *Error where p can't be applied to records of the kind.
func (k *recordKind) pick(p *picker) error {
	if p == nil {
		return nil
	}
	d, ok := k.decoder.(interface{ pick(p *picker) *Error })
	if !ok {
		return &Error{
			Code:    CodeNothingSelected,
			Message: fmt.Sprintf("the %s %v can't be applied to records of %s, which are no text", p.what, p.path, k.format),
			Hint:    "write the records as JSON lines or CSV",
		}
	}
	if err := d.pick(p); err != nil {
		return err
	}
	return nil
}

// recordReader reads the records of one file: all of them, or in chunks.
type recordReader struct {
	*recordKind
	frames  *frames
	batched bool
}

func newRecordReader(k *recordKind, file *frames, src Source) *recordReader {
	file.kind(k.unit, k.cut, src.maxRecordBytes(), src.Excerpt)
	_, batched := k.sig.Batch()
	return &recordReader{recordKind: k, frames: file, batched: batched}
}

// add reads one record into to. A fault leaves it in disorder.
func (r *recordReader) add(to *rows, record frame) (isRow bool, f *fault) {
	if record.fault != nil {
		return true, r.decoder.lost(record.fault)
	}
	isRow, f = r.decoder.add(to, record.record)
	if isRow && f == nil && to.n == 1 && r.batched {
		f = to.misfit(r.sig, r.batched)
	}
	return isRow, f
}

// decodeRecords makes one input of all records of body. The first bad one is
// the error.
func decodeRecords(body []byte, src Source, m model.Model, open func([]byte, Source, model.Model) (*recordKind, error)) (*Input, error) {
	k, err := open(body, src, m)
	if err != nil {
		return nil, err
	}
	r := newRecordReader(k, wholeFile(body), src)
	rows := newRows(k.sig)
	r.decoder.reserve(rows, r.frames.window())
	for {
		record, err := r.frames.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if _, f := r.add(rows, record); f != nil {
			return nil, f.in(record.at)
		}
	}
	if rows.n == 0 {
		return nil, &Error{Code: CodeEmpty, Message: k.nothing}
	}
	return rows.input(k.sig, false)
}
