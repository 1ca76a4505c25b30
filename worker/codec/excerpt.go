package codec

import (
	"io"
	"slices"
)

// Excerpt says that what is read is a part of a file of records, which begins
// at a record. Its records are told by the byte that they begin at, not by
// numbers, and it may have none. It is read as records, whatever a whole file
// that begins so would be taken for, and a record is good or bad whatever those
// before it are: nobody knows where the reading began.
type Excerpt struct {
	// From is where it begins in the file, in bytes; of a compressed file, in
	// what that holds.
	From int64
	// Header says that the reader gives the file's first record before: it
	// may be a CSV header, and if it is none it is passed over.
	Header bool
	// Type is the media type of the file, as far as its records go: it counts
	// where nothing else says what they are and the beginning is not there to tell.
	Type string
	// Whole says that the reader gives the file from its beginning: what is
	// before From is passed over. A compressed file can't be entered otherwise.
	Whole bool
}

// fromStart says whether the reader gives the beginning of a file.
func (e *Excerpt) fromStart() bool { return e == nil || e.From == 0 || e.Header || e.Whole }

// plain says that the reader gives something that is not compressed, even if it
// begins like that.
func (e *Excerpt) plain() bool { return e != nil && e.From > 0 && !e.Whole }

// begins is the format that a file begins like, of which body is read.
func (e *Excerpt) begins(body []byte) *format {
	if e.plain() && e.Type != "" {
		return formatWith(func(f *format) bool { return slices.Contains(f.mediaTypes, e.Type) })
	}
	return sniffed(body)
}

// enter goes to where an excerpt begins.
func (r *Records) enter(e *Excerpt) error {
	if e == nil || e.From == 0 {
		return nil
	}
	file := r.reader.frames
	if e.Header || e.Whole {
		first, err := file.next()
		for err == nil && first.blank() {
			first, err = file.next()
		}
		if err != nil && err != io.EOF {
			return err
		}
		if err == nil {
			isRow, f := (&chunk{rows: newRows(r.reader.sig)}).add(r.reader, first)
			if f != nil && f.fatal {
				return f.in(first.at)
			}
			if f == nil && !isRow {
				r.noteHeader(first)
			}
		}
	}
	if !e.Whole {
		file.at.offset = e.From
		return nil
	}
	for file.at.offset < e.From {
		if len(file.window()) == 0 {
			if file.err != nil {
				break // Next tells
			}
			file.fill()
		}
		file.drop(int(min(int64(len(file.window())), e.From-file.at.offset)))
	}
	return nil
}

// ofRecords is the format that an excerpt has whose content is f: of JSON, it
// is a value a line.
func (f *format) ofRecords() *format {
	if slices.Contains(f.mediaTypes, "application/json") {
		return formatWith(func(f *format) bool { return slices.Contains(f.mediaTypes, jsonLinesTypes[0]) })
	}
	return f
}
