package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/cmd/penstock/reconcile"
	"github.com/penstock/penstock/cmd/penstock/stack"
	"github.com/penstock/penstock/queue/request"
	models "github.com/penstock/penstock/worker/model/source"
)

// defaultState is where local mode keeps objects and messages.
const defaultState = ".penstock/local"

// Ports of local mode, so that what was pasted yesterday works today.
const (
	defaultS3Port   = 17480
	defaultSQSPort  = 17481
	defaultHTTPPort = 8080
)

func (p *program) localCommand() *cli.Command {
	return &cli.Command{
		Name: "local", Usage: "run S3, SQS, a worker and the front door on this machine, until Ctrl-C",
		Description: `The worker is the one that is deployed; S3 and SQS are served by bin/local. Objects
and messages are kept in the state folder and are there again at the next start,
also after a crash; penstock clean deletes them. The front door takes requests over
HTTP, as penstock serve does; its SageMaker endpoints are "penstock" and one of each
model's name.
As long as it runs, .penstock/env tells the other commands about it, here and in
the directories below. Ctrl-C lets the worker finish what it runs; a second one
does not wait.

Examples:
  penstock local
  penstock local -model path/to/saved_model -workers 2
  penstock submit my.png       in another terminal`,
		Flags: []cli.Flag{
			modelFlag(p),
			&cli.StringFlag{Name: "state", Value: defaultState, Usage: "`FOLDER` that objects and messages are kept in; one process at a time"},
			&cli.IntFlag{Name: "s3-port", Value: defaultS3Port, Usage: "`PORT` of S3 on 127.0.0.1; without the flag, a free one when this one is taken"},
			&cli.IntFlag{Name: "sqs-port", Value: defaultSQSPort, Usage: "`PORT` of SQS on 127.0.0.1; likewise"},
			&cli.IntFlag{Name: "http-port", Value: defaultHTTPPort, Usage: "`PORT` of the front door on 127.0.0.1; likewise"},
			&cli.IntFlag{Name: "workers", Value: 1, Usage: "`NUMBER` of worker processes; each loads the model"},
			&cli.BoolFlag{Name: "v", Usage: "show the logs here too, on standard error"},
		},
		Action: p.local,
	}
}

func modelFlag(p *program) cli.Flag {
	return &cli.StringFlag{
		Name: "model", Usage: "SavedModel `FOLDER` that the worker runs, or what else its -model takes; default: the digits of this checkout",
		Sources: cli.NewValueSourceChain(&source{settings.Name("model"), p.env}),
	}
}

// digitsModel is where the small model lies, seen from bin/.
const digitsModel = "../worker/model/testdata/digits"

// model is what the worker is to run.
func (p *program) model(named string) (string, error) {
	if named != "" {
		if filepath.IsAbs(named) || strings.ContainsAny(named, ":=,") { // a URI, or a list
			return named, nil
		}
		path := filepath.Join(p.dir, named)
		if _, err := os.Stat(path); err != nil {
			return "", usage("-model %s: %w; give the folder of a SavedModel", named, reason(err))
		}
		return path, nil
	}
	path := filepath.Join(p.bin, digitsModel)
	if _, err := os.Stat(path); err != nil {
		return "", usage("no model is given, and that of the checkout is not beside this program (%s): %w; give one by -model", path, reason(err))
	}
	return path, nil
}

// programs checks that the programs of a stack are there.
func (p *program) programs() (local, worker string, err error) {
	local, worker = filepath.Join(p.bin, "local"), filepath.Join(p.bin, "worker")
	var missing []string
	for _, path := range []string{local, worker} {
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, filepath.Base(path))
		}
	}
	if len(missing) > 0 {
		return "", "", &exit{exitTrouble, fmt.Errorf("%s is not in %s beside this program; build it: make build", strings.Join(missing, " and "), p.bin)}
	}
	return local, worker, nil
}

