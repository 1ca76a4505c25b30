package codec

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/penstock/penstock/worker/model"
)

// readAll gives all chunks, and the error that ended them unless that is io.EOF.
func readAll(t *testing.T, r io.Reader, src Source, m model.Model, most int64) (chunks []*Chunk, err error) {
	t.Helper()
	records, err := OpenRecords(r, src, m)
	if err != nil {
		return nil, err
	}
	return rest(records, func() int64 { return most })
}

// rest gives all chunks that records has, of as many as most says.
func rest(records *Records, most func() int64) (chunks []*Chunk, err error) {
	defer records.Close()
	for {
		c, err := records.Next(most())
		if err == io.EOF {
			return chunks, nil
		}
		if err != nil {
			return chunks, err
		}
		chunks = append(chunks, c)
	}
}

// lazily is OpenRecords of an input that begins with head and isn't compressed,
// but for its peeking far ahead: it has the frames see what r gives, as it does.
func lazily(r io.Reader, head []byte, src Source, m model.Model) (*Records, error) {
	kind, err := kindOf(head, src.orDefault(m), m)
	if err != nil {
		return nil, err
	}
	file := streamed(r)
	file.peek(len(utf8BOM))
	return newRecords(kind, file, src), nil
}

// story tells chunks: a line for each record, its row or what is wrong with it,
// and a bar between chunks.
func story(chunks []*Chunk) string {
	var b strings.Builder
	for i, c := range chunks {
		if i > 0 {
			b.WriteString("--\n")
		}
		row := int64(0)
		for _, r := range c.Records {
			fmt.Fprintf(&b, "%d@%d", r.Number, r.Offset)
			if r.Err != nil {
				fmt.Fprintf(&b, " %s: %s\n", r.Err.Code, r.Err.Message)
				continue
			}
			for _, t := range c.Input.Tensors {
				if _, batched := c.Input.Signature.Batch(); batched {
					t = t.Slice(row, row+1)
				}
				fmt.Fprintf(&b, " %v", values(t))
				if t.DType == model.String {
					fmt.Fprintf(&b, "=%s", bytes.Join(t.Bytes, []byte("|")))
				}
			}
			b.WriteString("\n")
			row++
		}
	}
	return b.String()
}

// asLines, asCSV and asTFRecord are sources of those types.
var (
	asLines    = Source{ContentType: "application/jsonlines"}
	asCSV      = Source{ContentType: "text/csv"}
	asTFRecord = Source{ContentType: "application/x-tfrecord"}
)

// limited is src with a limit of that many bytes for a record.
func limited(src Source, limit int64) Source {
	src.MaxRecordBytes = limit
	return src
}

