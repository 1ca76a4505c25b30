package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/penstock/stack"
	"github.com/penstock/penstock/cmd/penstock/upload"
	"github.com/penstock/penstock/queue/request"
)

func (p *program) demoCommand() *cli.Command {
	return &cli.Command{
		Name: "demo", Usage: "see it work: real digits through the whole of Penstock on this machine",
		Description: `It starts local mode on free ports and in a temporary folder, uploads the images of
this checkout, shows what the model makes of them, and stops everything again.

Examples:
  penstock demo`,
		Action: p.demo,
	}
}

// demoLimit bounds the wait for one result.
const demoLimit = 2 * time.Minute

func (p *program) demo(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() > 0 {
		return usage("demo: it takes no arguments, but %q is given", cmd.Args().First())
	}
	inputs, err := p.digits()
	if err != nil {
		return err
	}
	model, err := p.model("")
	if err != nil {
		return err
	}
	local, worker, err := p.programs()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "penstock-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	steps := p.steps()
	s, err := stack.Start(ctx, stack.Config{
		Local: local, Worker: worker, Model: model,
		State: filepath.Join(dir, "state"), Logs: filepath.Join(dir, "logs"), Environ: p.environ,
	})
	if err == nil {
		steps.done("local S3 and SQS ready")
		err = p.tour(ctx, s, steps, inputs)
		s.Kill()
	}
	if err != nil && ctx.Err() == nil {
		return p.withTail(fmt.Errorf("%w\nthe demo's logs are kept in %s", err, dir))
	}
	if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
		return err
	}
	steps.done("all stopped")
	fmt.Fprint(p.stdout, "\nKeep it running, and from another terminal send it an image of your own:\n\nmake up\nbin/penstock submit my.png\n")
	return nil
}

// digit is an input of the demo.
type digit struct {
	name  string
	label string // the true one
	body  []byte
}

// digitImages are the real digits of the checkout.
func digitImages(bin string) (fs.FS, error) {
	dir := filepath.Join(bin, digitsModel, "images")
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("the demo's images are not in %s: %w; run bin/penstock in a checkout", dir, reason(err))
	}
	return os.DirFS(dir), nil
}

// imageName is that of an image with its label, such as 0247-label-0.png.
var imageName = regexp.MustCompile(`^\d+-label-(\d)\.png$`)

// digits reads the inputs.
func (p *program) digits() ([]digit, error) {
	images, err := p.images(p.bin)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(images, ".")
	if err != nil {
		return nil, fmt.Errorf("read the demo's images: %w", err)
	}
	var list []digit
	for _, e := range entries {
		m := imageName.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		body, err := fs.ReadFile(images, e.Name())
		if err != nil {
			return nil, fmt.Errorf("read the demo's images: %w", err)
		}
		list = append(list, digit{e.Name(), m[1], body})
	}
	if len(list) == 0 {
		return nil, errors.New("read the demo's images: there is none; is the checkout complete?")
	}
	return list, nil
}

// tour shows a running stack at work.
func (p *program) tour(ctx context.Context, s *stack.Stack, steps *steps, inputs []digit) error {
	if err := s.StartWorkers(ctx); err != nil {
		return err
	}
	steps.done("worker ready, model loaded")
	services, err := p.servicesOf(ctx, s)
	if err != nil {
		return err
	}
	locations, err := request.ParseLocations(stack.Input, stack.Output, stack.Failure, "")
	if err != nil {
		return err
	}
	results := make([]result, len(inputs))
	var errs []error
	sender, f := upload.NewSender(services.store, nil, nil), p.newFinder(services, locations)
	indices := func(yield func(int) bool) {
		for i := range inputs {
			if !yield(i) {
				return
			}
		}
	}
	inOrder(indices, parallel, func(i int) result {
		return inputs[i].run(ctx, sender, f)
	}, func(i int, r result) {
		results[i] = r
		switch {
		case r.err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", r.name, r.err))
		case r.outcome.Failed:
			errs = append(errs, &exit{exitFailed, errors.New(r.explained())})
		}
	})
	steps.done(fmt.Sprintf("%d digits uploaded, %d results", len(inputs), len(inputs)-len(errs)))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.table(inputs, results)
	return errors.Join(errs...)
}

// servicesOf opens the S3 and SQS of a stack, and nothing else: the person's
// own AWS settings are taken out of this process's environment first.
func (p *program) servicesOf(ctx context.Context, s *stack.Stack) (services, error) {
	set := s.Settings()
	for _, v := range p.environ {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			if _, ok := set[name]; !ok {
				set[name] = ""
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if err := p.setenv(name, set[name]); err != nil {
			return services{}, fmt.Errorf("set %s: %w", name, err)
		}
	}
	local, err := p.open(ctx)
	if err != nil {
		return services{}, fmt.Errorf("open local S3 and SQS: %w", err)
	}
	return local, nil
}

// run uploads one digit and waits for its result.
func (d digit) run(ctx context.Context, sender *upload.Sender, f *finder) result {
	began := time.Now()
	r := result{name: d.name, input: f.locations.Inputs[0], sent: true}
	r.input.Key += d.name
	info, err := sender.Send(ctx, upload.Bytes(r.input, d.body))
	if r.err = err; err == nil {
		r = f.followInput(ctx, waitOptions{timeout: demoLimit}, r, info)
	}
	return r.taking(began)
}
