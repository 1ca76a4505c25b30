package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/job"
)

func (p *program) batchSubmitCommand() *cli.Command {
	return &cli.Command{
		Name: "submit", Usage: "begin a job, or go on with one that was broken off", ArgsUsage: "URI...",
		Description: `A URI that ends in a slash is a prefix: all objects below it. Any other is one
object. They must lie in an input location. What is printed is the job's id.

By default each object is one request. With -split-type Line (JSON lines, CSV) or
TFRecord each object is a file of records, which is split among all workers; its
output has a result for each record, in order, and bad records are told in
NAME-errors.jsonl beside it. A file compressed with gzip is one part.

With -join-source Input each result stands beside its record: a JSON object gets
the member "SageMakerOutput", any other value becomes {"SageMakerInput": …,
"SageMakerOutput": …}, a line of CSV gets the result's columns.

-input-filter says what of each record the model gets, such as all but an id, and
-output-filter what is kept of each result, of a joined one with its record. They
are paths from the record, $: .name or ['name'] is a member, ['a','b'] are several,
[0] is an element or a column of CSV, [-1] the last, [0,4] are several, [1:4] those
from 1 to before 4, [1:] those from 1 on, [:-1] all but the last, and * all. A
record in which a path finds nothing is a bad one.

Patterns of -include and -exclude: * is anything within a folder, ** anything, ?
one character, [a-c] one of these, {a,b} alternatives. One without a slash is for
the name of an object, any other for its path below the URI.

A manifest is SageMaker's ManifestFile (JSON), the CSV of S3 Batch Operations
(bucket,key[,version], keys URL-encoded) or a plain list of URIs, in S3 or a local
file, also compressed with gzip.

Examples:
  penstock batch submit s3://my-bucket/in/photos/ -include '*.jpg' -wait
  penstock batch submit -id rows-7 -split-type Line s3://my-bucket/in/rows.jsonl
  penstock batch submit -split-type Line -input-filter '$[1:]' -join-source Input \
    -output-filter '$[0,-1]' s3://my-bucket/in/rows-with-ids.csv
  penstock batch submit -dry-run s3://my-bucket/in/
  penstock batch submit -manifest list.csv -model digits`,
		Flags: p.sendFlags(append([]cli.Flag{
			&cli.StringFlag{Name: "id", Usage: "`NAME` of the job: letters, digits and -_.; a submit with the same one goes on. Default: one is made"},
			&cli.StringFlag{Name: "manifest", Usage: "`FILE` or URI of a list of objects, in place of URIs"},
			&cli.StringFlag{Name: "manifest-format", Usage: "`FORMAT` of the manifest: sagemaker, s3-batch or list; else its beginning tells"},
			&cli.StringSliceFlag{Name: "include", Usage: "run only on objects that match this `PATTERN`; may be repeated"},
			&cli.StringSliceFlag{Name: "exclude", Usage: "don't run on objects that match this `PATTERN`; may be repeated"},
			&cli.StringFlag{Name: "split-type", Value: job.SplitNone, Usage: "what a file is split at: `TYPE` None, Line or TFRecord"},
			&cli.StringFlag{Name: "batch-strategy", Value: job.MultiRecord, Usage: "`NAME` as in Batch Transform: MultiRecord, records meet in the model's batches, or SingleRecord, each record or object has a run of the model to itself, which is much slower"},
			&cli.StringFlag{Name: "assemble-with", Usage: "`NAME` as in Batch Transform: None for whole objects, Line for files that are split; it follows from -split-type"},
			&cli.StringFlag{Name: "join-source", Value: job.JoinNone, Usage: "`NAME` as in Batch Transform: None, or Input, which puts each result beside its record; for files that are split at Line"},
			&cli.StringFlag{Name: "input-filter", Usage: "`PATH` of what the model gets of each record, as in Batch Transform; default $, all of it; for files that are split at Line"},
			&cli.StringFlag{Name: "output-filter", Usage: "`PATH` of what is kept of each result, and of the record joined with it, as in Batch Transform; default $, all of it; for files that are split"},
			&cli.StringFlag{Name: "content-type", Usage: "media `TYPE` of the objects; else their own"},
			&cli.StringFlag{Name: "accept", Usage: "media `TYPE` of the results, as in HTTP; else the model's own"},
			&cli.StringFlag{Name: "model", Usage: "`NAME` of the model to run; needed where the worker has several"},
			&cli.StringFlag{Name: "signature", Usage: "`NAME` of the model's signature to run"},
			&cli.StringFlag{Name: "record-errors", Usage: "`WHAT` becomes of bad records: report (go on) or fail (the whole file); else as the model's file says, or report"},
			&cli.DurationFlag{Name: "invocation-timeout", Usage: "longest `TIME` of one run of the model; else the worker's"},
			&cli.IntFlag{Name: "max-concurrency", Usage: "`NUMBER` of parts of the job that one worker has under way; 0 leaves it to the worker"},
			&cli.IntFlag{Name: "references-per-message", Value: job.DefaultReferences, Usage: "`NUMBER` of objects that one message names, at most: more is cheaper, fewer are spread better"},
			&cli.Int64Flag{Name: "part-size", Usage: "about how many `BYTES` of a file are one part; 0 is a 64th of the file, from 1 to 64 MiB; at least 65536"},
			&cli.BoolFlag{Name: "dry-run", Usage: "write and send nothing: print how many objects, bytes and parts there are, and what they cost"},
			&cli.BoolFlag{Name: "wait", Usage: "stay until the job has ended, as penstock batch watch does"},
			outputFlag("one object"),
		}, transformFlags()...)...),
		Action: p.batchSubmit,
	}
}

