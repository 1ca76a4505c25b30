package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/producer"
	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/cmd/penstock/upload"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/job"
)

func (p *program) submitCommand() *cli.Command {
	return &cli.Command{
		Name: "submit", Usage: "upload files and print their results", ArgsUsage: "FILE | FOLDER | URI | - ...",
		Description: `Each file becomes an object below the input location, named as the file is; those of
a folder and of the folders in it are named with the folder's name before them.
Hidden files in folders are left out. What is printed is the result of that very
upload, not of an older one to the same key. The content type follows from the
extension; "-" is standard input. Files may have any size.

An s3:// URI is an object, or with a slash at its end all below it. Objects that
lie elsewhere are copied to the input location. One that lies there already is
left as it is: where it has no result yet it is enqueued (again), which changes
nothing if it was enqueued before, and needs -queue-url.

With -out each result is written to a file; a failure object is written beside,
with .error behind the name. Failures are told of at the end. After an interruption
the command says what is left and how to go on.

Exit codes: 0; 1 when a request failed or a file could not be submitted; 2 wrong
usage, and nothing was uploaded; 3 when there is no result after -timeout; 4, 130
as of all commands. Of several, the highest.

Examples:
  penstock submit my.png
  penstock submit -o json rows.json | jq .predictions
  penstock submit -out results -include '*.jpg' photos
  penstock submit -prefix today/ -timeout 30m photos/*.jpg
  penstock submit s3://other-bucket/photos/
  penstock wait $(penstock submit -no-wait big.npy)
  generate | penstock submit - -key rows.json`,
		Flags: append(append([]cli.Flag{
			&cli.StringFlag{Name: "key", Usage: "upload to this `KEY` below the input location; for one file"},
			&cli.StringFlag{Name: "prefix", Usage: "`PREFIX` put before each name, such as today/"},
			&cli.StringSliceFlag{Name: "include", Usage: "of folders only what matches this `PATTERN`, such as '*.{jpg,png}'; one with a slash is for paths below the folder, ** for any; may be given several times"},
			&cli.StringSliceFlag{Name: "exclude", Usage: "of folders not what matches this `PATTERN`; likewise"},
			&cli.BoolFlag{Name: "skip-uploaded", Usage: "don't upload files whose object is there already, of the same size and not older, but wait for its result: to go on after an interruption"},
			&cli.StringFlag{Name: "model", Usage: "`NAME` of the model to run; needed where the worker has several"},
			&cli.StringFlag{Name: "signature", Usage: "`NAME` of the model's signature to run; else that of the input, else the model's default"},
			&cli.StringFlag{Name: "accept", Usage: "media `TYPE` of the result, as in HTTP; else the model's own"},
			&cli.StringFlag{Name: "ttl", Usage: "`TIME` after which the request must not be started any more but fails as Expired, such as 90m; else there is no limit"},
			&cli.StringFlag{Name: "id", Usage: "`NAME` of the request in logs, results and notifications, for one file; its result lies where it would without"},
			&cli.StringFlag{Name: "record-errors", Usage: "`WHAT` becomes of bad records of a file of records: report puts each error in its place, fail fails the file; else as the model's file says, or report"},
			&cli.BoolFlag{Name: "no-wait", Usage: "print the inputs' URIs and don't wait for results"},
		}, waitFlags()...), append(p.placeFlags(), p.setting(settings.QueueURL, "`URL` of the SQS queue; needed for objects that lie in the input location already"))...),
		DisableSliceFlagSeparator: true,
		Action:                    p.submit,
	}
}

func (p *program) submit(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() == 0 {
		return usage("submit: no file is given; see penstock submit -h")
	}
	options, err := parseWaitOptions(cmd)
	if err != nil {
		return err
	}
	options.uploads = true
	metadata, err := uploadMetadata(cmd)
	if err != nil {
		return err
	}
	locations, err := p.locations(cmd)
	if err != nil {
		return err
	}
	chooser, err := job.NewChooser(cmd.StringSlice("include"), cmd.StringSlice("exclude"))
	if err != nil {
		return usage("submit: %w", err)
	}
	s, err := p.openServices(ctx)
	if err != nil {
		return err
	}
	plan := &upload.Plan{
		Args: cmd.Args().Slice(), Key: cmd.String("key"), Prefix: cmd.String("prefix"),
		Chooser: chooser, Chosen: len(metadata) > 0,
		Dir: p.dir, Stdin: p.stdin, Locations: locations, Store: s.store,
	}
	if options.out != "" {
		plan.Skip = inDir(p.dir, options.out)
	}
	totals, err := plan.Check(ctx)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return &exit{exitUsage, err}
	case cmd.IsSet("id") && totals.Items+totals.Faults > 1:
		return usage("submit: -id names one request, but there are %d files", totals.Items+totals.Faults)
	}
	a, err := p.newAwaiting(s.store, options, totals.Items+totals.Faults, totals.Width, totals.Bytes)
	if err != nil {
		return err
	}
	sub := &submission{
		finder: p.newFinder(s, locations), sender: upload.NewSender(s.store, metadata, a.bar.didSend), options: options, bar: a.bar,
		skipUploaded: cmd.Bool("skip-uploaded"), noWait: cmd.Bool("no-wait"),
		uploads: make(chan struct{}, parallel), waits: make(chan struct{}, waiting),
	}
	if url := cmd.String(settings.QueueURL); url != "" {
		if err := settings.CheckQueueURL(url); err != nil {
			return usage("submit: %w", err)
		}
		by, _ := p.lookup(settings.Name(settings.GroupBy))
		if sub.grouping, err = request.ParseGrouping(by, url); err != nil {
			return usage("submit: %s: %w", settings.GroupBy, err)
		}
		sub.queue = s.queue(url)
	}
	a.uris = sub.noWait
	return await(ctx, a, plan.Items(ctx), func(i upload.Item) result { return sub.run(ctx, i) })
}

