package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"iter"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/cmd/penstock/inspect"
	"github.com/penstock/penstock/storage"
)

// testModels is where the models for tests lie.
const testModels = "../../worker/model/testdata"

// copyModel puts a test model into the directory that the program works in.
func (c *console) copyModel(t *testing.T, name, to string) string {
	t.Helper()
	if err := os.CopyFS(filepath.Join(c.dir, to), os.DirFS(filepath.Join(testModels, name))); err != nil {
		t.Fatal(err)
	}
	return to
}

// worker puts a worker beside the program that does what a shell script says.
func (c *console) worker(t *testing.T, script string) {
	t.Helper()
	unforked(func() { c.file(t, "bin/worker", "#!/bin/sh\n"+script) })
	if err := os.Chmod(filepath.Join(c.dir, "bin", "worker"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestAModelsFilesAreReported(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]int{
		"digits": exitOK, "string_echo": exitOK, "two_inputs": exitOK, "fixed_batch": exitOK, "no_batch": exitOK,
		"dynamic": exitOK, "warmed": exitOK, "keras3_trap": exitFailed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := setup(t, nil)
			got, stdout, stderr := c.call(t, "model", "inspect", "-static", c.copyModel(t, name, "models/"+name))
			if got != code || stderr != "" {
				t.Errorf("exit code %d, standard error %q", got, stderr)
			}
			compare(t, filepath.Join("testdata", "model", name+".txt"), stdout)
		})
	}
}

// compare compares a text with a golden file, or writes it.
func compare(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("it differs from %s (go test ./cmd/penstock -update writes it anew):\n%s", golden, got)
	}
}

// measured are two lines of a worker, with all that a report may have.
const measured = `
{"doing":"load the model","measured":{"tensorflow":"2.21.0","cores":2,"memory":{"before":300000000},"signatures":[]}}
{"done":true,"measured":{"tensorflow":"2.21.0","cores":2,"loadSeconds":0.25,"warmUpSeconds":0.05,
 "memory":{"before":300000000,"loaded":340000000,"warmedUp":350000000,"peak":400000000},"signatures":[
 {"name":"serving_default","input":"made-up values","shapes":[{"input":"x","shape":[1,64]}],"assumed":["x"],
  "runs":[{"rows":1,"times":1200,"medianSeconds":0.002,"p99Seconds":0.005,"rowsPerSecond":490},
   {"rows":8,"times":300,"medianSeconds":0.008,"p99Seconds":0.0123,"rowsPerSecond":980.4}],
  "skipped":[{"rows":3200,"reason":"a run may take 3.20 s; with -time 4s it is measured all the same"}],
  "recommended":{"rows":8,"reason":"2.0 times the rows/s of 1"}},
 {"name":"other","input":"rows.json","runs":[],"error":"rows.json: it has no rows"}]}}`

func TestTheWorkerIsToldWhatToRun(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.environ = []string{"PATH=" + os.Getenv("PATH")}
	args := filepath.Join(c.dir, "args")
	c.worker(t, "printf '%s\\n' \"$@\" > "+args+"\ncat <<'END'\n"+measured+"\nEND\n")
	c.copyModel(t, "dynamic", "dynamic")
	c.file(t, "dynamic/penstock.json", `{"max_batch_size": 64}`)
	code, _, stderr := c.call(t, "model", "inspect", "-shape", "x=1,64", "-time", "2s", "-batch-sizes", "8,1", "-signature", "serving_default", "dynamic")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, standard error %q", code, stderr)
	}
	b, err := os.ReadFile(args)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(strings.ReplaceAll(string(b), c.dir, ""))
	if want := strings.Fields("inspect -model-file /dynamic/penstock.json -signature serving_default -shape x=1,64 -batch-sizes 1,8 -time 2s -- /dynamic"); !slices.Equal(got, want) {
		t.Errorf("the worker was called with %q, want %q", got, want)
	}
}

func TestRunsAreATable(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.environ = []string{"PATH=" + os.Getenv("PATH")}
	c.worker(t, "cat <<'END'\n"+measured+"\nEND\n")
	code, stdout, stderr := c.call(t, "model", "inspect", c.copyModel(t, "dynamic", "dynamic"))
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, standard error %q", code, stderr)
	}
	compare(t, filepath.Join("testdata", "model", "runs.txt"), stdout)

	code, stdout, _ = c.call(t, "model", "inspect", "-o", "json", "dynamic")
	var r inspect.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v:\n%s", code, err, stdout)
	}
	if r.Name != "dynamic" || r.TensorFlow != "2.21.0" || len(r.Measured.Signatures) != 2 || r.Measured.Signatures[0].Recommended.Rows != 8 {
		t.Errorf("%+v", r)
	}
}

