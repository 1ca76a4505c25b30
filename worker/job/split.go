package job

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/codec"
)

// splitter divides files of records into ranges.
type splitter struct {
	store    storage.Reader
	spec     Spec
	progress func(file storage.Ref, read, size int64) // of a pass over a file; may be nil
}

// headBytes are enough to tell what a file is.
const headBytes = 4 << 10

// absentETag is that of a file which a manifest names and which is not there:
// the worker finds that out again, and writes its failure object.
const absentETag = "absent"

// open looks at a file. ok is false for one that is empty: it has no records.
func (s *splitter) open(ctx context.Context, info storage.Info) (o open, ok bool, err error) {
	asked := info.Ref // of which the version is in what is found, where a bucket keeps versions
	name := storage.Ref{Bucket: asked.Bucket, Key: asked.Key}
	if info.ETag == "" || info.Size > s.spec.rangeBytes(info.Size) {
		err := patiently(ctx, func() (err error) {
			info, err = s.store.Head(ctx, asked)
			return err
		})
		if errors.Is(err, fs.ErrNotExist) {
			return open{file: file{Input: name.String(), Version: asked.Version, Size: 1, ETag: absentETag}}, true, nil
		}
		if err != nil {
			return open{}, false, err
		}
	}
	o.file = file{
		Input: name.String(), Version: asked.Version,
		Size: info.Size, ETag: info.ETag, Modified: info.Modified, Type: info.ContentType, Encoding: info.ContentEncoding,
	}
	return o, info.Size > 0, nil
}

// split gives the ranges of a file from o.Offset on, in their order.
func (s *splitter) split(ctx context.Context, o open, give func(to, header int64) error) error {
	if o.Size <= s.spec.rangeBytes(o.Size) {
		return give(o.Size, 0)
	}
	ref, err := o.ref()
	if err != nil {
		return err
	}
	info := storage.Info{Ref: ref, ETag: o.ETag, Size: o.Size}
	cut, err := s.kind(ctx, o, info)
	switch {
	case err != nil:
		return err
	case cut == cutNowhere:
		return give(o.Size, 0)
	case cut == cutAnywhere:
		for from := o.Offset; from < o.Size; {
			from = min(from+s.spec.rangeBytes(o.Size), o.Size)
			if err := give(from, 0); err != nil {
				return err
			}
		}
		return nil
	}
	return s.pass(ctx, o, info, cut, give)
}

// cut is where a file of some kind may be cut.
type cut int

const (
	cutNowhere  cut = iota // compressed: it can't be entered in the middle
	cutAnywhere            // JSON lines: the worker finds the first line of a range
	cutCSV                 // where records end, which only who reads from the start can tell
	cutTFRecord
)

// gone says that a file is not there any more as it was found. What has not been
// cut of it is one range then: its worker finds out the same and writes the
// file's failure object, and no other file is hurt.
func gone(err error) bool {
	return errors.Is(err, storage.ErrPrecondition) || errors.Is(err, fs.ErrNotExist)
}

// kind tells what a file is by its type, its name and its beginning.
func (s *splitter) kind(ctx context.Context, o open, info storage.Info) (cut, error) {
	var head []byte
	err := patiently(ctx, func() (err error) {
		head, err = read(ctx, s.store, info.Ref, storage.GetOptions{IfMatch: info.ETag, Length: headBytes})
		return err
	})
	switch {
	case gone(err):
		return cutNowhere, nil
	case err != nil:
		return 0, err
	case codec.IsGzip(head) || strings.EqualFold(o.Encoding, "gzip"):
		return cutNowhere, nil
	case s.spec.SplitType == SplitTFRecord:
		return cutTFRecord, nil
	case codec.IsCSV(head, codec.Source{ContentType: cmp.Or(s.spec.ContentType, o.Type), Name: info.Ref.Key}):
		return cutCSV, nil
	}
	return cutAnywhere, nil
}

// pass reads a file from o.Offset, where a record begins, and cuts it where
// records end.
func (s *splitter) pass(ctx context.Context, o open, info storage.Info, kind cut, give func(to, header int64) error) error {
	r := newRanges(ctx, s.store, info, o.Offset, o.Size)
	open := codec.CutCSV
	if kind == cutTFRecord {
		open = codec.CutTFRecord
	}
	cuts := open(r)
	from, header := o.Offset, o.Header
	begun := from > 0 // the first range has a record behind the header: who runs it writes that of the results
	told := r.next
	for {
		n, err := cuts.Next()
		to := o.Offset + n
		if _, damaged := errors.AsType[*codec.Error](err); damaged || gone(err) || err == io.EOF {
			// Behind the damage no record can be found: the worker comes to it in
			// the last range, and says so.
			if from == o.Size {
				return nil
			}
			return give(o.Size, header)
		}
		if err != nil {
			return err
		}
		if s.progress != nil && r.next != told {
			told = r.next
			s.progress(info.Ref, told, o.Size)
		}
		switch {
		case cuts.Blank():
		case kind == cutCSV && header == 0:
			header = to
		default:
			begun = true
		}
		if begun && to-from >= s.spec.rangeBytes(o.Size) {
			if err := give(to, header); err != nil {
				return err
			}
			from = to
		}
	}
}
