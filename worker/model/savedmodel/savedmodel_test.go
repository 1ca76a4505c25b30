package savedmodel

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	shapepb "github.com/galeone/tensorflow/tensorflow/go/core/framework/tensor_shape_go_proto"
	typespb "github.com/galeone/tensorflow/tensorflow/go/core/framework/types_go_proto"
	corepb "github.com/galeone/tensorflow/tensorflow/go/core/protobuf/for_core_protos_go_proto"
	"google.golang.org/protobuf/proto"
)

// testModel is the path of a model in worker/model/testdata.
func testModel(name string) string { return filepath.Join("..", "testdata", filepath.FromSlash(name)) }

func TestSignaturesAreReadAsTensorFlowForPythonWroteThem(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"digits/1": {
			"serve [image float32[-1 28 28 1]] [output_0 float32[-1 10]]",
			"serving_default [image float32[-1 28 28 1]] [output_0 float32[-1 10]]",
		},
		"halfplustwo":       {"serving_default [x float32[-1]] [y float32[-1]]"},
		"string_echo":       {"serving_default [text string[-1]] [length int64[-1] upper string[-1]]"},
		"two_inputs":        {"serving_default [a float32[-1 2] b int32[-1 2]] [sum float32[-1 2]]"},
		"fixed_batch":       {"serving_default [x float32[4 3]] [double float32[4 3]]"},
		"no_batch":          {"serving_default [x float32[3]] [sum float32[]]"},
		"fails_on_negative": {"serving_default [x float32[-1 2]] [double float32[-1 2]]"},
		"aborts_on":         {"serving_default [x float32[-1 2]] [x float32[-1 2]]"},
		"dynamic":           {"serving_default [x float32[-1 -1]] [sum float32[-1]]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, err := ReadMetaGraph(testModel(name))
			if err != nil {
				t.Fatal(err)
			}
			endpoints, refused, err := ReadEndpoints(g)
			if err != nil || len(refused) > 0 {
				t.Fatalf("refused %v, %v", refused, err)
			}
			var got []string
			for _, e := range endpoints {
				got = append(got, fmt.Sprint(e.Name, " ", e.Inputs, " ", e.Outputs))
			}
			if !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestADirectoryWithoutAModelSaysWhatToDo(t *testing.T) {
	t.Parallel()
	type files map[string]string
	for name, c := range map[string]struct {
		files files
		want  []string
	}{
		"empty":     {files{}, []string{"no saved_model.pb", "empty"}},
		"keras":     {files{"mine.keras": ""}, []string{"mine.keras is a Keras file", "model.export"}},
		"h5":        {files{"weights.H5": ""}, []string{"weights.H5 is a Keras file"}},
		"versions":  {files{"1/saved_model.pb": "", "2/saved_model.pb": ""}, []string{"1/, 2/", "name one of them, such as 2/"}},
		"text form": {files{"saved_model.pbtxt": ""}, []string{"text form isn't supported"}},
		"no graph":  {files{"variables/variables.index": ""}, []string{"copy the whole SavedModel again"}},
		"many":      {files{"a": "", "b": "", "c": "", "d": "", "e": "", "f": "", "g": "", "h": "", "i": "", "j": "", "k": "", "l": ""}, []string{"a, b, c", "and 2 more"}},
		"zero":      {files{File: ""}, []string{"empty or cut off"}},
		"damaged":   {files{File: "\x08\x01\x12\xff\xff\x01half"}, []string{"damaged or cut off after 10 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, content := range c.files {
				path := filepath.Join(dir, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			_, err := ReadMetaGraph(dir)
			wantError(t, err, c.want...)
		})
	}
	_, err := ReadMetaGraph(filepath.Join(t.TempDir(), "nothing"))
	wantError(t, err, "nothing", "no such file")
	file := filepath.Join(t.TempDir(), "mine.keras")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = ReadMetaGraph(file)
	wantError(t, err, "a Keras file, not a SavedModel directory", "model.export")
}

func TestACutOffModelIsNamedAsSuchAtAnyLength(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(filepath.Join(testModel("halfplustwo"), File))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for n := 0; n < len(whole); n += max(1, len(whole)/40) {
		if err := os.WriteFile(filepath.Join(dir, File), whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := ReadMetaGraph(dir)
		wantError(t, err, File, "cut off", "copy the model again")
	}
}

func TestOtherTagsAreListed(t *testing.T) {
	t.Parallel()
	b, err := proto.Marshal(&corepb.SavedModel{MetaGraphs: []*corepb.MetaGraphDef{
		{MetaInfoDef: &corepb.MetaGraphDef_MetaInfoDef{Tags: []string{"serve", "tpu"}}},
		{MetaInfoDef: &corepb.MetaGraphDef_MetaInfoDef{Tags: []string{"train"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, File), b, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = ReadMetaGraph(dir)
	wantError(t, err, "{serve}", "{serve, tpu} {train}")
}

// tensorDef describes "name:0" for a SignatureDef.
func tensorDef(name string, dtype typespb.DataType, dims ...int64) *corepb.TensorInfo {
	shape := &shapepb.TensorShapeProto{}
	for _, d := range dims {
		shape.Dim = append(shape.Dim, &shapepb.TensorShapeProto_Dim{Size: d})
	}
	return &corepb.TensorInfo{Encoding: &corepb.TensorInfo_Name{Name: name + ":0"}, Dtype: dtype, TensorShape: shape}
}

func TestASignatureThatCannotBeCarriedIsLeftOutByName(t *testing.T) {
	t.Parallel()
	type tensors = map[string]*corepb.TensorInfo
	half := tensorDef("h", typespb.DataType_DT_HALF, -1)
	fine := tensorDef("x", typespb.DataType_DT_FLOAT, -1)
	out := tensorDef("y", typespb.DataType_DT_FLOAT, -1)
	sparse := &corepb.TensorInfo{Encoding: &corepb.TensorInfo_CooSparse_{}, Dtype: typespb.DataType_DT_FLOAT}
	anyShape := tensorDef("x", typespb.DataType_DT_FLOAT)
	anyShape.TensorShape = &shapepb.TensorShapeProto{UnknownRank: true}
	defs := map[string]*corepb.SignatureDef{
		"__saved_model_init_op": {Outputs: tensors{"op": tensorDef("op", typespb.DataType_DT_INVALID)}},
		"half":                  {Inputs: tensors{"x": half}, Outputs: tensors{"y": out}},
		"sparse":                {Inputs: tensors{"x": sparse}, Outputs: tensors{"y": out}},
		"through":               {Inputs: tensors{"x": fine}, Outputs: tensors{"same": fine, "y": out}},
		"none":                  {Inputs: tensors{"x": fine}},
		"twice":                 {Inputs: tensors{"a": fine, "b": fine}, Outputs: tensors{"y": out}},
		"any":                   {Inputs: tensors{"x": anyShape}, Outputs: tensors{"y": out}},
	}
	endpoints, refused, err := ReadEndpoints(&corepb.MetaGraphDef{SignatureDef: defs})
	if err != nil || len(endpoints) != 1 || endpoints[0].Name != "any" {
		t.Fatalf("endpoints %+v, %v", endpoints, err)
	}
	if !endpoints[0].Inputs[0].UnknownRank || endpoints[0].Outputs[0].UnknownRank {
		t.Errorf("unknown rank of %+v", endpoints[0].Signature)
	}
	var reasons []string
	for _, r := range refused {
		reasons = append(reasons, r.Error())
	}
	want := []string{
		`signature "half": input "x" is of type float16, which isn't supported; cast it inside the model`,
		`signature "none": it has no outputs`,
		`signature "sparse": input "x": it is a sparse or composite tensor, which isn't supported; make it dense inside the model`,
		`signature "through": output "same" is input "x" itself, which TensorFlow does not give out; put tf.identity between them`,
		`signature "twice": inputs "a" and "b" are one tensor, x:0, which TensorFlow takes once a run; leave one of them out, or give each a tensor of its own`,
	}
	if !slices.Equal(reasons, want) {
		t.Errorf("refused %q,\nwant    %q", reasons, want)
	}
	delete(defs, "any")
	_, _, err = ReadEndpoints(&corepb.MetaGraphDef{SignatureDef: defs})
	wantError(t, err, "no signature can be served", "type float16", "sparse")
	_, _, err = ReadEndpoints(&corepb.MetaGraphDef{})
	wantError(t, err, "has no signature", "model.export")
}

// wantError checks that err holds all the words.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestARefusedTypeIsNamedAsItsPeopleKnowIt(t *testing.T) {
	t.Parallel()
	for number, name := range map[typespb.DataType]string{
		typespb.DataType_DT_BFLOAT16: "bfloat16", typespb.DataType_DT_COMPLEX64: "complex64", typespb.DataType_DT_HALF: "float16",
		typespb.DataType_DT_RESOURCE: "resource", typespb.DataType_DT_VARIANT: "variant", typespb.DataType_DT_QUINT8: "quint8",
		typespb.DataType_DT_FLOAT_REF: "float32_ref", 24: "float8_e5m2", // newer than the binding
	} {
		x := map[string]*corepb.TensorInfo{"x": tensorDef("x", number, -1)}
		_, _, err := ReadEndpoints(&corepb.MetaGraphDef{SignatureDef: map[string]*corepb.SignatureDef{"serve": {Inputs: x, Outputs: x}}})
		wantError(t, err, `signature "serve": input "x" is of type `+name+", ", "cast it inside the model")
	}
}
