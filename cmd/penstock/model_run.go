package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/penstock/penstock/cmd/internal/inspection"
)

// runInspection lets the worker load and run a model. A model that ends the
// worker's process is a result; the error is that of a worker which could not
// do its work.
func (p *program) runInspection(ctx context.Context, worker string, o inspection.Options, say func(string)) (*inspection.Measured, error) {
	cmd := exec.CommandContext(ctx, worker, append([]string{"inspect"}, o.Args()...)...)
	cmd.Env = p.environ
	cmd.WaitDelay = time.Second
	var said lastWords
	cmd.Stderr = &said
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	last, began, err := follow(stdout, say)
	_, _ = io.Copy(io.Discard, stdout) // of a line that can't be read it is not to hang
	ended := cmd.Wait()
	how := "exit status 0"
	if ended != nil {
		how = ended.Error()
	}
	words := said.String()
	switch {
	case err != nil:
		return nil, fmt.Errorf("what the worker says of the model can't be read: %w; are bin/worker and bin/penstock of one build?", err)
	case last.Done && ended == nil:
		return &last.Measured, nil
	case !began || strings.HasPrefix(words, "worker: "): // by its own decision
		return nil, fmt.Errorf("the worker could not look at the model (%s): %s", how, words)
	}
	if how == "signal: killed" {
		how += ", maybe for want of memory"
	}
	m := &last.Measured
	m.Error = fmt.Sprintf("the worker's process ended (%s) when it was to %s; it said: %s", how, last.Doing, words)
	return m, nil
}

// follow reads the worker's lines to their end and gives the last one. began
// says that there was one.
func follow(r io.Reader, say func(string)) (last inspection.State, began bool, err error) {
	d := json.NewDecoder(r)
	for {
		var s inspection.State
		if err := d.Decode(&s); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return last, began, nil // one that was cut off says no more than the one before
		} else if err != nil {
			return last, began, err
		}
		last, began = s, true
		if s.Doing != "" {
			say(s.Doing)
		}
	}
}

// lastWords listens to what a process writes to its standard error for what it
// may have died of.
type lastWords struct {
	line  []byte // that is not over yet
	last  string // line that says something
	fatal string // the first line that looks like the cause of a death
}

// maxWords bounds a line that is kept.
const maxWords = 4 << 10

func (w *lastWords) Write(b []byte) (int, error) {
	for chunk := range bytes.SplitAfterSeq(b, []byte("\n")) {
		text, over := bytes.CutSuffix(chunk, []byte("\n"))
		w.line = append(w.line, text[:min(len(text), maxWords-len(w.line))]...)
		if over {
			w.hear(strings.TrimSpace(string(w.line)))
			w.line = w.line[:0]
		}
	}
	return len(b), nil
}

var (
	fatalWords = regexp.MustCompile(`^(F\d{4} |fatal error: |panic: |SIG[A-Z]+: |terminate called |worker: )`)
	logPrefix  = regexp.MustCompile(`^[A-Z]\d{4} [^\]]*\] `)
	startNoise = regexp.MustCompile(`absl::InitializeLog|TF_ENABLE_ONEDNN_OPTS`)
)

func (w *lastWords) hear(line string) {
	switch {
	case line == "" || startNoise.MatchString(line):
		return
	case w.fatal == "" && fatalWords.MatchString(line):
		w.fatal = logPrefix.ReplaceAllString(line, "")
	}
	w.last = line
}

// String is what it died of, as far as it said so.
func (w *lastWords) String() string {
	w.hear(strings.TrimSpace(string(w.line)))
	return strings.ToValidUTF8(cmp.Or(w.fatal, w.last, "nothing"), "\uFFFD")
}
