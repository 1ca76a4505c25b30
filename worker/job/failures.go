package job

import (
	"context"
	"encoding/json"
	"iter"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Failures yields what failed in a job so far, in the order of keys, from its
// failure objects: those of requests, and of files of records.
func (b *Books) Failures(ctx context.Context, id string) iter.Seq2[Failing, error] {
	return func(yield func(Failing, error) bool) {
		_, folder := b.Locations.JobFolders(id)
		for info, err := range b.Store.List(ctx, folder, "") {
			if err != nil {
				yield(Failing{}, err)
				return
			}
			f, err := readFailure(ctx, b.Store, info.Ref)
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

func readFailure(ctx context.Context, s storage.Reader, ref storage.Ref) (Failing, error) {
	body, err := read(ctx, s, ref, storage.GetOptions{})
	if err != nil {
		return Failing{}, err
	}
	f := Failing{Failure: ref.String()}
	var said request.Failure
	if json.Unmarshal(body, &said) == nil { // another's object is told by its URI alone
		f.Input, f.Code, f.Message = said.Input, said.Error.Code, said.Error.Message
	}
	return f, nil
}
