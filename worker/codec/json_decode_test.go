package codec

import (
	"encoding/base64"
	"math"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

var (
	floats  = newModel(anyShape("x", model.Float32))
	text    = newModel(anyShape("x", model.String))
	sensors = newModel(
		info("sensor", model.Int32, -1, 2, 2),
		info("signal", model.Float32, -1, 5),
		info("tag", model.String, -1),
	)
	// pair can't be batched: its inputs have different first dimensions.
	pair = newModel(info("a", model.Float32, 2), info("b", model.Float32, 3))
)

func TestJSONBecomesTensors(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	sensorTensors := []model.Tensor{
		tensor([]int32{1, 2, 3, 4, 4, 5, 6, 8}, 2, 2, 2),
		tensor([]float32{1, 2, 3, 4, 5, 3, 4, 1, 2, 5}, 2, 5),
		tensor([]string{"foo", "bar"}, 2),
	}
	for name, c := range map[string]struct {
		model *testModel
		body  string
		want  []model.Tensor
	}{
		// The examples of TensorFlow Serving's documentation.
		"scalars in rows":  {text, `{"instances": [ "foo", "bar", "baz" ]}`, []model.Tensor{tensor([]string{"foo", "bar", "baz"}, 3)}},
		"lists in rows":    {floats, `{"instances": [ [[1, 2]], [[3, 4]] ]}`, []model.Tensor{tensor([]float32{1, 2, 3, 4}, 2, 1, 2)}},
		"half_plus_three":  {floats, `{"instances": [1.0,2.0,5.0]}`, []model.Tensor{tensor([]float32{1, 2, 5}, 3)}},
		"objects":          {sensors, `{"instances": [{"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]}, {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]}]}`, sensorTensors},
		"columns":          {sensors, `{"inputs": {"tag": ["foo", "bar"], "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]], "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]]}}`, sensorTensors},
		"base64":           {text, `{"instances": [{"b64": "aW1hZ2UgYnl0ZXM="}, {"b64": "YXdlc29tZSBpbWFnZSBieXRlcw=="}]}`, []model.Tensor{tensor([]string{"image bytes", "awesome image bytes"}, 2)}},
		"NaN and Infinity": {floats, `{"instances": [1.0, -3.14, NaN, Infinity, -Infinity, Inf]}`, []model.Tensor{tensor([]float32{1, -3.14, nan, inf, -inf, inf}, 6)}},

		"a single input by name":        {floats, `{"instances": [{"x": [1]}, {"x": [2]}]}`, []model.Tensor{tensor([]float32{1, 2}, 2, 1)}},
		"a single column by name":       {floats, `{"inputs": {"x": [1, 2]}}`, []model.Tensor{tensor([]float32{1, 2}, 2)}},
		"a bare column":                 {floats, `{"inputs": [1, 2]}`, []model.Tensor{tensor([]float32{1, 2}, 2)}},
		"columns may name others":       {floats, `{"inputs": {"y": {"z": [null, {}, []]}, "x": [1]}}`, []model.Tensor{tensor([]float32{1}, 1)}},
		"other keys are passed over":    {floats, `{"id": [1, {"a": "b"}, true, null], "instances": [1]}`, []model.Tensor{tensor([]float32{1}, 1)}},
		"columns of unequal length":     {pair, `{"inputs": {"a": [1, 2], "b": [3, 4, 5]}}`, []model.Tensor{tensor([]float32{1, 2}, 2), tensor([]float32{3, 4, 5}, 3)}},
		"base64 as a column":            {newModel(info("x", model.String)), `{"inputs": {"b64": "aGk="}}`, []model.Tensor{tensor([]string{"hi"})}},
		"base64 among strings":          {text, `{"instances": [["a", {"b64": "Yg=="}], [{"b64":"Yw"}, {"b64":"ZGRk\nZA==\n"}]]}`, []model.Tensor{tensor([]string{"a", "b", "c", "dddd"}, 2, 2)}},
		"base64 with escapes":           {text, `{"instances": [{"b\u0036\u0034": "\/\/8="}, {"b64": "\/\/8="}]}`, []model.Tensor{tensor([]string{"\xff\xff", "\xff\xff"}, 2)}},
		"escapes":                       {text, `{"instances": ["a\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\uDE00é😀"]}`, []model.Tensor{tensor([]string{"a\"\\/\b\f\n\r\tAé😀é😀"}, 1)}},
		"special float64":               {newModel(anyShape("x", model.Float64)), `{"instances": [NaN, -Infinity, 0.1]}`, []model.Tensor{tensor([]float64{math.NaN(), math.Inf(-1), 0.1}, 3)}},
		"booleans":                      {newModel(anyShape("x", model.Bool)), `{"instances": [true, false]}`, []model.Tensor{tensor([]bool{true, false}, 2)}},
		"empty lists":                   {floats, `{"instances": [[], []]}`, []model.Tensor{tensor([]float32{}, 2, 0)}},
		"white space and a BOM":         {floats, "\ufeff \n\t{\r\n \"instances\" : [ 1 , 2 ] } \n", []model.Tensor{tensor([]float32{1, 2}, 2)}},
		"numbers of all forms":          {floats, `{"instances": [0, -0, -0.0, 1e2, 1E+2, 1.5e-2, 0.1, 12345678.9, 1e-400, 340282346638528859811704183484516925440, 0.1234567890123456789012345]}`, []model.Tensor{tensor([]float32{0, float32(math.Copysign(0, -1)), float32(math.Copysign(0, -1)), 100, 100, 0.015, 0.1, 12345679, 0, math.MaxFloat32, 0.12345679}, 11)}},
		"whole numbers that stay exact": {floats, `{"instances": [16777216, 1700000000, -16777216, 18446742974197923840]}`, []model.Tensor{tensor([]float32{16777216, 1700000000, -16777216, 18446742974197923840}, 4)}},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := decode(t, c.model, c.body)
			checkTensors(t, in, err, c.want...)
			if in.Column != strings.Contains(c.body, `"inputs"`) {
				t.Errorf("Column is %v", in.Column)
			}
		})
	}
}