func TestAWorkerThatFailsIsToldOfAndTheRestIsReported(t *testing.T) {
	t.Parallel()
	line := `{"doing":"run serving_default with 8 rows","measured":{"tensorflow":"2.21.0","cores":2,"memory":{},"signatures":[]}}`
	for name, c := range map[string]struct {
		script string
		code   int
		want   string
	}{
		"the model kills it": {
			"echo '" + line + "'\necho 'F0000 00:00:17.35 77 control_flow_ops.cc:737] x is 666' >&2; echo '    @  0x7f' >&2; kill -ABRT $$", exitFailed,
			"✗ the worker's process ended (signal: aborted) when it was to run serving_default with 8 rows; it said: x is 666",
		},
		"the system kills it": {
			"echo '" + line + "'\nkill -KILL $$", exitFailed,
			"ended (signal: killed, maybe for want of memory) when it was to run serving_default with 8 rows; it said: nothing",
		},
		"a library is missing": {
			"echo 'worker: error while loading shared libraries: libtensorflow.so.2' >&2; exit 127", exitTrouble,
			"Not run: the worker could not look at the model (exit status 127): worker: error while loading shared libraries: libtensorflow.so.2.",
		},
		"it gives up": {
			"echo '" + line + "'\necho 'worker: inspect: no such thing' >&2; exit 2", exitTrouble,
			"Not run: the worker could not look at the model (exit status 2): worker: inspect: no such thing.",
		},
		"it is another program": {"echo hello", exitTrouble, "are bin/worker and bin/penstock of one build?"},
		"the model is at fault": {
			`echo '{"done":true,"measured":{"error":"Op type not registered"}}'`, exitFailed, "✗ Op type not registered",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			console := setup(t, nil)
			console.environ = []string{"PATH=" + os.Getenv("PATH")}
			console.worker(t, c.script)
			code, stdout, stderr := console.call(t, "model", "inspect", console.copyModel(t, "dynamic", "dynamic"))
			if code != c.code || stderr != "" || !strings.Contains(stdout, c.want) || !strings.Contains(stdout, "float32 [?, ?]") {
				t.Errorf("exit code %d, standard error %q, want %q in\n%s", code, stderr, c.want, stdout)
			}
		})
	}
}

func TestWithoutAWorkerTheFilesAreReported(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	code, stdout, stderr := c.call(t, "model", "inspect", c.copyModel(t, "dynamic", "dynamic"))
	if code != exitOK || stderr != "" || !strings.Contains(stdout, "Not run: the worker, which has TensorFlow, is not in "+c.bin+" beside this program; build it: make build.") {
		t.Errorf("exit code %d, standard error %q:\n%s", code, stderr, stdout)
	}
}

func TestAModelFileAtFaultIsReportedWithTheModel(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		`{"lables": ["a"]}`:            `✗ it can't be served: penstock.json: lables: there is no such member; did you mean "labels"?`,
		`{"signature": "predict"}`:     `✗ it can't be served: penstock.json: signature: the model has no signature "predict"`,
		`{"labels": ["a"`:              `✗ it can't be served: penstock.json: `,
		`{"max_batch_size": 8} {"a":1`: `✗ it can't be served: penstock.json: there is more behind the JSON object`,
	} {
		c := setup(t, nil)
		c.copyModel(t, "dynamic", "models/3")
		c.file(t, "models/penstock.json", content)
		code, stdout, stderr := c.call(t, "model", "inspect", "-static", "models")
		if code != exitFailed || stderr != "" || !strings.Contains(stdout, want) || !strings.Contains(stdout, "model file   ../penstock.json") {
			t.Errorf("%s: exit code %d, standard error %q, want %q in\n%s", content, code, stderr, want, stdout)
		}
	}
}

