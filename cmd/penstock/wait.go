package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/penstock/outcome"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func (p *program) waitCommand() *cli.Command {
	return &cli.Command{
		Name: "wait", Usage: "wait for the results of uploads and print them", ArgsUsage: "URI...",
		Description: `The URIs are those of the inputs. The result that is waited for is that of the
object that is there now.

Examples:
  penstock wait s3://my-bucket/in/my.png
  aws s3 cp my.png s3://my-bucket/in/ && penstock wait s3://my-bucket/in/my.png`,
		Flags:  append([]cli.Flag{timeoutFlag(), formatFlag()}, p.placeFlags()...),
		Action: p.wait,
	}
}

func timeoutFlag() cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Value: 5 * time.Minute, Usage: "`TIME` to wait for each result; the request goes on all the same"}
}

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "o", Value: formatText, Usage: "`FORMAT` of results: text, or json for the result object as it is"}
}

// Formats of results.
const (
	formatText = "text"
	formatJSON = "json"
)

// waitOptions are the flags of verbs that wait.
type waitOptions struct {
	timeout time.Duration
	format  string
}

func parseWaitOptions(cmd *cli.Command) (waitOptions, error) {
	o := waitOptions{cmd.Duration("timeout"), cmd.String("o")}
	var errs []error
	if o.timeout <= 0 {
		errs = append(errs, fmt.Errorf("%s: -timeout is %v; it must be more than 0", cmd.Name, o.timeout))
	}
	if o.format != formatText && o.format != formatJSON {
		errs = append(errs, fmt.Errorf("%s: -o is %q; it must be %s or %s", cmd.Name, o.format, formatText, formatJSON))
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
	finder, inputs, err := p.inputs(ctx, cmd)
	if err != nil {
		return err
	}
	names := make([]string, len(inputs))
	for i, ref := range inputs {
		names[i] = ref.String()
	}
	return p.await(ctx, finder.Store, options, names, func(i int) result {
		began := time.Now()
		r := result{name: names[i], input: inputs[i]}
		info, err := current(ctx, finder, inputs[i])
		if r.err = err; err == nil {
			r = p.follow(ctx, finder, options, r, info)
		}
		r.took = time.Since(began)
		return r
	})
}

// inputs reads the arguments as URIs of inputs, and opens the store.
func (p *program) inputs(ctx context.Context, cmd *cli.Command) (outcome.Finder, []storage.Ref, error) {
	var none outcome.Finder
	if cmd.NArg() == 0 {
		return none, nil, usage("%s: no URI is given; see penstock %[1]s -h", cmd.Name)
	}
	locations, err := p.locations(cmd)
	if err != nil {
		return none, nil, err
	}
	var errs []error
	var refs []storage.Ref
	for _, uri := range cmd.Args().Slice() {
		ref, err := storage.ParseRef(uri)
		if err == nil {
			err = checkInput(ref, locations)
		}
		if err != nil {
			errs = append(errs, err)
		}
		refs = append(refs, ref)
	}
	if len(errs) > 0 {
		return none, nil, &exit{exitUsage, errors.Join(errs...)}
	}
	store, err := p.openStore(ctx)
	return outcome.Finder{Store: store, Locations: locations}, refs, err
}

// checkInput reports what can't have a result.
func checkInput(ref storage.Ref, l request.Locations) error {
	if strings.HasSuffix(ref.Key, "/") || ref.Key == "" {
		return fmt.Errorf("%s: it names no object", ref)
	}
	var places []string
	for _, in := range l.Inputs {
		if in.Contains(ref) {
			return nil
		}
		places = append(places, in.String())
	}
	return fmt.Errorf("%s: it lies in no input location (%s); give the URI of what was uploaded", ref, strings.Join(places, ", "))
}

// current is the version of the input that is there now, or the input in
// whatever version when it has been deleted: it may have a result all the same.
func current(ctx context.Context, finder outcome.Finder, ref storage.Ref) (storage.Info, error) {
	info, err := finder.Store.Head(ctx, ref)
	switch {
	case err == nil:
		return info, nil
	case !errors.Is(err, fs.ErrNotExist):
		return storage.Info{}, err
	}
	info = storage.Info{Ref: ref}
	if _, ok, err := finder.Find(ctx, info); ok || err != nil {
		return info, err
	}
	return storage.Info{}, &exit{exitUsage, errors.New("there is no such object, and no result of one")}
}

// errTimeout is the cause of a context whose wait took too long.
var errTimeout = errors.New("no result in time")

// follow waits for the outcome of an input, and reads it.
func (p *program) follow(ctx context.Context, finder outcome.Finder, options waitOptions, r result, input storage.Info) result {
	limit, cancel := context.WithTimeoutCause(ctx, options.timeout, errTimeout)
	defer cancel()
	r.outcome, r.err = finder.Wait(limit, input)
	switch {
	case errors.Is(r.err, errTimeout):
		r.err = &exit{exitNoResult, fmt.Errorf("no result after %v: it is queued or running; wait on: %s wait %s", options.timeout, p.self(), r.input)}
	case errors.Is(r.err, outcome.ErrSuperseded):
		r.err = &exit{exitFailed, r.err}
	case r.err == nil:
		r.body, r.err = fetch(ctx, finder.Store, r.outcome)
	}
	return r
}

// await runs work for each name and prints the results in that order.
func (p *program) await(ctx context.Context, store storage.Reader, options waitOptions, names []string, work func(int) result) error {
	width := 0
	for _, name := range names {
		width = max(width, utf8.RuneCountInString(name))
	}
	code := exitOK
	inOrder(len(names), parallel, work, func(_ int, r result) {
		if r.err == nil && !r.outcome.Failed {
			r.err = p.print(ctx, store, options, r, width)
		}
		if r.err != nil || r.outcome.Failed {
			code = max(code, p.tell(r))
		}
	})
	return ended(ctx, code)
}

func (p *program) print(ctx context.Context, store storage.Reader, options waitOptions, r result, width int) error {
	if options.format == formatJSON {
		return r.write(ctx, p.stdout, store)
	}
	for _, line := range r.lines(width, p.ink(p.stdout)) {
		if _, err := fmt.Fprintln(p.stdout, line); err != nil {
			return fmt.Errorf("print the result: %w", err)
		}
	}
	return nil
}

// brief leaves of a connection that could not be made what a person needs: the
// address and why. The SDK's account of it is four lines long.
func brief(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		return e
	}
	return err
}

// tell says what went wrong with one input and returns the exit code for it.
// What an interruption broke off it leaves to run to tell.
func (p *program) tell(r result) int {
	if r.err == nil {
		p.say(errors.New(r.explained()))
		return exitFailed
	}
	if errors.Is(r.err, errInterrupted) || errors.Is(r.err, context.Canceled) {
		return exitInterrupted
	}
	p.say(fmt.Errorf("%s: %w%s", r.name, brief(r.err), p.advice(r.err, submitNeeds)))
	if e, ok := errors.AsType[*exit](r.err); ok {
		return e.code
	}
	return exitTrouble
}