func TestRecordsAreReadInTheirPlaces(t *testing.T) {
	pairs, open := newModel(info("x", model.Float32, -1, 2)), newModel(info("x", model.Float32, -1, -1))
	words, lists := newModel(info("x", model.String, -1)), newModel(info("x", model.String, -1, -1))
	half := example("x", floatFeature(1, 2))
	damaged := tfrecord(half, half, half)
	damaged[len(damaged)/3+tfrecordHead+5] ^= 1
	longDamaged := tfrecord("0123456789a", "a")
	longDamaged[tfrecordHead] ^= 1
	twoSizes := tfrecord(half, example("x", floatFeature(3)), half)
	for name, c := range map[string]struct {
		model *testModel
		src   Source
		body  string
		most  int64
		want  string
	}{
		"lines": {pairs, asLines, "[1, 2]\n[3, 4]\n[5, 6]\n", 2, "1@0 [1 2]\n2@7 [3 4]\n--\n3@14 [5 6]\n"},
		"lines, odd ones": {
			pairs, asLines, "\ufeff\r\n[1, 2]\r\n\n \t\n[3, 4]", 9,
			"1@5 [1 2]\n2@17 [3 4]\n",
		},
		"bad lines": {
			pairs, asLines, "[1, 2]\n\n[3]\n{]\n[5, \"6\"]\n[7, 8] 9\n[[1, 2]]\n[9, 10]\n[11, 12", 3,
			"1@0 [1 2]\n2@8 InvalidShape: line 3: the shape of input \"x\" is [1 1], but the model takes [-1 2] (-1 is any size)\n" +
				"3@12 InvalidShape: line 4 is an object, but the instances before it are plain values or lists\n--\n" +
				"4@15 InvalidDType: line 5: [1] is a string (\"6\"), but input \"x\" takes float32\n" +
				"5@24 MalformedInput: line 6: broken JSON at byte 7: expected the end of the line, not '9'\n" +
				"6@33 InvalidShape: line 7: the shape of input \"x\" is [1 1 2], but the model takes [-1 2] (-1 is any size)\n--\n" +
				"7@42 [9 10]\n8@50 MalformedInput: line 9: the JSON ends too early, at byte 7: expected ',' or ']'\n",
		},
		"bad lines first": {
			pairs, asLines, "[1]\n{\"x\": 1}\n{\"x\": [1, 2]}\n[3, 4]\n", 9,
			"1@0 InvalidShape: line 1: the shape of input \"x\" is [1 1], but the model takes [-1 2] (-1 is any size)\n" +
				"2@4 InvalidShape: line 2: the shape of input \"x\" is [1], but the model takes [-1 2] (-1 is any size)\n" +
				"3@13 [1 2]\n4@27 InvalidShape: line 4 is a list, but the instances before it are objects\n",
		},
		"lines of other shapes": {open, asLines, "[1]\n[2]\n[3, 4]\n[5]\n[6, true]\n[7]", 9, "1@0 [1]\n2@4 [2]\n--\n3@8 [3 4]\n--\n4@15 [5]\n5@19 InvalidDType: line 5: [1] is a boolean (true), but input \"x\" takes float32\n6@29 [7]\n"},
		"lines of text":         {lists, asLines, `["a", "b"]` + "\n" + `["\u00e9", {"b64": "Yw=="}]` + "\n[]\n" + `["", 1]`, 9, "1@0 [[97] [98]]=a|b\n2@11 [[195 169] [99]]=é|c\n--\n3@39 []=\n4@42 InvalidDType: line 4: [1] is a number (1), but input \"x\" takes strings: \"...\" or {\"b64\": \"...\"}\n"},
		"long lines":            {words, limited(asLines, 10), `"12345678"` + "\n" + `"123456789"` + "\n" + strings.Repeat("a", 300) + "\r\n\"z\"\n" + strings.Repeat("b", 11), 9, "1@0 [[49 50 51 52 53 54 55 56]]=12345678\n2@11 InputTooLarge: line 2 has more than the 10 bytes that a record may have\n3@23 InputTooLarge: line 3 has more than the 10 bytes that a record may have\n4@325 [[122]]=z\n5@329 InputTooLarge: line 5 has more than the 10 bytes that a record may have\n"},
		"CSV":                   {pairs, asCSV, "1,2\r\n\n3,4", 1, "1@0 [1 2]\n--\n2@6 [3 4]\n"},
		"CSV with a header":     {pairs, asCSV, "\ufeffx[1],x[0]\n1,2\n3,4\n", 1, "1@13 [2 1]\n--\n2@17 [4 3]\n"},
		"bad CSV": {
			pairs, asCSV, "1,2\n3\n4,5,6\n7,b\n8,\"9\n10,11\n12,1\"3\n14,15\n", 9,
			"1@0 [1 2]\n2@4 InvalidShape: line 2 has 1 columns, but the lines before it have 2\n3@6 InvalidShape: line 3 has 3 columns, but the lines before it have 2\n" +
				"4@12 InvalidDType: line 4: column 2 is \"b\", but input \"x\" takes float32\n" +
				"5@16 MalformedInput: line 5: column 2: text behind a field's closing quote\n6@34 [14 15]\n",
		},
		"bad CSV first": {pairs, asCSV, "1\n2,3\n4\na,b\n", 9, "1@0 InvalidShape: line 1 has 1 values, but that is no row of input x float32[-1 2]\n2@2 [2 3]\n3@6 InvalidShape: line 3 has 1 columns, but the lines before it have 2\n4@8 InvalidDType: line 4: column 1 is \"a\", but input \"x\" takes float32\n"},
		"a stray quote": {words, asCSV, "a\n5\" pipe\n\"b\nc\"\nd\n", 9, "1@0 [[97]]=a\n2@2 MalformedInput: line 2: column 1: a quote within a field that doesn't begin with one\n3@10 [[98 10 99]]=b\nc\n4@16 [[100]]=d\n"},
		"an open quote": {words, asCSV, "a\n\"b\nc\n", 9, "1@0 [[97]]=a\n2@2 MalformedInput: line 2: column 1: a field has no closing quote\n"},
		"long CSV":      {words, limited(asCSV, 10), "1234567890\n12345678901\n\"\n34567\n9\"\n\"2345\",\"" + strings.Repeat("b", 9) + "\",\"\nc\"\nd\n", 9, "1@0 [[49 50 51 52 53 54 55 56 57 48]]=1234567890\n2@11 InputTooLarge: line 2 has more than the 10 bytes that a record may have\n3@23 [[10 51 52 53 54 55 10 57]]=\n34567\n9\n4@34 InputTooLarge: line 6 has more than the 10 bytes that a record may have\n5@58 [[100]]=d\n"},
		"examples":      {pairs, asTFRecord, string(tfrecord(half, half)), 1, "1@0 [1 2]\n--\n2@37 [1 2]\n"},
		"bad examples": {
			pairs, asTFRecord, string(tfrecord(half, "\xff", example("y", floatFeature(1, 2)), example("x", intFeature(1, 2)), half)), 9,
			"1@0 [1 2]\n2@37 MalformedInput: record 2 (at byte 37) is no tf.Example\n3@54 InvalidShape: record 3 (at byte 54) has no feature \"x\"; the model takes: x\n" +
				"4@91 InvalidDType: record 4 (at byte 91): x is an int64_list, but input \"x\" takes float32\n5@122 [1 2]\n",
		},
		"a wrong checksum":         {pairs, asTFRecord, string(damaged), 9, "1@0 [1 2]\n2@37 MalformedInput: record 2 (at byte 37): its checksum is wrong\n3@74 [1 2]\n"},
		"tiny examples":            {words, limited(asTFRecord, 1), string(tfrecord("ab", "c")), 9, "1@0 InputTooLarge: record 1 (at byte 0) has more than the 1 bytes that a record may have\n2@18 [[99]]=c\n"},
		"long and damaged":         {words, limited(asTFRecord, 10), string(longDamaged), 9, "1@0 InputTooLarge: record 1 (at byte 0) has more than the 10 bytes that a record may have\n2@27 [[97]]=a\n"},
		"examples of other shapes": {open, asTFRecord, string(twoSizes), 9, "1@0 [1 2]\n--\n2@37 [3]\n--\n3@70 [1 2]\n"},
		"a cut example":            {pairs, asTFRecord, string(tfrecord(half, half)[:70]), 9, "1@0 [1 2]\n2@37 MalformedInput: record 2 (at byte 37): it should have 37 bytes with its checksums, but the file ends after 33\n"},
		"a cut length":             {pairs, asTFRecord, string(tfrecord(half, half)[:40]), 9, "1@0 [1 2]\n2@37 MalformedInput: record 2 (at byte 37): it should have 16 bytes with its checksums, but the file ends after 3\n"},
		"long examples": {
			words, limited(asTFRecord, 10), string(tfrecord("0123456789", "0123456789a", strings.Repeat("b", 300), "c", strings.Repeat("d", 100)))[:500], 9,
			"1@0 [[48 49 50 51 52 53 54 55 56 57]]=0123456789\n2@26 InputTooLarge: record 2 (at byte 26) has more than the 10 bytes that a record may have\n" +
				"3@53 InputTooLarge: record 3 (at byte 53) has more than the 10 bytes that a record may have\n4@369 [[99]]=c\n" +
				"5@386 MalformedInput: record 5 (at byte 386): it should have 116 bytes with its checksums, but the file ends after 114\n",
		},
		"compressed":                    {pairs, Source{Name: "a.csv.gz"}, gzipped(t, "1,2\n") + gzipped(t, "") + gzipped(t, "3,4\n5\n"), 9, "1@0 [1 2]\n2@4 [3 4]\n3@8 InvalidShape: line 3 has 1 columns, but the lines before it have 2\n"},
		"compressed, by their encoding": {pairs, Source{ContentType: "application/x-tfrecord", ContentEncoding: "gzip"}, gzipped(t, string(tfrecord(half))), 9, "1@0 [1 2]\n"},
		"compressed, by their content":  {pairs, asLines, gzipped(t, "[1, 2]"), 9, "1@0 [1 2]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if !Streams([]byte(c.body), c.src, c.model) {
				t.Fatal("is no stream")
			}
			for _, r := range []io.Reader{strings.NewReader(c.body), iotest.OneByteReader(strings.NewReader(c.body)), iotest.DataErrReader(strings.NewReader(c.body))} {
				chunks, err := readAll(t, r, c.src, c.model, c.most)
				if err != nil {
					t.Fatal(err)
				}
				if got := story(chunks); got != c.want {
					t.Errorf("got\n%swant\n%s", got, c.want)
				}
			}
			if strings.HasPrefix(c.body, gzipMagic) {
				return
			}
			records, err := lazily(iotest.OneByteReader(strings.NewReader(c.body)), []byte(c.body), c.src, c.model)
			if err != nil {
				t.Fatal(err)
			}
			chunks, err := rest(records, func() int64 { return c.most })
			if got := story(chunks); got != c.want || err != nil {
				t.Errorf("byte by byte: got\n%s%v\nwant\n%s", got, err, c.want)
			}
		})
	}
}

