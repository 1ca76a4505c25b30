package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/status"
)

func (p *program) cancelCommand() *cli.Command {
	return &cli.Command{
		Name: "cancel", Usage: "keep requests from being started", ArgsUsage: "ID ...",
		Description: `The ids are those of requests that were submitted by the HTTP front door. Ten seconds
later a request that was cancelled is not started any more, and has the failure
object Cancelled. One that has begun goes on, and a finished result stays.

An upload has no id and can't be cancelled: delete its object, and it fails as
InputNotFound unless it has begun.

Exit codes: 0 the cancellation is asked for; 1 a request had ended before; 2 also
when nothing is known of one; 4 as of all commands.

Examples:
  penstock cancel 4f2a6c0e-order-17
  penstock status 4f2a6c0e-order-17`,
		Flags:  p.placeFlags(),
		Action: p.cancel,
	}
}

func (p *program) cancel(ctx context.Context, cmd *cli.Command) error {
	f, err := p.finder(ctx, cmd)
	if err != nil {
		return err
	}
	list, err := parseTargets(cmd.Args().Slice(), f.locations)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range list {
		if t.id == "" {
			errs = append(errs, fmt.Errorf("cancel: %s is an upload, which has no id and can't be cancelled; delete the object, and it fails unless it has begun", t.name))
		}
	}
	if len(errs) > 0 {
		return &exit{exitUsage, errors.Join(errs...)}
	}
	code := exitOK
	for _, t := range list {
		s, err := f.statuses.Cancel(ctx, t.id)
		err = unknownID(err)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			code = max(code, statusResult{err: err}.code())
			p.say(fmt.Errorf("%s: %w%s", t.name, brief(err), p.advice(err, submitNeeds)))
		case s.State.Ended():
			code = max(code, exitFailed)
			p.say(fmt.Errorf("%s: it had ended before: it has %s", t.name, endedAs(s.State)))
		case s.State == status.Running:
			fmt.Fprintf(p.stdout, "%s  a worker has it: unless it has begun, it is not started any more in ten seconds\n", plain(t.name))
		default:
			fmt.Fprintf(p.stdout, "%s  it is not started any more in ten seconds\n", plain(t.name))
		}
	}
	return p.ended(ctx, code)
}

// endedAs goes behind "it has".
func endedAs(s status.State) string {
	if s == status.Cancelled {
		return "been cancelled"
	}
	return string(s)
}
