package codec

import (
	"encoding/csv"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/worker/model"
)

func TestEachLineOfCSVIsARow(t *testing.T) {
	scalars, strings2 := info("x", model.Float32, -1), info("x", model.String, -1, 2)
	two, image := info("x", model.Float32, -1, 2), info("x", model.Uint8, -1, 2, 2, 1)
	flags := info("x", model.Bool, -1)
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for name, c := range map[string]struct {
		input model.TensorInfo
		body  string
		want  model.Tensor
	}{
		"one column":            {scalars, "1\n-2.5\n3e2\n", tensor([]float32{1, -2.5, 300}, 3)},
		"two columns":           {two, "1,2\n3,4\n", tensor([]float32{1, 2, 3, 4}, 2, 2)},
		"no line end":           {two, "1,2\n3,4", tensor([]float32{1, 2, 3, 4}, 2, 2)},
		"CRLF":                  {two, "1,2\r\n3,4\r\n", tensor([]float32{1, 2, 3, 4}, 2, 2)},
		"CR at the end":         {two, "1,2\r\n3,4\r", tensor([]float32{1, 2, 3, 4}, 2, 2)},
		"blank lines":           {two, "\n1,2\n\r\n3,4\n\n", tensor([]float32{1, 2, 3, 4}, 2, 2)},
		"byte order mark":       {two, "\ufeff1,2\n3,4\n", tensor([]float32{1, 2, 3, 4}, 2, 2)},
		"spaces":                {two, " 1,\t2 \n3 , 4\n", tensor([]float32{1, 2, 3, 4}, 2, 2)},
		"quoted numbers":        {two, `"1","2"` + "\n" + `3,"4"`, tensor([]float32{1, 2, 3, 4}, 2, 2)},
		"a row of many":         {image, "1,2,3,4\n5,6,7,255\n", tensor([]uint8{1, 2, 3, 4, 5, 6, 7, 255}, 2, 2, 2, 1)},
		"an open size":          {info("x", model.Float32, -1, -1, 2), "1,2,3,4\n", tensor([]float32{1, 2, 3, 4}, 1, 2, 2)},
		"no shape, one column":  {anyShape("x", model.Int8), "1\n2\n", tensor([]int8{1, 2}, 2)},
		"no shape, two columns": {anyShape("x", model.Int8), "1,2\n", tensor([]int8{1, 2}, 1, 2)},
		"infinities":            {scalars, "inf\n+Inf\nINFINITY\nInfinity\n", tensor([]float32{inf, inf, inf, inf}, 4)},
		"negative infinities":   {scalars, "-inf\n-Infinity\n", tensor([]float32{-inf, -inf}, 2)},
		"no numbers":            {scalars, "nan\nNaN\n", tensor([]float32{nan, nan}, 2)},
		"booleans":              {flags, "true\nFALSE\nFalse\n1\n0\n\"True\"\n", tensor([]bool{true, false, false, true, false, true}, 6)},
		"strings":               {strings2, "a, b \n\"c,\nd\",\"\"\"e\"\"\"\r\né,\"\"\n,f\n", tensor([]string{"a", " b ", "c,\nd", `"e"`, "é", "", "", "f"}, 4, 2)},
		"CRLF in quotes":        {info("x", model.String, -1), "\"a\r\nb\"\r\nc\r\n", tensor([]string{"a\r\nb", "c"}, 2)},
		"headlines are strings": {info("x", model.String, -1), "title\nbody\n", tensor([]string{"title", "body"}, 2)},

		"named after the input":    {scalars, "x\n1\n2\n", tensor([]float32{1, 2}, 2)},
		"a named string":           {info("x", model.String, -1), "x\na\nx\n", tensor([]string{"a", "x"}, 2)},
		"numbered":                 {two, "x[0],x[1]\n1,2\n", tensor([]float32{1, 2}, 1, 2)},
		"numbered in another way":  {two, "\"x[1]\", x[0] \n1,2\n", tensor([]float32{2, 1}, 1, 2)},
		"features":                 {two, "width,height\n1,2\n", tensor([]float32{1, 2}, 1, 2)},
		"an index without a name":  {two, ",height\n1,2\n", tensor([]float32{1, 2}, 1, 2)},
		"features of booleans":     {flags, "is it\ntrue\n", tensor([]bool{true}, 1)},
		"a feature called as such": {two, "x,y\n1,2\n", tensor([]float32{1, 2}, 1, 2)},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := decodeAs(t, newModel(c.input), "text/csv", c.body)
			checkTensors(t, in, err, c.want)
			if in.Rows != c.want.Shape[0] {
				t.Errorf("%d rows, want %d", in.Rows, c.want.Shape[0])
			}
		})
	}
}

