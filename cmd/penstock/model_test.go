package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testModel is the folder of a committed model.
func testModel(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "worker", "model", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInspectTellsWhatAModelTakesAndGivesWithoutRunningIt(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"halfplustwo": {"serving_default  runs in batches of any size", "x  float32 [?]", "y  float32 [?]", "no penstock.json"},
		"digits":      {"digits, version 1", "float32 [?, 28, 28, 1]", "labels (10), image"},
		"fixed_batch": {"4"},
		"no_batch":    {"runs row by row", "single value"},
		"two_inputs":  {"a  ", "b  ", "int32"},
		"warmed":      {"assets.extra"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := setup(t, nil)
			if code, _, _ := c.call(t, "model", "inspect", "-static", testModel(t, name)); code != exitOK {
				t.Fatalf("exit code %d: %s", code, &c.stderr)
			}
			for _, s := range want {
				if !strings.Contains(c.stdout.String(), s) {
					t.Errorf("%q is not in\n%s", s, &c.stdout)
				}
			}
		})
	}
}

func TestInspectWritesOneJSONObject(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	if code, _, _ := c.call(t, "model", "inspect", "-static", "-o", "json", testModel(t, "two_inputs")); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &c.stderr)
	}
	var got struct {
		Name       string
		Signatures []struct {
			Name   string
			Inputs []struct{ Name, DType string }
			Batch  struct{ Kind string }
		}
		Measured any
	}
	if err := json.Unmarshal(c.stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Name != "two_inputs" || len(got.Signatures) != 1 || len(got.Signatures[0].Inputs) != 2 || got.Signatures[0].Batch.Kind != "any" || got.Measured != nil {
		t.Errorf("got %+v", got)
	}
}

func TestInspectFindsTheModelThatNoRunWouldSurvive(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	if code, _, _ := c.call(t, "model", "inspect", "-static", testModel(t, "keras3_trap")); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if !strings.Contains(c.stdout.String(), "can't be served") || !strings.Contains(c.stdout.String(), `model.export("DIR")`) {
		t.Errorf("the trap and its remedy are not told:\n%s", &c.stdout)
	}
}

func TestInspectSaysOfWhatIsNoSavedModelWhatToDo(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"m.h5": "deploy/keras/export.py", "m.keras": "deploy/keras/export.py", "m.tflite": "TensorFlow Lite", "m.onnx": "ONNX",
		"folder/readme.txt": "there is readme.txt",
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			c := setup(t, nil)
			c.file(t, file, "something")
			uri := filepath.Join(c.dir, strings.Split(file, string(os.PathSeparator))[0])
			if code, _, _ := c.call(t, "model", "inspect", uri); code != exitUsage || !strings.Contains(c.stderr.String(), want) {
				t.Errorf("exit code %d, and it said %s, want %q", code, &c.stderr, want)
			}
		})
	}
}

func TestInspectReportsTheFaultsOfTheModelFile(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	if err := os.CopyFS(filepath.Join(c.dir, "m"), os.DirFS(testModel(t, "halfplustwo"))); err != nil {
		t.Fatal(err)
	}
	c.file(t, "m/penstock.json", `{"labels": ["a", "a"], "top_k": -1}`)
	if code, _, _ := c.call(t, "model", "inspect", "-static", filepath.Join(c.dir, "m")); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	for _, want := range []string{"labels", "top_k", "faulty"} {
		if !strings.Contains(c.stdout.String(), want) {
			t.Errorf("%q is not in\n%s", want, &c.stdout)
		}
	}
}

func TestInspectWithoutAWorkerSaysWhatItLeavesOut(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.call(t, "model", "inspect", testModel(t, "halfplustwo"))
	if !strings.Contains(c.stdout.String(), "runs in batches of any size") || !strings.Contains(c.stderr.String()+c.stdout.String(), "worker") {
		t.Errorf("it printed\n%s\nand said %s", &c.stdout, &c.stderr)
	}
}
