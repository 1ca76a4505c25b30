package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"
)

func (p *program) getCommand() *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "print what became of an upload, as it is", ArgsUsage: "URI",
		Description: `The URI is that of the input. What is printed is its result object, byte for byte,
or its failure object, with exit code 1. Without either, the exit code is 3.

Examples:
  penstock get s3://my-bucket/in/my.png
  penstock get s3://my-bucket/in/rows.npy > scores.npy`,
		Flags:  p.placeFlags(),
		Action: p.get,
	}
}

func (p *program) get(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() > 1 {
		return usage("get: it prints one object, but %d URIs are given; use wait -o json", cmd.NArg())
	}
	finder, inputs, err := p.inputs(ctx, cmd)
	if err != nil {
		return err
	}
	r := result{name: inputs[0].String(), input: inputs[0]}
	info, err := current(ctx, finder, inputs[0])
	found := false
	if err == nil {
		r.outcome, found, err = finder.Find(ctx, info)
	}
	switch {
	case err != nil:
	case !found:
		err = &exit{exitNoResult, fmt.Errorf("no result yet: it is queued or running; wait for it: %s wait %s", p.self(), r.input)}
	default:
		if r.body, err = fetch(ctx, finder.Store, r.outcome); err == nil {
			err = r.write(ctx, p.stdout, finder.Store)
		}
	}
	if r.err = err; err == nil && !r.outcome.Failed {
		return nil
	}
	return ended(ctx, p.tell(r))
}