func TestCSVNamesSeveralInputs(t *testing.T) {
	m := newModel(info("a", model.Int32, -1), info("b", model.Float32, -1, 2), info("c[0]", model.String, -1))
	in, err := decodeAs(t, m, "text/csv", "b[1],c[0],a,b[0]\n2,\"u,\n\",1,3\n5,v,4,6\n")
	checkTensors(t, in, err, tensor([]int32{1, 4}, 2), tensor([]float32{3, 2, 6, 5}, 2, 2), tensor([]string{"u,\n", "v"}, 2))
	in, err = decodeAs(t, newModel(info("a", model.Int32, -1), info("c[0]", model.Float32, -1, 2)), "text/csv", "c[0][1],a,c[0][0]\n2,1,3\n")
	checkTensors(t, in, err, tensor([]int32{1}, 1), tensor([]float32{3, 2}, 1, 2))
}

func TestTheContentTypeDecidesOnAHeader(t *testing.T) {
	numbers, words := newModel(info("x", model.Float32, -1, 2)), newModel(info("x", model.String, -1))
	in, err := decodeAs(t, numbers, "text/csv; header=present", "0,1\n2,3\n")
	checkTensors(t, in, err, tensor([]float32{2, 3}, 1, 2))
	in, err = decodeAs(t, words, "text/csv; header=Present", "title\na\n")
	checkTensors(t, in, err, tensor([]string{"a"}, 1))
	in, err = decodeAs(t, words, "text/csv; header=absent", "x\na\n")
	checkTensors(t, in, err, tensor([]string{"x", "a"}, 2))
	_, err = decodeAs(t, numbers, "text/csv; header=absent", "a,b\n2,3\n")
	checkError(t, err, CodeInvalidDType, `line 1: column 1 is "a"`)
	_, err = decodeAs(t, both, "text/csv; header=absent", "1,2\n")
	checkError(t, err, CodeInvalidShape, "line 1: without a header", "a,b")
	_, err = decodeAs(t, numbers, "text/csv; header=maybe", "1,2\n")
	checkError(t, err, CodeMalformed, `header="maybe"`, "header=present")
}

