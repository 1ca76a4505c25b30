package codec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// records reads a file record by record. It knows the two parts that depend on
// the kind of file, and holds nothing of the file itself: whoever reads a
// stream cuts it with the same split, in a bufio.Scanner, and hands each
// record to the same add.
type records struct {
	unit  string          // what a record is called, with its number: "line" or "record"
	split bufio.SplitFunc // cuts off the next record; its error is an *Error
	// add makes a row of one record, or none of one that holds nothing, such as
	// a blank line. Strings may share the record's memory.
	add func(record []byte) *fault
}

// place is where a record begins in its file.
type place struct {
	unit   string
	number int // of the record, from 1; for a line the number of the first one
	offset int // in bytes
}

func (p place) String() string {
	if p.unit == unitLine {
		return fmt.Sprintf("line %d", p.number)
	}
	return fmt.Sprintf("%s %d (at byte %d)", p.unit, p.number, p.offset)
}

// Units of records.
const (
	unitLine   = "line"
	unitRecord = "record"
)

// read adds all records of body.
func (r records) read(body []byte) error {
	at := place{unit: r.unit, number: 1}
	for at.offset < len(body) {
		advance, record, err := r.split(body[at.offset:], true)
		if err != nil {
			return at.error(err)
		}
		if f := r.add(record); f != nil {
			return f.in(at)
		}
		if r.unit == unitLine {
			at.number += bytes.Count(body[at.offset:at.offset+advance], newline)
		} else {
			at.number++
		}
		at.offset += advance
	}
	return nil
}

var newline = []byte{'\n'}

// error puts the place in front of what split says.
func (p place) error(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{Code: e.Code, Message: p.String() + ": " + e.Message, Hint: e.Hint}
	}
	return &Error{Code: CodeMalformed, Message: fmt.Sprintf("%v: %v", p, err)}
}

// in is the finished Error of a record's fault.
func (f *fault) in(p place) error {
	where := p.String()
	if path := strings.TrimPrefix(f.path, "."); path != "" {
		where += ": " + path
	}
	return &Error{Code: f.code, Message: where + f.text, Hint: f.hint}
}
