package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/worker/job"
)

func (p *program) batchCancelCommand() *cli.Command {
	return &cli.Command{
		Name: "cancel", Usage: "have nothing more of a job started", ArgsUsage: "JOB",
		Description: `What is done stays, and what has begun is ended. Of record files that were not done
the results of the first records are kept in NAME.partial. Workers see the cancel
within seconds; the job has its summary when they have taken the rest of it from
the queue. penstock batch resume takes the cancel back.

Examples:
  penstock batch cancel rows-7 && penstock batch watch rows-7`,
		Flags:  p.batchFlags(),
		Action: p.batchCancel,
	}
}

func (p *program) batchResumeCommand() *cli.Command {
	return &cli.Command{
		Name: "resume", Usage: "run what of a job is not done", ArgsUsage: "JOB",
		Description: `It runs what a cancel left, what was never sent, and what was lost with a queue: all
that has no output and no failure object. Files of records go on at their next
record. A job that is under way needs none of this; it costs some duplicates then.

Examples:
  penstock batch resume rows-7
  penstock batch resume rows-7 -failed -wait     also what has failed, afresh`,
		Flags: p.sendFlags(
			&cli.BoolFlag{Name: "failed", Usage: "run again what has failed, too; its failure objects are deleted first"},
			&cli.BoolFlag{Name: "wait", Usage: "stay until the job has ended, as penstock batch watch does"},
			outputFlag("what penstock batch watch prints, with -wait"),
		),
		Action: p.batchResume,
	}
}

func (p *program) batchCancel(ctx context.Context, cmd *cli.Command) error {
	id, d, err := p.openJob(ctx, cmd)
	if err != nil {
		return err
	}
	err = (&job.Planner{Books: d.books()}).Cancel(ctx, id)
	if errors.Is(err, job.ErrEnded) {
		fmt.Fprintf(p.stderr, "penstock: job %s has ended before; its results stay\n", id)
		return nil
	}
	if err != nil {
		return p.batchTrouble(cmd, id, err)
	}
	fmt.Fprintf(p.stderr, "penstock: job %s: nothing more is started; see: %s batch watch %s\n", id, p.self(), id)
	return nil
}

func (p *program) batchResume(ctx context.Context, cmd *cli.Command) error {
	format, err := parseFormat("batch resume", cmd)
	if err != nil {
		return &exit{exitUsage, err}
	}
	id, d, err := p.openJob(ctx, cmd)
	if err != nil {
		return err
	}
	planner, err := d.planner(ctx, cmd)
	if err != nil {
		return p.batchTrouble(cmd, id, err)
	}
	line := progress{w: p.stderr, on: isTerminal(p.stderr)}
	planner.Watch = func(done job.Planned) { line.show(planning(done)) }
	r, err := planner.Resume(ctx, id, cmd.Bool("failed"))
	line.clear()
	if err != nil {
		return p.batchTrouble(cmd, id, err)
	}
	switch {
	case r.Over && cmd.Bool("failed"):
		fmt.Fprintf(p.stderr, "penstock: job %s: nothing of it is left to run, and nothing has failed\n", id)
	case r.Items == 0 && r.Sent == 0 && cmd.Bool("failed"): // a file can fail of which all parts have ended well
		fmt.Fprintf(p.stderr, "penstock: job %s: nothing of it is left to run; see: %s batch status %s\n", id, p.self(), id)
	case r.Items == 0 && r.Sent == 0:
		fmt.Fprintf(p.stderr, "penstock: job %s: nothing of it is left to run; what has failed is run again by -failed\n", id)
	default:
		fmt.Fprintf(p.stderr, "penstock: job %s: sent %s again\n", id, plural(r.Items, "item"))
	}
	if cmd.Bool("wait") {
		return p.followJob(ctx, cmd, d, id, format)
	}
	return nil
}