func TestBadCSVIsRefusedByLineAndColumn(t *testing.T) {
	two, word := newModel(info("x", model.Float32, -1, 2)), newModel(info("x", model.String, -1))
	vectors := newModel(info("a", model.Int32, -1), info("b", model.Int32, -1, 2))
	ints := newModel(info("x", model.Int8, -1))
	for name, c := range map[string]struct {
		model *testModel
		body  string
		code  string
		says  []string
	}{
		"ragged":              {two, "1,2\n\n3\n", CodeInvalidShape, []string{"line 3 has 1 columns, but the lines before it have 2"}},
		"too many":            {two, "1,2\n3,4,5\n", CodeInvalidShape, []string{"line 2 has 3 columns"}},
		"other width":         {two, "1,2,3\n", CodeInvalidShape, []string{`line 1 has 3 values, but that is no row of input x float32[-1 2]`}},
		"open sizes":          {newModel(info("x", model.Float32, -1, -1, -1)), "1,2\n", CodeInvalidShape, []string{"line 1: a row is a flat list", "send JSON or .npy"}},
		"no number":           {two, "1,2\n3,four\n", CodeInvalidDType, []string{`line 2: column 2 is "four", but input "x" takes float32`, "as in JSON"}},
		"behind a header":     {two, "w,h\n1,2\n3,four\n", CodeInvalidDType, []string{`line 3: column 2 ("h") is "four"`}},
		"behind line ends":    {newModel(info("a", model.Int8, -1), info("b", model.String, -1)), "a,b\n1,\"\n\n\"\nx,y\n", CodeInvalidDType, []string{`line 5: column 1 ("a") is "x"`}},
		"empty":               {two, "1,2\n3,\n", CodeInvalidDType, []string{"line 2: column 2 is empty, but", "NaN"}},
		"all empty":           {two, ",\n", CodeInvalidDType, []string{"line 1: column 1 is empty"}},
		"semicolons":          {two, "1;2\n3;4\n", CodeInvalidDType, []string{`line 2: column 1 ("1;2") is "3;4"`, "separate the columns with commas"}},
		"tabs":                {two, "1,2\n3\t4,5\n", CodeInvalidDType, []string{"separate the columns with commas"}},
		"half a header":       {two, "1,h\n1,2\n", CodeInvalidDType, []string{`line 1: column 2 is "h"`}},
		"a fraction":          {ints, "1.0\n", CodeInvalidDType, []string{"line 1: column 1 is 1.0", "whole numbers"}},
		"out of range":        {ints, "-129\n", CodeInvalidDType, []string{`column 1 is -129, which input "x" of type int8 can't hold`}},
		"NaN for an int":      {ints, "1\nnan\n", CodeInvalidDType, []string{"line 2: column 1 is nan"}},
		"an id as a float":    {two, "1,16777217\n", CodeInvalidDType, []string{"column 2: cannot convert 16777217 to float32"}},
		"hexadecimal":         {two, "1,0x10\n", CodeInvalidDType, []string{`"0x10"`}},
		"leading zero":        {two, "1,007\n", CodeInvalidDType, []string{`"007"`}},
		"no boolean":          {newModel(info("x", model.Bool, -1)), "1\nyes\n", CodeInvalidDType, []string{`line 2: column 1 is "yes", but input "x" takes bool: true, false, 1 or 0`}},
		"open quote":          {word, "a\n\"b\nc\n", CodeMalformed, []string{"line 2: column 1: a field has no closing quote"}},
		"quote within":        {word, "a\nb\"c\n", CodeMalformed, []string{"line 2: column 1: a quote within a field", "double those"}},
		"behind a quote":      {newModel(info("x", model.String, -1, 2)), "a,b\n\"b\"c,d\n", CodeMalformed, []string{"line 2: column 1: text behind a field's closing quote"}},
		"not UTF-8":           {word, "a\nb\xff\n", CodeMalformed, []string{"line 2: column 1 is not valid UTF-8"}},
		"UTF-16":              {word, "\xff\xfea\x00", CodeMalformed, []string{"UTF-16"}},
		"blank":               {word, "\n\r\n", CodeEmpty, []string{"no lines of values"}},
		"a header alone":      {two, "w,h\n", CodeEmpty, []string{"no lines of values"}},
		"no names":            {both, "1,2\n", CodeInvalidShape, []string{`line 1: column 1 is "1", which is no input of the model; it takes: a,b`}},
		"split by semicolons": {both, "a;b\n1;2\n", CodeInvalidShape, []string{`column 1 is "a;b", which is no input`, "by commas"}},
		"pandas' index":       {both, ",a,b\n0,1,2\n", CodeInvalidShape, []string{`column 1 is "", which is no input`, "index=False"}},
		"a wrong name":        {both, "a,c\n", CodeInvalidShape, []string{`column 2 is "c", which is no input`}},
		"a missing name":      {both, "a\n1\n", CodeInvalidShape, []string{`line 1: no column is named after input "b"`}},
		"a name twice":        {both, "a,b,a\n", CodeMalformed, []string{`line 1: column 1: "a" is there twice`}},
		"an index twice":      {vectors, "a,b[0],b[0]\n", CodeMalformed, []string{`column 3: "b[0]" is there twice`}},
		"an index left out":   {vectors, "a,b[0],b[2]\n", CodeMalformed, []string{`column 3 is "b[2]", but there are only 2 columns of that input`, "without gaps"}},
		"an index and none":   {vectors, "a,b,b[1]\n", CodeMalformed, []string{"twice"}},
		"a negative index":    {vectors, "a,b[-1],b[1]\n", CodeInvalidShape, []string{`"b[-1]", which is no input`}},
		"a huge index":        {vectors, "a,b[99999999999999999999],b[1]\n", CodeInvalidShape, []string{"no input"}},
		"too few of an input": {vectors, "a,b[0]\n1,2\n", CodeInvalidShape, []string{"line 2 has 1 values, but that is no row of input b int32[-1 2]"}},
		"a million and one":   {word, "a\n" + strings.Repeat(",", maxPieces) + "\n", CodeTooLarge, []string{"line 2 has more than the 1048576 fields that a record may have"}},
		"binary":              {two, npyMagic, CodeMalformed, []string{"begins like NPY"}},
		"a scalar input":      {&testModel{signatures: map[string]*model.Signature{"serving_default": {Inputs: []model.TensorInfo{info("x", model.Float32)}, Outputs: []model.TensorInfo{info("y", model.Float32)}}}}, "1\n", CodeInvalidShape, []string{"[1]"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeAs(t, c.model, "text/csv", c.body)
			checkError(t, err, c.code, c.says...)
		})
	}
}

