//go:build cgo

package tf

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	tensorflow "github.com/galeone/tensorflow/tensorflow/go"
	graphpb "github.com/galeone/tensorflow/tensorflow/go/core/framework/graph_go_proto"
	typespb "github.com/galeone/tensorflow/tensorflow/go/core/framework/types_go_proto"
	corepb "github.com/galeone/tensorflow/tensorflow/go/core/protobuf/for_core_protos_go_proto"
	"github.com/galeone/tensorflow/tensorflow/go/op"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"

	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/savedmodel"
)

// open loads a model and closes it when the test ends.
func open(t testing.TB, dir string) *Model {
	t.Helper()
	m, err := Load(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// save writes a SavedModel without variables whose signatures use root's graph.
func save(t testing.TB, root *op.Scope, sigs map[string]*corepb.SignatureDef) (dir string) {
	t.Helper()
	graph, err := root.Finalize()
	if err != nil {
		t.Fatal(err)
	}
	var def bytes.Buffer
	if _, err := graph.WriteTo(&def); err != nil {
		t.Fatal(err)
	}
	meta := &corepb.MetaGraphDef{
		MetaInfoDef:  &corepb.MetaGraphDef_MetaInfoDef{Tags: []string{savedmodel.ServeTag}},
		GraphDef:     &graphpb.GraphDef{},
		SignatureDef: sigs,
	}
	if err := proto.Unmarshal(def.Bytes(), meta.GraphDef); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(&corepb.SavedModel{SavedModelSchemaVersion: 1, MetaGraphs: []*corepb.MetaGraphDef{meta}})
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, savedmodel.File), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOptionsDefaultToWhatWorks(t *testing.T) {
	t.Parallel()
	m := open(t, testModel("halfplustwo"))
	if m.Name() != "halfplustwo" || m.Version() != "" || m.Config() == nil {
		t.Errorf("name %q, version %q, config %v", m.Name(), m.Version(), m.Config())
	}
	config := &model.Config{TopK: 3}
	named, err := Load(testModel("halfplustwo"), Options{Name: "half", Version: "7", Config: config, IntraOpThreads: 1, InterOpThreads: -1})
	if err != nil {
		t.Fatal(err)
	}
	if named.Name() != "half" || named.Version() != "7" || named.Config() != config {
		t.Errorf("name %q, version %q, config %v", named.Name(), named.Version(), named.Config())
	}
	if err := named.Close(); err != nil {
		t.Error(err)
	}
}

func TestAModelFileThatContradictsTheModelIsRefusedAtLoad(t *testing.T) {
	t.Parallel()
	config := &model.Config{Labels: []string{"a"}, Signature: "predict"}
	_, err := Load(testModel("halfplustwo"), Options{Config: config})
	wantError(t, err, `penstock.json: signature: the model has no signature "predict"; it has: serving_default`)
	config = &model.Config{Labels: []string{"a"}}
	_, err = Load(testModel("halfplustwo"), Options{Config: config})
	wantError(t, err, "penstock.json: labels: there are 1, but output y float32[-1]")
}

func TestLoadWarnsOfASignatureItLeavesOut(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.WarnLevel)
	root := op.NewScope()
	op.Identity(root, op.Placeholder(root, tensorflow.Float))
	x := tensorDef("Placeholder", typespb.DataType_DT_FLOAT, -1)
	y := tensorDef("Identity", typespb.DataType_DT_FLOAT, -1)
	h := tensorDef("Placeholder", typespb.DataType_DT_HALF, -1)
	m, err := Load(save(t, root, map[string]*corepb.SignatureDef{
		"good": {Inputs: map[string]*corepb.TensorInfo{"x": x}, Outputs: map[string]*corepb.TensorInfo{"y": y}},
		"half": {Inputs: map[string]*corepb.TensorInfo{"x": h}, Outputs: map[string]*corepb.TensorInfo{"y": h}},
	}), Options{Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if len(m.Signatures()) != 1 || logs.FilterMessage("signature left out").Len() != 1 {
		t.Errorf("signatures %v, log %v", m.Signatures(), logs.All())
	}
}

func TestASignatureThatTheGraphDoesNotHaveIsAnError(t *testing.T) {
	t.Parallel()
	root := op.NewScope()
	op.Placeholder(root, tensorflow.Float)
	x := tensorDef("Nowhere", typespb.DataType_DT_FLOAT, -1)
	y := tensorDef("Placeholder", typespb.DataType_DT_FLOAT, -1)
	_, err := Load(save(t, root, map[string]*corepb.SignatureDef{
		"s": {Inputs: map[string]*corepb.TensorInfo{"x": x}, Outputs: map[string]*corepb.TensorInfo{"y": y}},
	}), Options{})
	wantError(t, err, `signature "s"`, "op Nowhere not found")
}

func TestMissingVariablesAreToldApartFromTheKerasTrap(t *testing.T) {
	t.Parallel()
	trap := open(t, testModel("keras3_trap"))
	wantError(t, trap.WarmUp(t.Context()), "Could not find variable", "Keras 3", `export it with model.export("DIR")`)

	dir := t.TempDir()
	b, err := os.ReadFile(filepath.Join(testModel("halfplustwo"), savedmodel.File))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, savedmodel.File), b, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = Load(dir, Options{})
	wantError(t, err, "load model "+dir, "no variables/variables.index", "copy the whole SavedModel again")
}

func TestCutOffVariablesFailTheLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(testModel("halfplustwo"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "variables", "variables.data-00000-of-00001")); err != nil {
		t.Fatal(err)
	}
	_, err := Load(dir, Options{})
	wantError(t, err, "load model "+dir, "variables.data-00000-of-00001")
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has several lines: %q", err)
	}
}

func TestAClosedModelErrs(t *testing.T) {
	t.Parallel()
	m, err := Load(testModel("halfplustwo"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	sig := m.Signatures()["serving_default"]
	session := sessionOf(m.graph)
	for range 2 {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, err = m.Run(t.Context(), sig, [][]model.Tensor{{floats([]int64{1}, 1)}})
	wantError(t, err, "is closed")
	_, err = m.DecodeImage(t.Context(), nil, model.ImageSpec{}, model.Float32)
	wantError(t, err, "is closed")
	_, err = session.Run(nil, nil, nil)
	wantError(t, err, "session is closed")
}
