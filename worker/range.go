package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/job"
	"github.com/penstock/penstock/worker/terminal"
)

// reach is an item that is a range of a record file, on its way. It is worked
// off piece by piece: the results of each are a chunk, an object of its own that
// also says how far the range is done. So a crash loses a piece, and whoever
// takes the range on begins at the record behind the last chunk. Of two workers
// that hold the range at the same time, one writes a chunk, and the other goes
// on from there.
type reach struct {
	*Worker
	it   *item
	of   job.Spec
	keep job.Filters
	seq  int          // of the next chunk
	done job.Progress // by the chunks before it

	looked  bool  // its strikes were looked up
	careful int64 // up to this byte, pieces are short and run alone
	single  int   // so many are of one record
}

// runRange takes a range from where it is done so far to its end.
func (w *Worker) runRange(it *item) (err error) {
	defer w.contain(it, request.StageDecode, &err)
	if err := w.startable(it); err != nil {
		return err
	}
	land, _, err := w.flights.board(it.pending, it.identity) // one delivery of it at a time
	if err != nil {
		return err
	}
	defer land()
	memory := &content{memory: w.memoryFor(it)}
	if err := memory.reserve(it.pending, min(streamWeight, w.cfg.MemoryLimit)); err != nil {
		return err
	}
	defer memory.release()
	r := &reach{Worker: w, it: it}
	if err := r.resume(); err != nil {
		return err
	}
	for !r.done.Done {
		if err := r.goOn(); err != nil {
			return err
		}
	}
	return nil
}

// resume finds out how far the range is done.
func (r *reach) resume() error {
	j := r.it.request.Job
	r.done.NextOffset = j.Range.From
	err := r.withBooks(r.it.pending, r.cfg.callLimit(), func(ctx context.Context) (err error) {
		if r.of, err = r.books.Spec(ctx, j.ID); err != nil {
			return err
		}
		seq, done, ok, err := r.chunks.Last(ctx, j.ID, j.Part)
		if err == nil && ok {
			r.seq, r.done = seq+1, done
		}
		return err
	})
	if err == nil {
		r.keep, err = r.of.Filters()
	}
	return err
}

// goOn opens the file where the next record is and works pieces off, to the
// end or until it turns out that another worker has come further.
func (r *reach) goOn() error {
	ctx, cancel := context.WithCancel(r.it.lease.ctx)
	defer cancel()
	file, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer file.Close()
	s := &stream{Worker: r.Worker, it: r.it, excerpt: true}
	if !file.empty {
		s.strict = r.it.strictRecords()
		if s.input, err = codec.OpenRecords(file, r.source(file), r.it.model); err != nil {
			return problem(request.StageDecode, err)
		}
		defer s.input.Close()
		if s.results, err = r.results(s.input); err != nil {
			return problem(request.StageEncode, err)
		}
	}
	before := r.done.Records
	for !r.done.Done {
		adopted, err := r.workOff(ctx, s, before)
		if err != nil || adopted {
			return err
		}
	}
	return nil
}

// source is what the codec is told of the range.
func (r *reach) source(file *rangeFile) codec.Source {
	src := r.Worker.source(r.it, &content{})
	src.Excerpt, src.Texts, src.Filter = &file.excerpt, r.joined(), r.keep.Input
	return src
}

// joined says whether results stand beside their records.
func (r *reach) joined() bool { return r.of.JoinSource == job.JoinInput }

// results is how those of the records that are left are written.
func (r *reach) results(of *codec.Records) (w *codec.Results, err error) {
	first := r.it.request.Job.Range.From == 0 && r.done.Records == 0
	if r.joined() {
		w, err = codec.NewJoined(of, r.it.model, r.it.request.Accept, first)
	} else {
		w, err = codec.NewLines(of.Signature(), r.it.model, r.it.request.Accept, first)
	}
	if err == nil {
		err = w.Select(r.keep.Output)
	}
	return w, err
}