// Each quote used to have all that follows it searched for a line end: 16 MiB of
// them took an hour.
func TestAManifoldOfQuotesTakesNoLongerThanItsText(t *testing.T) {
	word := newModel(info("x", model.String, -1, -1))
	const n = 1 << 20
	for name, record := range map[string]string{
		"within a field": `"` + strings.Repeat(`""`, n) + `"`,
		"around fields":  `"a"` + strings.Repeat(`,"b"`, n-1),
	} {
		// The machine may be busy with something else, once: the search takes as
		// long every time.
		for round := 1; ; round++ {
			began := time.Now()
			if _, err := decodeAs(t, word, "text/csv; header=absent", record); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			took := time.Since(began)
			if took <= 10*time.Second {
				break
			}
			if round == 3 {
				t.Errorf("%s: %d quotes took %v, in the last of %d rounds", name, n, took, round)
				break
			}
		}
	}
}

// FuzzDecodeCSV splits into fields as encoding/csv does.
func FuzzDecodeCSV(f *testing.F) {
	for _, body := range []string{"a,b\n", "\"a\"\"\n,\",b\r\n", "a\"b,c", ",,\n,", "\"a\"b,c", "\ufeffx,y", "\"", "a,b\nc", "x[0],x[1]\n1,2\n"} {
		f.Add([]byte(body))
	}
	m := newModel(anyShape("x", model.String))
	numeric := newModel(anyShape("x", model.Float32))
	src := Source{ContentType: "text/csv; header=absent"}
	f.Fuzz(func(t *testing.T, body []byte) {
		if looks := sniffed(body); looks != nil && !looks.text || strings.HasPrefix(string(body), "\xff\xfe") || strings.HasPrefix(string(body), "\xfe\xff") {
			return
		}
		_, _ = checkProportionAs(t, body, src, numeric)
		in, err := checkProportionAs(t, body, src, m)
		// encoding/csv makes "\n" of "\r\n" within quotes, too, and leaves a
		// lone one at the end of a line.
		if strings.Contains(string(body), "\r") {
			return
		}
		r := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(body), utf8BOM)))
		records, wantErr := r.ReadAll()
		if e, _ := errors.AsType[*Error](err); e != nil {
			if wantErr == nil && len(records) > 0 && !strings.Contains(e.Message, "UTF-8") {
				t.Fatalf("encoding/csv reads %q, Decode: %v", records, err)
			}
			return
		}
		if wantErr != nil {
			t.Fatalf("encoding/csv says %v, Decode reads %q", wantErr, in.Tensors[0].Bytes)
		}
		i := 0
		for _, record := range records {
			for _, field := range record {
				if i >= len(in.Tensors[0].Bytes) || string(in.Tensors[0].Bytes[i]) != field {
					t.Fatalf("field %d is not %q: %q", i, field, in.Tensors[0].Bytes)
				}
				i++
			}
		}
		if i != len(in.Tensors[0].Bytes) || int64(len(records)) != in.Rows {
			t.Errorf("%d fields in %d records, want %d in %d", len(in.Tensors[0].Bytes), in.Rows, i, len(records))
		}
	})
}

// FuzzNumbersInCSV agrees with strconv to the bit.
func FuzzNumbersInCSV(f *testing.F) {
	for _, n := range []string{"1", "-0", "1e5", "0.1", "16777217.0", "nan", "-INF", "+1", " 2 ", "1e39", "0x1p3", "1_0"} {
		f.Add(n)
	}
	m := newModel(info("x", model.Float64, -1))
	f.Fuzz(func(t *testing.T, field string) {
		if strings.ContainsAny(field, ",\n\r\"") {
			return
		}
		in, err := decodeAs(t, m, "text/csv; header=absent", "0\n"+field+"\n")
		if err != nil {
			return
		}
		if in.Rows == 1 {
			if field != "" {
				t.Errorf("%q was passed over", field)
			}
			return
		}
		want, wantErr := strconv.ParseFloat(strings.TrimLeft(strings.Trim(field, " \t"), "+"), 64)
		if strings.Contains(strings.ToLower(field), "nan") {
			want, wantErr = math.NaN(), nil
		}
		got := float(&in.Tensors[0], 1)
		if wantErr != nil || got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("%q is %v, want %v, %v", field, got, want, wantErr)
		}
	})
}
