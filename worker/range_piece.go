package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/job"
)

// pieceSize and pieceTime end a piece, whichever comes first: its results are
// large enough to be put into the file's output without being read again, or it
// is as much work as a crash may lose.
const (
	pieceSize = partSize
	pieceTime = 5 * time.Second
)

// rangePiece is consecutive records of a range, and what comes of them.
type rangePiece struct {
	records int64        // at most; 0 is any number
	to      int64        // none is begun that lies at or behind this byte; 0 is the end
	poison  *codec.Error // its first record is not run, but has this error

	end    int64 // where the next record begins
	over   bool  // there is none
	body   []byte
	errors []byte       // a line for each bad record
	size   atomic.Int64 // of both
	texts  int64        // bytes of its records that will be in the results
}

// newPiece is one that begins at a byte.
func newPiece(from int64) *rangePiece { return &rangePiece{end: from} }

// run moves the piece's records through the model. before is how many records
// of the range were done when the stream was opened.
func (p *rangePiece) run(ctx context.Context, s *stream, before int64) error {
	s.good, s.bad, s.first = 0, 0, nil
	if s.input == nil {
		p.over = true
		return nil
	}
	s.sink, s.report = p, func(r codec.Record) error { return p.fault(s, r, before) }
	if p.poison != nil {
		return p.condemn(s)
	}
	began, read := time.Now(), int64(0)
	s.next = func(most int64) (*codec.Chunk, error) {
		switch {
		case read == 0: // it has at least one
		case p.records > 0 && read >= p.records, p.to > 0 && p.end >= p.to,
			p.size.Load() >= pieceSize, p.texts >= pieceSize, time.Since(began) > pieceTime, s.draining.Err() != nil:
			return nil, io.EOF
		}
		if p.records > 0 {
			most = min(most, p.records-read)
		}
		c, err := p.read(s, most)
		if err == nil {
			read += int64(len(c.Records))
		}
		return c, err
	}
	return s.pump(ctx)
}

// read gives the next records, and notes where they end.
func (p *rangePiece) read(s *stream, most int64) (*codec.Chunk, error) {
	c, err := s.input.Next(most)
	if errors.Is(err, io.EOF) {
		p.over = true
	}
	if err != nil {
		return c, err
	}
	p.end = c.End
	for _, r := range c.Records {
		p.texts += int64(len(r.Text))
	}
	return c, nil
}

// condemn has the piece be one record, with the error that it is given if it has
// none of its own.
func (p *rangePiece) condemn(s *stream) error {
	c, err := p.read(s, 1)
	switch {
	case p.over:
		return nil
	case err != nil:
		return problem(request.StageDecode, err)
	}
	if r := &c.Records[0]; r.Err == nil {
		r.Err = p.poison
	}
	return s.write(&flight{chunk: c})
}

// add appends to the results.
func (p *rangePiece) add(write func([]byte) ([]byte, error)) (err error) {
	p.body, err = write(p.body)
	p.size.Store(int64(len(p.body) + len(p.errors)))
	return err
}

// fault writes what is wrong with a record: a line for the error file, and its
// error in its place.
func (p *rangePiece) fault(s *stream, r codec.Record, before int64) error {
	message := r.Err.Message
	for _, unit := range []string{"line", "record"} { // which the error file's line says in its own fields
		message = strings.TrimPrefix(message, fmt.Sprintf("%s at byte %d: ", unit, r.Offset))
	}
	p.errors = job.AppendError(p.errors, job.RecordError{
		Record: before + r.Number, Offset: r.Offset, Code: r.Err.Code, Message: message, Hint: r.Err.Hint,
	})
	r.Number = 0 // in the whole file nobody knows it yet
	return p.add(func(b []byte) ([]byte, error) { return s.results.Bad(b, r) })
}
