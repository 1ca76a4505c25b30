//go:build cgo

package golden

import (
	"cmp"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/penstock/penstock/worker/codec"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/source"
	"github.com/penstock/penstock/worker/model/tf"
)

var (
	converted = flag.Bool("converted", false, "also run the models that make verify converts")
	report    = flag.String("report", "", "write the differences that were measured to `file`, for answers.py")
)

// tolerance is how far an answer may be from Python's: see far.
const tolerance = 1e-5

// root is the module's directory, seen from this package's.
const root = "../../.."

// described is a model of models.json.
type described struct {
	Name  string
	Path  string // of the SavedModel, below root
	From  string // "repository", "wheel" or "conversion"
	Cases []struct {
		Input       string
		Signature   string
		ContentType string `json:"content_type"`
	}
}

// measured are the largest differences of one model.
type measured struct {
	Name    string  `json:"name"`
	Alone   float64 `json:"alone"`
	Batched float64 `json:"batched"`
}

func TestPenstockAnswersAsPythonDoes(t *testing.T) {
	var models []described
	if err := json.Unmarshal(read(t, "models.json"), &models); err != nil {
		t.Fatal(err)
	}
	if !*converted { // what make verify makes of another library's files
		models = slices.DeleteFunc(models, func(d described) bool { return d.From == "conversion" })
	}
	if len(models) < 6 {
		t.Errorf("only %d models", len(models))
	}
	var all []measured
	for _, d := range models {
		t.Run(d.Name, func(t *testing.T) {
			m := open(t, d)
			var cases []*input
			for _, c := range d.Cases {
				name := c.Input
				if c.Signature != "" {
					name += "@" + c.Signature
				}
				body := read(t, "testdata", d.Name, "inputs", c.Input)
				in, err := codec.Decode(t.Context(), body, codec.Source{ContentType: c.ContentType, Name: "in/" + c.Input, Signature: c.Signature}, m)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				cases = append(cases, &input{name, in, readNPZ(t, read(t, "testdata", d.Name, "answers", name+".npz"))})
			}
			r := runner{m: m}
			alone := r.alone(t, cases)
			batched := r.batches(t, cases)
			t.Logf("%d inputs; the largest difference is %.1e alone and %.1e in batches", len(cases), alone, batched)
			all = append(all, measured{d.Name, alone, batched})
		})
	}
	if *report != "" {
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(*report, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// open loads a model with its own file, as the worker does.
func open(t *testing.T, d described) model.Model {
	t.Helper()
	dir := filepath.Join(root, filepath.FromSlash(d.Path))
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("%v: make %s puts it there", err, cmp.Or(map[string]string{"conversion": "verify"}[d.From], "models"))
	}
	local, err := source.Open(t.Context(), nil, dir, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m, err := tf.Load(local.Dir, tf.Options{Name: d.Name, Config: local.Config})
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

// input is an object, decoded, and Python's answer to it.
type input struct {
	name string
	*codec.Input
	want answer
}

// check compares an answer with Python's and returns their largest difference.
func (in *input) check(t *testing.T, how string, got answer) (difference float64) {
	t.Helper()
	if len(got) != len(in.want) {
		t.Errorf("%s: %d outputs, want %d", in.name, len(got), len(in.want))
	}
	for name, want := range maps.All(in.want) {
		d := far(got[name], want)
		if !(d <= tolerance) { // NaN is not either
			t.Errorf("%s, %s: output %q is %.1e from Python's", in.name, how, name, d)
		}
		difference = max(difference, d)
	}
	return difference
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
