package codec

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

// Joined results stand beside the records that they are of, in the words of
// SageMaker's Batch Transform:
//
//	{"x": [1, 2], "SageMakerOutput": ...}             an object gets a member
//	{"SageMakerInput": [1, 2],"SageMakerOutput": ...} any other value becomes one
//	1,2,0.5                                           CSV gets the output's columns
//
// Of the record nothing is changed but the white space around it. A bad one has
// its error for a result, in CSV empty columns. If it is no JSON it is a string
// in "SageMakerInput"; a line that is no CSV is left empty, or the lines behind it
// could not be told apart. One that is too long to be held is left out.
const (
	joinInput  = `{"SageMakerInput":`
	joinOutput = `"SageMakerOutput":`
)

// NewJoined is NewLines for results that are joined with the records of in, which
// was opened with Source.Texts. Their form is that of the input, unless accept
// asks for another: that is an *Error, as are records that are no lines.
func NewJoined(in *Records, m model.Model, accept string, first bool) (*Results, error) {
	form, mediaType := streamJSONLines, jsonLinesTypes[0]
	switch in.reader.format {
	case formatJSONLines:
	case formatCSV:
		form, mediaType = streamCSV, "text/csv"
	default:
		return nil, &Error{
			Code:    CodeNotAcceptable,
			Message: fmt.Sprintf("results can't be joined with records of %s, which are no lines of text", in.reader.format),
			Hint:    "write the records as JSON lines or CSV, or submit the job without a join: line n of the result is that of record n",
		}
	}
	open := func(accept string) (*Results, error) {
		return newLines(in.Signature(), m, accept, first, func(f *rowWriting) string {
			if f != form {
				return "it is to be joined with its input, which is " + in.reader.format
			}
			return ""
		})
	}
	var w *Results
	var err error
	if strings.TrimSpace(accept) == "" {
		if w, err = open(m.Config().Accept); err != nil {
			accept = mediaType
		}
	}
	if w == nil {
		w, err = open(accept)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return nil, &Error{Code: e.Code, Message: e.Message, Hint: "ask for " + mediaType + ", or submit the job without a join: line n of the result is that of record n"}
	}
	if err != nil {
		return nil, err
	}
	w.source = in
	return w, nil
}

// appendBeforeOutput writes a record, which is JSON or nothing, up to where its
// result goes.
func appendBeforeOutput(dst, record []byte) []byte {
	s := scanner{b: record}
	switch s.peek() {
	case 0:
		dst = append(dst, '{')
	case '{':
		record = trimJSON(record)
		dst = append(dst, record[:len(record)-1]...)
		if s.take('{'); !s.take('}') {
			dst = append(dst, ',')
		}
	default:
		dst = append(append(append(dst, joinInput...), trimJSON(record)...), ',')
	}
	return append(dst, joinOutput...)
}

// asJSON is text, if it is JSON, or else a string of it. Nothing stays nothing.
func asJSON(text []byte) []byte {
	s := scanner{b: text}
	if f := s.skip(0); len(text) == 0 || f == nil && s.peek() == 0 && s.i == len(text) {
		return text
	}
	return appendText(nil, string(text))
}

// trimJSON is a value without the white space around it.
func trimJSON(text []byte) []byte {
	return bytes.Trim(text, " \t\r\n")
}

// isCSV says whether a record can be cut into fields.
func isCSV(record []byte) bool {
	return len(record) > 0 && new(table).cut(record) == nil
}
