package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/inspection"
	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/cmd/penstock/inspect"
	"github.com/penstock/penstock/storage"
	modelsource "github.com/penstock/penstock/worker/model/source"
)

func (p *program) modelCommand() *cli.Command {
	return &cli.Command{
		Name: "model", Usage: "look at a model before it is served",
		Commands: []*cli.Command{p.modelInspectCommand()},
		Action:   p.noVerb,
	}
}

func (p *program) modelInspectCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "print what a SavedModel takes and gives, and how fast it is at which batch size", ArgsUsage: "URI",
		Description: `The URI is what -model of the worker takes: a folder, s3://bucket/prefix/ or a
.tar.gz, of versions the highest; with ?versions=3 behind it another. It prints
where the model comes from, its signatures, whether they can be run in batches,
its size, its penstock.json, and what is wrong with it. Then bin/worker, which is
to be beside this program, loads the model and runs it, on ones and zeros or on
the rows of a file, and it prints what that takes, and a batch size to recommend:
the smallest with nine tenths of the best throughput. Nothing else should run on
the machine meanwhile.

Exit codes: 0 the model can be served, 1 it can't, 2 and 4 as of all commands.

Examples:
  penstock model inspect path/to/saved_model
  penstock model inspect -static s3://my-bucket/models/digits/
  penstock model inspect -shape input=1,224,224,3 -batch-sizes 1,16,64 model.tar.gz
  penstock model inspect -input my.png -o json path/to/saved_model | jq .measured`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "static", Usage: "run nothing: print what the files say"},
			&cli.StringFlag{Name: "signature", Usage: "`NAME` of the only signature to run; default: all with different inputs or outputs"},
			&cli.StringSliceFlag{Name: "shape", Usage: "`NAME=1,224,224,3` is the shape of an input whose dimensions are open, for one row; once for each input; default: 224 for those of images, 64 for others"},
			&cli.StringFlag{Name: "input", Usage: "`FILE` to run on, in any format that an upload may have; its rows are used over and over"},
			&cli.StringFlag{Name: "batch-sizes", Value: "1,8,32", Usage: "`NUMBERS` of rows in a run to measure"},
			&cli.DurationFlag{Name: "time", Value: inspection.DefaultTime, Usage: "about this `TIME` for all runs together; more makes p99 truer"},
			outputFlag("one object"),
			&cli.StringFlag{
				Name: "model-cache", Usage: "`FOLDER` for models from S3 and archives, which may be the worker's own; default: penstock-models in the system's folder for temporary files, as the worker's",
				Sources: cli.NewValueSourceChain(&source{settings.Name("model-cache"), p.env}),
			},
		},
		DisableSliceFlagSeparator: true, // a shape has commas
		Action:                    p.modelInspect,
	}
}

// inspectOptions are its flags.
type inspectOptions struct {
	named  modelsource.Named
	static bool
	format string
	cache  string
	run    inspection.Options // but for the directory
}

func (p *program) parseInspectOptions(cmd *cli.Command) (inspectOptions, error) {
	o := inspectOptions{static: cmd.Bool("static"), cache: filepath.Join(os.TempDir(), "penstock-models")}
	if cache := cmd.String("model-cache"); cache != "" {
		o.cache = inDir(p.dir, cache)
	}
	o.run = inspection.Options{Signature: cmd.String("signature"), Time: cmd.Duration("time")}
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("model inspect: "+format, args...))
	}
	if cmd.NArg() != 1 {
		fault("it takes one URI, but %d are given; see penstock model inspect -h", cmd.NArg())
	} else if list, err := modelsource.Parse(cmd.Args().First()); err != nil {
		fault("%w", err)
	} else if len(list) > 1 {
		fault("%s: these are %d models; name one", cmd.Args().First(), len(list))
	} else if o.named = list[0]; !strings.HasPrefix(o.named.URI, "s3://") {
		o.named.URI = inDir(p.dir, o.named.URI)
	}
	if o.run.Time <= 0 || o.run.Time > 24*time.Hour {
		fault("-time is %v; it must be more than 0, and a day at the most", o.run.Time)
	}
	var err error
	if o.format, err = parseFormat("model inspect", cmd); err != nil {
		errs = append(errs, err)
	}
	if o.run.BatchSizes, err = inspection.ParseBatchSizes(cmd.String("batch-sizes")); err != nil {
		fault("-batch-sizes: %w", err)
	}
	if o.run.Shapes, err = inspection.ParseShapes(cmd.StringSlice("shape")); err != nil {
		fault("-shape: %w", err)
	}
	if file := cmd.String("input"); file != "" {
		o.run.InputFile = inDir(p.dir, file)
		if err := checkFile(file, o.run.InputFile); err != nil {
			fault("-input: %w", err)
		}
		if len(o.run.Shapes) > 0 {
			fault("-input and -shape exclude each other: the file says the shapes")
		}
	}
	if len(errs) > 0 {
		return o, &exit{exitUsage, errors.Join(errs...)}
	}
	return o, nil
}