// jobSpec is what the flags ask for.
func jobSpec(cmd *cli.Command) job.Spec {
	s := job.Spec{
		ID: cmd.String("id"), Sources: cmd.Args().Slice(),
		Manifest: cmd.String("manifest"), ManifestFormat: cmd.String("manifest-format"),
		Include: cmd.StringSlice("include"), Exclude: cmd.StringSlice("exclude"),
		SplitType: cmd.String("split-type"), BatchStrategy: cmd.String("batch-strategy"),
		AssembleWith: cmd.String("assemble-with"), JoinSource: cmd.String("join-source"),
		InputFilter: cmd.String("input-filter"), OutputFilter: cmd.String("output-filter"),
		ContentType: cmd.String("content-type"), Accept: cmd.String("accept"),
		Model: cmd.String("model"), Signature: cmd.String("signature"), RecordErrors: cmd.String("record-errors"),
		TimeoutSeconds: cmd.Duration("invocation-timeout").Seconds(), MaxConcurrency: cmd.Int("max-concurrency"),
	}
	if s.Records() {
		s.PartBytes = cmd.Int64("part-size")
	} else {
		s.ReferencesPerMessage = cmd.Int("references-per-message")
	}
	if s.ID == "" {
		s.ID = newJobID(time.Now())
	}
	return s
}

// newJobID makes a name that sorts by its time.
func newJobID(now time.Time) string {
	return now.UTC().Format("20060102-150405-") + strings.ToLower(rand.Text()[:5])
}

func (p *program) batchSubmit(ctx context.Context, cmd *cli.Command) error {
	format, err := parseFormat("batch submit", cmd)
	if err != nil {
		return &exit{exitUsage, err}
	}
	notes, err := checkTransformFlags(cmd)
	if err != nil {
		return usage("batch submit: %w", err)
	}
	d, err := p.openDesk(ctx, cmd)
	if err != nil {
		return err
	}
	spec := jobSpec(cmd)
	var manifest []byte // a local one, which is put beside the job's books
	if local := spec.Manifest; local != "" && !strings.HasPrefix(local, "s3://") {
		if manifest, err = p.readManifest(local, cmd.Bool("dry-run")); err != nil {
			return err
		}
		spec.Manifest = d.manifestOf(spec.ID, manifest).String()
	}
	if _, err := spec.Complete(d.locations); err != nil {
		return usage("batch submit: %w", err)
	}
	for _, note := range notes {
		fmt.Fprintln(p.stderr, "penstock:", note)
	}
	if manifest != nil {
		if _, err := d.store.Put(ctx, d.manifestOf(spec.ID, manifest), manifest, storage.PutOptions{}); err != nil {
			return p.batchTrouble(cmd, spec.ID, err)
		}
	}
	planner, err := d.planner(ctx, cmd)
	if err != nil {
		return p.batchTrouble(cmd, spec.ID, err)
	}
	line := progress{w: p.stderr, on: isTerminal(p.stderr)}
	planner.Watch = func(done job.Planned) { line.show(planning(done)) }
	if cmd.Bool("dry-run") {
		e, err := planner.Estimate(ctx, spec)
		line.clear()
		if err != nil {
			return p.batchTrouble(cmd, spec.ID, err)
		}
		return p.printEstimate(e, format)
	}
	done, err := planner.Submit(ctx, spec)
	line.clear()
	switch {
	case errors.Is(err, job.ErrEnded) && cmd.Bool("wait"):
		fmt.Fprintf(p.stderr, "penstock: job %s has ended before; its results stay\n", spec.ID)
		return p.followJob(ctx, cmd, d, spec.ID, format)
	case err != nil:
		err = p.batchTrouble(cmd, spec.ID, err)
		if e := new(exit); !errors.As(err, &e) {
			fmt.Fprintf(p.stderr, "penstock: what was sent runs; go on by the same command with -id %s\n", spec.ID)
		} else if manifest != nil && errors.Is(err, job.ErrSource) {
			err = usage("%w\n%s is a copy of %s", err, spec.Manifest, cmd.String("manifest"))
		}
		return err
	}
	return p.submitted(ctx, cmd, d, spec, done, format)
}

