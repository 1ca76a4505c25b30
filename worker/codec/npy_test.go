package codec

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// npy is a version 1.0 file.
func npy(descr string, fortran bool, shape string, data []byte) []byte {
	order := map[bool]string{true: "True", false: "False"}[fortran]
	return npyFile(1, fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n", descr, order, shape), data)
}

func npyFile(version byte, header string, data []byte) []byte {
	b := append([]byte(npyMagic), version, 0)
	if version == 1 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(header)))
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
	}
	return append(append(b, header...), data...)
}

func TestNPYBecomesATensor(t *testing.T) {
	bigEndian := func(v any) []byte {
		b, _ := binary.Append(nil, binary.BigEndian, v)
		return b
	}
	littleEndian := func(v any) []byte { return tensor(v).Data }
	const utf32 = "h\x00\x00\x00\xe9\x00\x00\x00\x00\x00\x00\x00\x00\xf6\x01\x00b\x00\x00\x00\x00\x00\x00\x00"
	plain := littleEndian([]float32{1, 2})
	halves := littleEndian([]uint16{0x3c00, 0xc000, 0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0x7c00, 0xfc00})
	halvesAsFloats := []float32{1, -2, 0, float32(math.Copysign(0, -1)), 0x1p-24, -0x3ffp-24, 0x1p-14, 65504, float32(math.Inf(1)), float32(math.Inf(-1))}
	for name, c := range map[string]struct {
		body []byte
		want model.Tensor
	}{
		"float32":           {npy("<f4", false, "(2, 3)", littleEndian([]float32{1, 2, 3, 4, 5, 6})), tensor([]float32{1, 2, 3, 4, 5, 6}, 2, 3)},
		"one dimension":     {npy("<f4", false, "(2,)", plain), tensor([]float32{1, 2}, 2)},
		"Fortran":           {npy("<f4", true, "(2, 3)", littleEndian([]float32{1, 4, 2, 5, 3, 6})), tensor([]float32{1, 2, 3, 4, 5, 6}, 2, 3)},
		"Fortran, deep":     {npy("|u1", true, "(2, 3, 2)", []byte{0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11}), tensor([]uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 2, 3, 2)},
		"Fortran, one":      {npy("<f4", true, "(2,)", plain), tensor([]float32{1, 2}, 2)},
		"big endian":        {npy(">f4", false, "(2,)", bigEndian([]float32{1, 2})), tensor([]float32{1, 2}, 2)},
		"big endian int":    {npy(">i2", false, "(2,)", bigEndian([]int16{-2, 3})), tensor([]int16{-2, 3}, 2)},
		"both, and widened": {npy(">i2", true, "(2, 2)", bigEndian([]int16{1, -3, 2, 4})), tensor([]float64{1, 2, -3, 4}, 2, 2)},
		"native order":      {npy("=f4", false, "(2,)", plain), tensor([]float32{1, 2}, 2)},
		"no order":          {npy("f4", false, "(2,)", plain), tensor([]float32{1, 2}, 2)},
		"boolean":           {npy("|b1", false, "(2,)", []byte{1, 0}), tensor([]bool{true, false}, 2)},
		"uint8 to float32":  {npy("|u1", false, "(2,)", []byte{0, 255}), tensor([]float32{0, 255}, 2)},
		"uint16 to int32":   {npy("<u2", false, "(1,)", []byte{255, 255}), tensor([]int32{65535}, 1)},
		"uint32 to float64": {npy("<u4", false, "(1,)", []byte{255, 255, 255, 255}), tensor([]float64{4294967295}, 1)},
		"int8 to int64":     {npy("|i1", false, "(1,)", []byte{0x80}), tensor([]int64{-128}, 1)},
		"int32 to float64":  {npy("<i4", false, "(1,)", littleEndian([]int32{-7})), tensor([]float64{-7}, 1)},
		"float32 to 64":     {npy("<f4", false, "(2,)", plain), tensor([]float64{1, 2}, 2)},
		"no elements":       {npy("<f4", false, "(65536, 0)", nil), tensor([]float32{}, 65536, 0)},
		"float16":           {npy("<f2", false, "(10,)", halves), tensor(halvesAsFloats, 10)},
		"float16 to 64":     {npy("<f2", false, "(2, 1)", halves[:4]), tensor([]float64{1, -2}, 2, 1)},
		"both, of float16":  {npy(">f2", true, "(2, 2)", bigEndian([]uint16{0x3c00, 0x4200, 0x4000, 0x4400})), tensor([]float32{1, 2, 3, 4}, 2, 2)},
		"byte strings":      {npy("|S3", false, "(3,)", []byte("ab\x00\x00\x00\x00\x00bc")[:9]), tensor([]string{"ab", "", "\x00bc"}, 3)},
		"text":              {npy("<U3", false, "(2,)", []byte(utf32)), tensor([]string{"hé", "😀b"}, 2)},
		"Fortran strings":   {npy("|S1", true, "(2, 2)", []byte("acbd")), tensor([]string{"a", "b", "c", "d"}, 2, 2)},
		"version 2":         {npyFile(2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}   \n", plain), tensor([]float32{1, 2}, 2)},
		"version 3":         {npyFile(3, `{"shape": (2L,), "fortran_order": False, "descr": "<f4"}`, plain), tensor([]float32{1, 2}, 2)},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := Decode(t.Context(), c.body, Source{}, newModel(anyShape("x", c.want.DType)))
			checkTensors(t, in, err, c.want)
		})
	}
}

