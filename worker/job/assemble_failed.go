package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// NothingGood says of an input that all of its n records are bad, and leads over
// to what is wrong with the first.
func NothingGood(n int64) string {
	if n == 1 {
		return "its only record is bad"
	}
	return fmt.Sprintf("all of the %d records are bad; the first is", n)
}

// nothingGood is the problem of a file of which all records are bad: mostly it is
// the job that asks for the wrong thing.
func (a *assembly) nothingGood() request.Problem {
	return request.Problem{
		Code: a.first.Code, Stage: request.StageDecode,
		Message: fmt.Sprintf("%s: record %d (at byte %d): %s", NothingGood(a.total.Bad), a.first.Record, a.first.Offset, a.first.Message),
		Hint:    cmp.Or(a.first.Hint, "correct the file, or what the job asks for, and submit it in a new job"),
	}
}

// gone is the end of a file whose chunks were deleted: they were not needed any
// more if its output is there.
func (a *assembly) gone(ctx context.Context) (fileSums, error) {
	info, err := a.Store.Head(ctx, a.output)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileSums{}, err
	}
	if p, ok := request.ParseProvenance(info.Metadata); ok && p.Identity == a.whole.IdentifyUnread() {
		return fileSums{Counts: Counts{Succeeded: 1}, Records: p.Records, Bad: p.BadRecords, Outputs: []string{a.output.String()}}, nil
	}
	return fileSums{Counts: Counts{Failed: 1}}, a.fail(ctx, request.Problem{
		Code: request.CodeInternal, Stage: request.StageStore,
		Message: fmt.Sprintf("results of the file are not in %s any more: they were deleted before its output was put together", booksOf(a.Locations, a.spec.ID).allChunks()),
		Hint:    "submit the file in a new job, and let no rule of the bucket delete what is younger than a job",
	})
}

// fail sees that the file has its failure object: the worker's that met the
// fault, or else one of p.
func (a *assembly) fail(ctx context.Context, p request.Problem) error {
	identity := a.whole.IdentifyUnread()
	ref := a.Locations.FailureOf(a.whole)
	f := request.Failure{
		Error: p, InferenceID: a.whole.InferenceID(identity), Input: a.file.Input, Model: a.spec.Model, Attempts: 1, Time: a.now(),
	}
	metadata := request.Provenance{
		Identity: identity, InferenceID: f.InferenceID, Input: a.whole.Input, InputETag: a.file.ETag, Attempts: 1,
	}.Metadata(ref)
	_, err := putNew(ctx, a.Store, ref, f.JSON(), storage.PutOptions{ContentType: jsonType, Metadata: metadata})
	return err
}