func (p *program) modelInspect(ctx context.Context, cmd *cli.Command) error {
	o, err := p.parseInspectOptions(cmd)
	if err != nil {
		return err
	}
	line := progress{w: p.stderr, on: isTerminal(p.stderr)}
	say := func(doing string) { line.show(doing + " …") }
	defer line.clear()
	m, err := p.openModel(ctx, o, say)
	if err != nil {
		return err
	}
	defer m.Release()
	trouble, err := p.measureModel(ctx, o, m, say)
	line.clear()
	if err != nil {
		return err
	}
	if err := p.printReport(o.format, m.Report); err != nil {
		return err
	}
	switch r := m.Report; {
	case trouble:
		return &exit{code: exitTrouble}
	case len(r.Faults) > 0, r.Measured != nil && r.Measured.Error != "":
		return &exit{code: exitFailed}
	}
	return nil
}

// modelNeeds is what credentials must be allowed for a model.
const modelNeeds = "s3:ListBucket and s3:GetObject on the model"

func (p *program) openModel(ctx context.Context, o inspectOptions, say func(string)) (*inspect.Model, error) {
	remote := strings.HasPrefix(o.named.URI, "s3://")
	var store storage.Reader
	if remote {
		opened, err := p.openStore(ctx)
		if err != nil {
			return nil, err
		}
		store = opened
		say("look at " + o.named.URI)
	}
	m, err := inspect.Open(ctx, o.named, store, o.cache, say)
	if err == nil {
		return m, nil
	}
	if _, ok := errors.AsType[inspect.UnservableError](err); ok {
		return nil, &exit{exitFailed, err}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return nil, err
	case !remote || errors.Is(err, inspect.ErrNotOne):
		return nil, &exit{exitUsage, err}
	case errors.Is(err, fs.ErrNotExist):
		ref, _ := storage.ParseRef(o.named.URI) // or it would not have been looked for
		what := "there is no bucket " + ref.Bucket
		if !strings.HasSuffix(ref.Key, "/") {
			what = "there is no such object, or no bucket " + ref.Bucket
		}
		return nil, usage("model %s: %s; see what is there: aws s3 ls", o.named.URI, what)
	}
	short := brief(err)
	if short != err {
		short = fmt.Errorf("model %s: %w", o.named.URI, short)
	}
	return nil, fmt.Errorf("%w%s", short, p.advice(err, modelNeeds))
}

// measureModel lets the worker run the model, unless it is not to, or can't
// be. trouble says that the worker failed, and not the model.
func (p *program) measureModel(ctx context.Context, o inspectOptions, m *inspect.Model, say func(string)) (trouble bool, err error) {
	r := m.Report
	chosen, _, err := inspection.Choose(m.Signatures, o.run.Signature)
	if err != nil && len(m.Signatures) > 0 {
		return false, usage("model inspect: -signature: %w", err)
	}
	if err := inspection.CheckShapes(m.Signatures, o.run.Shapes); err != nil && len(m.Signatures) > 0 {
		return false, usage("model inspect: -shape: %w", err)
	}
	for _, sig := range chosen {
		if _, _, err := inspection.Row(sig, o.run.Shapes); err != nil && len(o.run.Shapes) > 0 {
			return false, usage("model inspect: -shape: signature %q: %w", sig.Name, err)
		}
	}
	worker := filepath.Join(p.bin, "worker")
	switch _, err := os.Stat(worker); {
	case o.static:
		r.NotMeasured = "-static was given"
		return false, nil
	case len(chosen) == 0:
		r.NotMeasured = "there is no signature to run"
		return false, nil
	case err != nil:
		r.NotMeasured = fmt.Sprintf("the worker, which has TensorFlow, is not in %s beside this program; build it: make build", p.bin)
		return false, nil
	}
	o.run.Dir, o.run.ModelFile = m.Dir, m.ModelFile
	r.Measured, err = p.runInspection(ctx, worker, o.run, say)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err != nil {
		r.NotMeasured = err.Error()
	}
	return err != nil, nil
}

func (p *program) printReport(format string, r *inspect.Report) error {
	if format == formatJSON {
		e := json.NewEncoder(p.stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(r)
	}
	w := reportWriter{ink: p.ink(p.stdout), bars: isTerminal(p.stdout)}
	w.report(r, p.short)
	_, err := p.stdout.Write(w.Bytes())
	return err
}

// checkFile reports what can't be read as an input. path is where the file of
// that name lies.
func checkFile(name, path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: there is no such file", name)
	case err != nil:
		return fmt.Errorf("%s: %w", name, reason(err))
	case info.IsDir():
		return fmt.Errorf("%s: it is a directory", name)
	case info.Size() == 0:
		return fmt.Errorf("%s: it is empty; there is nothing to run a model on", name)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", name, reason(err))
	}
	return f.Close()
}
