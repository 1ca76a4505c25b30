package worker

import (
	"context"
	"fmt"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/terminal"
)

// partSize is how large a part of a result is before it is sent off, in bytes.
// S3 takes 10,000 of them: 78 GiB.
const partSize = 8 << 20

// partsInFlight are on their way to S3 at a time.
const partsInFlight = 2

// sink gathers a result of any size. What fits into one part is written at
// once; more becomes an upload, of which nothing is seen before commit.
type sink struct {
	*Worker
	it          *item
	ctx         context.Context
	contentType string

	part   []byte // the one being filled
	upload storage.Upload
	parts  *errgroup.Group // on their way
	failed context.Context // done when one of them could not be written
	sent   int
	spare  chan []byte // buffers to fill again
}

// add appends to the result.
func (s *sink) add(write func([]byte) ([]byte, error)) (err error) {
	if s.part, err = write(s.part); err != nil || len(s.part) < partSize {
		return err
	}
	if s.upload == nil {
		if err := s.begin(); err != nil {
			return err
		}
	}
	return s.send()
}

// begin opens the upload.
func (s *sink) begin() error {
	d := terminal.Document{ContentType: s.contentType, Metadata: s.it.provenance().Metadata(s.cfg.Locations.OutputOf(s.it.request))}
	u, v, err := s.terminals.BeginOutput(s.ctx, s.it.claim(s.fence(s.it)), d)
	if err != nil || v != terminal.Committed {
		return s.written(s.it, v, err)
	}
	s.upload = u
	s.parts, s.failed = errgroup.WithContext(s.ctx)
	s.parts.SetLimit(partsInFlight)
	s.spare = make(chan []byte, partsInFlight+1)
	return nil
}

// send has the part that was filled written, and waits only while too many are.
func (s *sink) send() error {
	s.sent++
	number, part := s.sent, s.part
	if number > storage.MaxParts {
		return &request.Problem{
			Code: request.CodeTooLarge, Stage: request.StageStore,
			Message: fmt.Sprintf("the result has more than %d bytes, the most that an object of %d parts can have here", int64(storage.MaxParts)*partSize, storage.MaxParts),
			Hint:    "split the input, or ask for a shorter form of the results",
		}
	}
	s.parts.Go(func() error {
		defer func() { s.spare <- part[:0] }() // there is room: it was taken from there, or is one of the first
		return s.store.try(s.failed, fetchLimit(int64(len(part))), terminal.Write, s.cfg.Locations.OutputOf(s.it.request), func(ctx context.Context) error {
			return s.upload.PutPart(ctx, number, part)
		})
	})
	s.part = nil
	select {
	case s.part = <-s.spare:
	default:
	}
	if s.failed.Err() != nil {
		return s.parts.Wait()
	}
	return nil
}

// commit makes what was gathered the item's output.
func (s *sink) commit() error {
	d := terminal.Document{Body: s.part, ContentType: s.contentType}
	if s.upload != nil {
		if len(s.part) > 0 {
			if err := s.send(); err != nil {
				return err
			}
		}
		if err := s.parts.Wait(); err != nil {
			return err
		}
		d.Upload = s.upload
	}
	return s.Worker.commit(s.it, d)
}

// close frees what was not committed.
func (s *sink) close() {
	if s.upload == nil {
		return
	}
	_ = s.parts.Wait() // commit has seen the error, or there was another before
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), s.cfg.callLimit())
	defer cancel()
	if err := s.upload.Abort(ctx); err != nil {
		s.log.Warn("abort the upload of a result: its parts stay until the bucket's rule ends them",
			s.it.log(), zap.Error(err))
	}
}
