package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/fleet"
	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker/job"
)

func (p *program) batchCommand() *cli.Command {
	return &cli.Command{
		Name: "batch", Usage: "run a model over a prefix, a manifest or large files, and account for every object",
		Description: `A job is what one submit begins: a model over many objects, or over files of many
records, of which all workers share each. It has a name, its id; the same submit
with the same id goes on where another was broken off. What it has done lies below
jobs/ID/ in the output and failure locations, with summary.json at its end. Its
messages wait behind live traffic.`,
		Commands: []*cli.Command{
			p.batchSubmitCommand(), p.batchStatusCommand(), p.batchWatchCommand(),
			p.batchCancelCommand(), p.batchResumeCommand(), p.batchResultsCommand(),
		},
		Action: p.noVerb,
	}
}

// batchFlags are those of all its verbs.
func (p *program) batchFlags(own ...cli.Flag) []cli.Flag {
	return append(own, p.placeFlags()...)
}

// sendFlags are those of verbs that put parts into the queue.
func (p *program) sendFlags(own ...cli.Flag) []cli.Flag {
	return p.batchFlags(append(own,
		p.setting(settings.BatchQueueURL, "`URL` of the SQS queue of batch jobs; default: the queue of all requests"),
		p.setting(settings.QueueURL, "`URL` of the SQS queue of requests"),
	)...)
}

const batchNeeds = "s3:ListBucket and s3:GetObject on all locations, s3:PutObject and s3:DeleteObject on the output, failure and state locations, and sqs:SendMessage"

// desk is what verbs of jobs work with.
type desk struct {
	services
	locations request.Locations
}

// openDesk reads the settings and opens S3.
func (p *program) openDesk(ctx context.Context, cmd *cli.Command) (*desk, error) {
	locations, err := p.locations(cmd)
	if err != nil {
		return nil, err
	}
	s, err := p.openServices(ctx)
	return &desk{s, locations}, err
}

// planner is who sends jobs. It knows what a request costs if a worker has said
// so lately.
func (d *desk) planner(ctx context.Context, cmd *cli.Command) (*job.Planner, error) {
	pl := &job.Planner{Books: d.books()}
	if cmd.Bool("dry-run") {
		pl.Queue = nil // nothing is sent
	} else {
		url, err := batchQueueURL(cmd)
		if err != nil {
			return nil, err
		}
		q := d.queue(url)
		// Sending outlives minutes of faults: that nobody answers is better told
		// of at the start. Another answer than "there is none" says nothing, for
		// who may send need not be allowed to ask.
		_, err = q.Attributes(ctx)
		if _, answered := errors.AsType[smithy.APIError](err); err != nil && (!answered || errors.Is(err, fs.ErrNotExist)) {
			return nil, &queueError{url, err}
		}
		pl.Queue = q
	}
	workers, err := fleet.Read(ctx, d.store, d.locations, d.now())
	if err != nil {
		return nil, err
	}
	pl.Cost = time.Duration(workers.Latest.SecondsPerRequest * float64(time.Second))
	return pl, nil
}

// queueError says that the queue for a job's messages could not be asked.
type queueError struct {
	url string
	err error
}

func (e *queueError) Error() string { return fmt.Sprintf("the queue %s: %v", e.url, e.err) }

// batchQueueURL is where parts are sent.
func batchQueueURL(cmd *cli.Command) (string, error) {
	url := cmp.Or(cmd.String(settings.BatchQueueURL), cmd.String(settings.QueueURL))
	if err := settings.CheckQueueURL(url); err != nil {
		return "", usage("batch %s: %w", cmd.Name, err)
	}
	if strings.HasSuffix(url, ".fifo") {
		return "", usage("batch %s: %s is a FIFO queue, which would hand out the parts of a job one after the other; give jobs a standard queue by -%s", cmd.Name, url, settings.BatchQueueURL)
	}
	return url, nil
}

func (d *desk) books() *job.Books {
	return &job.Books{Store: d.store, Locations: d.locations, Now: d.now}
}

func (d *desk) watcher(id string) *job.Watcher {
	return &job.Watcher{Store: d.store, Locations: d.locations, ID: id, Now: d.now}
}

// jobID reads the only argument.
func jobID(cmd *cli.Command) (string, error) {
	switch n := cmd.NArg(); {
	case n == 0:
		return "", usage("batch %s: no job is given; penstock batch status prints all", cmd.Name)
	case n > 1:
		return "", usage("batch %s: one job at a time, but %d are given", cmd.Name, n)
	}
	id := cmd.Args().First()
	if err := request.ValidateJobID(id); err != nil {
		return "", usage("batch %s: %w", cmd.Name, err)
	}
	return id, nil
}

// openJob reads the job's id, the only argument, and opens what verbs of one job
// work with.
func (p *program) openJob(ctx context.Context, cmd *cli.Command) (id string, d *desk, err error) {
	if id, err = jobID(cmd); err != nil {
		return "", nil, err
	}
	d, err = p.openDesk(ctx, cmd)
	return id, d, err
}

// jobsFolder is where the books of jobs are.
func (p *program) jobsFolder(cmd *cli.Command) string {
	l, err := p.locations(cmd)
	if err != nil {
		return "these settings' state location"
	}
	return l.State.String() + "jobs/"
}

// batchTrouble makes an error of a job's one for a person.
func (p *program) batchTrouble(cmd *cli.Command, id string, err error) error {
	var other *job.OtherSpecError
	var unasked *queueError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unasked) && errors.Is(unasked.err, fs.ErrNotExist):
		return usage("batch %s: there is no queue %s: make it, or correct -%s", cmd.Name, unasked.url, settings.BatchQueueURL)
	case errors.As(err, &unasked):
		return fmt.Errorf("batch %s: the queue %s: %w%s", cmd.Name, unasked.url, brief(unasked.err), p.advice(unasked.err, batchNeeds))
	case errors.As(err, &other), errors.Is(err, job.ErrEnded), errors.Is(err, job.ErrSource):
		return usage("batch %s: %w", cmd.Name, err)
	case errors.Is(err, fs.ErrNotExist) && id != "":
		return usage("batch %s: there is no job %s in %s; %s batch status prints all", cmd.Name, id, p.jobsFolder(cmd), p.self())
	}
	return fmt.Errorf("batch %s: %w%s", cmd.Name, brief(err), p.advice(err, batchNeeds))
}
