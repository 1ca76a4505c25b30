package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/worker/job"
)

func (p *program) batchStatusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "print how a job stands, or all jobs", ArgsUsage: "[JOB]",
		Description: `It reads the job's books and no queue: the counts are of what has ended. A rate is
that of the last minute, the time left follows from it.

Exit codes, of one job: 0 it has ended and all succeeded, 1 it has ended and
something failed or was cancelled, 3 it has not ended.

Examples:
  penstock batch status
  penstock batch status rows-7 -o json | jq .succeeded`,
		Flags:  p.batchFlags(outputFlag("one object, or of all jobs one line for each")),
		Action: p.batchStatus,
	}
}

func (p *program) batchWatchCommand() *cli.Command {
	return &cli.Command{
		Name: "watch", Usage: "show how a job goes on until it has ended", ArgsUsage: "JOB",
		Description: `On a terminal a line is drawn over and over, elsewhere there is one every ten
seconds. At the end the summary is printed. Ctrl-C ends the watching, not the job.

Exit codes: 0 all succeeded, 1 something failed or was cancelled.

Examples:
  penstock batch watch rows-7`,
		Flags: p.batchFlags(
			&cli.DurationFlag{Name: "every", Usage: "`TIME` between two looks; default 2s on a terminal, else 10s"},
			outputFlag("one line at each look"),
		),
		Action: p.batchWatch,
	}
}

func (p *program) batchStatus(ctx context.Context, cmd *cli.Command) error {
	format, err := parseFormat("batch status", cmd)
	if err != nil {
		return &exit{exitUsage, err}
	}
	if cmd.NArg() == 0 {
		return p.batchList(ctx, cmd, format)
	}
	id, d, err := p.openJob(ctx, cmd)
	if err != nil {
		return err
	}
	s, err := d.watcher(id).Standing(ctx)
	if err != nil {
		return p.batchTrouble(cmd, id, err)
	}
	if err := p.printStanding(s, format); err != nil {
		return err
	}
	return standingCode(s)
}

// standingCode is the exit code for how a job stands.
func standingCode(s job.Standing) error {
	switch s.State {
	case job.StateSucceeded:
		return nil
	case job.StateFailed, job.StateCancelled:
		return &exit{code: exitFailed}
	}
	return &exit{code: exitNoResult}
}

// printStanding prints one job.
func (p *program) printStanding(s job.Standing, format string) error {
	if format == formatJSON {
		return printLine(p.stdout, s)
	}
	t := table{head: []string{"job " + s.Job, ""}}
	t.add("state", string(s.State))
	t.add("begun", fmt.Sprintf("%s (%s ago)", s.Created.Format(time.RFC3339), ago(time.Since(s.Created))))
	planned := "all of the input"
	if !s.Planned {
		planned = "the input is still being listed"
	}
	size := ""
	if s.Bytes > 0 { // a manifest does not tell it
		size = " of " + humanize.Bytes(uint64(s.Bytes))
	}
	t.add("submitted", fmt.Sprintf("%s%s, %s", units(s), size, planned))
	t.add("succeeded", fmt.Sprint(s.Succeeded))
	t.add("failed", fmt.Sprint(s.Failed))
	t.add("cancelled", fmt.Sprint(s.Cancelled))
	if !s.State.Ended() {
		t.add("waiting", fmt.Sprintf("%d, in the queue or being worked on", s.Waiting))
		if stuck(s, time.Now()) {
			t.add("", p.unstick(s))
		}
	}
	t.add("rate", rate(s))
	if e := s.Summary; e != nil {
		t.add("ended", fmt.Sprintf("%s, after %s", e.Finished.Format(time.RFC3339), ago(e.Finished.Sub(e.Created))))
		if e.Parts != nil {
			o := e.Objects
			t.add("files", fmt.Sprintf("%d: %d succeeded, %d failed, %d cancelled", o.Submitted, o.Succeeded, o.Failed, o.Cancelled))
		}
		if r := e.Records; r != nil {
			t.add("records", fmt.Sprintf("%d: %d good, %d bad", r.Submitted, r.Good, r.Bad))
			if r.Bad > 0 {
				t.add("", fmt.Sprintf("why they are bad: %s batch results %s -bad-records", p.self(), s.Job))
			}
		}
		t.add("outputs", e.Output)
		if e.Objects.Failed > 0 {
			t.add("failures", e.Failure)
		}
	}
	if err := t.write(p.stdout, p.ink(p.stdout), columns(p.stdout)); err != nil {
		return err
	}
	if e := s.Summary; e != nil {
		for _, f := range e.Failures[:min(len(e.Failures), 3)] {
			fmt.Fprintf(p.stdout, "%s: %s: %s\n", plain(f.Input), plain(f.Code), plain(f.Message))
		}
		if n := len(e.Failures); n > 3 {
			fmt.Fprintf(p.stdout, "and more: %s batch results %s -failed\n", p.self(), s.Job)
		}
	}
	return nil
}

// units is how much was submitted, in objects or parts.
func units(s job.Standing) string {
	return plural(s.Submitted, strings.TrimSuffix(s.Unit, "s"))
}

// stuck says whether nothing of a job has ended for as long as its rate is of.
func stuck(s job.Standing, now time.Time) bool {
	return s.Rate == 0 && s.Waiting > 0 && now.Sub(s.Created) > time.Minute
}

