package tf

import (
	"path/filepath"
	"strings"
	"testing"

	shapepb "github.com/galeone/tensorflow/tensorflow/go/core/framework/tensor_shape_go_proto"
	typespb "github.com/galeone/tensorflow/tensorflow/go/core/framework/types_go_proto"
	corepb "github.com/galeone/tensorflow/tensorflow/go/core/protobuf/for_core_protos_go_proto"
)

// testModel is the path of a model in worker/model/testdata.
func testModel(name string) string { return filepath.Join("..", "testdata", filepath.FromSlash(name)) }

// tensorDef describes "name:0" for a SignatureDef.
func tensorDef(name string, dtype typespb.DataType, dims ...int64) *corepb.TensorInfo {
	shape := &shapepb.TensorShapeProto{}
	for _, d := range dims {
		shape.Dim = append(shape.Dim, &shapepb.TensorShapeProto_Dim{Size: d})
	}
	return &corepb.TensorInfo{Encoding: &corepb.TensorInfo_Name{Name: name + ":0"}, Dtype: dtype, TensorShape: shape}
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
