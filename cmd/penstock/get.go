package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/outcome"
)

func (p *program) getCommand() *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "print what became of a request, as it is", ArgsUsage: "URI | ID",
		Description: `The URI is that of the input, the ID that of a request that was submitted by the
HTTP front door. What is printed is the result object, byte for byte, or the failure
object, with exit code 1.

Exit codes: 0; 1 when the request failed; 2 also when there is no such input or
request; 3 when there is no result yet; 4 as of all commands.

Examples:
  penstock get s3://my-bucket/in/my.png
  penstock get s3://my-bucket/in/rows.npy > scores.npy
  penstock get 4f2a6c0e-order-17 | jq .predictions`,
		Flags:  p.placeFlags(),
		Action: p.get,
	}
}

func (p *program) get(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() > 1 {
		return usage("get: it prints one object, but %d URIs are given; use wait -o json, or wait -out", cmd.NArg())
	}
	f, err := p.finder(ctx, cmd)
	if err != nil {
		return err
	}
	list, err := parseTargets(cmd.Args().Slice(), f.locations)
	if err == nil {
		err = onlyObjects("get", list)
	}
	if err != nil {
		return err
	}
	t := list[0]
	r := result{name: t.name, input: t.input}
	found := false
	r.outcome, found, r.err = f.find(ctx, t)
	switch {
	case r.err != nil:
	case !found:
		r.err = &exit{exitNoResult, fmt.Errorf("no result yet: it is queued or running; wait for it: %s wait %s", p.self(), quoteAll([]string{t.name}))}
	default:
		if r.body, r.err = fetch(ctx, f.store, r.outcome); r.err == nil {
			r.err = r.write(ctx, p.stdout, f.store)
		}
	}
	if r.err == nil && !r.outcome.Failed {
		return nil
	}
	return p.ended(ctx, p.tell(r))
}

// find looks once for what became of a target.
func (f *finder) find(ctx context.Context, t target) (o outcome.Outcome, found bool, err error) {
	if t.id == "" {
		info, err := f.current(ctx, t.input)
		if err != nil {
			return o, false, err
		}
		return f.outcomes.Find(ctx, info)
	}
	s, err := f.statuses.ByID(ctx, t.id)
	if err != nil || !s.State.Ended() {
		return o, false, unknownID(err)
	}
	o, err = f.terminal(ctx, s)
	return o, err == nil, err
}

// ended is the error of a verb that has told of its faults already.
func (p *program) ended(ctx context.Context, code int) error {
	switch {
	case errors.Is(context.Cause(ctx), errInterrupted):
		return context.Cause(ctx)
	case code != exitOK:
		return &exit{code: code}
	}
	return nil
}
