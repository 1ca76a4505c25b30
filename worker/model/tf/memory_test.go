//go:build linux && cgo && !race

package tf

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	tensorflow "github.com/galeone/tensorflow/tensorflow/go"
	typespb "github.com/galeone/tensorflow/tensorflow/go/core/framework/types_go_proto"
	corepb "github.com/galeone/tensorflow/tensorflow/go/core/protobuf/for_core_protos_go_proto"
	"github.com/galeone/tensorflow/tensorflow/go/op"
	"github.com/galeone/tfgo"

	"github.com/penstock/penstock/worker/model"
)

// nativeMiB is the process's resident memory that isn't Go's heap, in MiB.
func nativeMiB(t *testing.T) int {
	t.Helper()
	var total, pages int
	if _, err := fmt.Sscan(string(readFile(t, "/proc/self/statm")), &total, &pages); err != nil {
		t.Fatal(err)
	}
	var goes runtime.MemStats
	runtime.ReadMemStats(&goes)
	return (pages*os.Getpagesize() - int(goes.HeapInuse)) >> 20
}

// TestNativeMemoryIsFreedWithoutTheCollector turns Go's collector off, so that
// nothing but Run and DecodeImage themselves can free what they took. It runs
// alone, because the memory is the process's, and not under the race detector,
// which keeps memory of its own for each byte of Go's.
func TestNativeMemoryIsFreedWithoutTheCollector(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	const allowed = 60 // MiB; leaking, each case would take 150 or more
	lines := slices.Repeat([]string{strings.Repeat("x", 2000)}, 500)
	pixels := make([]float32, 8*224*224*3)
	negative := append([]float32{-1}, pixels[1:]...)
	photo, spec := readFile(t, "testdata", "photo.png"), model.ImageSpec{Height: 224, Width: 224, Channels: 3}
	for _, c := range []struct {
		name  string
		model string
		batch parts // nil decodes an image instead
		fails bool
		times int
	}{
		{"inputs of 4.8 MB", "dynamic", parts{{floats([]int64{8, 224 * 224 * 3}, pixels...)}}, false, 200},
		{"failing inputs of 4.8 MB", "fails_on_negative", parts{{floats([]int64{4 * 224 * 224 * 3, 2}, negative...)}}, true, 50},
		{"inputs and outputs of 0.4 MB", "halfplustwo", parts{{floats([]int64{100_000}, pixels[:100_000]...)}}, false, 600},
		{"strings of 1 MB", "string_echo", parts{{texts([]int64{500}, lines...)}}, false, 200},
		{"images of 0.6 MB", "halfplustwo", nil, false, 300},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := open(t, testModel(c.model))
			once := func() {
				var err error
				if c.batch == nil {
					_, err = m.DecodeImage(t.Context(), photo, spec, model.Float32)
				} else {
					_, err = m.Run(t.Context(), m.Signatures()["serving_default"], c.batch)
				}
				if (err != nil) != c.fails {
					t.Fatal(err)
				}
			}
			for range 5 {
				once()
			}
			// The allocator may yet keep some for a thread that had none, once: a
			// leak takes as much in every round.
			for round := 1; ; round++ {
				debug.FreeOSMemory()
				before := nativeMiB(t)
				for range c.times {
					once()
				}
				grown := nativeMiB(t) - before
				if t.Logf("grew by %d MiB", grown); grown <= allowed {
					break
				}
				if round == 3 {
					t.Fatalf("native memory grew by more than %d MiB in each of %d rounds, at last by %d MiB over %d times", allowed, round, grown, c.times)
				}
			}
		})
	}
}

// TestAModelThatIsClosedGivesItsMemoryBack loads and closes a model as versions
// come and go: 20 MB of constants and, in TensorFlow, as much of what it makes
// of them.
func TestAModelThatIsClosedGivesItsMemoryBack(t *testing.T) {
	const times, allowed = 30, 60 // MiB; leaking, it would be 600 and more
	root := tfgo.NewRoot()
	weights := tfgo.Const(root, make([]float32, 5<<20))
	x := op.Placeholder(root, tensorflow.Float)
	op.Mul(root.SubScope("y"), x, op.Sum(root, weights, tfgo.Const(root, []int32{0})))
	dir := save(t, root, map[string]*corepb.SignatureDef{"serving_default": {
		Inputs:  map[string]*corepb.TensorInfo{"x": tensorDef("Placeholder", typespb.DataType_DT_FLOAT, -1)},
		Outputs: map[string]*corepb.TensorInfo{"y": tensorDef("y/Mul", typespb.DataType_DT_FLOAT, -1)},
	}})
	once := func() {
		m, err := Load(dir, Options{MaxBatchSize: 8})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.WarmUp(t.Context()); err != nil {
			t.Error(err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	for range 3 {
		once()
	}
	debug.FreeOSMemory()
	before := nativeMiB(t)
	for range times {
		once()
	}
	debug.FreeOSMemory()
	grown := nativeMiB(t) - before
	if t.Logf("grew by %d MiB from %d", grown, before); grown > allowed {
		t.Errorf("native memory grew by %d MiB over %d loads", grown, times)
	}
}
