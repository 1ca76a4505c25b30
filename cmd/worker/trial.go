//go:build cgo

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/worker/model/source"
	"github.com/penstock/penstock/worker/model/tf"
)

// tryVerb is the first argument of the command line that runs try instead of
// the worker.
const tryVerb = "try"

// exitRefused is try's exit code for a model that can't be served.
const exitRefused = 3

// tryLimit is how long a trial may take. A load that hangs in the worker itself
// could not be ended.
const tryLimit = 15 * time.Minute

// try implements catalog.Model's Try: it has another process load the version
// and warm it up. One that ends the process, or for which memory does not
// suffice, is so refused, where it would take the worker with it, and the next
// one at every start.
func (l loader) try(ctx context.Context, v source.Version) error {
	local, err := l.from.Fetch(ctx, v)
	if err != nil {
		return err
	}
	defer local.Release()
	ctx, cancel := context.WithTimeoutCause(ctx, tryLimit, fmt.Errorf("it was not loaded after %v", tryLimit))
	defer cancel()
	var reason bytes.Buffer
	words := new(lastWords)
	cmd := exec.CommandContext(ctx, "/proc/self/exe", tryVerb, // which is this program, also once its file was replaced
		"-max-batch-size", strconv.Itoa(l.options.MaxBatchSize),
		"-intra-op-threads", strconv.Itoa(l.options.IntraOpThreads),
		"-inter-op-threads", strconv.Itoa(l.options.InterOpThreads),
		"-model-file", local.ModelFile, local.Dir)
	cmd.Stdout, cmd.Stderr = &reason, words
	err = cmd.Run()
	ended, _ := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("model %s: %w", l.from.Named().URI, context.Cause(ctx))
	case ended == nil: // no verdict: it is loaded as an only version is
		l.options.Logger.Warn("a version is loaded without a trial: no process could be started for it",
			zap.String("model", l.options.Name), zap.String("version", v.Name), zap.Error(err))
		return nil
	case ended.ExitCode() == exitRefused:
		return errors.New(strings.TrimSpace(reason.String()))
	}
	return fmt.Errorf("model %s: the process that tried to load it ended: %w%s", l.from.Named().URI, err, words)
}

// trial is a process that does nothing but try.
func trial(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	sacrifice()
	return try(ctx, args, stdout, stderr)
}

// try loads a model, warms it up, and says on stdout why it can't be served, if
// so.
func try(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	defer context.AfterFunc(ctx, stop)()

	var o tf.Options
	var file string
	f := flag.NewFlagSet("worker "+tryVerb, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.MaxBatchSize, "max-batch-size", 1, "as the worker's")
	f.IntVar(&o.IntraOpThreads, "intra-op-threads", 0, "as the worker's")
	f.IntVar(&o.InterOpThreads, "inter-op-threads", 0, "as the worker's")
	f.StringVar(&file, "model-file", "", "its model file, if it has one")
	if f.Parse(args) != nil || f.NArg() != 1 {
		fmt.Fprintln(stderr, "worker try takes one directory, with a SavedModel in it")
		return exitSettings
	}
	if err := tryModel(ctx, f.Arg(0), file, o); err != nil {
		fmt.Fprintln(stdout, err)
		return exitRefused
	}
	return exitOK
}

func tryModel(ctx context.Context, dir, file string, o tf.Options) error {
	var err error
	if o.Config, err = modelFile(file); err != nil {
		return err
	}
	m, err := tf.Load(dir, o)
	if err != nil {
		return err
	}
	return errors.Join(m.WarmUp(ctx), m.Close())
}

// sacrifice has the kernel end this process first when memory runs out: it would
// rather end a worker, which has more. An abort is to leave no dump of it all.
// Both as well as can be.
func sacrifice() {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}

// lastWords keeps the end of what is written to it.
type lastWords struct{ text []byte }

func (l *lastWords) Write(b []byte) (int, error) {
	const most = 16 << 10
	l.text = append(l.text, b...)
	if n := len(l.text); n > most {
		l.text = append(l.text[:0], l.text[n-most:]...)
	}
	return len(b), nil
}

// String is the line that TensorFlow died with, else the last one that is no
// mere account of what it does, to be put behind an error; or nothing.
func (l *lastWords) String() string {
	last := ""
	for line := range strings.Lines(string(l.text)) {
		line = strings.TrimSpace(line)
		switch level, text, _ := strings.Cut(line, "] "); {
		case fatal.MatchString(level):
			return ": " + text
		case line != "" && !chatter.MatchString(line):
			last = "; its last words were: " + line
		}
	}
	return last
}

// Lines of TensorFlow's log: fatal ones, and those of no weight, of which some
// are printed whatever the log level, as the lines of a stack are.
var (
	fatal   = regexp.MustCompile(`^F\d{4} `)
	chatter = regexp.MustCompile(`^([IW]\d{4} |WARNING: All log messages|@ |\*\*\*)`)
)