// workOff works a piece off. before is how many records of the range were done
// when it was opened. adopted says that another worker's chunk is in the place
// of this one's.
func (r *reach) workOff(ctx context.Context, s *stream, before int64) (adopted bool, err error) {
	if err := r.startable(r.it); err != nil {
		return false, err
	}
	if err := r.heedJob(r.it); err != nil {
		return false, err
	}
	p := newPiece(r.done.NextOffset)
	leave, err := r.isolate(p)
	if err != nil {
		return false, err
	}
	defer leave()
	if err := p.run(ctx, s, before); err != nil {
		return false, err
	}
	leave()
	if adopted, err = r.put(ctx, s, p); err != nil {
		return false, err
	}
	r.forgive(context.WithoutCancel(ctx), r.it, false)
	return adopted, nil
}

// put writes the piece's chunk.
func (r *reach) put(ctx context.Context, s *stream, p *rangePiece) (adopted bool, err error) {
	j := r.it.request.Job
	chunk := job.Chunk{Output: p.body, Errors: p.errors}
	if s.results != nil {
		chunk.Output, chunk.ContentType = s.results.Cut(p.body), s.results.ContentType()
	}
	if r.it.model != nil {
		chunk.Model, chunk.ModelVersion = r.it.model.Name(), r.it.model.Version()
	}
	progress := job.Progress{
		NextOffset: p.end, Done: p.over, Records: r.done.Records + s.good + s.bad, Bad: r.done.Bad + s.bad,
	}
	ours, fence := false, r.fence(r.it)
	err = r.store.try(ctx, r.cfg.callLimit(), terminal.Write, r.cfg.Locations.State, func(ctx context.Context) error {
		if err := fence(r.cfg.callLimit()); err != nil {
			return fmt.Errorf("%w: %w", terminal.ErrLeaseEnds, err)
		}
		there, mine, err := r.chunks.PutChunk(ctx, j.ID, j.Part, r.seq, chunk, progress)
		if err == nil {
			r.done, ours = there, mine
		}
		return terminal.Unwritable(err)
	})
	if err != nil {
		return false, err
	}
	if ours {
		s.count()
	}
	r.seq++
	r.it.spent.Records, r.it.spent.BadRecords = r.done.Records, r.done.Bad
	return r.done.NextOffset != p.end || r.done.Done != p.over, nil
}

// What a suspect's pieces are bounded by. A range that was under way when a
// process died may hold the record that killed it, and the strike that each
// piece leaves while it runs tells where. A piece that was struck is gone
// through again alone, in short pieces; one of these that was, record by record;
// and a record that was, twice, is not run any more.
const (
	suspectBytes = 1 << 20 // of input
	shortPiece   = 64      // records
)

// isolate waits until the piece may run next to what else runs, and of a
// suspect bounds it and marks it by a strike.
func (r *reach) isolate(p *rangePiece) (leave func(), err error) {
	it := r.it
	if !it.suspect {
		return r.among(it)
	}
	it.spot = strconv.FormatInt(p.end, 10)
	if r.looked {
		it.history.group, it.history.solo = 0, 0 // those were of where it was taken on
	} else if err := r.confront(it); err != nil {
		return nil, err
	}
	r.looked = true
	switch {
	case it.history.solo >= maxSolo:
		p.poison = &codec.Error{
			Code:    request.CodePoison,
			Message: fmt.Sprintf("the worker's process ended %d times while it ran this record: it is not run again", it.crashes()),
			Hint:    "look at the worker's log and the record",
		}
		return func() {}, nil
	case it.history.solo > 0:
		r.careful, r.single = p.end+suspectBytes, shortPiece
	case it.history.group > 0:
		r.careful = p.end + suspectBytes
	}
	it.careful = p.end < r.careful
	switch {
	case r.single > 0:
		r.single--
		p.records = 1
	case it.careful:
		p.records = shortPiece
	default:
		p.to = p.end + suspectBytes
	}
	return r.apart(it)
}

// changed is the problem of a range whose file is another one by now.
func (r *reach) changed(err error) error {
	if !errors.Is(err, errInputChanged) {
		return err
	}
	return &request.Problem{
		Code: request.CodeChanged, Stage: request.StageFetch,
		Message: fmt.Sprintf("%s was overwritten after the job was planned: its ranges are no longer those of the file", r.it.request.Input),
		Hint:    "submit a job for the file that is there now, and leave it as it is until the job has ended",
	}
}