func TestIntegersHoldTheirTypesWholeRange(t *testing.T) {
	for _, c := range []struct {
		body string
		want model.Tensor
		less string // just out of range
		more string
	}{
		{`[-128, 127]`, tensor([]int8{-128, 127}, 2), "-129", "128"},
		{`[-32768, 32767]`, tensor([]int16{-32768, 32767}, 2), "-32769", "32768"},
		{`[-2147483648, 2147483647]`, tensor([]int32{math.MinInt32, math.MaxInt32}, 2), "-2147483649", "2147483648"},
		{`[-9223372036854775808, 9223372036854775807]`, tensor([]int64{math.MinInt64, math.MaxInt64}, 2), "-9223372036854775809", "9223372036854775808"},
		{`[0, 255]`, tensor([]uint8{0, 255}, 2), "-1", "256"},
		{`[0, 65535]`, tensor([]uint16{0, 65535}, 2), "-1", "65536"},
		{`[-0, 4294967295]`, tensor([]uint32{0, math.MaxUint32}, 2), "-1", "4294967296"},
		{`[0, 18446744073709551615]`, tensor([]uint64{0, math.MaxUint64}, 2), "-1", "18446744073709551616"},
	} {
		t.Run(c.want.DType.String(), func(t *testing.T) {
			m := newModel(anyShape("x", c.want.DType))
			in, err := decode(t, m, `{"instances": `+c.body+`}`)
			checkTensors(t, in, err, c.want)
			for _, bad := range []string{c.less, c.more, "1.0", "1e0", "NaN", "true", `"1"`, "99999999999999999999999", "-99999999999999999999999"} {
				_, err := decode(t, m, `{"instances": [1, `+bad+`]}`)
				checkError(t, err, CodeInvalidDType, "instances[1] is ", bad, c.want.DType.String())
			}
		})
	}
}