func (p *program) local(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() > 0 {
		return usage("local: it takes no arguments, but %q is given; see penstock local -h", cmd.Args().First())
	}
	held, err := lock(ctx, p.lockPath())
	if errors.Is(err, errHeld) {
		return fmt.Errorf("local mode runs in this directory already: %w; stop it first, or start from another directory", err)
	}
	if err != nil {
		return err
	}
	defer held.release()
	envPath := filepath.Join(p.dir, settings.FileName)
	if err := os.Remove(envPath); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one that was killed
		return fmt.Errorf("remove old settings: %w", err)
	}
	config, door, err := p.localConfig(cmd)
	if err != nil {
		return err
	}
	for _, err := range settings.Unknown(p.environ) { // the worker says so in its log, which few read
		p.say(err)
	}
	config.Hold = []*os.File{held.file}
	s, err := stack.Start(ctx, config)
	if err != nil {
		return p.withTail(err)
	}
	return errors.Join(p.runLocal(ctx, s, config, door, envPath), s.Close(p.hard))
}

// localConfig is the stack that the flags ask for, and the front door's part of
// it. All faults are reported at once.
func (p *program) localConfig(cmd *cli.Command) (stack.Config, localDoor, error) {
	var errs []error
	model, err := p.model(cmd.String("model"))
	errs = append(errs, err)
	local, worker, err := p.programs()
	errs = append(errs, err)
	port := func(flag string) int {
		n, err := p.port(flag, cmd.Int(flag), cmd.IsSet(flag))
		errs = append(errs, err)
		return n
	}
	c := stack.Config{
		Local: local, Worker: worker, Model: model,
		State: inDir(p.dir, cmd.String("state")), Logs: filepath.Join(p.dir, ".penstock"),
		S3Port: port("s3-port"), SQSPort: port("sqs-port"), Workers: cmd.Int("workers"),
		Environ: p.environ,
		Say:     func(line string) { fmt.Fprintf(p.stderr, "penstock: %s\n", line) },
	}
	if cmd.Bool("v") {
		c.Mirror = &sharedWriter{w: p.stderr}
	}
	if c.Workers < 1 {
		errs = append(errs, usage("-workers is %d; it must be at least 1", c.Workers))
	}
	door := localDoor{port: port("http-port")}
	if model != "" {
		door.endpoints, err = localEndpoints(model)
		errs = append(errs, err)
	}
	return c, door, errors.Join(errs...)
}

// errHeld says that another process has the lock. Test with errors.Is.
var errHeld = errors.New("the lock is held")

// lockPath is the lock of local mode in this directory.
func (p *program) lockPath() string {
	return filepath.Join(p.dir, filepath.Dir(settings.FileName), "lock")
}

func inDir(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// runLocal starts the workers of a stack and the front door, and lets them run
// until ctx is done.
func (p *program) runLocal(ctx context.Context, s *stack.Stack, config stack.Config, door localDoor, envPath string) (err error) {
	if err := s.StartWorkers(ctx); err != nil {
		if errors.Is(err, errInterrupted) {
			return nil
		}
		return p.withTail(err)
	}
	services, err := p.servicesOf(ctx, s)
	if err != nil {
		return err
	}
	open, err := p.openLocalDoor(ctx, s, services, door)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, open.close()) }()
	set := s.Settings()
	set["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"], set["PENSTOCK_URL"] = open.url, open.url
	set["AWS_SESSION_TOKEN"] = "" // a shell's is of other credentials, and S3 refuses it
	const comment = "Written by penstock local while it runs, for the other commands and for shells:\n  set -a; . .penstock/env; set +a"
	if err := settings.WriteFile(envPath, comment, set); err != nil {
		return err
	}
	defer os.Remove(envPath)
	stopWatching, err := p.watch(ctx, s, services)
	if err != nil {
		return err
	}
	defer stopWatching()
	p.welcome(s, config, set)
	select {
	case <-ctx.Done():
		fmt.Fprintln(p.stderr, "penstock: stopping; the worker finishes what it runs (Ctrl-C again: at once)")
		return nil
	case <-open.done:
		return errors.New("the front door ended") // and why is told with it
	case <-s.Failed():
		return p.withTail(s.FailedHow())
	}
}

// settled is how old an upload is at least before it can be one whose event
// was lost: events are sent before the upload is answered.
const settled = 3 * time.Second

