//go:build cgo

package tf

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	tensorflow "github.com/galeone/tensorflow/tensorflow/go"
	typespb "github.com/galeone/tensorflow/tensorflow/go/core/framework/types_go_proto"
	corepb "github.com/galeone/tensorflow/tensorflow/go/core/protobuf/for_core_protos_go_proto"
	"github.com/galeone/tensorflow/tensorflow/go/op"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/penstock/penstock/worker/model"
)

// warm loads and warms up a model, and gives what that logged.
func warm(t *testing.T, dir string, opts Options) (*Model, *observer.ObservedLogs, error) {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	opts.Logger = zap.New(core)
	m, err := Load(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m, logs, m.WarmUp(t.Context())
}

// runs is how many runs a warm-up had that went well.
func runs(logs *observer.ObservedLogs) int64 {
	lines := logs.FilterMessage("model warmed up").All()
	if len(lines) != 1 {
		return -1
	}
	return lines[0].ContextMap()["runs"].(int64)
}

func TestTheRequestsOfAWarmUpFileAreRun(t *testing.T) {
	t.Parallel()
	m, logs, err := warm(t, testModel("warmed/1"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := runs(logs); got != 3 {
		t.Errorf("%d requests went well, want 3: %v", got, logs.All())
	}
	failed := logs.FilterMessage("a warm-up request failed").All()
	var said []string
	for _, l := range failed {
		said = append(said, fmt.Sprint(l.ContextMap()["request"], " ", l.ContextMap()["error"]))
	}
	for i, want := range []string{
		"4 INVALID_ARGUMENT: assertion failed: [x must not be negative", `5 signature "serving_default": input "x" is missing; the request has z`,
		`6 INVALID_ARGUMENT: input "x": it takes float32, not float64`, "7 it is a classify request; only predict requests are run",
	} {
		if len(said) != 4 || len(said[i]) < len(want) || said[i][:len(want)] != want {
			t.Fatalf("it said %q; want %q in place %d", said, want, i)
		}
	}
	// The model counts the rows that it has seen: [1, 2, 3] and [4].
	seen, err := m.Run(t.Context(), m.Signatures()["rows"], [][]model.Tensor{{{DType: model.Int64, Shape: []int64{1}, Data: make([]byte, 8)}}})
	if err != nil || seen[0][0].Data[0] != 4 {
		t.Errorf("the model has seen %v rows, %v; want 4", seen, err)
	}
}

// withWarmUp copies the model "warmed" with another warm-up file.
func withWarmUp(t *testing.T, file []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(testModel("warmed/1"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(warmUpFile)), file, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAWarmUpFileOfWhichNothingRunsRefusesTheModel(t *testing.T) {
	t.Parallel()
	whole := readFile(t, testModel("warmed/1"), "assets.extra", "tf_serving_warmup_requests")
	records := split(t, whole)
	_, _, err := warm(t, withWarmUp(t, join2(records[3], records[5])), Options{})
	wantError(t, err, "warm up model", "all 2 requests that could be run failed; the last: INVALID_ARGUMENT", "float64")

	// One that can't be read says nothing of the model, which is rehearsed then.
	for name, file := range map[string][]byte{"damaged": {1, 2, 3}, "other requests": join2(records[4], records[6]), "empty": nil} {
		_, logs, err := warm(t, withWarmUp(t, file), Options{})
		if err != nil || runs(logs) != 2 {
			t.Errorf("%s: %v after %d runs, want one for each signature; %v", name, err, runs(logs), logs.All())
		}
	}
	_, logs, err := warm(t, withWarmUp(t, whole[:len(whole)-20]), Options{})
	if err != nil || runs(logs) != 3 || logs.FilterMessage("a warm-up request failed").Len() != 3 {
		t.Errorf("cut off: %v after %d runs, %v", err, runs(logs), logs.All())
	}
}

// split gives the records of a TFRecord file with what is around them.
func split(t *testing.T, file []byte) (records [][]byte) {
	t.Helper()
	for len(file) > 0 {
		n := 16 + int(file[0]) // shorter than 256 bytes
		records, file = append(records, file[:n]), file[n:]
	}
	return records
}

func join2(a, b []byte) []byte { return append(append([]byte{}, a...), b...) }

func TestWithoutAFileTheNumbersOfRowsThatWillBeUsedAreRun(t *testing.T) {
	t.Parallel()
	wide := &model.Signature{Name: "wide", Inputs: []model.TensorInfo{{Name: "x", DType: model.Float32, Shape: []int64{-1, 1 << 20}}}}
	huge := &model.Signature{Name: "huge", Inputs: []model.TensorInfo{{Name: "x", DType: model.Float32, Shape: []int64{-1, 1 << 40, 1 << 40}}}}
	plain := &model.Signature{Name: "plain", Inputs: []model.TensorInfo{{Name: "x", DType: model.String, Shape: []int64{-1, -1}}}}
	fixed := &model.Signature{Name: "fixed", Inputs: []model.TensorInfo{{Name: "x", DType: model.Int8, Shape: []int64{4, 3}}}}
	scalar := &model.Signature{Name: "scalar", Inputs: []model.TensorInfo{{Name: "x", DType: model.Int8, Shape: []int64{}}}}
	for _, c := range []struct {
		sig    *model.Signature
		max    int
		config model.Config
		want   string
	}{
		{plain, 0, model.Config{}, "[1]"},
		{plain, 1, model.Config{}, "[1]"},
		{plain, 32, model.Config{}, "[1 32]"},
		{plain, 32, model.Config{MaxBatchSize: 8}, "[1 8]"},
		{plain, 32, model.Config{MaxBatchSize: 100}, "[1 32]"},
		{plain, 0, model.Config{AllowedBatchSizes: []int{4, 16, 64}}, "[4 16 64]"},
		{plain, 10, model.Config{AllowedBatchSizes: []int{4, 16, 64}}, "[4]"},
		{plain, 16, model.Config{AllowedBatchSizes: []int{4, 16, 64}}, "[4 16]"},
		{plain, 2, model.Config{AllowedBatchSizes: []int{4, 16, 64}}, "[4]"},
		{fixed, 32, model.Config{}, "[1]"},
		{scalar, 32, model.Config{}, "[1]"},
		{wide, 32, model.Config{}, "[1 16]"},
		{wide, 32, model.Config{AllowedBatchSizes: []int{8, 32}}, "[8]"},
		{huge, 32, model.Config{}, "[]"},
	} {
		core, logs := observer.New(zap.WarnLevel)
		m := &Model{opts: Options{MaxBatchSize: c.max, Config: &c.config, Logger: zap.New(core)}}
		if got := fmt.Sprint(m.warmUpRows(c.sig)); got != c.want || (logs.Len() > 0) != (c.want == "[]") {
			t.Errorf("%s of %d, %+v: %s, want %s; %v", c.sig.Name, c.max, c.config, got, c.want, logs.All())
		}
	}
	_, logs, err := warm(t, testModel("halfplustwo"), Options{MaxBatchSize: 8})
	if err != nil || runs(logs) != 2 {
		t.Errorf("halfplustwo: %v, after %d runs", err, runs(logs))
	}
}

func TestWarmUpPassesModelsThatRunAndModelsThatDislikeZeros(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"digits/1", "halfplustwo", "string_echo", "two_inputs", "fixed_batch", "no_batch", "fails_on_negative", "aborts_on", "dynamic",
	} {
		if _, _, err := warm(t, testModel(name), Options{MaxBatchSize: 4}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	root := op.NewScope()
	op.DecodePng(root, op.Placeholder(root, tensorflow.String))
	dir := save(t, root, map[string]*corepb.SignatureDef{"png": {
		Inputs:  map[string]*corepb.TensorInfo{"x": tensorDef("Placeholder", typespb.DataType_DT_STRING)},
		Outputs: map[string]*corepb.TensorInfo{"y": tensorDef("DecodePng", typespb.DataType_DT_UINT8, -1, -1, -1)},
	}})
	_, logs, err := warm(t, dir, Options{})
	if err != nil || logs.FilterMessageSnippet("need not matter").Len() != 1 {
		t.Errorf("a model that dislikes an empty string: %v, %v", err, logs.All())
	}
}

func TestTheKerasTrapIsCaughtByAWarmUpFileToo(t *testing.T) {
	t.Parallel()
	_, _, err := warm(t, testModel("keras3_trap"), Options{MaxBatchSize: 4})
	wantError(t, err, "warm up model keras3_trap", "Could not find variable", `export it with model.export("DIR")`)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(testModel("keras3_trap"))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, filepath.FromSlash(warmUpFile))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	b := record(message(predictLog, message(logRequest, message(requestInputs,
		append(message(mapKey, []byte("inputs")), message(mapValue, tensorBytes(t, 1, []int64{1, 3}, make([]byte, 12)))...)))))
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, err = warm(t, dir, Options{})
	wantError(t, err, warmUpFile+": request 1", "Could not find variable", `export it with model.export("DIR")`)
}