func TestRowsCountInstances(t *testing.T) {
	for name, c := range map[string]struct {
		model *testModel
		body  string
		rows  int64
	}{
		"free batch":                    {newModel(info("x", model.Float32, -1, 2)), `{"instances": [[1, 2], [3, 4], [5, 6]]}`, 3},
		"column":                        {newModel(info("x", model.Float32, -1, 2)), `{"inputs": [[1, 2], [3, 4], [5, 6]]}`, 3},
		"unknown rank":                  {floats, `{"instances": [1, 2]}`, 2},
		"no batch, rows that fit":       {newModel(info("x", model.Float32, 2)), `{"instances": [1, 2]}`, 1},
		"no batch, column":              {newModel(info("x", model.Float32, 2)), `{"inputs": [1, 2]}`, 1},
		"no batch, scalar":              {newModel(info("x", model.Float32)), `{"inputs": 1}`, 1},
		"inputs of unequal length":      {pair, `{"inputs": {"a": [1, 2], "b": [3, 4, 5]}}`, 1},
		"no batch, an empty tensor":     {newModel(info("x", model.Float32, 0)), `{"inputs": []}`, 1},
		"no batch, free first, by rows": {newModel(info("x", model.Float32, -1), info("z", model.Float32)), `{"inputs": {"x": [1, 2, 3], "z": 1}}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := decode(t, c.model, c.body)
			if err != nil || in.Rows != c.rows {
				t.Fatalf("got %+v, %v; want %d rows", in, err, c.rows)
			}
		})
	}
}

func TestFixedBatchTakesAnyNumberOfRows(t *testing.T) {
	m := &testModel{signatures: map[string]*model.Signature{}}
	m.sign("serving_default", []model.TensorInfo{info("x", model.Float32, 4, 2)}, info("y", model.Float32, 4))
	for _, body := range []string{`[[1, 2]]`, `[[1, 2], [1, 2], [1, 2], [1, 2]]`, `[[1, 2], [1, 2], [1, 2], [1, 2], [1, 2]]`} {
		if _, err := decode(t, m, `{"instances": `+body+`}`); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestSignatureIsTheRequestsElseTheBodysElseTheDefault(t *testing.T) {
	several := &testModel{signatures: map[string]*model.Signature{}}
	several.sign("serving_default", []model.TensorInfo{info("x", model.Float32, -1)}, info("y", model.Float32, -1))
	several.sign("text", []model.TensorInfo{info("s", model.String, -1)}, info("y", model.Float32, -1))
	several.sign("__saved_model_init_op", nil, info("y", 0))
	one := &testModel{signatures: map[string]*model.Signature{}}
	one.sign("only", []model.TensorInfo{info("x", model.Float32, -1)}, info("y", model.Float32, -1))
	one.sign("__saved_model_init_op", nil, info("y", 0))
	two := &testModel{signatures: map[string]*model.Signature{}}
	two.sign("a", []model.TensorInfo{info("x", model.Float32, -1)}, info("y", model.Float32, -1))
	two.sign("b", []model.TensorInfo{info("x", model.Float32, -1)}, info("y", model.Float32, -1))
	two.sign("inert", nil, info("y", model.Float32, -1))

	for name, c := range map[string]struct {
		model       *testModel
		asked, body string
		want        string // a signature, or an error's text
	}{
		"default":                      {several, "", `{"instances": [1]}`, "serving_default"},
		"empty name":                   {several, "", `{"signature_name": "", "instances": [1]}`, "serving_default"},
		"the only one":                 {one, "", `{"instances": [1]}`, "only"},
		"body":                         {several, "", `{"signature_name": "text", "instances": ["a"]}`, "text"},
		"body, at its end":             {several, "", `{"instances": ["a"], "signature_name": "text"}`, "text"},
		"body, at its end, by columns": {several, "", `{"inputs": {"s": ["a"]}, "signature_name": "text"}`, "text"},
		"body, escaped":                {several, "", `{"instances": ["a"], "signature\u005fname": "t\u0065xt"}`, "text"},
		"request":                      {several, "text", `{"instances": ["a"]}`, "text"},
		"request against body":         {several, "text", `{"signature_name": "serving_default", "instances": ["a"]}`, "text"},
		"request against unknown":      {several, "text", `{"signature_name": "none", "instances": ["a"]}`, "text"},
		"no default":                   {two, "", `{"instances": [1]}`, `no signature "serving_default"; it has: a, b`},
		"named, without a default":     {two, "", `{"instances": [1], "signature_name": "b"}`, "b"},
		"unknown in body":              {several, "", `{"instances": [1], "signature_name": "none"}`, `no signature "none"; it has: serving_default, text`},
		"unknown in request":           {several, "none", `{"instances": [1]}`, `no signature "none"`},
		"initialisation":               {several, "__saved_model_init_op", `{"instances": [1]}`, "no signature"},
		"nothing to feed":              {two, "inert", `{"instances": [1]}`, "takes no inputs"},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := Decode(t.Context(), []byte(c.body), Source{Signature: c.asked}, c.model)
			if c.model.signatures[c.want] == nil {
				checkError(t, err, CodeUnknownSignature, c.want)
			} else if err != nil || in.Signature.Name != c.want {
				t.Errorf("got %+v, %v; want %s", in, err, c.want)
			}
		})
	}
}

func TestWrongSignatureNamedLateKeepsItsOwnErrors(t *testing.T) {
	m := newModel(anyShape("x", model.Float32))
	m.sign("text", []model.TensorInfo{anyShape("s", model.String)}, info("y", model.Float32, -1))
	_, err := decode(t, m, `{"instances": [1, "a"], "signature_name": "text"}`)
	checkError(t, err, CodeInvalidDType, `instances[0] is a number (1), but input "s" takes strings`)
	_, err = decode(t, m, `{"instances": [1, "a"], "signature_name": "serving_default"}`)
	checkError(t, err, CodeInvalidDType, `instances[1] is a string ("a"), but input "x" takes float32`)
}

func TestDecodedBase64IsWhatWasEncoded(t *testing.T) {
	long := strings.Repeat("\x00\xff\x80", 1000)
	body := `{"instances": [{"b64": "` + base64.StdEncoding.EncodeToString([]byte(long)) + `"}]}`
	in, err := decode(t, text, body)
	checkTensors(t, in, err, tensor([]string{long}, 1))
}

func TestManyRowsKeepTheirOrder(t *testing.T) {
	want := make([]float32, 10_000)
	var body strings.Builder
	body.WriteString(`{"instances": [`)
	for i := range want {
		want[i] = float32(i)
		if i > 0 {
			body.WriteByte(',')
		}
		body.WriteString(`{"x": [`)
		body.Write(appendFloat(nil, float64(i), 32))
		body.WriteString(`]}`)
	}
	body.WriteString(`]}`)
	in, err := decode(t, newModel(info("x", model.Float32, -1, 1)), body.String())
	checkTensors(t, in, err, tensor(want, 10_000, 1))
}
