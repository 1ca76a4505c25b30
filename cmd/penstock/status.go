package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/status"
	"github.com/penstock/penstock/queue/request"
)

func (p *program) statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "print how far requests have come, and what to do about those that failed", ArgsUsage: "URI | ID ...",
		Description: `A URI is that of an input, and with a slash at its end means all inputs below it; an
ID is that of a request that was submitted by the HTTP front door. States are queued,
running, succeeded, failed, expired (not started within its time to live) and
cancelled. Running is what a worker said in the last minutes.

With -o json each request is one line of JSON.

Exit codes: 0 all have succeeded; 1 one has failed, expired or was cancelled; 2 also
when nothing is known of one; 3 one is queued or running; 4 as of all commands. Of
several, the highest.

Examples:
  penstock status s3://my-bucket/in/my.png
  penstock status -o json s3://my-bucket/in/today/ | jq -r 'select(.state == "failed") | .name'
  penstock status 4f2a6c0e-order-17`,
		Flags:  append([]cli.Flag{outputFlag("one line for each request")}, p.placeFlags()...),
		Action: p.status,
	}
}

// statusLine is a status for programs.
type statusLine struct {
	Name            string           `json:"name"` // as it was asked for
	ID              string           `json:"id,omitempty"`
	State           status.State     `json:"state,omitempty"` // empty when nothing is known
	CancelRequested bool             `json:"cancelRequested,omitempty"`
	Input           string           `json:"input,omitempty"`
	Output          string           `json:"output,omitempty"`  // where the result is, once it has succeeded
	Failure         string           `json:"failure,omitempty"` // where the failure object is, once there is one
	Accepted        *time.Time       `json:"accepted,omitempty"`
	Ended           *time.Time       `json:"ended,omitempty"`
	Model           string           `json:"model,omitempty"`
	ModelVersion    string           `json:"modelVersion,omitempty"`
	Attempts        int              `json:"attempts"`
	Milliseconds    *spentLine       `json:"spentMs,omitempty"`
	Records         int64            `json:"records,omitempty"`
	BadRecords      int64            `json:"badRecords,omitempty"`
	ResultType      string           `json:"resultType,omitempty"`
	ResultBytes     int64            `json:"resultBytes,omitempty"`
	Problem         *request.Problem `json:"problem,omitempty"`
	Error           string           `json:"error,omitempty"` // why nothing is known
}

// spentLine is where the time went.
type spentLine struct {
	Queued  float64 `json:"queued"`
	Fetch   float64 `json:"fetch"`
	Wait    float64 `json:"wait"`
	Predict float64 `json:"predict"`
	Store   float64 `json:"store"`
}

func (p *program) status(ctx context.Context, cmd *cli.Command) error {
	format, err := parseFormat("status", cmd)
	if err != nil {
		return &exit{exitUsage, err}
	}
	f, err := p.finder(ctx, cmd)
	if err != nil {
		return err
	}
	list, err := parseTargets(cmd.Args().Slice(), f.locations)
	if err != nil {
		return err
	}
	type job struct {
		target
		err error
	}
	jobs := func(yield func(job) bool) {
		for t, err := range f.expand(ctx, list) {
			if ctx.Err() != nil || !yield(job{t, err}) {
				return
			}
		}
	}
	single := format != formatJSON && len(list) == 1 && !list[0].isFolder()
	table := table{head: []string{"request", "state", "model", "attempts", "accepted", "took", ""}}
	code := exitOK
	inOrder(jobs, parallel, func(j job) statusResult {
		r := statusResult{err: j.err}
		if j.err == nil {
			r.Status, r.err = f.status(ctx, j.target)
		}
		return r
	}, func(j job, r statusResult) {
		if r.err != nil && ctx.Err() != nil {
			return
		}
		code = max(code, r.code())
		switch {
		case format == formatJSON:
			_ = printLine(p.stdout, r.line(j.name)) // whoever reads it is gone
		case r.err != nil:
			p.say(fmt.Errorf("%s: %w%s", j.name, brief(r.err), p.advice(r.err, submitNeeds)))
		case single:
			p.printStatus(f, j.target, r.Status)
		default:
			table.add(r.row(j.name, f.now())...)
			if len(table.rows) == statusPage {
				p.writeTable(&table)
			}
		}
	})
	p.writeTable(&table)
	return p.ended(ctx, code)
}

// statusPage is how many rows are held until their columns' widths are known.
const statusPage = 1000

// writeTable prints the rows of a table that is not over, in which there may be
// none.
func (p *program) writeTable(t *table) {
	if len(t.rows) > 0 {
		_ = t.write(p.stdout, p.ink(p.stdout), columns(p.stdout)) // whoever reads it is gone
		t.head, t.rows = nil, nil
	}
}

// status is that of a target.
func (f *finder) status(ctx context.Context, t target) (status.Status, error) {
	if t.id != "" {
		s, err := f.statuses.ByID(ctx, t.id)
		return s, unknownID(err)
	}
	s, err := f.statuses.ByInput(ctx, t.input)
	if err != nil && unknownID(err) != err {
		err = &exit{exitUsage, errNoInput}
	}
	return s, err
}

// statusResult is a status, or why there is none.
type statusResult struct {
	status.Status
	err error
}