// putModel uploads a test model.
func (c *console) putModel(t *testing.T, name, key string) {
	t.Helper()
	files := os.DirFS(filepath.Join(testModels, name))
	for _, file := range []string{"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"} {
		b, err := fs.ReadFile(files, file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.store.Store.Put(t.Context(), storage.Ref{Bucket: "penstock", Key: key + file}, b, storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAModelInS3IsDownloadedAndReported(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	for _, version := range []string{"1", "2", "10"} {
		c.putModel(t, "halfplustwo", "models/half/"+version+"/")
	}
	if err := c.store.Delete(t.Context(), storage.Ref{Bucket: "penstock", Key: "models/half/10/variables/variables.data-00000-of-00001"}, storage.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	call := func(uri string) (int, string, string) {
		return c.call(t, "model", "inspect", "-static", "-model-cache", "cache", uri)
	}
	code, stdout, stderr := call("s3://penstock/models/half/")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, standard error %q", code, stderr)
	}
	for _, want := range []string{
		"half, version 2\n", "s3://penstock/models/half/\n", "parameters   2 in 2 variables",
		"versions     1, 2 (this one), 10 (not whole: it lacks variables/variables.data-00000-of-00001)",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, stdout)
		}
	}
	if code, stdout, _ = call("s3://penstock/models/half?versions=1"); code != exitOK || !strings.Contains(stdout, "half, version 1\n") {
		t.Errorf("exit code %d:\n%s", code, stdout)
	}
	if code, stdout, _ = call("s3://penstock/models/half?versions=10"); code != exitFailed || !strings.Contains(stdout, "data-00000-of-00001 is missing: copy the whole SavedModel again") {
		t.Errorf("exit code %d:\n%s", code, stdout)
	}
	for uri, want := range map[string]string{
		"s3://penstock/nothing/":        "nothing is there",
		"s3://elsewhere/models/":        "there is no bucket elsewhere; see what is there: aws s3 ls",
		"s3://penstock/model.tar.gz":    "there is no such object, or no bucket penstock",
		"s3://penstock/a/model.tflite":  "a TensorFlow Lite model",
		"s3://penstock/models/half?":    "nothing is there",
		"s3://penstock/models/half/1/v": "nothing is there",
	} {
		if code, stdout, stderr := call(uri); code != exitUsage || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q", uri, code, stderr)
		}
	}
}

// away is a store that nobody listens at.
type away struct{ storage.Store }

func (away) List(context.Context, storage.Ref, string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		yield(storage.Info{}, fmt.Errorf("list: operation error S3: four lines of the SDK's: %w", refused))
	}
}

func TestAnS3ThatIsAwayIsToldWithTheModel(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	c.open = func(context.Context) (services, error) { return services{store: away{c.store}, now: time.Now}, nil }
	code, stdout, stderr := c.call(t, "model", "inspect", "s3://penstock/models/half/")
	const want = "penstock: model s3://penstock/models/half/: dial tcp 127.0.0.1:9: connect: connection refused; nothing listens there: start it, or correct AWS_ENDPOINT_URL or AWS_ENDPOINT_URL_S3\n"
	if code != exitTrouble || stdout != "" || stderr != want {
		t.Errorf("exit code %d, %q, %q, want %q", code, stdout, stderr, want)
	}
}

