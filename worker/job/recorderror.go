package job

import (
	"bytes"
	"encoding/json"
)

// RecordError is one line of the error file beside an output.
type RecordError struct {
	Record  int64  `json:"record"` // its number in the file, from 1; in a Chunk: in the range
	Offset  int64  `json:"offset"` // its first byte in the file, or of gzip in what it holds
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// AppendError appends the line of a bad record to the errors of a Chunk.
func AppendError(dst []byte, e RecordError) []byte {
	b := bytes.NewBuffer(dst)
	line := json.NewEncoder(b)
	line.SetEscapeHTML(false) // it is not HTML, and "<" is easier to read than "\u003c"
	_ = line.Encode(e)        // of strings and numbers only: it can't fail
	return b.Bytes()
}
