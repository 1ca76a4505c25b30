//go:build cgo

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/model/source"
)

// TestMain is also the process that tries a model.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == tryVerb {
		os.Exit(dispatch(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// bomb is a SavedModel that ends the process at its warm-up: aborts_on, which
// aborts on 0 instead of 666.
func bomb(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bomb")
	if err := os.CopyFS(dir, os.DirFS(testdata("aborts_on"))); err != nil {
		t.Fatal(err)
	}
	graph := filepath.Join(dir, "saved_model.pb")
	b, err := os.ReadFile(graph)
	if err != nil {
		t.Fatal(err)
	}
	signal := binary.LittleEndian.AppendUint32(nil, math.Float32bits(666))
	if !bytes.Contains(b, signal) {
		t.Fatal("the graph has no 666")
	}
	if err := os.WriteFile(graph, bytes.ReplaceAll(b, signal, make([]byte, 4)), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAVersionThatEndsTheProcessIsRefusedAndTheOlderOneServed(t *testing.T) {
	t.Parallel()
	deadly := bomb(t)
	for name, start := range map[string]func(p *plant){
		"beside what is served": func(p *plant) {
			p.start("s3://models/half/")
			p.until("version 1 answers", func(v string) bool { return v == "1" })
			p.upload(deadly, "half/2/")
		},
		"at the start": func(p *plant) {
			p.upload(deadly, "half/2/")
			p.start("s3://models/half/")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlant(t)
			p.upload(testdata("halfplustwo"), "half/1/")
			start(p)
			p.until("version 2 is refused", func(v string) bool { return v == "1" && p.said("model refused", "2") == 1 })
			why, _ := p.logs.FilterMessage("model refused").All()[0].ContextMap()["error"].(string)
			for _, want := range []string{"model s3://models/half/", "signal: aborted", "Abort_op intentional failure; x is 666"} {
				if !strings.Contains(why, want) {
					t.Errorf("the log does not say %q: %s", want, why)
				}
			}
		})
	}
}

func TestTrySaysWhyAModelIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{testdata("halfplustwo")}, exitOK, ""},
		{[]string{"-model-file", testdata("digits/1/penstock.json"), testdata("digits/1")}, exitOK, ""},
		{[]string{testdata("keras3_trap")}, exitRefused, `model.export("DIR")`},
		{[]string{"-model-file", "nothere/penstock.json", testdata("halfplustwo")}, exitRefused, "no such file"},
		{nil, exitSettings, "takes one directory"},
	} {
		var stdout, stderr bytes.Buffer
		code := try(t.Context(), c.args, &stdout, &stderr)
		if said := stdout.String() + stderr.String(); code != c.code || !strings.Contains(said, c.want) || (code == exitOK) != (said == "") {
			t.Errorf("%q: exit code %d, %q", c.args, code, said)
		}
	}
}

func TestTheLastWordsAreWhatTensorFlowDiedWith(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"": "",
		"WARNING: All log messages before\nI0000 1 2 port.cc:153] oneDNN is on.\n":                                              "",
		"I0000 1 2 a.cc:1] x\nF0000 1 3 op.cc:737] no such op\n*** Check failure stack trace: ***\n    @     0x7f  (unknown)\n": ": no such op",
		"terminate called after throwing an instance of 'std::bad_alloc'\n\n":                                                   "; its last words were: terminate called after throwing an instance of 'std::bad_alloc'",

		strings.Repeat("x\n", 1<<20) + "y": "; its last words were: y",
	} {
		words := new(lastWords)
		_, _ = words.Write([]byte(said))
		if got := words.String(); got != want {
			t.Errorf("%.100q: got %q, want %q", said, got, want)
		}
	}
}

// unreachable is a store that nobody answers for. It tells when it is asked.
type unreachable struct {
	storage.Store
	asked func()
}

func (u unreachable) Head(context.Context, storage.Ref) (storage.Info, error) {
	u.asked()
	return storage.Info{}, errors.New("dial tcp 127.0.0.1:9: connection refused")
}

func TestAnS3ThatIsAwayAtTheStartIsNoFaultOfTheSettings(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := 0
	p.cfg.Store = unreachable{p.store, func() {
		if asked++; asked == 2 {
			cancel()
		}
	}}
	_, err := openModels(ctx, &settings{model: "s3://models/a.tar.gz", modelCache: t.TempDir()}, p.cfg)
	if !errors.Is(err, context.Canceled) || asked < 2 {
		t.Errorf("it was asked %d times, and not until the start was called off: %v", asked, err)
	}
	if n := p.logs.FilterMessageSnippet("can't be asked").FilterLevelExact(zapcore.WarnLevel).Len(); n != 1 {
		t.Errorf("the log says it %d times: %v", n, p.logs.All())
	}
	from, err := source.New(source.Named{URI: "s3://models/a.tar.gz"}, p.cfg.Store, &source.Cache{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = from.Versions(t.Context())
	if _, ok := errors.AsType[settingsError](modelsError(err)); ok || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v is taken for a fault of the settings", err)
	}
}