func TestWhatIsNoSavedModelIsNamedWithWhatToDo(t *testing.T) {
	t.Parallel()
	for files, want := range map[string][]string{
		"":                             {"nothing is there; name the folder of a SavedModel"},
		"mine.keras":                   {"there is mine.keras", "a Keras file", "deploy/keras/export.py", `export("DIR")`},
		"a/weights.H5":                 {"there is a/", "weights.H5 is a Keras file"},
		"m.tflite":                     {"TensorFlow Lite"},
		"m.onnx":                       {"ONNX"},
		"frozen_graph.pb":              {"frozen graph of TensorFlow 1", "simple_save"},
		"saved_model.pbtxt":            {"text form"},
		"m.ckpt-1.index m.ckpt-1.meta": {"a checkpoint: weights without a graph"},
		"variables/variables.index":    {"variables are here without their graph"},
		"README.md":                    {"there is README.md. Write one with model.export"},
		"a b c d e f g h i j k":        {"a, b, c, d, e, f, g, h, and 3 more"},
		"model.zip":                    {"tar -czf"},
	} {
		c := setup(t, nil)
		if err := os.Mkdir(filepath.Join(c.dir, "model"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name := range strings.FieldsSeq(files) {
			c.file(t, "model/"+name, "x")
		}
		code, stdout, stderr := c.call(t, "model", "inspect", "model")
		if code != exitUsage || stdout != "" {
			t.Errorf("%s: exit code %d, %q", files, code, stdout)
		}
		for _, w := range want {
			if !strings.Contains(stderr, w) {
				t.Errorf("%s: %q does not say %q", files, stderr, w)
			}
		}
	}
	c := setup(t, nil)
	c.copyModel(t, "halfplustwo", "half")
	c.file(t, "mine.keras", "x")
	c.file(t, "cut/saved_model.pb", "\x08\x01\x12\xff\xff\x01half")
	for uri, want := range map[string]struct {
		code int
		text string
	}{
		"nothere":             {exitUsage, "nothere: there is no such file or directory"},
		"half/saved_model.pb": {exitUsage, "name the directory that it lies in"},
		"mine.keras":          {exitUsage, "a Keras file"},
		"half?versions=3":     {exitUsage, "there is no version 3"},
		"cut":                 {exitFailed, "damaged or cut off after 10 bytes; copy the model again"},
		"half,cut":            {exitUsage, "these are 2 models; name one"},
	} {
		if code, stdout, stderr := c.call(t, "model", "inspect", uri); code != want.code || stdout != "" || !strings.Contains(stderr, want.text) {
			t.Errorf("%s: exit code %d, %q, want %q", uri, code, stderr, want.text)
		}
	}
}

func TestOptionsThatDoNotFitTheModelAreReported(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-shape y=1,3 dynamic":      `-shape: there is no input "y"; there is x`,
		"-shape x=1,3,4 dynamic":    `-shape: signature "serving_default": input "x": shape [1, 3, 4]: the model takes [1, ?] for one row`,
		"-signature best dynamic":   `-signature: there is no signature "best"; there is serving_default`,
		"-input rows.json -shape 3": "-input and -shape exclude each other",
		"-input nothere dynamic":    "-input: nothere: there is no such file",
		"-time 0s -o xml dynamic":   "penstock: model inspect: -time is 0s; it must be more than 0, and a day at the most\npenstock: model inspect: -o is \"xml\"; it must be table or json",
		"-batch-sizes 1,x dynamic":  `-batch-sizes: "x" is no batch size`,
		"-shape x=1,-1 dynamic":     `-shape: "x=1,-1" is no shape; write NAME=1,224,224,3`,
		"":                          "it takes one URI, but 0 are given",
		"-colour dynamic":           "penstock: model inspect: there is no flag -colour; see penstock model inspect -h",
	} {
		c := setup(t, nil)
		c.copyModel(t, "dynamic", "dynamic")
		c.file(t, "rows.json", "{}")
		code, stdout, stderr := c.call(t, append([]string{"model", "inspect"}, strings.Fields(args)...)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, stderr, want)
		}
	}
}

func TestModelAloneIsHelp(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	_, want, _ := c.call(t, "model", "-h")
	if code, got, stderr := c.call(t, "model"); code != exitOK || got != want || stderr != "" {
		t.Errorf("exit code %d, %q, %q", code, got, stderr)
	}
	if code, _, stderr := c.call(t, "model", "inspct"); code != exitUsage || !strings.Contains(stderr, `did you mean "inspect"? See penstock model -h`) {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	_, want, _ = c.call(t, "model", "inspect", "-h")
	if _, got, _ := c.call(t, "model", "help", "inspect"); got != want {
		t.Errorf("penstock model help inspect says something else:\n%s", got)
	}
}

func TestCredentialsThatAreMissingAreNamed(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	err := fmt.Errorf("list: %w", fmt.Errorf("get identity: get credentials: no EC2 IMDS role found"))
	if got := c.advice(err, modelNeeds); !strings.Contains(got, "AWS_PROFILE") {
		t.Errorf("the advice is %q", got)
	}
	if got := c.advice(storage.ErrForbidden, modelNeeds); !strings.Contains(got, modelNeeds) {
		t.Errorf("the advice is %q", got)
	}
}

func TestAReportInJSONHasAMemberForEverything(t *testing.T) {
	t.Parallel()
	c := setup(t, nil)
	code, stdout, stderr := c.call(t, "model", "inspect", "-static", "-o", "json", c.copyModel(t, "two_inputs", "two_inputs"))
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, %q", code, stderr)
	}
	compare(t, filepath.Join("testdata", "model", "two_inputs.json"), strings.ReplaceAll(stdout, c.dir, "DIR"))
}
