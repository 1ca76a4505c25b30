package savedmodel

import (
	"os"
	"path/filepath"
	"testing"

	attrpb "github.com/galeone/tensorflow/tensorflow/go/core/framework/attr_value_go_proto"
	graphpb "github.com/galeone/tensorflow/tensorflow/go/core/framework/graph_go_proto"
	nodepb "github.com/galeone/tensorflow/tensorflow/go/core/framework/node_def_go_proto"
	shapepb "github.com/galeone/tensorflow/tensorflow/go/core/framework/tensor_shape_go_proto"
	typespb "github.com/galeone/tensorflow/tensorflow/go/core/framework/types_go_proto"
	corepb "github.com/galeone/tensorflow/tensorflow/go/core/protobuf/for_core_protos_go_proto"
	"google.golang.org/protobuf/proto"
)

func TestVariablesThatSignaturesReadAreCounted(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Variables{
		"halfplustwo": {Count: 2, Elements: 2},
		"string_echo": {},
		"keras3_trap": {Count: 2, Elements: 8},
	} {
		d, err := Describe(testModel(name))
		if err != nil {
			t.Fatal(err)
		}
		if d.Variables != want {
			t.Errorf("%s: %+v, want %+v", name, d.Variables, want)
		}
		if d.TensorFlow != "2.21.0" || len(d.TagSets) != 1 || d.Operations < 3 || len(d.Signatures) != 1 {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestAModelWhoseVariablesAreNotRestoredIsKnownWithoutARun(t *testing.T) {
	t.Parallel()
	models, err := filepath.Glob(testModel("*/saved_model.pb"))
	if err != nil || len(models) < 8 {
		t.Fatalf("%d models, %v", len(models), err)
	}
	for _, file := range append(models, testModel("digits/1/saved_model.pb")) {
		d, err := Describe(filepath.Dir(file))
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(filepath.Dir(file)) != "keras3_trap" {
			if len(d.Faults) > 0 {
				t.Errorf("%s is a good model: %v", file, d.Faults)
			}
			continue
		}
		if len(d.Faults) != 1 {
			t.Fatalf("%s: %d faults, want 1", file, len(d.Faults))
		}
		wantError(t, d.Faults[0], "the variables dense/bias and dense/kernel are not restored", "model.export")
	}
}

func TestAModelWithoutItsCheckpointIsKnownWithoutARun(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(testModel("halfplustwo"), File))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, File), b, 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := Describe(dir)
	if err != nil || len(d.Faults) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	wantError(t, d.Faults[0], "no variables/variables.index")
}

// described describes a model with that graph.
func described(t *testing.T, meta *corepb.MetaGraphDef) *Description {
	t.Helper()
	meta.MetaInfoDef = &corepb.MetaGraphDef_MetaInfoDef{Tags: []string{ServeTag}}
	b, err := proto.Marshal(&corepb.SavedModel{MetaGraphs: []*corepb.MetaGraphDef{meta}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, b := range map[string][]byte{File: b, "variables/variables.index": nil} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Describe(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAVariableThatAnythingCanSetIsNoFault(t *testing.T) {
	t.Parallel()
	handle := func(name string, dims ...int64) *nodepb.NodeDef {
		shape := &shapepb.TensorShapeProto{}
		for _, d := range dims {
			shape.Dim = append(shape.Dim, &shapepb.TensorShapeProto_Dim{Size: d})
		}
		return &nodepb.NodeDef{Name: name, Op: "VarHandleOp", Attr: map[string]*attrpb.AttrValue{"shape": {Value: &attrpb.AttrValue_Shape{Shape: shape}}}}
	}
	d := described(t, &corepb.MetaGraphDef{
		SaverDef: &corepb.SaverDef{RestoreOpName: "restore"},
		SignatureDef: map[string]*corepb.SignatureDef{
			"serving_default":       {Outputs: map[string]*corepb.TensorInfo{"y": tensorDef("y", typespb.DataType_DT_FLOAT, -1)}},
			"__saved_model_init_op": {Outputs: map[string]*corepb.TensorInfo{"op": tensorDef("init", typespb.DataType_DT_INVALID)}},
		},
		CollectionDef: map[string]*corepb.CollectionDef{
			"legacy_init_op": {Kind: &corepb.CollectionDef_NodeList_{NodeList: &corepb.CollectionDef_NodeList{Value: []string{"legacy"}}}},
		},
		GraphDef: &graphpb.GraphDef{Node: []*nodepb.NodeDef{
			handle("restored", 2, 3), handle("initialised"), handle("legacy_set", -1), handle("assigned", 4), handle("lost"), handle("unread", 100),
			{Name: "y", Op: "Sum", Input: []string{"read:0", "initialised", "legacy_set:0", "^assigned", "lost", "y"}},
			{Name: "read", Op: "ReadVariableOp", Input: []string{"restored"}},
			{Name: "restore", Op: "NoOp", Input: []string{"^restored"}},
			{Name: "init", Op: "NoOp", Input: []string{"initialised"}},
			{Name: "legacy", Op: "NoOp", Input: []string{"legacy_set"}},
			{Name: "assign", Op: "AssignVariableOp", Input: []string{"assigned", "lost"}},
		}},
	})
	if want := (Variables{Count: 5, Elements: 6 + 1 + 4 + 1, Unknown: 1}); d.Variables != want {
		t.Errorf("%+v, want %+v", d.Variables, want)
	}
	if len(d.Faults) != 1 {
		t.Fatalf("faults %v, want that of one variable", d.Faults)
	}
	wantError(t, d.Faults[0], "the variable lost is not restored")
}

func TestAModelThatCannotBeServedIsDescribedAllTheSame(t *testing.T) {
	t.Parallel()
	half := map[string]*corepb.TensorInfo{"x": tensorDef("x", typespb.DataType_DT_HALF, -1)}
	d := described(t, &corepb.MetaGraphDef{SignatureDef: map[string]*corepb.SignatureDef{"half": {Inputs: half, Outputs: half}}})
	if len(d.LeftOut) != 1 || len(d.Faults) != 1 {
		t.Fatalf("%+v", d)
	}
	wantError(t, d.LeftOut[0], "float16")
	wantError(t, d.Faults[0], "no signature can be served")
	d = described(t, &corepb.MetaGraphDef{})
	if len(d.Faults) != 1 {
		t.Fatalf("%+v", d)
	}
	wantError(t, d.Faults[0], "has no signature")
}
