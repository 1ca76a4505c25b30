package codec

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// Every refusal says what is wrong and where.
func TestBadJSONIsRefusedWithItsPlace(t *testing.T) {
	two := newModel(info("a", model.Float32, -1), info("b", model.Float32, -1))
	matrix := newModel(info("x", model.Float32, -1, 28, 28))
	bools := newModel(anyShape("x", model.Bool))
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	for name, c := range map[string]struct {
		model *testModel
		body  string
		code  string
		says  string
	}{
		"both keys":           {floats, `{"instances": [1], "inputs": [1]}`, CodeMalformed, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"},
		"no keys":             {floats, `{}`, CodeMalformed, "Missing 'inputs' or 'instances' key; the object has no input"},
		"no key":              {floats, `{"data": [1]}`, CodeMalformed, "Missing 'inputs' or 'instances' key; there are: \"data\""},
		"no member":           {floats, `{}`, CodeMalformed, "Missing 'inputs' or 'instances' key"},
		"no list":             {floats, `{"instances": 5}`, CodeMalformed, "Expecting 'instances' to be an list/array"},
		"no instances":        {floats, `{"instances": []}`, CodeEmpty, "No values in 'instances' array"},
		"no column rows":      {floats, `{"inputs": []}`, CodeEmpty, `input "x" has no rows`},
		"no object":           {floats, ` [[1, 2]]`, CodeUnsupportedType, "[[1, 2]]"},
		"white space":         {floats, "{", CodeMalformed, "the JSON ends too early, at byte 1: expected a key"},
		"twice":               {floats, `{"instances": [1], "instances": [1]}`, CodeMalformed, "instances is there twice"},
		"signature twice":     {floats, `{"signature_name": "", "signature_name": "a", "instances": [1]}`, CodeMalformed, "signature_name is there twice"},
		"signature no string": {floats, `{"signature_name": 1, "instances": [1]}`, CodeMalformed, "'signature_name' key must be a string value"},
		"garbage behind":      {floats, `{"instances": [1]} x`, CodeMalformed, "broken JSON at byte 19: expected the end: there is more behind the JSON object"},
		"two objects":         {floats, `{"instances": [1]}{"instances": [1]}`, CodeMalformed, "at byte 18"},
		"no colon":            {floats, `{"instances" [1]}`, CodeMalformed, "at byte 13: expected ':', not '['"},
		"no comma":            {floats, `{"instances": [[1, 2], [1 2]]}`, CodeMalformed, "instances[1]: broken JSON at byte 26: expected ',' or ']', not '2'"},
		"trailing comma":      {floats, `{"instances": [1,]}`, CodeMalformed, "instances[1]: broken JSON at byte 17: expected a value, not ']'"},
		"cut":                 {floats, `{"instances": [[1, 2], [3`, CodeMalformed, "instances[1]: the JSON ends too early, at byte 25: expected ',' or ']'"},
		"cut key":             {floats, `{"inst`, CodeMalformed, "a string has no closing quote"},
		"leading zero":        {floats, `{"instances": [01]}`, CodeMalformed, "instances[0]: broken JSON"},
		"bare point":          {floats, `{"instances": [1.]}`, CodeMalformed, "instances[0]: broken JSON"},
		"no exponent":         {floats, `{"instances": [1e]}`, CodeMalformed, "instances[0]: broken JSON"},
		"plus":                {floats, `{"instances": [+1]}`, CodeMalformed, "instances[0]: broken JSON"},
		"hexadecimal":         {floats, `{"instances": [0x10]}`, CodeMalformed, "expected ',' or ']', not 'x'"},
		"Python's True":       {bools, `{"instances": [True]}`, CodeMalformed, "instances[0]: broken JSON at byte 15: expected a value, not 'T'"},
		"wrong case":          {floats, `{"instances": [nan]}`, CodeMalformed, "instances[0]: broken JSON"},
		"UTF-16":              {floats, "\xff\xfe{\x00}\x00", CodeUnsupportedType, "that can be decoded: application/json"},
		"nested too deep":     {floats, `{"instances": [` + deep + `]}`, CodeMalformed, "deeper than 64 levels"},
		"skipped too deep":    {floats, `{"a": ` + deep + `, "instances": [1]}`, CodeMalformed, "deeper than 64 levels"},
		"skipped broken":      {floats, `{"a": [1, {"b": tru}], "instances": [1]}`, CodeMalformed, "a[1].b: broken JSON at byte 16: expected a value, not 't'"},

		"ragged":               {matrix, `{"instances": [[[1, 2], [3, 4]], [[1, 2], [3]]]}`, CodeInvalidShape, "instances[1][1] has 1 elements, but the lists before it have 2"},
		"ragged rows":          {floats, `{"instances": [[1], [2], [3], [4, 5]]}`, CodeInvalidShape, "instances[3] has 2 elements, but the lists before it have 1"},
		"ragged, first empty":  {floats, `{"instances": [[], [1]]}`, CodeInvalidShape, "instances[1] has 1 elements, but the lists before it have 0"},
		"deeper than empty":    {floats, `{"instances": [[], [[1]]]}`, CodeInvalidShape, "instances[1][0] is a list, but a single value is needed here"},
		"too shallow":          {floats, `{"instances": [[1], 2]}`, CodeInvalidShape, "instances[1] is a number (2), but a list is needed here"},
		"too deep":             {floats, `{"instances": [1, 2, [3]]}`, CodeInvalidShape, "instances[2] is a list, but a single value is needed here"},
		"too deep in a row":    {floats, `{"instances": [[1, [2]]]}`, CodeInvalidShape, "instances[0][1] is a list, but a single value"},
		"another shape":        {matrix, `{"instances": [[1, 2], [3, 4]]}`, CodeInvalidShape, `the shape of input "x" is [2 2], but the model takes [-1 28 28]`},
		"one row too flat":     {newModel(info("x", model.Float32, -1, 2, 2)), `{"inputs": [[1, 2], [3, 4]]}`, CodeInvalidShape, "put a single one into a list of its own"},
		"flat, and no row":     {matrix, `{"inputs": [[1, 2], [3, 4]]}`, CodeInvalidShape, "a dimension is missing; the first one counts the rows"},
		"scalar for rows":      {floats, `{"inputs": 1}`, CodeInvalidShape, `input "x" is a single value`},
		"unbatched misfit":     {newModel(info("x", model.Float32, 2)), `{"instances": [1, 2, 3]}`, CodeInvalidShape, "is [3], but the model takes [2]"},
		"unequal columns":      {two, `{"inputs": {"a": [1, 2], "b": [1]}}`, CodeInvalidShape, `input "b" has 1 rows, but input "a" has 2`},
		"plain for several":    {two, `{"instances": [1]}`, CodeInvalidShape, "instances[0] is a number, but an object is expected: the model takes several inputs, and keys must be equal to: a,b"},
		"base64 for several":   {two, `{"instances": [{"b64": "YQ=="}]}`, CodeInvalidShape, "keys must be equal to: a,b"},
		"list for several":     {two, `{"inputs": [1]}`, CodeInvalidShape, "inputs is a list, but an object is expected"},
		"missing input":        {two, `{"instances": [{"a": 1, "b": 2}, {"a": 1}]}`, CodeInvalidShape, `instances[1] lacks input "b": keys must be equal to: a,b`},
		"strange input":        {two, `{"instances": [{"a": 1, "b": 2, "c d": 3}]}`, CodeInvalidShape, `instances[0]["c d"] is no input of the model: keys must be equal to: a,b`},
		"input twice":          {two, `{"instances": [{"a": 1, "a": 2}]}`, CodeMalformed, "instances[0].a is there twice"},
		"column twice":         {two, `{"inputs": {"a": [1], "a": [2]}}`, CodeMalformed, "inputs.a is there twice"},
		"missing column":       {two, `{"inputs": {"a": [1]}}`, CodeInvalidShape, "Missing named input: b in 'inputs' object"},
		"object among plain":   {floats, `{"instances": [1, {"x": 1}]}`, CodeInvalidShape, "instances[1] is an object, but the instances before it are plain"},
		"no JSON for several":  {two, `{"instances": [broken]}`, CodeMalformed, "instances[0]: broken JSON at byte 15: expected a value, not 'b'"},
		"no JSON, by columns":  {two, `{"inputs": broken}`, CodeMalformed, "inputs: broken JSON at byte 11: expected a value, not 'b'"},
		"no JSON for objects":  {floats, `{"instances": [{"x": 1}, none]}`, CodeMalformed, "instances[1]: broken JSON at byte 25: expected a value, not 'n'"},
		"plain among objects":  {floats, `{"instances": [{"x": 1}, 1]}`, CodeInvalidShape, "instances[1] is a number, but the instances before it are objects"},
		"shapes of an input":   {two, `{"instances": [{"a": 1, "b": 2}, {"a": 1, "b": [2]}]}`, CodeInvalidShape, "instances[1].b is a list"},
		"null":                 {floats, `{"instances": [1, null]}`, CodeInvalidDType, "instances[1] is null, but input \"x\" takes float32\nhint: write NaN for a missing number"},
		"string for float":     {floats, `{"instances": [["1.5"]]}`, CodeInvalidDType, `instances[0][0] is a string ("1.5"), but input "x" takes float32`},
		"long string":          {floats, `{"instances": ["` + strings.Repeat("é", 1000) + `"]}`, CodeInvalidDType, "(2002 bytes)"},
		"boolean for float":    {floats, `{"instances": [true]}`, CodeInvalidDType, `is a boolean (true), but`},
		"object for float":     {floats, `{"instances": [[{"b64": "YQ=="}]]}`, CodeInvalidDType, `instances[0][0] is an object, but input "x" takes float32`},
		"broken after a wrong": {floats, `{"instances": [{"b64": "YQ=="}, [}`, CodeMalformed, "broken JSON"},
		"number for boolean":   {bools, `{"instances": [1]}`, CodeInvalidDType, "takes bool: true or false"},
		"number for string":    {text, `{"instances": [1]}`, CodeInvalidDType, `takes strings: "..." or {"b64": "..."}`},
		"base64 of a number":   {text, `{"inputs": [{"b64": 1}]}`, CodeInvalidDType, "inputs[0] is an object"},
		"base64 and more":      {text, `{"inputs": [{"b64": "YQ==", "c": 1}]}`, CodeInvalidDType, "inputs[0] is an object"},
		"bad base64":           {text, `{"instances": [{"b64": "_-8="}]}`, CodeMalformed, "instances[0].b64 is not base64"},
		"huge for float32":     {floats, `{"instances": [1e39]}`, CodeInvalidDType, "instances[0]: cannot convert 1e39 to float32 without loss of precision"},
		"huge for float64":     {newModel(anyShape("x", model.Float64)), `{"instances": [-1e999]}`, CodeInvalidDType, "cannot convert -1e999 to float64"},
		"inexact float32":      {floats, `{"instances": [16777217]}`, CodeInvalidDType, "write 16777217.0 to have it rounded"},
		"inexact float64":      {newModel(anyShape("x", model.Float64)), `{"instances": [-9007199254740993]}`, CodeInvalidDType, "cannot convert -9007199254740993 to float64"},
		"inexact uint64":       {floats, `{"instances": [18446744073709551615]}`, CodeInvalidDType, "cannot convert 18446744073709551615"},

		"invalid UTF-8":         {text, "{\"instances\": [\"a\xffb\"]}", CodeMalformed, "instances[0]: broken JSON at byte 16: the string is not valid UTF-8"},
		"invalid UTF-8, escape": {text, "{\"instances\": [\"\\n\xffb\"]}", CodeMalformed, "the string is not valid UTF-8"},
		"lone surrogate":        {text, `{"instances": ["\ud83d"]}`, CodeMalformed, `an unpaired surrogate \ud83d`},
		"surrogate and rune":    {text, `{"instances": ["\ud83d\u0041"]}`, CodeMalformed, "an unpaired surrogate"},
		"low surrogate first":   {text, `{"instances": ["\ude00\ud83d"]}`, CodeMalformed, "an unpaired surrogate"},
		"short escape":          {text, `{"instances": ["\u12"]}`, CodeMalformed, `\u needs four hexadecimal digits`},
		"unknown escape":        {text, `{"instances": ["\x41"]}`, CodeMalformed, `no such escape: \x`},
		"cut escape":            {text, `{"instances": ["\`, CodeMalformed, "no closing quote"},
		"newline in a string":   {text, "{\"instances\": [\"a\nb\"]}", CodeMalformed, "a control character in a string"},
		"newline after escape":  {text, "{\"instances\": [\"\\t\n\"]}", CodeMalformed, "a control character in a string"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decode(t, c.model, c.body)
			checkError(t, err, c.code, c.says)
		})
	}
}

func TestDeclaredJSONIsHeldToIt(t *testing.T) {
	for body, want := range map[string]*Error{
		"":                 {Code: CodeEmpty, Message: "the input has no bytes"},
		" \n":              {Code: CodeEmpty, Message: "white space only"},
		"[[1, 2]]":         {Code: CodeMalformed, Message: "the input is not a JSON object but a list"},
		"[[1, 2]":          {Code: CodeMalformed, Message: "ends too early"},
		"hello":            {Code: CodeMalformed, Message: "the input: broken JSON at byte 0: expected a value, not 'h'"},
		"\xff\xfe{\x00":    {Code: CodeMalformed, Message: "encoded in UTF-16"},
		"\x93NUMPY":        {Code: CodeMalformed, Message: "the content begins like NPY"},
		"{\"a\x00b\": 1}":  {Code: CodeMalformed, Message: "a control character"},
		"{\"a\": 1}\x00":   {Code: CodeMalformed, Message: "expected the end"},
		"\x00{\"a\": 1}":   {Code: CodeMalformed, Message: "expected a value"},
		"{\"a\": \x00\xff": {Code: CodeMalformed, Message: "a: broken JSON"},
	} {
		_, err := Decode(t.Context(), []byte(body), Source{ContentType: "application/json; charset=utf-8"}, floats)
		checkError(t, err, want.Code, want.Message)
	}
}