func TestNPYOfTheSameTypeIsNotCopied(t *testing.T) {
	body := npy("<f4", false, "(1, 2)", appendFloats(1, 2))
	in, err := Decode(t.Context(), body, Source{}, newModel(info("x", model.Float32, -1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)-1] ^= 0xff
	if in.Tensors[0].Data[7] != body[len(body)-1] {
		t.Error("the tensor does not share the body's memory")
	}
}

func TestNPYOfARowsShapeIsOneRow(t *testing.T) {
	in, err := Decode(t.Context(), npy("|u1", false, "(2, 3)", make([]byte, 6)), Source{}, newModel(info("x", model.Uint8, -1, 2, 3)))
	checkTensors(t, in, err, tensor(make([]uint8, 6), 1, 2, 3))
	if in.Rows != 1 {
		t.Errorf("%d rows, want 1", in.Rows)
	}
}

func TestBadNPYIsRefused(t *testing.T) {
	good := npy("<f4", false, "(1, 2)", appendFloats(1, 2))
	matrix := info("x", model.Float32, -1, 2)
	for name, c := range map[string]struct {
		body  []byte
		input model.TensorInfo
		code  string
		says  string
	}{
		"magic alone":        {good[:6], matrix, CodeMalformed, "and a version"},
		"no length":          {good[:9], matrix, CodeMalformed, "it ends within the header"},
		"cut header":         {good[:40], matrix, CodeMalformed, "the header should have 60 bytes, but only 30 follow"},
		"cut data":           {good[:len(good)-1], matrix, CodeMalformed, "2 elements of 4 bytes are announced, but 7 bytes follow"},
		"more data":          {append(good[:len(good):len(good)], 0), matrix, CodeMalformed, "9 bytes follow"},
		"version":            {npyFile(4, "", nil), matrix, CodeUnsupportedType, "version 4; 1, 2 and 3"},
		"garbage":            {npyFile(1, "{'descr': '<f4', 'fortran_order': maybe, 'shape': (1,)}", nil), matrix, CodeMalformed, "can't make sense of the header"},
		"missing key":        {npyFile(1, "{'descr': '<f4', 'shape': (1,)}", nil), matrix, CodeMalformed, "can't make sense"},
		"strange key":        {npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", nil), matrix, CodeMalformed, "can't make sense"},
		"behind the header":  {npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", nil), matrix, CodeMalformed, "can't make sense"},
		"negative size":      {npy("<f4", false, "(-1, 2)", nil), matrix, CodeMalformed, "can't make sense"},
		"open tuple":         {npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1", nil), matrix, CodeMalformed, "can't make sense"},
		"open string":        {npyFile(1, "{'descr", nil), matrix, CodeMalformed, "can't make sense"},
		"huge size":          {npy("<f4", false, "(1000000000, 1000000000, 1000000000)", nil), matrix, CodeMalformed, "size overflows"},
		"huge, but empty":    {npy("<f4", false, "(0, 999999999999999999, 999999999999999999)", nil), matrix, CodeMalformed, "size overflows"},
		"rows of nothing":    {npy("<f4", false, "(999999999999999999, 0)", nil), info("x", model.Float32, -1, -1), CodeMalformed, "shape [999999999999999999 0] has no elements"},
		"a row of nothings":  {npy("<f4", false, "(1, 2000000000, 0)", nil), info("x", model.Float32, -1, -1, -1), CodeMalformed, "shape [1 2000000000 0] has no elements"},
		"text of nothing":    {npy("<U1", false, "(65537, 0)", nil), info("x", model.String, -1, -1), CodeMalformed, "shape [65537 0] has no elements"},
		"size of 19 digits":  {npy("<f4", false, "(9999999999999999999,)", nil), matrix, CodeMalformed, "can't make sense"},
		"large size":         {npy("<f4", false, "(999999999, 999999999)", nil), matrix, CodeMalformed, "999999998000000001 elements of 4 bytes are announced, but 0"},
		"bytes overflow":     {npy("<f8", false, "(999999999999999999, 4)", nil), info("x", model.Float64, -1, 4), CodeMalformed, "are announced, but 0"},
		"dimensions":         {npy("<f4", false, "("+strings.Repeat("1,", 65)+")", make([]byte, 4)), matrix, CodeMalformed, "65 dimensions"},
		"boolean 2":          {npy("|b1", false, "(1,)", []byte{2}), info("x", model.Bool, -1), CodeMalformed, "neither 0 nor 1"},
		"no rows":            {npy("<f4", false, "(0, 2)", nil), matrix, CodeEmpty, "no rows"},
		"shape":              {npy("<f4", false, "(2, 1)", appendFloats(1, 2)), matrix, CodeInvalidShape, "is [2 1], but the model takes [-1 2]"},
		"no channels":        {npy("<f4", false, "(1, 2, 2)", appendFloats(1, 2, 3, 4)), info("x", model.Float32, -1, 2, 2, 1), CodeInvalidShape, "is [1 2 2], but the model takes [-1 2 2 1]"},
		"float64":            {npy("<f8", false, "(1, 2)", make([]byte, 16)), matrix, CodeInvalidDType, "save array.astype('float32')"},
		"int64":              {npy("<i8", false, "(1, 2)", make([]byte, 16)), matrix, CodeInvalidDType, `"<i8", which can't become float32`},
		"int32 to float32":   {npy("<i4", false, "(1, 2)", make([]byte, 8)), matrix, CodeInvalidDType, "astype('float32')"},
		"float16 to int32":   {npy("<f2", false, "(1, 2)", make([]byte, 4)), info("x", model.Int32, -1, 2), CodeInvalidDType, "astype('int32')"},
		"cut float16":        {npy("<f2", false, "(1, 2)", make([]byte, 3)), matrix, CodeMalformed, "2 elements of 2 bytes are announced, but 3"},
		"long double":        {npy("<f16", false, "(1, 2)", make([]byte, 32)), matrix, CodeInvalidDType, "astype('float32')"},
		"objects":            {npy("|O", false, "(1, 2)", []byte("\x80")), matrix, CodeInvalidDType, `"|O"`},
		"order alone":        {npy("<", false, "(1, 2)", nil), matrix, CodeInvalidDType, `"<"`},
		"no type":            {npy("", false, "(1, 2)", nil), matrix, CodeInvalidDType, `""`},
		"structured":         {npyFile(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", nil), matrix, CodeInvalidDType, "none of numbers, booleans or strings"},
		"strings for floats": {npy("|S2", false, "(1, 2)", make([]byte, 4)), matrix, CodeInvalidDType, "astype('float32')"},
		"floats for strings": {good, info("x", model.String, -1, 2), CodeInvalidDType, "astype('S')"},
		"strings of no size": {npy("|S0", false, "(999999999999999,)", nil), info("x", model.String, -1), CodeMalformed, "no width"},
		"strings of a name":  {npy("|Sx", false, "(1,)", nil), info("x", model.String, -1), CodeInvalidDType, `"|Sx"`},
		"cut strings":        {npy("<U2", false, "(2,)", make([]byte, 8)), info("x", model.String, -1), CodeMalformed, "2 elements of 8 bytes are announced, but 8"},
		"no character":       {npy("<U1", false, "(1,)", []byte{0, 0xd8, 0, 0}), info("x", model.String, -1), CodeMalformed, "0xd800 is no character"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode(t.Context(), c.body, Source{}, newModel(c.input))
			checkError(t, err, c.code, c.says)
		})
	}
}
