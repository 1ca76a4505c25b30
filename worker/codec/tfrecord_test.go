package codec

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// tfrecord is a file of records.
func tfrecord(records ...string) []byte {
	var b []byte
	for _, record := range records {
		start := len(b)
		b = binary.LittleEndian.AppendUint64(b, uint64(len(record)))
		b = binary.LittleEndian.AppendUint32(b, maskedChecksum(b[start:]))
		b = append(b, record...)
		b = binary.LittleEndian.AppendUint32(b, maskedChecksum([]byte(record)))
	}
	return b
}

// proto is one field of a protobuf message, of bytes.
func proto(number byte, value string) string {
	b := binary.AppendUvarint([]byte{number<<3 | wireBytes}, uint64(len(value)))
	return string(b) + value
}

// example is a tf.Example of features, each a name and a serialized Feature.
func example(features ...string) string {
	var all strings.Builder
	for i := 0; i < len(features); i += 2 {
		all.WriteString(proto(1, proto(1, features[i])+proto(2, features[i+1])))
	}
	return proto(1, all.String())
}

func bytesFeature(values ...string) string {
	var list strings.Builder
	for _, v := range values {
		list.WriteString(proto(1, v))
	}
	return proto(1, list.String())
}

func floatFeature(values ...float32) string {
	return proto(2, proto(1, string(appendFloats(values...))))
}

func intFeature(values ...int64) string {
	var packed []byte
	for _, v := range values {
		packed = binary.AppendUvarint(packed, uint64(v))
	}
	return proto(3, proto(1, string(packed)))
}

func TestFeaturesAreInputs(t *testing.T) {
	for name, c := range map[string]struct {
		input    model.TensorInfo
		features []string
		want     model.Tensor
	}{
		"floats":         {info("x", model.Float32, -1, 2), []string{floatFeature(1, 2), floatFeature(3, 4)}, tensor([]float32{1, 2, 3, 4}, 2, 2)},
		"float64":        {info("x", model.Float64, -1), []string{floatFeature(0.5)}, tensor([]float64{0.5}, 1)},
		"not packed":     {info("x", model.Float64, -1, 2), []string{proto(2, "\x0d\x00\x00\x80\x3f\x0d\x00\x00\x00\x40")}, tensor([]float64{1, 2}, 1, 2)},
		"int64":          {info("x", model.Int64, -1), []string{intFeature(math.MinInt64), intFeature(math.MaxInt64)}, tensor([]int64{math.MinInt64, math.MaxInt64}, 2)},
		"ints unpacked":  {info("x", model.Int32, -1, 2), []string{proto(3, "\x08\x07\x08\x96\x01")}, tensor([]int32{7, 150}, 1, 2)},
		"int8":           {info("x", model.Int8, -1, 2), []string{intFeature(-128, 127)}, tensor([]int8{-128, 127}, 1, 2)},
		"uint16":         {info("x", model.Uint16, -1), []string{intFeature(65535)}, tensor([]uint16{65535}, 1)},
		"uint64":         {info("x", model.Uint64, -1), []string{intFeature(math.MaxInt64)}, tensor([]uint64{math.MaxInt64}, 1)},
		"booleans":       {info("x", model.Bool, -1, 2), []string{intFeature(1, 0)}, tensor([]bool{true, false}, 1, 2)},
		"strings":        {info("x", model.String, -1, 2), []string{bytesFeature("a", ""), bytesFeature("\xff", "b")}, tensor([]string{"a", "", "\xff", "b"}, 2, 2)},
		"one string":     {info("x", model.String, -1), []string{bytesFeature("a"), bytesFeature("b")}, tensor([]string{"a", "b"}, 2)},
		"bytes as uint8": {info("x", model.Uint8, -1, 2, 2), []string{bytesFeature("abcd")}, tensor([]uint8{'a', 'b', 'c', 'd'}, 1, 2, 2)},
		"an open size":   {info("x", model.Float32, -1, -1, 2), []string{floatFeature(1, 2, 3, 4)}, tensor([]float32{1, 2, 3, 4}, 1, 2, 2)},
		"no values":      {info("x", model.Float32, -1, 0), []string{""}, tensor([]float32{}, 1, 0)},
		"in two parts":   {info("x", model.Float32, -1, 2), []string{floatFeature(1) + floatFeature(2)}, tensor([]float32{1, 2}, 1, 2)},
		"unknown fields": {info("x", model.Float32, -1), []string{"\x20\x01" + proto(2, "\x11........\x20\x01"+proto(1, string(appendFloats(1))))}, tensor([]float32{1}, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			var records []string
			for _, feature := range c.features {
				records = append(records, example("label", intFeature(1), "x", feature, "another", bytesFeature("y")))
			}
			in, err := Decode(t.Context(), tfrecord(records...), Source{}, newModel(c.input))
			checkTensors(t, in, err, c.want)
		})
	}
}

