package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// lineCutter cuts at line ends.
type lineCutter struct{}

func (lineCutter) size(window []byte, seen int) (int, *fault) {
	if n := bytes.IndexByte(window[seen:], '\n'); n >= 0 {
		return seen + n + 1, nil
	}
	return 0, nil
}

func (lineCutter) record(line []byte) ([]byte, *fault) {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, newline), []byte{'\r'}), nil
}

func (c lineCutter) rest(line []byte) ([]byte, *fault) { return c.record(line) }

// csvCutter cuts at the line ends that are not within quotes. As in RFC 4180 a
// quote opens at the beginning of a field only, so that one that strayed into
// a field spoils no other line.
type csvCutter struct {
	lineCutter
	limit  int // of what may be between two quotes
	state  csvState
	quoted int // bytes since the quote that is open
}

// csvState is where in a record the next byte is.
type csvState int

const (
	fieldStart csvState = iota
	inField
	inQuotes
	behindQuote // that closed the field, or is the first of two
)

func (c *csvCutter) size(window []byte, seen int) (int, *fault) {
	// end is behind the next line end. It is looked for once a line, and not once
	// a quote: of a long line that would take hours.
	i, end := seen, seen
	for i < len(window) {
		if c.state == inQuotes {
			n := bytes.IndexByte(window[i:], '"')
			if n < 0 {
				n = len(window) - i
			} else {
				c.state = behindQuote
				n++
			}
			i += n
			if c.quoted += n; c.quoted > c.limit+1 {
				return 0, c.neverClosed()
			}
			continue
		}
		if c.state == behindQuote && window[i] == '"' { // the second of two
			c.state = inQuotes
			c.quoted++
			i++
			continue
		}
		if end <= i {
			end = len(window)
			if n := bytes.IndexByte(window[i:], '\n'); n >= 0 {
				end = i + n + 1
			}
		}
		if c.state != behindQuote && bytes.IndexByte(window[i:end], '"') < 0 {
			c.state = inField
			if window[end-1] == ',' {
				c.state = fieldStart
			}
			i = end
		} else {
			i = c.fields(window, i, end)
		}
		if i > seen && window[i-1] == '\n' && c.state != inQuotes {
			c.state, c.quoted = fieldStart, 0
			return i, nil
		}
	}
	return 0, nil
}

// fields goes on from window[i] to the end of the line, or to behind the quote
// that opens a field.
func (c *csvCutter) fields(window []byte, i, end int) int {
	for ; i < end; i++ {
		switch b := window[i]; {
		case b == ',':
			c.state = fieldStart
		case b == '"' && c.state == fieldStart:
			c.state, c.quoted = inQuotes, 0
			return i + 1
		default:
			c.state = inField
		}
	}
	return i
}

func (c *csvCutter) neverClosed() *fault {
	return &fault{
		code: CodeMalformed,
		text: fmt.Sprintf(": a quote is not closed within the %d bytes that a record may have: where the next record begins can't be told", c.limit),
		hint: `double the quotes that a field holds: "say ""hi"""`,
	}
}

// tfrecordCutter cuts at the ends that a TFRecord's frames say.
type tfrecordCutter struct{}

func (tfrecordCutter) size(window []byte, _ int) (int, *fault) {
	if len(window) < tfrecordHead {
		return tfrecordHead + tfrecordTail, nil // at least
	}
	if !lengthIsSound(window) {
		return 0, &fault{
			code: CodeMalformed,
			text: ": the checksum of its length is wrong: the file is damaged, or no TFRecord file",
			hint: "write it with tf.io.TFRecordWriter, uncompressed or with GZIP",
		}
	}
	return int(tfrecordSize(window)), nil
}

// tfrecordSize is how many bytes a record takes whose head is there.
func tfrecordSize(framed []byte) uint64 {
	return tfrecordHead + min(binary.LittleEndian.Uint64(framed), 1<<62) + tfrecordTail
}

func (tfrecordCutter) record(framed []byte) ([]byte, *fault) {
	end := len(framed) - tfrecordTail
	record := framed[tfrecordHead:end:end]
	if maskedChecksum(record) != binary.LittleEndian.Uint32(framed[end:]) {
		return record, &fault{code: CodeMalformed, text: ": its checksum is wrong", hint: "write the file anew: it is damaged"}
	}
	return record, nil
}

func (tfrecordCutter) rest(framed []byte) ([]byte, *fault) {
	size := uint64(tfrecordHead + tfrecordTail)
	if len(framed) >= tfrecordHead {
		size = tfrecordSize(framed)
	}
	return nil, truncated(size, len(framed))
}

// truncated is the fault of a TFRecord that should have size bytes.
func truncated(size uint64, there int) *fault {
	return &fault{
		code: CodeMalformed,
		text: fmt.Sprintf(": it should have %d bytes with its checksums, but the file ends after %d", size, there),
		hint: "check that the upload was complete",
	}
}
