package codec

import (
	"archive/zip"
	"bytes"
	"fmt"
	"testing"

	"github.com/penstock/penstock/worker/model"
)

// npz is an archive of files, each a name and its content, compressed by that
// method.
func npz(t testing.TB, method uint16, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: files[i], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// anNPY is a float32 array of one dimension.
func anNPY(v ...float32) string {
	return string(npy("<f4", false, fmt.Sprintf("(%d,)", len(v)), appendFloats(v...)))
}

func TestArraysOfNPZAreInputs(t *testing.T) {
	two := newModel(info("a", model.Float32, -1), info("b", model.Float64, -1))
	one := newModel(info("x", model.Float32, -1))
	rows := newModel(info("a", model.Float32, -1, 2), info("b", model.Float32, -1, 3))
	first, second := anNPY(1, 2), anNPY(3, 4)
	for name, c := range map[string]struct {
		model *testModel
		files []string
		want  []model.Tensor
	}{
		"named":                    {two, []string{"b.npy", second, "a.npy", first}, []model.Tensor{tensor([]float32{1, 2}, 2), tensor([]float64{3, 4}, 2)}},
		"others are passed over":   {two, []string{"b.npy", second, "labels.npy", "no array", "a.npy", first, "README", "x"}, []model.Tensor{tensor([]float32{1, 2}, 2), tensor([]float64{3, 4}, 2)}},
		"the only one":             {one, []string{"arr_0.npy", first}, []model.Tensor{tensor([]float32{1, 2}, 2)}},
		"the only one that is one": {one, []string{"arr_0.npy", first, "README", ""}, []model.Tensor{tensor([]float32{1, 2}, 2)}},
		"the named one":            {one, []string{"arr_0.npy", second, "x.npy", first}, []model.Tensor{tensor([]float32{1, 2}, 2)}},
		"rows":                     {rows, []string{"a.npy", anNPY(1, 2), "b.npy", anNPY(3, 4, 5)}, []model.Tensor{tensor([]float32{1, 2}, 1, 2), tensor([]float32{3, 4, 5}, 1, 3)}},
	} {
		for compression, method := range map[string]uint16{"stored": zip.Store, "deflated": zip.Deflate} {
			t.Run(name+", "+compression, func(t *testing.T) {
				in, err := Decode(t.Context(), npz(t, method, c.files...), Source{}, c.model)
				checkTensors(t, in, err, c.want...)
			})
		}
	}
}

func TestStoredArraysAreNotCopied(t *testing.T) {
	body := npz(t, zip.Store, "x.npy", anNPY(1, 2))
	in, err := Decode(t.Context(), body, Source{}, floats)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(body, appendFloats(1, 2))
	if body[at] ^= 0xff; in.Tensors[0].Data[0] != body[at] {
		t.Error("the tensor does not share the body's memory")
	}
}

func TestBadNPZIsRefused(t *testing.T) {
	one, two := newModel(info("x", model.Float32, -1)), newModel(info("a", model.Float32, -1), info("b", model.Float32, -1))
	stored, deflated := npz(t, zip.Store, "x.npy", anNPY(1, 2)), npz(t, zip.Deflate, "x.npy", anNPY(1, 2))
	changed := bytes.Replace(stored, appendFloats(1, 2), appendFloats(1, 3), 1)
	scrambled := bytes.Clone(deflated)
	for i := 40; i < 60; i++ {
		scrambled[i] ^= 0x55
	}
	lzma := bytes.Clone(deflated)
	central := bytes.Index(lzma, []byte("PK\x01\x02"))
	lzma[central+10] = 14
	long := bytes.Clone(stored)
	long[bytes.Index(long, []byte("PK\x01\x02"))+26] = 0xff // the size, far beyond the file
	zeros := npz(t, zip.Deflate, "x.npy", string(npy("<f4", false, "(250000,)", make([]byte, 1_000_000))))
	for name, c := range map[string]struct {
		model *testModel
		body  []byte
		code  string
		says  []string
	}{
		"cut":             {one, stored[:len(stored)-3], CodeMalformed, []string{"broken .npz file: zip", "numpy.savez"}},
		"the magic alone": {one, []byte(zipMagic), CodeMalformed, []string{"broken .npz file"}},
		"no arrays":       {one, npz(t, zip.Store, "word/document.xml", "<xml/>"), CodeMalformed, []string{"holds no arrays"}},
		"twice":           {one, npz(t, zip.Store, "x.npy", anNPY(1), "x.npy", anNPY(2)), CodeMalformed, []string{`array "x" is there twice`}},
		"checksum":        {one, changed, CodeMalformed, []string{`array "x": broken .npz file: zip: checksum error`}},
		"damaged":         {one, scrambled, CodeMalformed, []string{`array "x": broken .npz file`}},
		"method":          {one, lzma, CodeUnsupportedType, []string{`array "x": it is compressed by method 14`, "savez_compressed"}},
		"size":            {one, long, CodeMalformed, []string{"but the file ends before"}},
		"no .npy":         {one, npz(t, zip.Deflate, "x.npy", "text"), CodeMalformed, []string{`array "x": broken .npy file`, "numpy.save"}},
		"type":            {one, npz(t, zip.Store, "x.npy", string(npy("<f8", false, "(1,)", make([]byte, 8)))), CodeInvalidDType, []string{`array "x": the array's dtype is "<f8"`, "astype('float32')"}},
		"missing":         {two, npz(t, zip.Store, "a.npy", anNPY(1), "c.npy", anNPY(1)), CodeInvalidShape, []string{`no array for input "b"; it has: a, c`, "numpy.savez(file, b=..., ...)"}},
		"unnamed":         {one, npz(t, zip.Store, "arr_0.npy", anNPY(1), "arr_1.npy", anNPY(1)), CodeInvalidShape, []string{`no array for input "x"; it has: arr_0, arr_1`}},
		"unequal rows":    {two, npz(t, zip.Store, "a.npy", anNPY(1), "b.npy", anNPY(1, 2)), CodeInvalidShape, []string{`input "b" has 2 rows, but input "a" has 1`}},
		"signature":       {newModel(), stored, CodeUnknownSignature, []string{"takes no inputs"}},
		"bomb":            {one, zeros, CodeTooLarge, []string{"become more than the 1000 that are allowed", "upload it uncompressed"}},
	} {
		t.Run(name, func(t *testing.T) {
			src := Source{ContentType: "application/x-npz", MaxBytes: 1000}
			_, err := Decode(t.Context(), c.body, src, c.model)
			checkError(t, err, c.code, c.says...)
		})
	}
}

func TestAllArraysTogetherKeepTheLimit(t *testing.T) {
	two := newModel(info("a", model.Float32, -1), info("b", model.Float32, -1))
	file := anNPY(1, 2)
	body := npz(t, zip.Deflate, "a.npy", file, "b.npy", file)
	if _, err := Decode(t.Context(), body, Source{MaxBytes: 2 * int64(len(file))}, two); err != nil {
		t.Error(err)
	}
	_, err := Decode(t.Context(), body, Source{MaxBytes: 2*int64(len(file)) - 1}, two)
	checkError(t, err, CodeTooLarge, `array "b"`)
}

func FuzzDecodeNPZ(f *testing.F) {
	f.Add(npz(f, zip.Store, "a.npy", anNPY(1), "b.npy", anNPY(2)))
	f.Add(npz(f, zip.Deflate, "b.npy", anNPY(1, 2), "a.npy", anNPY(2, 3), "c", "d"))
	m := newModel(anyShape("a", model.Float32), anyShape("b", model.Float64))
	src := Source{ContentType: "application/x-npz", MaxBytes: 1 << 12}
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := checkProportionAs(t, body, src, m)
		if err != nil {
			return
		}
		if checkOutputs(&model.Signature{Outputs: make([]model.TensorInfo, 2)}, in.Tensors) != nil {
			t.Errorf("the tensors contradict themselves: %v, %v", in.Tensors[0].Shape, in.Tensors[1].Shape)
		}
	})
}
