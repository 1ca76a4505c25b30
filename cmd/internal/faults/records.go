//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/codec"
)

// record is one record of an input of kind lines or long, and its answer.
type record struct {
	line string
	text bool   // for the model string_echo; the answer follows from the line
	want string // the prediction as JSON
	code string // where the record is bad: of the error in its place
}

// filler makes texts long.
var filler = strings.Repeat("x", 4<<10)

// resultTypes are what inputs of records ask for, in turns.
var resultTypes = []string{"application/json", "application/jsonlines"}

// records makes the input i one of JSON lines. Those of the kind lines have
// bad records among the good ones: some that can't be read, some that the
// model refuses. Those of the kind long are texts, and larger than what a
// worker reads or writes by one call.
func (m *maker) records(in *input, i int) {
	in.contentType, in.resultType = resultTypes[1], resultTypes[m.dice.IntN(len(resultTypes))]
	if in.kind == long {
		in.asks("string_echo")
		in.records = make([]record, 2_200+m.dice.IntN(400))
		for j := range in.records {
			// No two texts are alike, nor of one length.
			in.records[j] = record{line: `"` + fmt.Sprintf("record %d of input %d ", j, i) + filler[m.dice.IntN(64):] + `"`, text: true}
		}
	} else {
		in.asks("faulty")
		in.records = make([]record, 40+m.dice.IntN(160))
		for j := range in.records {
			in.records[j] = m.line(i, j)
		}
	}
	var body bytes.Buffer
	for _, r := range in.records {
		body.WriteString(r.line)
		body.WriteByte('\n')
	}
	in.body = body.Bytes()
}

// line is record j of an input i of lines.
func (m *maker) line(i, j int) record {
	x, y := float32(3000+i), float32(j)+float32(m.dice.IntN(64))/64
	switch m.dice.IntN(20) {
	case 0:
		return record{line: fmt.Sprintf("[%v,%v", x, y), code: codec.CodeMalformed}
	case 1:
		return record{line: fmt.Sprintf("[%v,%v,%v]", x, y, y), code: codec.CodeInvalidShape}
	case 2:
		return record{line: fmt.Sprintf("[%v,-1]", x), code: request.CodeModelError}
	}
	return record{line: fmt.Sprintf("[%v,%v]", x, y), want: fmt.Sprintf("[%v,%v]", 2*x, 2*y)}
}

// asks is what an input of records asks of the worker: the model, and the form
// of the result.
func (in *input) asks(model string) {
	in.chooses(model)
	if in.request.Upload() {
		in.metadata[request.UploadAccept] = in.resultType
		return
	}
	in.request.Accept = in.resultType
}

// checkRecords says what is wrong with an output of an input of records: every
// record must have its own answer, or its own error, in its place.
func (in *input) checkRecords(body []byte) error {
	answers, err := in.answers(body)
	if err != nil {
		return err
	}
	if len(answers) != len(in.records) {
		return fmt.Errorf("%d answers for %d records", len(answers), len(in.records))
	}
	for i, r := range in.records {
		if err := r.check(i+1, answers[i]); err != nil {
			return fmt.Errorf("record %d: %w", i+1, err)
		}
	}
	return nil
}

// answers are those of a result, in order.
func (in *input) answers(body []byte) (answers []json.RawMessage, err error) {
	if in.resultType == "application/json" {
		var said struct{ Predictions []json.RawMessage }
		err := json.Unmarshal(body, &said)
		return said.Predictions, err
	}
	text, whole := bytes.CutSuffix(body, []byte("\n"))
	if !whole {
		return nil, errors.New("the last line of the result is cut off")
	}
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		answers = append(answers, line)
	}
	return answers, nil
}

// check says what is wrong with the answer to the record of that number.
func (r record) check(number int, answer json.RawMessage) error {
	if r.code != "" {
		var said struct {
			Error struct {
				Code   string
				Record int
			}
		}
		if err := json.Unmarshal(answer, &said); err != nil || said.Error.Code != r.code || said.Error.Record != number {
			return fmt.Errorf("its answer is %.200s; it should be an error %s of record %d", answer, r.code, number)
		}
		return nil
	}
	want := r.want
	if r.text {
		want = fmt.Sprintf(`{"length":%d,"upper":%s}`, len(r.line)-len(`""`), strings.ToUpper(r.line))
	}
	var is, should any
	if err := errors.Join(json.Unmarshal(answer, &is), json.Unmarshal([]byte(want), &should)); err != nil {
		return err
	}
	if !reflect.DeepEqual(is, should) {
		return fmt.Errorf("its answer is %.200s; it should be %.200s", answer, want)
	}
	return nil
}

// hasRecords says whether the input is one of records.
func (k kind) hasRecords() bool { return slices.Contains([]kind{lines, long}, k) }