// watch enqueues uploads that local S3 could not tell the queue of, because it
// was killed or for another fault, until ctx is done or stop is called.
func (p *program) watch(ctx context.Context, s *stack.Stack, services services) (stop func(), err error) {
	locations, err := request.ParseLocations(stack.Input, stack.Output, stack.Failure, "")
	if err != nil {
		return nil, err
	}
	queue := services.queue(s.QueueURL)
	w := reconcile.Watcher{
		Reconciler: reconcile.Reconciler{
			Store: services.store, Queue: queue, Locations: locations, MinAge: settled, Now: time.Now,
		},
		Inspector: queue,
		Found: func(n int) {
			fmt.Fprintf(p.stderr, "penstock: enqueued %s that no event had told of\n", uploads(n))
		},
		Failing: func(err error) {
			fmt.Fprintf(p.stderr, "penstock: look for uploads that are not in the queue: %v; it is tried again every half a minute\n", brief(err))
		},
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { w.Run(ctx) })
	return func() { cancel(); wg.Wait() }, nil
}

// welcome says what runs, how to reach it, and what to try.
func (p *program) welcome(s *stack.Stack, config stack.Config, vars map[string]string) {
	w, i := p.stdout, p.ink(p.stdout)
	fmt.Fprintf(w, "%s\n\n", i.bold("Penstock runs on this machine. Ctrl-C stops it."))
	fmt.Fprintf(w, "  S3      %s   %s -> %s or %s\n", s.S3, stack.Input, stack.Output, stack.Failure)
	fmt.Fprintf(w, "  SQS     %s   %s\n", s.SQS, s.QueueURL)
	fmt.Fprintf(w, "  HTTP    %s   /predict, /v1/inferences, /openapi.json, and SageMaker's API\n", vars["PENSTOCK_URL"])
	fmt.Fprintf(w, "  model   %s\n", strings.Join(p.modelsOf(config.Model), "\n          "))
	for _, addr := range s.Workers {
		fmt.Fprintf(w, "  worker  http://%s   /metrics, /readyz\n", addr)
	}
	fmt.Fprintf(w, "  logs    %s, %s, %s\n", p.short(s.WorkerLogs()), p.short(s.LogPath("local.log")), p.short(s.LogPath(doorLog)))
	choice, path := "", "/predict"
	if named, err := models.Parse(config.Model); err == nil && len(named) > 1 { // a request must say which
		choice, path = "-model "+named[0].Name+" ", "/v1/models/"+named[0].Name+"/inferences"
	}
	fmt.Fprintf(w, "\nIn another terminal, here:\n\n  %s submit %smy.png\n  curl --data-binary @my.png -H 'Prefer: wait=30' %s%s\n\n", p.self(), choice, vars["PENSTOCK_URL"], path)
	fmt.Fprint(w, "For any AWS client:\n\n")
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if strings.HasPrefix(name, "AWS_") {
			fmt.Fprintf(w, "  export %s=%s\n", name, vars[name])
		}
	}
	fmt.Fprintf(w, "\n  aws s3 cp my.png %s\n  aws s3 cp %smy.png.out -\n", stack.Input, stack.Output)
}

// short is a path as seen from the directory, when that is shorter.
func (p *program) short(path string) string {
	if rel, err := filepath.Rel(p.dir, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}

// withTail shows what the log of a program that died says last, before the
// error, which holds the very last line, is told. A program that refused its
// settings was given those of the person.
func (p *program) withTail(err error) error {
	died, ok := errors.AsType[*stack.DiedError](err)
	if !ok {
		return err
	}
	for _, line := range died.Tail[:max(len(died.Tail)-1, 0)] {
		fmt.Fprintf(p.stderr, "  | %s\n", line)
	}
	if died.Refused() {
		return &exit{exitUsage, err}
	}
	return err
}

// sharedWriter lets the logs of several programs be written to one place.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sharedWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

func uploads(n int) string {
	if n == 1 {
		return "an upload"
	}
	return fmt.Sprintf("%d uploads", n)
}
