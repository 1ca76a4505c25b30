package codec

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// allocated is how many bytes f took from the heap, about.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// checkProportion decodes and holds the memory that this took against the
// body's length: 24 bytes for the header of an empty string, which is 3 bytes
// long with its comma, and as much again for slices that grew.
func checkProportion(t *testing.T, body []byte, m model.Model) (in *Input, err error) {
	t.Helper()
	return checkProportionAs(t, body, Source{}, m)
}

// checkProportionAs is checkProportion for a body of which src is known.
func checkProportionAs(t *testing.T, body []byte, src Source, m model.Model) (in *Input, err error) {
	t.Helper()
	n := allocated(func() { in, err = Decode(t.Context(), body, src, m) })
	// A decompressor takes 45 kB, one for each array of an archive where the
	// pool has none, as under the race detector.
	if limit := uint64(64*len(body) + 256<<10); n > limit {
		t.Errorf("%d bytes of input took %d bytes of memory", len(body), n)
	}
	if _, ok := errors.AsType[*Error](err); err != nil && !ok {
		t.Errorf("the error is no *Error: %v", err)
	}
	return in, err
}

// FuzzDecodeJSON never panics, keeps memory in proportion, and takes no body
// that encoding/json does not, but for the words NaN and Infinity.
func FuzzDecodeJSON(f *testing.F) {
	models := []*testModel{floats, text, sensors, pair, newModel(anyShape("x", model.Int16)), newModel(anyShape("b64", model.Bool))}
	for _, body := range []string{
		`{"instances": [1, 2.5e3, -0.1]}`, `{"inputs": {"a": [1, 2], "b": [1, 2, 3]}, "signature_name": "serving_default"}`,
		`{"instances": ["a\u00e9\ud83d\ude00", {"b64": "YQ=="}]}`, `{"instances": [[[NaN], [Infinity]], [[-Infinity], [1]]]}`,
		`{"instances": [{"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]}]}`,
		`{"instances": [[]]}`, `{"a": [{"b": null}], "instances": [true]}`, "\ufeff{}",
	} {
		f.Add([]byte(body), uint8(0))
		f.Add([]byte(body), uint8(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, which uint8) {
		m := models[int(which)%len(models)]
		if !sniffJSON(body) {
			return
		}
		in, err := checkProportion(t, body, m)
		if err != nil {
			return
		}
		for i, got := range in.Tensors {
			want := model.Elements(got.Shape)
			if size := got.DType.Size(); size > 0 && int64(len(got.Data)) != want*int64(size) || size == 0 && int64(len(got.Bytes)) != want {
				t.Errorf("tensor %d of shape %v has %d bytes, %d strings", i, got.Shape, len(got.Data), len(got.Bytes))
			}
		}
		if plain := bytes.TrimPrefix(body, []byte(utf8BOM)); !bytes.ContainsAny(plain, "NI") && !json.Valid(plain) {
			t.Errorf("no JSON, but accepted: %q", body)
		}
	})
}

// FuzzNumbersInJSON agrees with encoding/json on documents of numbers and
// lists: which are valid and, to the bit, what they hold.
func FuzzNumbersInJSON(f *testing.F) {
	for _, list := range []string{"1", "[1.5,2e3],[-0,1E-5]", "[[1],[2]]", "[], []", "[1],2", "01", "1.", "-", "1e", "[1", "1,", " 1 ,\n2", "16777217", "1e39", "0.1234567890123456789e-30"} {
		f.Add(list)
	}
	m := newModel(anyShape("x", model.Float32))
	f.Fuzz(func(t *testing.T, list string) {
		if strings.Trim(list, "0123456789+-.eE[], \n\t\r") != "" || strings.Count(list, "[") > 50 {
			return
		}
		in, err := decode(t, m, `{"instances": [`+list+`]}`)
		var want struct{ Instances []any }
		d := json.NewDecoder(strings.NewReader(`{"instances": [` + list + `]}`))
		d.UseNumber()
		broken := d.Decode(&want) != nil || d.More()
		e, _ := errors.AsType[*Error](err)
		if malformed := e != nil && e.Code == CodeMalformed; malformed != broken {
			t.Fatalf("encoding/json says broken is %v, Decode: %v", broken, err)
		}
		if err != nil {
			return
		}
		var data []byte
		var flatten func(v any)
		flatten = func(v any) {
			switch v := v.(type) {
			case []any:
				for _, v := range v {
					flatten(v)
				}
			case json.Number:
				n, _ := strconv.ParseFloat(v.String(), 32)
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(n)))
			}
		}
		flatten(want.Instances)
		if got := in.Tensors[0].Data; !bytes.Equal(got, data) {
			t.Errorf("got %v, want %v", got, data)
		}
	})
}

