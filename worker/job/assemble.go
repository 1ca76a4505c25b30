package job

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// abortLimit bounds the call that frees the parts of an upload.
const abortLimit = 30 * time.Second

// filesAtATime are assembled by one process at a time.
const filesAtATime = 8

// assembleAll gives every file its terminal object. ended are the ranges that
// did not succeed.
func (b *Books) assembleAll(ctx context.Context, spec Spec, files []file, ended fates) (fileSums, error) {
	if len(files) == 0 {
		return fileSums{}, nil
	}
	first, last := files[0].Part, files[0].Part
	for _, f := range files {
		first, last = min(first, f.Part), max(last, f.Part+f.Parts-1)
	}
	chunks, err := listChunks(ctx, b.Store, booksOf(b.Locations, spec.ID), first, last)
	if err != nil {
		return fileSums{}, err
	}
	sums := make([]fileSums, len(files))
	g, doing := errgroup.WithContext(ctx)
	g.SetLimit(filesAtATime)
	for i, f := range files {
		g.Go(func() (err error) {
			a := assembly{Books: b, spec: spec, file: f, chunks: chunks, ended: ended}
			sums[i], err = a.run(doing)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fileSums{}, err
	}
	var all fileSums
	for _, s := range sums {
		all = all.plus(s)
	}
	return all, nil
}

// listChunks are the chunks of the parts first to last, by part and in order: of
// each up to the first that is missing, because it was deleted.
func listChunks(ctx context.Context, s storage.Reader, at books, first, last int) (map[int][]storage.Info, error) {
	chunks := map[int][]storage.Info{}
	for info, err := range s.List(ctx, at.allChunks(), at.chunks(first).Key) {
		if err != nil {
			return nil, err
		}
		part, seq, err := parseChunk(info.Ref)
		if err != nil {
			return nil, err
		}
		if part > last {
			break
		}
		if seq == len(chunks[part]) {
			chunks[part] = append(chunks[part], info)
		}
	}
	return chunks, nil
}

// assembly is a file of records on its way to its terminal object.
type assembly struct {
	*Books
	spec   Spec
	file   file
	chunks map[int][]storage.Info
	ended  fates

	whole  request.Request
	output storage.Ref
	heads  []chunkHead // of all chunks, in order
	bases  []int64     // records before the range of each
	total  Progress    // of all
	bytes  int64
	first  *RecordError // of the bad ones; nil when there is none
}

// run gives the file its terminal object: its output and its errors; or, where a
// range failed, the failure object, if it is not there; or, where one was
// cancelled, what there is of the output.
func (a *assembly) run(ctx context.Context) (fileSums, error) {
	var err error
	if a.whole, err = a.file.request(a.spec.ID); err != nil {
		return fileSums{}, err
	}
	a.output = a.Locations.OutputOf(a.whole)
	fate := a.fate()
	if fate == Failed {
		return fileSums{Counts: Counts{Failed: 1}}, a.fail(ctx, request.Problem{
			Code: request.CodeInternal, Stage: request.StageStore,
			Message: "a part of the file failed, and what it said of that is gone",
			Hint:    "run it again: penstock batch resume -failed " + a.spec.ID,
		})
	}
	whole, err := a.look(ctx)
	if err != nil {
		return fileSums{}, err
	}
	if !whole && fate == Succeeded {
		return a.gone(ctx)
	}
	if a.Reserve != nil {
		release, err := a.Reserve(ctx, a.memory())
		if err != nil {
			return fileSums{}, err
		}
		defer release()
	}
	sums, err := a.assemble(ctx, fate)
	if errors.Is(err, fs.ErrInvalid) { // it would be so for ever
		return fileSums{Counts: Counts{Failed: 1}}, a.fail(ctx, request.Problem{
			Code: request.CodeOutputTaken, Stage: request.StageStore,
			Message: fmt.Sprintf("the results can't be put together: %v", err), Hint: "give the file another key",
		})
	}
	return sums, err
}

// memory is how many bytes of the file are in memory at a time, at most: the part
// that is being filled, and beside it a chunk's errors, or what is copied where
// the store can't copy by itself.
func (a *assembly) memory() int64 {
	largest := int64(0)
	for _, h := range a.heads {
		largest = max(largest, h.info.Size)
	}
	return min(a.bytes, max(partSize, leastPart(a.bytes))+copiesInFlight*largest)
}

// assemble writes what the chunks hold.
func (a *assembly) assemble(ctx context.Context, fate Fate) (fileSums, error) {
	sums := fileSums{Records: a.total.Records, Bad: a.total.Bad}
	if err := a.writeErrors(ctx); err != nil {
		return fileSums{}, err
	}
	if fate == Cancelled {
		sums.Cancelled = 1
		return sums, a.write(ctx, PartialOf(a.output), storage.PutOptions{})
	}
	if a.first != nil && a.total.Bad == a.total.Records { // as an object of bad records only is
		sums.Failed = 1
		return sums, errors.Join(
			a.fail(ctx, a.nothingGood()),
			a.Store.Delete(ctx, PartialOf(a.output), storage.DeleteOptions{}),
		)
	}
	taken, err := a.writeOutput(ctx)
	switch {
	case err != nil:
		return fileSums{}, err
	case taken:
		return fileSums{Counts: Counts{Failed: 1}}, a.fail(ctx, request.Problem{
			Code: request.CodeOutputTaken, Stage: request.StageStore,
			Message: fmt.Sprintf("another object is at %s", a.output), Hint: "submit the job with another id",
		})
	}
	sums.Succeeded, sums.Outputs = 1, []string{a.output.String()}
	// What an earlier run of the job left of this file does not count any more.
	return sums, errors.Join(
		a.Store.Delete(ctx, a.Locations.FailureOf(a.whole), storage.DeleteOptions{}),
		a.Store.Delete(ctx, PartialOf(a.output), storage.DeleteOptions{}),
	)
}

// fate is the worst of the file's ranges.
func (a *assembly) fate() Fate {
	worst := Succeeded
	for part := a.file.Part; part < a.file.Part+a.file.Parts; part++ {
		switch a.ended[part] {
		case Failed:
			return Failed
		case Cancelled:
			worst = Cancelled
		}
	}
	return worst
}

// look reads what the chunks say of themselves, as far as they follow one
// another without a gap. whole says that there is none.
func (a *assembly) look(ctx context.Context) (whole bool, err error) {
	for part := a.file.Part; part < a.file.Part+a.file.Parts; part++ {
		for _, info := range a.chunks[part] {
			a.heads = append(a.heads, chunkHead{info: info})
		}
	}
	g, looking := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for i := range a.heads {
		g.Go(func() error {
			info, err := a.Store.Head(looking, a.heads[i].info.Ref)
			if err == nil {
				a.heads[i], err = parseHead(info)
			}
			if i > 0 { // the first one's is the output's; of a terabyte there are a hundred thousand
				a.heads[i].info.Metadata = nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	next := 0
	for part := a.file.Part; part < a.file.Part+a.file.Parts; part++ {
		base := a.total
		var last Progress
		for range a.chunks[part] {
			last = a.heads[next].Progress
			a.bases = append(a.bases, base.Records)
			a.bytes += a.heads[next].info.Size
			next++
		}
		a.total.Records, a.total.Bad = base.Records+last.Records, base.Bad+last.Bad
		if !last.Done {
			a.heads = a.heads[:next]
			return false, nil
		}
	}
	return true, nil
}

// writeOutput writes the output where none is. taken says that something else
// is there.
func (a *assembly) writeOutput(ctx context.Context) (taken bool, err error) {
	p := request.Provenance{
		Identity: a.whole.IdentifyUnread(), Input: a.whole.Input, InputETag: a.file.ETag,
		Records: a.total.Records, BadRecords: a.total.Bad, Attempts: 1,
	}
	p.InferenceID = a.whole.InferenceID(p.Identity)
	if len(a.heads) > 0 {
		made := a.heads[0].info.Metadata
		p.Model, p.ModelVersion = made[metaModel], made[metaVersion]
	}
	opts := storage.PutOptions{IfNoneMatch: true, Metadata: p.Metadata(a.output)}
	if a.bytes > partSize { // it is worth a call to find that another has done it
		if ours, there, err := a.there(ctx, p.Identity); err != nil || there {
			return there && !ours, err
		}
	}
	for n := 0; ; n++ {
		err := a.write(ctx, a.output, opts)
		switch {
		case errors.Is(err, storage.ErrPrecondition), a.bytes > partSize && errors.Is(err, fs.ErrNotExist):
			// The second is of an upload that is complete already.
			ours, there, lookErr := a.there(ctx, p.Identity)
			if lookErr != nil || there {
				return there && !ours, lookErr
			}
			return false, err
		case errors.Is(err, storage.ErrConflict) && n < conflicts:
			if err := pause(ctx, conflictWait); err != nil {
				return false, err
			}
		default:
			return false, err
		}
	}
}

// there says whether an object is at the output's key, and whether it is this
// file's.
func (a *assembly) there(ctx context.Context, identity request.Identity) (ours, there bool, err error) {
	info, err := a.Store.Head(ctx, a.output)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	p, ok := request.ParseProvenance(info.Metadata)
	return ok && p.Identity == identity, err == nil, err
}