func TestWhatIsNoSequenceOfRecordsIsNotStreamed(t *testing.T) {
	named := newModel(info("instances", model.Float32, -1))
	for name, c := range map[string]struct {
		model *testModel
		src   Source
		body  string
		code  string
		says  string
	}{
		"JSON":               {floats, Source{}, `{"instances": [1]}`, CodeUnsupportedType, "the input is JSON, which can't be read record by record"},
		"a request in lines": {floats, asLines, "\ufeff\n{ \"signature_name\": \"a\",\n", CodeUnsupportedType, "the input is JSON lines"},
		"NPY":                {floats, Source{Name: "a.npy"}, npyMagic, CodeUnsupportedType, "NPY"},
		"text":               {text, Source{ContentType: "text/plain"}, "a", CodeUnsupportedType, "text"},
		"something":          {floats, Source{}, "1\n", CodeUnsupportedType, "name no format"},
		"another type":       {floats, asCSV, npyMagic, CodeMalformed, "begins like NPY"},
		"nothing":            {floats, asCSV, "", CodeEmpty, "no bytes"},
		"gzip of nothing":    {floats, asCSV, gzipped(t, ""), CodeEmpty, "no bytes"},
		"gzip of JSON":       {floats, Source{}, gzipped(t, "{}"), CodeUnsupportedType, "JSON"},
		"no gzip":            {floats, Source{Name: "a.csv.gz"}, "1\n", CodeMalformed, "says gzip"},
		"broken gzip":        {floats, asCSV, gzipMagic, CodeMalformed, "broken gzip"},
		"another encoding":   {floats, Source{ContentEncoding: "br", ContentType: "text/csv"}, "1\n", CodeUnsupportedType, "br"},
	} {
		t.Run(name, func(t *testing.T) {
			if Streams([]byte(c.body), c.src, c.model) {
				t.Error("Streams says that it is one")
			}
			_, err := OpenRecords(strings.NewReader(c.body), c.src, c.model)
			checkError(t, err, c.code, c.says)
		})
	}
	for name, c := range map[string]struct {
		src  Source
		body string
		code string
		says string
	}{
		"UTF-16":         {asLines, "\xff\xfe1\x00", CodeMalformed, "UTF-16"},
		"UTF-16 CSV":     {asCSV, "\xfe\xff\x001", CodeMalformed, "UTF-16"},
		"no such header": {Source{ContentType: "text/csv;header=maybe"}, "1\n", CodeMalformed, "header=present"},
		"no signature":   {Source{ContentType: "text/csv", Signature: "a"}, "1\n", CodeUnknownSignature, `no signature "a"`},
	} {
		if _, err := OpenRecords(strings.NewReader(c.body), c.src, floats); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			checkError(t, err, c.code, c.says)
		}
	}
	if body := []byte(`{"instances": 1}`); !Streams(body, asLines, named) {
		t.Error("an input may be called instances")
	}
}

