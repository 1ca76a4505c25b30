package job

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

// Chunk is the results of consecutive records of a range.
type Chunk struct {
	Output      []byte // what the output file will have of them, each line with its end
	Errors      []byte // a line for each bad record: see AppendError
	ContentType string // of the output file
	// Model and ModelVersion are what made it: the output file's metadata says
	// those of its first chunk.
	Model        string
	ModelVersion string
}

// Progress is how far a range is done, at the end of a chunk. It counts from
// the range's beginning, over all its chunks.
type Progress struct {
	// NextOffset is where the next record begins: its byte in the file, or of
	// gzip in what it holds.
	NextOffset int64
	Done       bool  // this is the last chunk of the range, which has one even when it has no record
	Records    int64 // good and bad
	Bad        int64
}

// Chunks are the results of ranges, written as the work goes on. A worker that
// takes a range on asks Last, goes on at its NextOffset with the next seq, and
// puts chunks of some megabytes (from 5 MiB of output on they can be copied into
// the output file without being read), in their order.
type Chunks struct {
	Store     storage.Store
	Locations request.Locations
}

// Metadata of a chunk.
const (
	metaErrorsAt = "penstock-errors-at" // where in the body the lines of errors begin
	metaNext     = "penstock-next-offset"
	metaDone     = "penstock-done"
	metaRecords  = "penstock-records"
	metaBad      = "penstock-bad-records"
	metaModel    = "penstock-model-name"
	metaVersion  = "penstock-model-version"
)

// PutChunk writes the chunk number seq, from 0, of a part. p is how far the
// range is done with it. Where that chunk is there already, another worker (or a
// call whose reply was lost) was first and its chunk counts: ours is false, and
// adopted is how far the range is done with it. Who finds adopted.NextOffset to
// be another than its own goes on from there.
func (c Chunks) PutChunk(ctx context.Context, id string, part, seq int, chunk Chunk, p Progress) (adopted Progress, ours bool, err error) {
	ref := booksOf(c.Locations, id).chunk(part, seq)
	body := make([]byte, 0, len(chunk.Output)+len(chunk.Errors))
	body = append(append(body, chunk.Output...), chunk.Errors...)
	metadata := map[string]string{
		metaErrorsAt: strconv.Itoa(len(chunk.Output)),
		metaNext:     strconv.FormatInt(p.NextOffset, 10),
		metaDone:     strconv.FormatBool(p.Done),
		metaRecords:  strconv.FormatInt(p.Records, 10),
		metaBad:      strconv.FormatInt(p.Bad, 10),
	}
	for name, v := range map[string]string{metaModel: chunk.Model, metaVersion: chunk.ModelVersion} {
		if v != "" {
			metadata[name] = v
		}
	}
	created, err := putNew(ctx, c.Store, ref, body, storage.PutOptions{ContentType: chunk.ContentType, Metadata: metadata})
	if err != nil || created {
		return p, created, err
	}
	info, err := c.Store.Head(ctx, ref)
	if err != nil {
		return p, false, err
	}
	head, err := parseHead(info)
	return head.Progress, false, err
}

// Last finds the last chunk of a part. ok is false when there is none: the range
// begins at its From.
func (c Chunks) Last(ctx context.Context, id string, part int) (seq int, p Progress, ok bool, err error) {
	var last storage.Ref
	for info, err := range c.Store.List(ctx, booksOf(c.Locations, id).chunks(part), "") {
		if err != nil {
			return 0, p, false, err
		}
		last = info.Ref
	}
	if last.Key == "" {
		return 0, p, false, nil
	}
	if _, seq, err = parseChunk(last); err != nil {
		return 0, p, false, err
	}
	info, err := c.Store.Head(ctx, last)
	if err != nil {
		return 0, p, false, err
	}
	head, err := parseHead(info)
	return seq, head.Progress, err == nil, err
}

// chunkHead is what a chunk's metadata says of it.
type chunkHead struct {
	Progress
	errorsAt int64 // bytes of output
	info     storage.Info
}

func parseHead(info storage.Info) (chunkHead, error) {
	h := chunkHead{info: info}
	var errs [5]error
	h.errorsAt, errs[0] = strconv.ParseInt(info.Metadata[metaErrorsAt], 10, 64)
	h.NextOffset, errs[1] = strconv.ParseInt(info.Metadata[metaNext], 10, 64)
	h.Done, errs[2] = strconv.ParseBool(info.Metadata[metaDone])
	h.Records, errs[3] = strconv.ParseInt(info.Metadata[metaRecords], 10, 64)
	h.Bad, errs[4] = strconv.ParseInt(info.Metadata[metaBad], 10, 64)
	for _, err := range errs {
		if err != nil {
			return h, fmt.Errorf("%s: its metadata is not that of a chunk: %w", info.Ref, err)
		}
	}
	if h.errorsAt < 0 || h.errorsAt > info.Size {
		return h, fmt.Errorf("%w: %s: its errors begin at byte %d of %d", fs.ErrInvalid, info.Ref, h.errorsAt, info.Size)
	}
	return h, nil
}
