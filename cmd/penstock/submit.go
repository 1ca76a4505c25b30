package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/penstock/outcome"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func (p *program) submitCommand() *cli.Command {
	return &cli.Command{
		Name: "submit", Usage: "upload files and print their results", ArgsUsage: "FILE...",
		Description: `Each file becomes an object below the input location, named as the file is. What
is printed is the result of that very upload, not of an older one to the same key.
The content type follows from the extension; "-" is standard input.

Examples:
  penstock submit my.png
  penstock submit -o json rows.json
  penstock submit -prefix today/ -timeout 30m photos/*.jpg
  penstock wait $(penstock submit -no-wait big.npy)
  generate | penstock submit - -key rows.json`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "key", Usage: "upload to this `KEY` below the input location; for one file"},
			&cli.StringFlag{Name: "prefix", Usage: "`PREFIX` put before each file's name, such as today/"},
			&cli.StringFlag{Name: "model", Usage: "`NAME` of the model to run; needed where the worker has several"},
			&cli.StringFlag{Name: "signature", Usage: "`NAME` of the model's signature to run; else that of the input, else the model's default"},
			&cli.StringFlag{Name: "accept", Usage: "media `TYPE` of the result, as in HTTP; else the model's own"},
			&cli.StringFlag{Name: "ttl", Usage: "`TIME` after which the request must not be started any more but fails as Expired, such as 90m; else there is no limit"},
			&cli.StringFlag{Name: "record-errors", Usage: "`WHAT` becomes of bad records of a file of records: report puts each error in its place, fail fails the file; else as the model's file says, or report"},
			&cli.BoolFlag{Name: "no-wait", Usage: "print the inputs' URIs and don't wait for results"},
			timeoutFlag(), formatFlag(),
		}, p.placeFlags()...),
		Action: p.submit,
	}
}

// parallel is how many files are under way at a time.
const parallel = 16

func (p *program) submit(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() == 0 {
		return usage("submit: no file is given; see penstock submit -h")
	}
	options, err := parseWaitOptions(cmd)
	if err != nil {
		return err
	}
	metadata, err := uploadMetadata(cmd)
	if err != nil {
		return err
	}
	locations, err := p.locations(cmd)
	if err != nil {
		return err
	}
	uploads, err := p.plan(cmd.Args().Slice(), cmd.String("key"), cmd.String("prefix"), locations)
	if err != nil {
		return err
	}
	store, err := p.openStore(ctx)
	if err != nil {
		return err
	}
	s := submission{p, outcome.Finder{Store: store, Locations: locations}, store, metadata, options}
	if cmd.Bool("no-wait") {
		return s.send(ctx, uploads)
	}
	names := make([]string, len(uploads))
	for i, u := range uploads {
		names[i] = u.name
	}
	return p.await(ctx, store, options, names, func(i int) result { return s.run(ctx, uploads[i]) })
}

// submission is what the uploads of one command have in common.
type submission struct {
	*program
	finder   outcome.Finder
	store    storage.Store
	metadata map[string]string
	options  waitOptions
}

// run uploads a file and waits for the outcome.
func (s submission) run(ctx context.Context, u upload) result {
	began := time.Now()
	r := result{name: u.name, input: u.ref}
	info, err := s.put(ctx, u)
	if r.err = err; err == nil {
		r = s.follow(ctx, s.finder, s.options, r, info)
	}
	r.took = time.Since(began)
	return r
}

// put uploads a file and says which version of the object it is now.
func (s submission) put(ctx context.Context, u upload) (storage.Info, error) {
	body, err := u.read()
	if err != nil {
		return storage.Info{}, err
	}
	return put(ctx, s.store, u.ref, body, s.metadata)
}

// uploadMetadata is what the flags choose for the request.
func uploadMetadata(cmd *cli.Command) (map[string]string, error) {
	metadata := map[string]string{}
	for flag, name := range map[string]string{
		"model": request.UploadModel, "signature": request.UploadSignature, "accept": request.UploadAccept, "ttl": request.UploadTTL,
		"record-errors": request.UploadRecordErrors,
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

// put writes an input object. What it returns tells its version, as Find and
// Wait need it.
func put(ctx context.Context, store storage.Store, ref storage.Ref, body []byte, metadata map[string]string) (storage.Info, error) {
	info, err := store.Put(ctx, ref, body, storage.PutOptions{ContentType: contentType(ref.Key), Metadata: metadata})
	if err != nil {
		return storage.Info{}, fmt.Errorf("upload: %w", err)
	}
	// The time of the upload is a part of the identity, and only reading tells it.
	now, err := store.Head(ctx, info.Ref)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return storage.Info{}, fmt.Errorf("look at the upload: %w", err)
	case err == nil && request.SameVersion(now, info):
		return now, nil
	}
	return info, nil // another upload has taken its place already
}

// send uploads the files and prints where they are.
func (s submission) send(ctx context.Context, uploads []upload) error {
	code := exitOK
	inOrder(len(uploads), parallel, func(i int) error {
		_, err := s.put(ctx, uploads[i])
		return err
	}, func(i int, err error) {
		if err != nil {
			code = max(code, s.tell(result{name: uploads[i].name, err: err}))
			return
		}
		fmt.Fprintln(s.stdout, uploads[i].ref)
	})
	return ended(ctx, code)
}

// ended is the error of a verb that has told of its faults already.
func ended(ctx context.Context, code int) error {
	switch {
	case errors.Is(context.Cause(ctx), errInterrupted):
		return context.Cause(ctx)
	case code != exitOK:
		return &exit{code: code}
	}
	return nil
}
