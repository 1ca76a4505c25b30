package rest

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/penstock/penstock/worker/model"
)

// describe answers for a model's status, or for its metadata.
func (a *api) describe(w http.ResponseWriter, name string, metadata bool) {
	m, release, err := a.models.Use(name)
	if e, ok := errors.AsType[*model.UnknownError](err); ok {
		refuse(w, http.StatusNotFound, e.Error())
		return
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	defer release()
	if metadata {
		write(w, http.StatusOK, metadataOf(m))
		return
	}
	write(w, http.StatusOK, map[string]any{"model_version_status": []any{map[string]any{
		"version": versionOf(m), "state": "AVAILABLE",
		"status": map[string]string{"error_code": "OK", "error_message": ""},
	}}})
}

// versionOf is a version as TensorFlow Serving counts them: one that has none
// is the first.
func versionOf(m model.Model) string {
	if v := m.Version(); v != "" {
		return v
	}
	return "1"
}

// metadataOf is the model's signatures as protobuf's JSON of GetModelMetadata.
func metadataOf(m model.Model) any {
	name, _, _ := strings.Cut(m.Name(), "@")
	defs := make(map[string]any)
	for key, sig := range m.Signatures() {
		defs[key] = map[string]any{
			"inputs": tensors(sig.Inputs), "outputs": tensors(sig.Outputs),
			"method_name": "tensorflow/serving/predict", "defaults": map[string]any{},
		}
	}
	return map[string]any{
		"model_spec": map[string]string{"name": name, "signature_name": "", "version": versionOf(m)},
		"metadata":   map[string]any{"signature_def": map[string]any{"signature_def": defs}},
	}
}

func tensors(infos []model.TensorInfo) map[string]any {
	all := make(map[string]any)
	for _, t := range infos {
		dims := make([]any, len(t.Shape))
		for i, n := range t.Shape {
			dims[i] = map[string]string{"size": strconv.FormatInt(n, 10), "name": ""}
		}
		all[t.Name] = map[string]any{
			"dtype": dtypes[t.DType], "name": fmt.Sprintf("%s:0", t.Name),
			"tensor_shape": map[string]any{"dim": dims, "unknown_rank": t.UnknownRank},
		}
	}
	return all
}

// dtypes are the names of types.proto.
var dtypes = map[model.DType]string{
	model.Float32: "DT_FLOAT", model.Float64: "DT_DOUBLE", model.Int8: "DT_INT8", model.Int16: "DT_INT16", model.Int32: "DT_INT32",
	model.Int64: "DT_INT64", model.Uint8: "DT_UINT8", model.Uint16: "DT_UINT16", model.Uint32: "DT_UINT32", model.Uint64: "DT_UINT64",
	model.Bool: "DT_BOOL", model.String: "DT_STRING",
}