// unstick is what to do about a job of which nothing ends.
func (p *program) unstick(s job.Standing) string {
	text := fmt.Sprintf("nothing has ended in the last minute: see whether workers are there (%s doctor)", p.self())
	if s.State == job.StateRunning {
		text += fmt.Sprintf("; what was lost with a queue, or is among its dead letters, is sent again by: %s batch resume %s", p.self(), s.Job)
	}
	return text
}

func rate(s job.Standing) string {
	text := fmt.Sprintf("%.1f %s/s", s.Rate, s.Unit)
	if s.ETA > 0 {
		text += fmt.Sprintf(", about %s left", ago(time.Duration(s.ETA*float64(time.Second))))
	}
	return text
}

// batchList prints all jobs.
func (p *program) batchList(ctx context.Context, cmd *cli.Command, format string) error {
	d, err := p.openDesk(ctx, cmd)
	if err != nil {
		return err
	}
	ids, err := job.Jobs(ctx, d.store, d.locations)
	if err != nil {
		return p.batchTrouble(cmd, "", err)
	}
	t := table{head: []string{"job", "state", "begun", "submitted", "succeeded", "failed", "cancelled", "rate"}}
	for _, id := range ids {
		s, err := d.watcher(id).Standing(ctx)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a manifest was uploaded for a job that never began
		}
		if err != nil {
			return p.batchTrouble(cmd, id, err)
		}
		if format == formatJSON {
			if err := printLine(p.stdout, s); err != nil {
				return err
			}
			continue
		}
		t.add(id, string(s.State), ago(time.Since(s.Created))+" ago", units(s),
			fmt.Sprint(s.Succeeded), fmt.Sprint(s.Failed), fmt.Sprint(s.Cancelled), rate(s))
	}
	if format == formatJSON {
		return nil
	}
	if len(t.rows) == 0 {
		_, err := fmt.Fprintln(p.stderr, "penstock: there is no job")
		return err
	}
	return t.write(p.stdout, p.ink(p.stdout), columns(p.stdout))
}

func (p *program) batchWatch(ctx context.Context, cmd *cli.Command) error {
	format, err := parseFormat("batch watch", cmd)
	if err != nil {
		return &exit{exitUsage, err}
	}
	id, d, err := p.openJob(ctx, cmd)
	if err != nil {
		return err
	}
	return p.followJob(ctx, cmd, d, id, format)
}

// followJob shows a job until it has ended. Faults of the surroundings are told
// and outlived.
func (p *program) followJob(ctx context.Context, cmd *cli.Command, d *desk, id, format string) error {
	line := progress{w: p.stderr, on: isTerminal(p.stderr) && format != formatJSON}
	every := cmd.Duration("every")
	if every <= 0 {
		every = 10 * time.Second
		if line.on {
			every = lookPause
		}
	}
	w := d.watcher(id)
	var shown time.Time
	warned := false // since anything has ended
	pause := firstPause
	for faults := 0; ; {
		s, err := w.Standing(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			line.clear()
			return p.stoppedWatching(ctx, id)
		case errors.Is(err, fs.ErrNotExist), err != nil && faults == mostFaults:
			line.clear()
			return p.batchTrouble(cmd, id, err)
		case err != nil:
			faults++
			line.clear()
			p.say(fmt.Errorf("%w; looking again", brief(err)))
		case s.State.Ended():
			line.clear()
			if err := p.printStanding(s, format); err != nil {
				return err
			}
			return standingCode(s)
		default:
			faults = 0
			still := stuck(s, time.Now())
			if still && !warned {
				line.clear()
				p.say(errors.New(p.unstick(s)))
			}
			warned = still
			if time.Since(shown) < every {
				break
			}
			shown = time.Now()
			if err := p.look(s, format, &line); err != nil {
				return err
			}
		}
		select {
		case <-time.After(min(every, pause)): // so that its end is told soon
		case <-ctx.Done():
			line.clear()
			return p.stoppedWatching(ctx, id)
		}
		pause = min(2*pause, lookPause)
	}
}

// stoppedWatching says what an interruption did not end.
func (p *program) stoppedWatching(ctx context.Context, id string) error {
	err := context.Cause(ctx)
	if !errors.Is(err, errInterrupted) {
		return err
	}
	return &exit{exitInterrupted, fmt.Errorf("%w; the job goes on by itself; see: %s batch watch %s", err, p.self(), id)}
}

// How often a job that goes on is looked at: a small one has soon ended.
const (
	firstPause = lookPause / 16
	lookPause  = 2 * time.Second
)

// mostFaults is how often in a row looking at a job may go wrong.
const mostFaults = 30

// look shows a job that goes on.
func (p *program) look(s job.Standing, format string, line *progress) error {
	if format == formatJSON {
		return printLine(p.stdout, s)
	}
	text := watching(s)
	if !line.on {
		_, err := fmt.Fprintln(p.stderr, text)
		return err
	}
	text = drawn(int64(s.Total()), int64(s.Submitted)) + "  " + text
	line.show(cut(text, max(columns(p.stderr)-1, 20)))
	return nil
}

// watching is one line of how a job stands.
func watching(s job.Standing) string {
	text := fmt.Sprintf("%s: %d of %s", s.State, s.Total(), units(s))
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Failed)
	}
	if s.Cancelled > 0 {
		text += fmt.Sprintf(", %d cancelled", s.Cancelled)
	}
	return text + ", " + rate(s)
}
