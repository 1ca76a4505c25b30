//go:build cgo

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/penstock/penstock/cmd/internal/inspection"
	"github.com/penstock/penstock/worker/model"
	"github.com/penstock/penstock/worker/model/tf"
)

// inspectVerb is the first argument of the command line that runs inspect
// instead of the worker.
const inspectVerb = "inspect"

// inspect loads a model, runs it, and tells of it on stdout, for `penstock
// model inspect`: see package inspection. A model that is at fault is a result
// like any other, with exit code 0.
func inspect(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	defer context.AfterFunc(ctx, stop)()

	options, err := inspection.Parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err == nil {
		err = (&inspector{options: options, out: json.NewEncoder(stdout)}).run(ctx)
	}
	if err != nil {
		fmt.Fprintf(stderr, "worker: inspect: %v\n", err)
		if ctx.Err() != nil {
			return exitFailed
		}
		return exitSettings
	}
	return exitOK
}

// inspector looks at one model.
type inspector struct {
	options inspection.Options
	out     *json.Encoder
	state   inspection.State
	err     error // of the first line that could not be written
}

// say writes what is done next, and all that is known so far.
func (i *inspector) say(doing string) {
	i.state.Doing = doing
	if err := i.out.Encode(i.state); err != nil && i.err == nil {
		i.err = err
	}
}

func (i *inspector) run(ctx context.Context) error {
	config, err := modelFile(i.options.ModelFile)
	if err != nil {
		return err
	}
	m := &i.state.Measured
	m.TensorFlow, m.Cores = tf.LibraryVersion(), runtime.GOMAXPROCS(0)
	m.Signatures = []inspection.Signature{}
	m.Memory.Before, _ = resident()
	loaded := i.load(ctx, config)
	if loaded != nil {
		defer loaded.Close()
		m.Signatures, err = inspection.Measure(ctx, loaded, i.options, func(doing string, sofar []inspection.Signature) {
			m.Signatures = sofar
			i.say(doing)
		})
		if err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, m.Memory.Peak = resident()
	i.state.Done = true
	i.say("")
	return i.err
}

// modelFile reads the model's own file.
func modelFile(path string) (*model.Config, error) {
	if path == "" {
		return &model.Config{}, nil
	}
	return model.ReadConfig(filepath.Dir(path))
}

// load loads the model and warms it up. Without a model, Error says why.
func (i *inspector) load(ctx context.Context, config *model.Config) *tf.Model {
	m := &i.state.Measured
	i.say("load the model")
	began := time.Now()
	loaded, err := tf.Load(i.options.Dir, tf.Options{Config: config})
	if err != nil {
		m.Error = err.Error()
		return nil
	}
	m.LoadSeconds = time.Since(began).Seconds()
	m.Memory.Loaded, _ = resident()
	i.say("warm it up")
	began = time.Now()
	if err := loaded.WarmUp(ctx); err != nil {
		m.Error = err.Error()
		_ = loaded.Close() // the warm-up's error says more
		return nil
	}
	m.WarmUpSeconds = time.Since(began).Seconds()
	m.Memory.WarmedUp, _ = resident()
	return loaded
}

// resident is the memory that the process has now and had at the most, in
// bytes; 0 where the system does not tell.
func resident() (now, peak int64) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		kilobytes, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, " kB")), 10, 64)
		switch name {
		case "VmRSS":
			now = kilobytes << 10
		case "VmHWM":
			peak = kilobytes << 10
		}
	}
	return now, peak
}