func FuzzDecodeNPY(f *testing.F) {
	f.Add(npy("<f4", false, "(1, 2)", tensor([]float32{1, 2}).Data), uint8(model.Float32))
	f.Add(npy(">u2", true, "(2, 2)", make([]byte, 8)), uint8(model.Int64))
	f.Add(npy("|S2", false, "(2,)", []byte("abcd")), uint8(model.String))
	f.Add(npy("<U1", true, "(1, 1)", []byte("a\x00\x00\x00")), uint8(model.String))
	f.Add(npyFile(2, `{"descr": "|b1", "fortran_order": False, "shape": (0, 3L)}`, nil), uint8(model.Bool))
	f.Fuzz(func(t *testing.T, body []byte, dtype uint8) {
		if !model.DType(dtype).Known() || !strings.HasPrefix(string(body), npyMagic) {
			return
		}
		in, err := checkProportion(t, body, newModel(anyShape("x", model.DType(dtype))))
		if err != nil {
			return
		}
		got := in.Tensors[0]
		if got.DType != model.DType(dtype) || checkOutputs(&model.Signature{Outputs: []model.TensorInfo{{}}}, in.Tensors) != nil {
			t.Errorf("the tensor contradicts itself: %v%v", got.DType, got.Shape)
		}
	})
}