// planned says what a submit has added to a job.
func planned(done job.Planned) string {
	if done.Parts == 0 {
		return "all of it was planned before; what had not been sent was sent"
	}
	return fmt.Sprintf("%s in %s", plural(done.Objects, "object"), plural(done.Parts, "message"))
}

// submitted tells of a job that is all in the queue.
func (p *program) submitted(ctx context.Context, cmd *cli.Command, d *desk, spec job.Spec, done job.Planned, format string) error {
	if !cmd.Bool("wait") {
		if format == formatJSON {
			return printLine(p.stdout, map[string]any{
				"job": spec.ID, "objects": done.Objects, "skipped": done.Skipped, "parts": done.Parts, "sent": done.Sent, "bytes": done.Bytes,
			})
		}
		fmt.Fprintln(p.stdout, spec.ID)
		fmt.Fprintf(p.stderr, "penstock: %s; see: %s batch watch %s\n", planned(done), p.self(), spec.ID)
		return nil
	}
	fmt.Fprintf(p.stderr, "penstock: job %s: %s\n", spec.ID, planned(done))
	return p.followJob(ctx, cmd, d, spec.ID, format)
}

// planning says how far a planner has come.
func planning(d job.Planned) string {
	s := fmt.Sprintf("%s, %d of %s sent", plural(d.Objects, "object"), d.Sent, plural(d.Parts, "message"))
	if d.Read < d.Size {
		s += fmt.Sprintf("; looking for ends of records in %s: %3.0f %%", d.Reading, 100*float64(d.Read)/float64(d.Size))
	}
	return s
}

// readManifest reads a local manifest.
func (p *program) readManifest(name string, dry bool) ([]byte, error) {
	if dry {
		return nil, usage("batch submit: a dry run reads a manifest from S3; upload %s first", name)
	}
	if err := checkFile(name, inDir(p.dir, name)); err != nil {
		return nil, &exit{exitUsage, fmt.Errorf("batch submit: manifest: %w", err)}
	}
	body, err := os.ReadFile(inDir(p.dir, name))
	if err != nil {
		return nil, &exit{exitUsage, fmt.Errorf("batch submit: manifest: %s: %w", name, reason(err))}
	}
	return body, nil
}

// manifestOf is where a local manifest is put: its name follows from its
// content, so that the same submit finds the same job.
func (d *desk) manifestOf(id string, body []byte) storage.Ref {
	sum := sha256.Sum256(body)
	return storage.Ref{Bucket: d.locations.State.Bucket, Key: d.locations.State.Key + "jobs/" + id + "/manifest-" + hex.EncodeToString(sum[:8])}
}

// printEstimate prints what a job would be.
func (p *program) printEstimate(e job.Estimate, format string) error {
	if format == formatJSON {
		return printLine(p.stdout, e)
	}
	t := table{head: []string{"a job of", ""}}
	t.add("objects", fmt.Sprintf("%d (%d left out)", e.Objects, e.Skipped))
	t.add("bytes", humanize.Bytes(uint64(e.Bytes)))
	t.add("messages", fmt.Sprint(e.Parts))
	work := "not known: no worker has told what a request costs"
	if e.Work > 0 {
		work = fmt.Sprintf("about %s of one worker", ago(e.Work))
	}
	t.add("time", work)
	t.add("requests", fmt.Sprintf("about %d to SQS, %d GET and HEAD, %d PUT and LIST", e.Calls.SQS, e.Calls.Reads, e.Calls.Writes))
	t.add("price", fmt.Sprintf("about $%.2f for requests, in us-east-1, without any free tier", e.Dollars))
	return t.write(p.stdout, p.ink(p.stdout), columns(p.stdout))
}