func TestSeveralFeaturesAreSeveralInputs(t *testing.T) {
	body := tfrecord(
		example("b", intFeature(2), "a", intFeature(1)),
		example("a", intFeature(3))+example("b", intFeature(4)), // messages merge
	)
	in, err := Decode(t.Context(), body, Source{Name: "in/a.tfrecord"}, both)
	checkTensors(t, in, err, tensor([]int32{1, 3}, 2), tensor([]int32{2, 4}, 2))
}

// A model that parses examples itself has no feature that is called as its
// input is.
func TestRecordsAreElementsOfAModelThatParsesThem(t *testing.T) {
	one, other := example("x", floatFeature(1)), example("x", floatFeature(2))
	for name, input := range map[string]model.TensorInfo{
		"list":         info("examples", model.String, -1),
		"column":       info("examples", model.String, -1, 1),
		"unknown rank": anyShape("examples", model.String),
		"fixed batch":  info("examples", model.String, 8),
	} {
		m := newModel(input)
		m.signatures["serving_default"].Outputs[0].Shape[0] = append(input.Shape, -1)[0]
		in, err := Decode(t.Context(), tfrecord(one, other, "no example", ""), Source{}, m)
		want := tensor([]string{one, other, "no example", ""}, 4)
		if name == "column" {
			want.Shape = []int64{4, 1}
		}
		checkTensors(t, in, err, want)
	}
	// A feature that has the input's name is the input, in all records.
	_, err := Decode(t.Context(), tfrecord(example("x", bytesFeature("a")), "no example"), Source{}, text)
	checkError(t, err, CodeMalformed, "record 2 (at byte 30) is no tf.Example")
}