// FuzzDecodeImage reads headers only: the model below decodes nothing.
func FuzzDecodeImage(f *testing.F) {
	f.Add([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x05\x00\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add(jpegHeader(0xc0, 3, 5, 4))
	f.Add(jpegHeader(0xc2, 4, 65535, 65535))
	m := newModel(info("x", model.Float32, -1, 8, 8, 3))
	m.config.Image = &model.ImageSpec{}
	m.decodeImage = zeros(new(model.ImageSpec))
	f.Fuzz(func(t *testing.T, body []byte) {
		if imageKind(body) == "" {
			return
		}
		if in, err := checkProportion(t, body, m); err == nil && !slices.Equal(in.Tensors[0].Shape, []int64{1, 8, 8, 3}) {
			t.Errorf("shape %v", in.Tensors[0].Shape)
		}
		if c, err := imageHeader(body, 0); err == nil && c.Width*c.Height > DefaultMaxPixels {
			t.Errorf("%d x %d pixels", c.Width, c.Height)
		}
	})
}

// FuzzRoundTrip: what Encode writes, Decode reads back bit for bit.
func FuzzRoundTrip(f *testing.F) {
	f.Add(tensor([]float32{1, 0.1, 1e-45, math.MaxFloat32}).Data, uint8(model.Float32))
	f.Add(tensor([]float64{1, 0.1, 5e-324, math.MaxFloat64}).Data, uint8(model.Float64))
	f.Add(tensor([]int64{math.MinInt64, math.MaxInt64}).Data, uint8(model.Int64))
	f.Add([]byte("a\x00\"\\é\xff"), uint8(model.String))
	f.Fuzz(func(t *testing.T, data []byte, dtype uint8) {
		want := model.Tensor{DType: model.DType(dtype), Data: data}
		switch size := want.DType.Size(); {
		case want.DType == model.String:
			want.Data, want.Bytes = nil, bytes.SplitAfter(data, []byte{' '})
			want.Shape = []int64{int64(len(want.Bytes))}
		case size == 0 || len(data) < size:
			return
		default:
			want.Data = bytes.Clone(data[:len(data)/size*size])
			want.Shape = []int64{int64(len(data) / size)}
		}
		canonical(want)
		m, in := answer(false, []model.Tensor{want}, "y")
		body, _, err := Encode(in, []model.Tensor{want}, m, "")
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.Replace(body, []byte("predictions"), []byte("instances"), 1)
		back, err := decode(t, newModel(anyShape("x", want.DType)), string(body))
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if got := back.Tensors[0]; !sameTensor(got, want) {
			t.Errorf("%s: got %v, want %v", body, got, want)
		}
	})
}

// canonical leaves of a NaN's many bit patterns, and of a boolean's, the one
// that comes back.
func canonical(t model.Tensor) {
	for i := range t.Shape[0] {
		switch {
		case t.DType == model.Bool:
			t.Data[i] &= 1
		case t.DType == model.Float32 && math.IsNaN(float(&t, i)):
			binary.LittleEndian.PutUint32(t.Data[4*i:], math.Float32bits(float32(math.NaN())))
		case t.DType == model.Float64 && math.IsNaN(float(&t, i)):
			binary.LittleEndian.PutUint64(t.Data[8*i:], math.Float64bits(math.NaN()))
		}
	}
}

func TestMemoryStaysInProportionToTheWorstInputs(t *testing.T) {
	const n = 200_000
	wide := newModel(anyShape("a", model.Float64), anyShape("b", model.Float64), anyShape("c", model.Float64))
	for name, c := range map[string]struct {
		model      *testModel
		key, value string
	}{
		"empty strings":  {text, "instances", `""`},
		"quotes":         {text, "instances", `"\"\"\"\"\"\"\"\""`},
		"empty base64":   {text, "instances", `{"b64":""}`},
		"digits":         {newModel(anyShape("x", model.Float64)), "instances", "1"},
		"empty lists":    {newModel(anyShape("x", model.Float64)), "instances", "[]"},
		"objects":        {newModel(anyShape("x", model.Int64)), "inputs", `1`},
		"several inputs": {wide, "instances", `{"a":1,"b":1,"c":1}`},
		"ignored lists":  {floats, "other", `[[[[]]]]`},
		"commas":         {floats, "instances", ``},
	} {
		t.Run(name, func(t *testing.T) {
			body := `{"` + c.key + `":[` + strings.TrimSuffix(strings.Repeat(c.value+",", n), ",") + `]}`
			_, _ = checkProportion(t, []byte(body), c.model)
		})
	}
}

func TestMemoryStaysInProportionToTheWorstRecords(t *testing.T) {
	const n = 200_000
	number, word := newModel(anyShape("x", model.Float64)), newModel(anyShape("x", model.String))
	for name, c := range map[string]struct {
		model             *testModel
		contentType, body string
	}{
		"lines of one digit":      {number, "application/jsonlines", strings.Repeat("1\n", n)},
		"lines of empty strings":  {word, "application/jsonlines", strings.Repeat("\"\"\n", n)},
		"blank lines":             {number, "application/jsonlines", strings.Repeat("\n", n)},
		"lines of objects":        {both, "application/jsonlines", strings.Repeat(`{"a":1,"b":1}`+"\n", n)},
		"CSV of one digit":        {number, "text/csv", strings.Repeat("1\n", n)},
		"CSV of empty strings":    {word, "text/csv; header=absent", strings.Repeat(",", n)},
		"CSV of a long header":    {number, "text/csv; header=present", strings.Repeat("a,", n)},
		"CSV of many names":       {word, "text/csv", "x[0]" + strings.Repeat(",x[1]", n)},
		"CSV, wide and then long": {number, "text/csv", strings.Repeat("1,", n) + "1" + strings.Repeat("\n", n)},
		"empty records":           {word, "application/x-tfrecord", string(bytes.Repeat(tfrecord(""), n))},
		"empty byte strings":      {word, "application/x-tfrecord", string(tfrecord(example("x", proto(1, strings.Repeat("\x0a\x00", n)))))},
		"small integers":          {newModel(anyShape("x", model.Int64)), "application/x-tfrecord", string(tfrecord(example("x", proto(3, proto(1, strings.Repeat("\x01", n))))))},
		"CSV of one long field":   {word, "text/csv", `"` + strings.Repeat(`""`, n) + `"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _ = checkProportionAs(t, []byte(c.body), Source{ContentType: c.contentType}, c.model)
		})
	}
}
