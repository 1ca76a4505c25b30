package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/cmd/penstock/reconcile"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func (p *program) reconcileCommand() *cli.Command {
	return &cli.Command{
		Name: "reconcile", Usage: "enqueue uploads that have no result, because no event told of them",
		Description: `It looks for inputs whose current version has neither a result nor a failure object,
and enqueues them: objects from before there was a notification, or whose event was
lost. What waits in the queue already may be enqueued again, which costs a run and
changes nothing. Local mode does this by itself.

It holds a thousand inputs at a time. For each thousand it lists about three times.
An input with a result costs a HEAD, in a bucket with versions two; one to enqueue
costs a HEAD and a tenth of a send. The credentials must allow s3:ListBucket and
s3:GetObject on the three locations, and sqs:SendMessage.

Examples:
  penstock reconcile -dry-run             print what would be enqueued, one URI a line
  penstock reconcile -prefix 2026/ -older-than 1h`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "enqueue nothing, but print the URIs that would be"},
			&cli.StringFlag{Name: "prefix", Usage: "look only at keys that begin with this `PREFIX` below an input location"},
			&cli.DurationFlag{Name: "older-than", Value: time.Minute, Usage: "look only at uploads older than this `TIME`; the events of later ones may be on their way"},
			outputFlag("one object of counts, without URIs"),
			p.setting(settings.QueueURL, "`URL` of the SQS queue; not needed with -dry-run"),
			p.setting(settings.GroupBy, "`WHAT` requests share a message group by: none, object, folder, bucket or model; default none, and object for a FIFO queue"),
			p.setting(settings.Input, "`URI` that inputs are uploaded to, s3://bucket/prefix/; several with commas between"),
		}, p.placeFlags()[1:]...),
		Action: p.reconcile,
	}
}

// reconcileOptions are the flags of its own.
type reconcileOptions struct {
	dryRun   bool
	format   string
	queueURL string
	grouping request.Grouping
	prefix   string
	minAge   time.Duration
}

func parseReconcileOptions(cmd *cli.Command) (reconcileOptions, error) {
	o := reconcileOptions{
		dryRun: cmd.Bool("dry-run"), queueURL: cmd.String(settings.QueueURL),
		prefix: cmd.String("prefix"), minAge: cmd.Duration("older-than"),
	}
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("reconcile: "+format, args...)) }
	if cmd.NArg() > 0 {
		fault("it takes no arguments, but %q is given; see penstock reconcile -h", cmd.Args().First())
	}
	if o.minAge < 0 {
		fault("-older-than is %v; it can't be negative", o.minAge)
	}
	var err error
	if o.format, err = parseFormat(cmd.Name, cmd); err != nil {
		errs = append(errs, err)
	}
	if err := settings.CheckQueueURL(o.queueURL); err != nil && !o.dryRun {
		fault("%w", err)
	}
	if o.grouping, err = request.ParseGrouping(cmd.String(settings.GroupBy), o.queueURL); err != nil {
		fault("%s: %w", settings.GroupBy, err)
	}
	if len(errs) > 0 {
		return o, &exit{exitUsage, errors.Join(errs...)}
	}
	return o, nil
}

func (p *program) reconcile(ctx context.Context, cmd *cli.Command) error {
	locations, nowhere := p.locations(cmd)
	if errors.Is(nowhere, errNoSettings) {
		return nowhere
	}
	options, err := parseReconcileOptions(cmd)
	if err != nil {
		return err
	}
	if nowhere != nil {
		return nowhere
	}
	services, err := p.openServices(ctx)
	if err != nil {
		return err
	}
	line := progress{w: p.stderr, on: isTerminal(p.stderr)}
	r := p.reconciler(services, locations, options, &line)
	counts, err := r.Run(ctx)
	line.clear()
	if e := p.summary(options, counts); err == nil {
		err = e
	}
	switch {
	case err != nil:
		return fmt.Errorf("reconcile: %w%s", brief(err), p.advice(err, reconcileNeeds))
	case counts.Troubled > 0:
		return &exit{code: exitTrouble}
	}
	return nil
}

func (p *program) reconciler(s services, l request.Locations, o reconcileOptions, line *progress) *reconcile.Reconciler {
	r := &reconcile.Reconciler{
		Store: s.store, Locations: l, Prefix: o.prefix, MinAge: o.minAge, Now: s.now,
		Group: func(r request.Request) string { return l.GroupOf(o.grouping, r) },
		Trouble: func(input storage.Ref, err error) {
			line.clear()
			p.say(fmt.Errorf("%s: %w", input, brief(err)))
		},
		Progress: func(c reconcile.Counts) { line.show(sentence(o, c)) },
	}
	if !o.dryRun {
		r.Queue = s.queue(o.queueURL)
		return r
	}
	if o.format == formatText {
		r.Missing = func(ref storage.Ref) {
			line.clear()
			fmt.Fprintln(p.stdout, ref)
		}
	}
	return r
}

// summary tells what has been done: on standard output, unless URIs are there.
func (p *program) summary(o reconcileOptions, c reconcile.Counts) error {
	if o.format == formatJSON {
		return printLine(p.stdout, c)
	}
	w := p.stdout
	if o.dryRun {
		w = p.stderr
	}
	_, err := fmt.Fprintln(w, sentence(o, c))
	return err
}

// sentence is what a person wants to know of the counts.
func sentence(o reconcileOptions, c reconcile.Counts) string {
	enqueued := "enqueued"
	if o.dryRun {
		enqueued = "to enqueue"
	}
	parts := []string{fmt.Sprintf("%d with a result", c.Results), fmt.Sprintf("%d with a failure", c.Failures), fmt.Sprintf("%d %s", c.Enqueued, enqueued)}
	for _, rest := range []struct {
		n    int
		what string
	}{{c.TooNew, fmt.Sprintf("newer than %v", o.minAge)}, {c.Ignored, "no inputs"}, {c.Troubled, "in trouble"}} {
		if rest.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", rest.n, rest.what))
		}
	}
	return fmt.Sprintf("looked at %d: %s", c.LookedAt, strings.Join(parts, ", "))
}