func TestBadTFRecordsAreRefusedByNumberAndByte(t *testing.T) {
	x := newModel(info("x", model.Float32, -1, 2))
	good := example("x", floatFeature(1, 2))
	second := 16 + len(good)
	whole := tfrecord(good, good)
	flipped := func(at int) []byte {
		b := bytes.Clone(whole)
		b[at] ^= 1
		return b
	}
	of := func(feature string) []byte { return tfrecord(good, example("x", feature)) }
	typed := func(dtype model.DType) *testModel { return newModel(info("x", dtype, -1, 2)) }
	huge := binary.LittleEndian.AppendUint64(nil, math.MaxUint64)
	huge = binary.LittleEndian.AppendUint32(huge, maskedChecksum(huge))
	for name, c := range map[string]struct {
		model *testModel
		body  []byte
		code  string
		says  []string
	}{
		"length":           {x, flipped(second), CodeMalformed, []string{"record 2 (at byte 37): the checksum of its length is wrong", "TFRecordWriter"}},
		"data":             {x, flipped(second + 20), CodeMalformed, []string{"record 2 (at byte 37): its checksum is wrong"}},
		"the first":        {x, []byte("no records at all"), CodeMalformed, []string{"record 1 (at byte 0): the checksum of its length is wrong", "or no TFRecord file"}},
		"cut":              {x, whole[:len(whole)-1], CodeMalformed, []string{"record 2 (at byte 37): it should have 37 bytes with its checksums, but the file ends after 36"}},
		"cut in the head":  {x, whole[:second+3], CodeMalformed, []string{"record 2", "ends after 3"}},
		"huge":             {x, huge, CodeMalformed, []string{"but the file ends after 12"}},
		"no example":       {x, tfrecord(good, "\xff"), CodeMalformed, []string{"record 2 (at byte 37) is no tf.Example", "SerializeToString"}},
		"no feature":       {x, tfrecord(proto(1, "\xff")), CodeMalformed, []string{"record 1 (at byte 0) is no tf.Example"}},
		"no entry":         {x, tfrecord(proto(1, proto(1, "\xff"))), CodeMalformed, []string{"is no tf.Example"}},
		"no list":          {x, of("\xff"), CodeMalformed, []string{"record 2 (at byte 37) is no tf.Example"}},
		"no floats":        {x, of(proto(2, proto(1, "abc"))), CodeMalformed, []string{"x is no tf.Example"}},
		"no float field":   {x, of(proto(2, "\x0d1")), CodeMalformed, []string{"no tf.Example"}},
		"no varint":        {typed(model.Int8), tfrecord(example("x", proto(3, proto(1, "\xff")))), CodeMalformed, []string{"no tf.Example"}},
		"no int field":     {typed(model.Int8), tfrecord(example("x", proto(3, "\x08\xff"))), CodeMalformed, []string{"no tf.Example"}},
		"no bytes":         {typed(model.String), tfrecord(example("x", proto(1, "\x0a\xff"))), CodeMalformed, []string{"no tf.Example"}},
		"a group":          {x, tfrecord("\x0b\x0c"), CodeMalformed, []string{"no tf.Example"}},
		"field 0":          {x, tfrecord("\x02\x00"), CodeMalformed, []string{"no tf.Example"}},
		"missing":          {both, tfrecord(example("a", intFeature(1), "c", intFeature(1))), CodeInvalidShape, []string{`record 1 (at byte 0) has no feature "b"; the model takes: a,b`}},
		"twice":            {x, tfrecord(example("x", floatFeature(1, 2), "x", floatFeature(1, 2))), CodeMalformed, []string{"x is there twice"}},
		"two kinds":        {x, of(floatFeature(1) + intFeature(1)), CodeMalformed, []string{"x holds lists of several kinds"}},
		"ints for floats":  {x, of(intFeature(1, 2)), CodeInvalidDType, []string{`record 2 (at byte 37): x is an int64_list, but input "x" takes float32`, "write it as a float_list"}},
		"bytes for floats": {x, of(bytesFeature("12345678")), CodeInvalidDType, []string{"x is a bytes_list"}},
		"floats for ints":  {typed(model.Int32), tfrecord(good), CodeInvalidDType, []string{"x is a float_list", "write it as an int64_list"}},
		"ints for strings": {typed(model.String), tfrecord(example("x", intFeature(1, 2))), CodeInvalidDType, []string{"write it as a bytes_list"}},
		"out of range":     {typed(model.Int8), tfrecord(example("x", intFeature(1, 128))), CodeInvalidDType, []string{`x[1] is 128, which input "x" of type int8 can't hold`}},
		"far below":        {typed(model.Int32), tfrecord(example("x", proto(3, "\x08\x01\x08\xff\xff\xff\xff\xef\xff\xff\xff\xff\x01"))), CodeInvalidDType, []string{"x[1] is -4294967297"}},
		"negative":         {typed(model.Uint64), tfrecord(example("x", intFeature(-1))), CodeInvalidDType, []string{"x[0] is -1"}},
		"no boolean":       {typed(model.Bool), tfrecord(example("x", intFeature(1, 2))), CodeInvalidDType, []string{"x[1] is 2"}},
		"ragged":           {newModel(info("x", model.Float32, -1, -1)), of(floatFeature(1)), CodeInvalidShape, []string{"record 2 (at byte 37): x has 1 values, but those before it have 2", "pad"}},
		"another shape":    {newModel(info("x", model.Float32, -1, 3)), whole, CodeInvalidShape, []string{"x has 2 values, but that is no row of input x float32[-1 3]"}},
		"nothing":          {x, of(""), CodeInvalidShape, []string{"x has 0 values"}},
		"bytes, several":   {typed(model.Uint8), tfrecord(example("x", bytesFeature("a", "b"))), CodeInvalidShape, []string{"several byte strings"}},
		"bytes, too few":   {typed(model.Uint8), tfrecord(example("x", bytesFeature("a"))), CodeInvalidShape, []string{"x has 1 values"}},
		"no scalar":        {newModel(info("x", model.Float32)), tfrecord(example("x", floatFeature(1))), CodeInvalidShape, []string{"shape of input"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode(t.Context(), c.body, Source{ContentType: "application/x-tfrecord"}, c.model)
			checkError(t, err, c.code, c.says...)
		})
	}
}

// A record whose length begins with a brace is no JSON.
func TestARecordOf123BytesIsARecord(t *testing.T) {
	in, err := Decode(t.Context(), tfrecord(strings.Repeat("a", '{')), Source{}, text)
	checkTensors(t, in, err, tensor([]string{strings.Repeat("a", '{')}, 1))
}

// FuzzDecodeTFRecord reads examples within sound frames: a mutation would never
// find a checksum.
func FuzzDecodeTFRecord(f *testing.F) {
	dtypes := []model.DType{model.Float32, model.Float64, model.Int8, model.Uint8, model.Uint64, model.Bool, model.String}
	for i, feature := range []string{floatFeature(1, 2), floatFeature(3), intFeature(1, -1), bytesFeature("ab"), intFeature(0), proto(3, "\x08\x07"), bytesFeature("a", "b")} {
		f.Add([]byte(example("x", feature)), []byte(example("y", feature, "x", feature)), uint8(i))
	}
	src := Source{ContentType: "application/x-tfrecord"}
	f.Fuzz(func(t *testing.T, first, second []byte, which uint8) {
		m := newModel(anyShape("x", dtypes[int(which)%len(dtypes)]))
		_, _ = checkProportionAs(t, first, src, m)
		in, err := checkProportionAs(t, tfrecord(string(first), string(second)), src, m)
		if err != nil {
			return
		}
		if err := checkOutputs(&model.Signature{Outputs: make([]model.TensorInfo, 1)}, in.Tensors); err != nil || in.Rows != 2 {
			t.Errorf("%d rows, %v", in.Rows, err)
		}
	})
}