// A model without a batch dimension takes a record as the row that it is in a
// file of one record, else as the whole input.
func TestOfASignatureWithoutABatchDimensionAChunkIsARecord(t *testing.T) {
	for name, c := range map[string]struct {
		input model.TensorInfo
		src   Source
		body  string
		want  string
	}{
		"a scalar":   {info("x", model.Float32), asLines, "1\n\"a\"\n{\"x\": 2}\n3", "1@0 1 []\n--\n2@2 InvalidDType: line 2 is a string (\"a\"), but input \"x\" takes float32\n--\n3@6 InvalidShape: line 3 is an object, but the instances before it are plain values or lists\n--\n4@15 3 []\n"},
		"a row":      {info("x", model.Float32, -1, 2), asLines, "[1, 2]\n[[3, 4], [5, 6]]\n[7]", "1@0 12 [1 2]\n--\n2@7 3456 [2 2]\n--\n3@24 InvalidShape: line 3: the shape of input \"x\" is [1 1], but the model takes [-1 2] (-1 is any size)\n"},
		"a vector":   {info("x", model.Float32, 3), asCSV, "1,2,3\n4,5\n", "1@0 123 [3]\n--\n2@6 InvalidShape: line 2 has 2 columns, but the lines before it have 3\n"},
		"an example": {info("x", model.Float32), asTFRecord, string(tfrecord(example("x", floatFeature(1)), example("x", floatFeature(1, 2)))), "1@0 1 []\n--\n2@33 InvalidShape: record 2 (at byte 33): x has 2 values, but that is no row of input x float32[]\n"},
		"a string":   {info("x", model.String), asTFRecord, string(tfrecord(example("x", bytesFeature("a")))), "1@0 a []\n"},
	} {
		m := &testModel{signatures: map[string]*model.Signature{}}
		m.sign("serving_default", []model.TensorInfo{c.input}, info("y", model.Float32))
		chunks, err := readAll(t, strings.NewReader(c.body), c.src, m, 10)
		var got strings.Builder
		for i, chunk := range chunks {
			if i > 0 {
				got.WriteString("--\n")
			}
			r := chunk.Records[0]
			fmt.Fprintf(&got, "%d@%d ", r.Number, r.Offset)
			if r.Err != nil {
				fmt.Fprintf(&got, "%s: %s\n", r.Err.Code, r.Err.Message)
				continue
			}
			x := chunk.Input.Tensors[0]
			for i := range model.Elements(x.Shape) {
				if x.DType == model.String {
					got.Write(x.Bytes[i])
				} else {
					fmt.Fprint(&got, float(&x, i))
				}
			}
			fmt.Fprintln(&got, "", x.Shape)
		}
		if got.String() != c.want || err != nil {
			t.Errorf("%s: got\n%s%v\nwant\n%s", name, got.String(), err, c.want)
		}
	}
}
