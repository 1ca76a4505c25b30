package worker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/job"
)

// rangeFile reads the records of a range that are not done yet. Of a file of
// lines it goes on behind the range to the end of the last one that began in it.
type rangeFile struct {
	io.Reader // what the codec is to read
	excerpt   codec.Excerpt
	empty     bool // there are no records

	parts *lineEnd
}

// Close ends the reading.
func (f *rangeFile) Close() {
	if f.parts != nil {
		f.parts.segments.Close()
	}
}

// tailStep is how much is read at a time behind a range, in bytes.
const tailStep = 64 << 10

// open opens the file at the range's next record, and learns from it what only
// the object can tell.
func (r *reach) open(ctx context.Context) (*rangeFile, error) {
	g, from := r.it.request.Job.Range, r.done.NextOffset
	lines := r.of.SplitType == job.SplitLine
	f := &rangeFile{excerpt: codec.Excerpt{From: from, Type: r.cutAs()}}
	inLine := lines && g.From > 0 && from == g.From // where the first record begins is not known yet
	switch {
	case g.From == 0: // it may be compressed, or have a header
		f.excerpt.Whole = from > 0
		from = 0
	case inLine:
		from-- // a line end there says that one begins
	case from >= g.To:
		f.empty = true
		return f, nil
	}
	first, err := r.begin(ctx, from, min(segmentSize, g.To-from))
	if err != nil {
		return nil, err
	}
	f.parts = &lineEnd{segments: r.newSegments(ctx, r.it, first, from, g.To), lines: lines, behind: func() *segments {
		return r.newSegmentsOf(ctx, r.it, nil, g.To, max(g.To, r.it.input.Size), tailStep)
	}}
	if err := r.enter(ctx, f, inLine, from); err != nil {
		f.Close()
		return nil, r.changed(err)
	}
	return f, nil
}

// cutAs is the media type of what the planner took the file for, as it tells of
// a range that does not begin it.
func (r *reach) cutAs() string {
	switch {
	case r.of.SplitType == job.SplitTFRecord:
		return "application/x-tfrecord"
	case r.it.request.Job.Range.Header > 0:
		return "text/csv"
	}
	return "application/jsonlines"
}

// enter goes to the first record, and puts the file's header before it.
func (r *reach) enter(ctx context.Context, f *rangeFile, inLine bool, from int64) error {
	content := bufio.NewReaderSize(f.parts, tailStep)
	if inLine {
		// Not behind the range: where no line ends in it, no record begins in it.
		f.parts.lines = false
		n, err := skipLine(content)
		if f.empty = errors.Is(err, io.EOF); f.empty {
			return nil
		}
		if err != nil {
			return err
		}
		f.parts.lines = true
		f.excerpt.From = from + n
	}
	_, err := content.Peek(1)
	f.empty = errors.Is(err, io.EOF)
	f.Reader = changing{content, r}
	if g := r.it.request.Job.Range; g.Header > 0 && g.From > 0 {
		header, err := r.readFrom(ctx, r.it, 0, g.Header)
		if err != nil {
			return err
		}
		f.excerpt.Header = true
		f.Reader = io.MultiReader(bytes.NewReader(header), f.Reader)
	}
	return nil
}

// begin reads the first bytes of what is to be read, and learns from the object
// what it says of itself.
func (r *reach) begin(ctx context.Context, from, length int64) (body []byte, err error) {
	ref := r.it.request.Input
	err = r.store.try(ctx, fetchLimit(length), verbFetch, ref, func(ctx context.Context) error {
		o, err := r.cfg.Store.Get(ctx, ref, storage.GetOptions{IfMatch: r.it.input.ETag, Offset: from, Length: length})
		if err != nil {
			return err
		}
		defer o.Body.Close()
		if o.Size < from+length {
			return storage.ErrPrecondition // it is shorter than it was
		}
		body = make([]byte, length)
		if _, err = io.ReadFull(o.Body, body); err == nil {
			r.it.input = o.Info
		}
		return err
	})
	switch {
	case errors.Is(err, storage.ErrPrecondition):
		return nil, r.changed(fmt.Errorf("%w: %s", errInputChanged, ref))
	case err != nil:
		return nil, r.unreadable(r.it, err)
	case r.it.model != nil: // it has been learned before
		return body, nil
	}
	return body, r.learn(r.it)
}

// skipLine reads to behind the next line end. Where there is none, the error is
// io.EOF.
func skipLine(from *bufio.Reader) (n int64, err error) {
	for {
		line, err := from.ReadSlice('\n')
		n += int64(len(line))
		if !errors.Is(err, bufio.ErrBufferFull) {
			return n, err
		}
	}
}

// lineEnd reads segments and, where they end within a line, on to its end.
type lineEnd struct {
	segments *segments
	lines    bool
	behind   func() *segments // what follows
	tail     bool             // segments are those behind
	last     byte             // that was read
	over     bool
}

// Read implements io.Reader.
func (l *lineEnd) Read(b []byte) (int, error) {
	if l.over {
		return 0, io.EOF
	}
	n, err := l.segments.Read(b)
	if i := bytes.IndexByte(b[:n], '\n'); l.tail && i >= 0 {
		l.over = true
		return i + 1, nil
	}
	if n > 0 {
		l.last = b[n-1]
	}
	if !errors.Is(err, io.EOF) || n > 0 || l.tail || !l.lines || l.last == '\n' {
		return n, err
	}
	l.segments.Close()
	l.segments, l.tail = l.behind(), true
	return l.Read(b)
}

// changing tells a file that was overwritten by the problem of its range.
type changing struct {
	io.Reader
	of *reach
}

// Read implements io.Reader.
func (c changing) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = c.of.changed(err)
	}
	return n, err
}