// submission is what the uploads of one command have in common.
type submission struct {
	*finder
	sender       *upload.Sender
	queue        queue.Sender // nil when it is not known
	grouping     request.Grouping
	options      waitOptions
	bar          *bar
	skipUploaded bool
	noWait       bool
	uploads      chan struct{} // slots
	waits        chan struct{}
}

// run brings an item to its place and waits for the outcome.
func (s *submission) run(ctx context.Context, i upload.Item) result {
	began := time.Now()
	r := result{name: i.Name, path: i.Path, input: i.Ref}
	if r.err = i.Fault; i.Fault != nil {
		r.err = &exit{exitFailed, i.Fault}
		return r
	}
	info, err := s.bring(ctx, i)
	if r.err = err; err != nil {
		return r.taking(began)
	}
	s.bar.didUpload()
	r.sent = true
	if s.noWait {
		return r
	}
	select {
	case s.waits <- struct{}{}:
	case <-ctx.Done():
		r.err = context.Cause(ctx)
		return r
	}
	defer func() { <-s.waits }()
	return s.followInput(ctx, s.options, r, info).taking(began)
}

// bring brings an item to its place, and says which version of the object it
// is now.
func (s *submission) bring(ctx context.Context, i upload.Item) (storage.Info, error) {
	select {
	case s.uploads <- struct{}{}:
	case <-ctx.Done():
		return storage.Info{}, context.Cause(ctx)
	}
	defer func() { <-s.uploads }()
	if ctx.Err() != nil {
		return storage.Info{}, context.Cause(ctx)
	}
	if s.skipUploaded {
		if info, ok := s.sender.Current(ctx, i); ok {
			return info, nil
		}
	}
	info, err := s.sender.Send(ctx, i)
	if err == nil && i.InPlace() {
		err = s.enqueue(ctx, info)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return info, err
}

// enqueue sends the request for an object that is in its place already, unless
// it has a terminal object.
func (s *submission) enqueue(ctx context.Context, info storage.Info) error {
	if _, ok, err := s.outcomes.Find(ctx, info); ok || err != nil {
		return err
	}
	r, ok, err := request.Uploaded(info)
	switch {
	case err != nil:
		return &exit{exitFailed, err}
	case !ok:
		return &exit{exitFailed, errors.New("it is no input")}
	case s.queue == nil:
		return usage("it lies in the input location and has no result, and to enqueue it -queue-url is needed; if it was uploaded just now: %s wait %s", s.self(), quoteAll([]string{info.Ref.String()}))
	}
	group := func(r request.Request) string { return s.locations.GroupOf(s.grouping, r) }
	if err := producer.Enqueue(ctx, s.queue, group, []request.Request{r})[0]; err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	return nil
}

// uploadMetadata is what the flags choose for the request.
func uploadMetadata(cmd *cli.Command) (map[string]string, error) {
	metadata := map[string]string{}
	for flag, name := range map[string]string{
		"model": request.UploadModel, "signature": request.UploadSignature, "accept": request.UploadAccept, "ttl": request.UploadTTL,
		"id": request.UploadID, "record-errors": request.UploadRecordErrors,
	} {
		if v := cmd.String(flag); v != "" {
			metadata[name] = v
		}
	}
	// The worker would refuse the request for the same reasons, but later.
	probe := request.Request{Input: storage.Ref{Bucket: "any", Key: "any"}}
	if _, _, err := probe.ApplyUpload(metadata); err != nil {
		return nil, usage("submit: %w", err)
	}
	if err := (storage.PutOptions{Metadata: metadata}).Validate(); err != nil {
		return nil, usage("submit: %w", err)
	}
	return metadata, nil
}
