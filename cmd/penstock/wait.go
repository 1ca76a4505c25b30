package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/clients"
	"github.com/penstock/penstock/cmd/internal/outcome"
	"github.com/penstock/penstock/storage"
)

func (p *program) waitCommand() *cli.Command {
	return &cli.Command{
		Name: "wait", Usage: "wait for results and print them", ArgsUsage: "URI | ID ...",
		Description: `A URI is that of an input; the result that is waited for is that of the object that
is there now. One that ends in a slash means all inputs below it. Anything else is
the id of a request that was submitted by the HTTP front door. "-" reads URIs and
ids from standard input, one a line.

Exit codes: 0; 1 when a request failed; 2 also when there is no such input or
request; 3 when there is no result after -timeout; 4, 130 as of all commands.

Examples:
  penstock wait s3://my-bucket/in/my.png
  penstock wait -out results s3://my-bucket/in/today/
  penstock wait 4f2a6c0e-order-17
  aws s3 cp my.png s3://my-bucket/in/ && penstock wait s3://my-bucket/in/my.png
  penstock submit -no-wait photos | penstock wait -out results -`,
		Flags:  append(waitFlags(), p.placeFlags()...),
		Action: p.wait,
	}
}

// waitFlags are those of verbs that wait for results.
func waitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "timeout", Value: 5 * time.Minute, Usage: "`TIME` to wait for each result; the request goes on all the same"},
		&cli.StringFlag{Name: "out", Usage: "write each result to a file below this `FOLDER`, at the path of its input with .json, .csv and so on behind it; failures with .error"},
		outputFlag("each result as it is; with -out, for a line that says what became of each input"),
	}
}

// waitOptions are those flags.
type waitOptions struct {
	timeout time.Duration
	format  string
	out     string
	uploads bool // the verb uploads what it waits for
}

func parseWaitOptions(cmd *cli.Command) (waitOptions, error) {
	o := waitOptions{timeout: cmd.Duration("timeout"), out: cmd.String("out")}
	var errs []error
	var err error
	if o.timeout <= 0 {
		errs = append(errs, fmt.Errorf("%s: -timeout is %v; it must be more than 0", cmd.Name, o.timeout))
	}
	if o.format, err = parseFormat(cmd.Name, cmd); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return o, &exit{exitUsage, errors.Join(errs...)}
	}
	return o, nil
}

func (p *program) wait(ctx context.Context, cmd *cli.Command) error {
	options, err := parseWaitOptions(cmd)
	if err != nil {
		return err
	}
	f, err := p.finder(ctx, cmd)
	if err != nil {
		return err
	}
	args := cmd.Args().Slice()
	targets, total, width := iter.Seq2[target, error](nil), 0, 0
	if slices.Contains(args, fromStdin) {
		if len(args) > 1 {
			return usage("wait: - stands for all that is waited for; give nothing beside it")
		}
		targets = f.listed(bufio.NewScanner(p.stdin))
	} else {
		list, err := parseTargets(args, f.locations)
		if err != nil {
			return err
		}
		for _, t := range list {
			width = max(width, utf8.RuneCountInString(t.name))
		}
		total = len(list)
		if slices.ContainsFunc(list, target.isFolder) {
			total = 0
		}
		targets = f.expand(ctx, list)
	}
	a, err := p.newAwaiting(f.store, options, total, width, 0)
	if err != nil {
		return err
	}
	type job struct {
		target
		err error
	}
	jobs := func(yield func(job) bool) {
		for t, err := range targets {
			if !yield(job{t, err}) {
				return
			}
		}
	}
	slots := make(chan struct{}, waiting)
	return await(ctx, a, jobs, func(j job) result {
		began := time.Now()
		r := result{name: j.name, path: j.path, input: j.input, sent: true, err: j.err}
		if j.err != nil {
			r.sent = false
			return r
		}
		slots <- struct{}{}
		defer func() { <-slots }()
		return f.follow(ctx, options, r, j.target).taking(began)
	})
}

// errTimeout is the cause of a context whose wait took too long.
var errTimeout = errors.New("no result in time")

// follow waits for the outcome of what is known by r, and reads it.
func (f *finder) follow(ctx context.Context, options waitOptions, r result, t target) result {
	if t.id != "" {
		return f.followID(ctx, options, r, t.id)
	}
	info, err := f.current(ctx, t.input)
	if r.err = err; err != nil {
		return r
	}
	return f.followInput(ctx, options, r, info)
}

// followInput waits for the outcome of an upload.
func (f *finder) followInput(ctx context.Context, options waitOptions, r result, input storage.Info) result {
	limit, cancel := context.WithTimeoutCause(ctx, options.timeout, errTimeout)
	defer cancel()
	r.outcome, r.err = f.outcomes.Wait(limit, input)
	return f.ended(ctx, options, r, r.input.String())
}

// followID waits for the outcome of a request.
func (f *finder) followID(ctx context.Context, options waitOptions, r result, id string) result {
	limit, cancel := context.WithTimeoutCause(ctx, options.timeout, errTimeout)
	defer cancel()
	s, err := f.statuses.Wait(limit, id)
	if err == nil {
		r.outcome, err = f.terminal(ctx, s)
	}
	if limit.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		err = context.Cause(limit) // it broke off a look
	}
	r.err = unknownID(err)
	return f.ended(ctx, options, r, id)
}

// ended reads the outcome of a wait that is over.
func (f *finder) ended(ctx context.Context, options waitOptions, r result, what string) result {
	switch {
	case errors.Is(r.err, errTimeout):
		r.err = &exit{exitNoResult, fmt.Errorf("no result after %v: it is queued or running; wait on: %s wait %s", options.timeout, f.self(), quoteAll([]string{what}))}
	case errors.Is(r.err, outcome.ErrSuperseded):
		r.err = &exit{exitFailed, r.err}
	case r.err == nil:
		r.body, r.err = fetch(ctx, f.store, r.outcome)
	}
	return r
}

// brief leaves of an error what a person needs.
func brief(err error) error { return clients.Brief(err) }

// explain says what went wrong with one input, and gives the exit code for it.
// What an interruption broke off it leaves to others to tell.
func (p *program) explain(r result) (int, error) {
	if r.err == nil {
		return exitFailed, errors.New(r.explained())
	}
	if errors.Is(r.err, errInterrupted) || errors.Is(r.err, context.Canceled) {
		return exitInterrupted, r.err
	}
	code := exitTrouble
	if e, ok := errors.AsType[*exit](r.err); ok {
		code = e.code
	}
	return code, fmt.Errorf("%s: %w%s", r.name, brief(r.err), p.advice(r.err, submitNeeds))
}

// tell is explain for a person.
func (p *program) tell(r result) int {
	code, err := p.explain(r)
	if code != exitInterrupted {
		p.say(err)
	}
	return code
}

// pathOf is where the result of an input lies below a folder of results.
func pathOf(key, below string) string { return strings.TrimPrefix(key, below) }