func (r statusResult) code() int {
	if r.err != nil {
		if e, ok := errors.AsType[*exit](r.err); ok {
			return e.code
		}
		return exitTrouble
	}
	switch {
	case !r.State.Ended():
		return exitNoResult
	case r.State != status.Succeeded:
		return exitFailed
	}
	return exitOK
}

func (r statusResult) line(name string) statusLine {
	if r.err != nil {
		return statusLine{Name: name, Error: brief(r.err).Error()}
	}
	s := r.Status
	l := statusLine{
		Name: name, ID: s.ID, State: s.State, CancelRequested: s.CancelRequested, Input: s.Input.String(),
		Model: s.Model, ModelVersion: s.ModelVersion, Attempts: s.Attempts, Records: s.Records, BadRecords: s.BadRecords,
		ResultType: s.ResultType, ResultBytes: s.ResultSize, Problem: s.Problem,
	}
	if !s.Accepted.IsZero() {
		l.Accepted = new(s.Accepted.UTC())
	}
	if s.State.Ended() {
		ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
		l.Ended = new(s.Ended.UTC())
		l.Milliseconds = &spentLine{ms(s.Spent.Queued), ms(s.Spent.Fetch), ms(s.Spent.Wait), ms(s.Spent.Predict), ms(s.Spent.Store)}
		if s.State == status.Succeeded {
			l.Output = s.Output.String()
		} else {
			l.Failure = s.Failure.String()
		}
	}
	return l
}

// row is a status in a table.
func (r statusResult) row(name string, now time.Time) []string {
	s := r.Status
	accepted, took, attempts, what := "", "", "", ""
	if !s.Accepted.IsZero() {
		accepted = ago(now.Sub(s.Accepted)) + " ago"
	}
	if s.State.Ended() {
		attempts = fmt.Sprint(s.Attempts)
		took = spentTime(s)
	}
	if s.Problem != nil {
		what = plain(s.Problem.Code + ": " + s.Problem.Message)
	} else if s.CancelRequested {
		what = "to be cancelled"
	}
	return []string{plain(name), string(s.State), modelOf(s), attempts, accepted, took, what}
}

func modelOf(s status.Status) string {
	if s.Model == "" || s.ModelVersion == "" {
		return plain(s.Model)
	}
	return plain(s.Model + " " + s.ModelVersion)
}

// spentTime is how long a request took in all, as its worker counted.
func spentTime(s status.Status) string {
	t := s.Spent
	return (t.Queued + t.Fetch + t.Wait + t.Predict + t.Store).Round(time.Millisecond).String()
}

// printStatus prints all that is known of one request.
func (p *program) printStatus(f *finder, t target, s status.Status) {
	ink := p.ink(p.stdout)
	state := ink.bold(string(s.State))
	switch {
	case s.State == status.Succeeded:
		state = ink.green(string(s.State))
	case s.State.Ended():
		state = ink.red(string(s.State))
	}
	if s.CancelRequested && !s.State.Ended() {
		state += ", and its sender has asked for its cancellation"
	}
	fmt.Fprintf(p.stdout, "%s  %s\n\n", ink.bold(plain(t.name)), state)
	fact := func(name, format string, args ...any) {
		fmt.Fprintf(p.stdout, "  %s  %s\n", ink.faint(fmt.Sprintf("%-9s", name)), plain(fmt.Sprintf(format, args...)))
	}
	if s.ID != "" && s.ID != t.name {
		fact("id", "%s", s.ID)
	}
	if s.Input.String() != t.name && s.Input.Bucket != "" {
		fact("input", "%s", s.Input)
	}
	if !s.Accepted.IsZero() {
		fact("accepted", "%s, %s ago", s.Accepted.UTC().Format(time.RFC3339), ago(f.now().Sub(s.Accepted)))
	}
	if !s.State.Ended() {
		fact("next", "%s", p.next(t, s))
		return
	}
	fact("ended", "%s", s.Ended.UTC().Format(time.RFC3339))
	if s.Model != "" {
		fact("model", "%s", cmp.Or(strings.Replace(modelOf(s), " ", ", version ", 1), "-"))
	}
	fact("attempts", "%d", s.Attempts)
	sp := s.Spent
	ms := func(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }
	fact("time", "queued %s, fetch %s, wait %s, predict %s, store %s", ms(sp.Queued), ms(sp.Fetch), ms(sp.Wait), ms(sp.Predict), ms(sp.Store))
	if s.Records > 0 {
		fact("records", "%d, of which %d are bad", s.Records, s.BadRecords)
	}
	if s.State == status.Succeeded {
		fact("result", "%s, %s, %s", s.Output, humanize.Bytes(uint64(s.ResultSize)), s.ResultType)
		return
	}
	fact("failure", "%s", s.Failure)
	if s.Problem != nil {
		fact("code", "%s, at %s", s.Problem.Code, s.Problem.Stage)
		fact("reason", "%s", s.Problem.Message)
		if s.Problem.Hint != "" {
			fact("next", "%s", s.Problem.Hint)
		}
	}
}

// next is what to do about a request that has not ended.
func (p *program) next(t target, s status.Status) string {
	wait := fmt.Sprintf("%s wait %s", p.self(), quoteAll([]string{t.name}))
	if s.State == status.Queued {
		return fmt.Sprintf("%s; if it stays queued, %s doctor looks why", wait, p.self())
	}
	return wait
}
