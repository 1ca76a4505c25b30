package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"time"

	"github.com/urfave/cli/v3"
	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/frontdoor"
	"github.com/penstock/penstock/cmd/internal/frontdoor/native"
	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/cmd/internal/status"
	"github.com/penstock/penstock/cmd/internal/sweep"
	"github.com/penstock/penstock/cmd/penstock/server"
	"github.com/penstock/penstock/queue/request"
)

// Flags of serve that have a variable.
const (
	flagListen    = "listen"
	flagEndpoints = "endpoints"
	flagTokens    = "token-file"
	flagKeys      = "key-file"
	flagAnonymous = "allow-anonymous"
	flagMaxBody   = "max-body"
	flagMaxWait   = "max-wait"
	flagDead      = "dead-letter-url"
	flagLogLevel  = "log-level"

	// varToken is a bearer token. It is no flag: others can read those.
	varToken = "PENSTOCK_TOKEN"
)

const defaultListen = "127.0.0.1:8080"

func (p *program) serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "take requests over HTTP: SageMaker's API, and Penstock's own",
		Description: `It accepts requests, puts them into the queue and answers with results; workers do
the work. SageMaker's clients use it by their endpoint URL
(AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME); Penstock's own API is described at
/openapi.json. /healthz, /readyz and /metrics are answered to anybody. Every five
minutes it looks for requests that have expired, and ends them.

It listens on this machine alone, unless callers are told apart: by bearer tokens
(-token-file, lines of NAME TOKEN; one more may be in PENSTOCK_TOKEN), or by AWS
signatures with keys of its own (-key-file, in the form of AWS's credentials file).
Both files are read again when they change.

Examples:
  penstock serve -endpoints digits
  curl --data-binary @my.png -H 'Prefer: wait=30' http://127.0.0.1:8080/predict
  aws sagemaker-runtime invoke-endpoint-async --endpoint-url http://127.0.0.1:8080 \
    --endpoint-name digits --input-location s3://my-bucket/in/my.png`,
		Flags: slices.Concat([]cli.Flag{
			p.settingOr(flagListen, defaultListen, "`ADDRESS` to listen on; :8080 for all interfaces, port 0 for any free one"),
			p.setting(flagEndpoints, "`NAMES` of SageMaker endpoints to answer to, with commas between, each NAME or NAME=MODEL; without a model the worker's only one"),
			p.setting(flagTokens, "`FILE` of bearer tokens, a line NAME TOKEN for each caller"),
			p.setting(flagKeys, "`FILE` of access keys that callers sign with, as AWS's credentials file"),
			&cli.BoolFlag{Name: flagAnonymous, Usage: "listen beyond this machine, and answer by any name, though anybody who reaches it may call; for networks that keep strangers out", Sources: p.variable(flagAnonymous)},
			p.settingOr(flagMaxBody, "6MiB", "`SIZE` of the largest input that is sent with its request; larger ones go to S3 by POST /v1/uploads"),
			&cli.DurationFlag{Name: flagMaxWait, Value: frontdoor.DefaultMaxWait, Usage: "`TIME` that a call waits for its result at most where it asks to (Prefer: wait)", Sources: p.variable(flagMaxWait)},
			p.setting(settings.QueueURL, "`URL` of the SQS queue"),
			p.setting(settings.GroupBy, "`WHAT` requests share a message group by: none, object, folder, bucket or model; default none, and object for a FIFO queue"),
			p.setting(flagDead, "`URL` of the dead-letter queue, which is swept too; default: the queue's redrive target"),
			p.setting(settings.Input, "`URI` of the locations that inputs may lie in, s3://bucket/prefix/, with commas between"),
		}, p.placeFlags()[1:], []cli.Flag{
			p.setting(settings.State, "`URI` where Penstock keeps its own objects, bodies of requests among them; default .penstock/ in the output's bucket"),
			p.settingOr(flagLogLevel, "info", "`LEVEL` of the log on standard error: debug, info, warn or error; a call is info"),
		}),
		Action: p.serveVerb,
	}
}

// served is what serve is told, read and checked.
type served struct {
	door        frontdoor.Config
	listener    net.Listener
	queueURL    string
	grouping    request.Grouping
	deadLetters string
	open        bool // nobody is asked who they are
	anonymous   bool // whoever reaches it may call
	log         *zap.Logger
}

// lookLimit is how long serve looks for the queue before it starts without.
const lookLimit = 5 * time.Second

func (p *program) serveVerb(ctx context.Context, cmd *cli.Command) error {
	o, err := p.serveOptions(ctx, cmd)
	if err != nil {
		return err
	}
	defer o.listener.Close() // where it is not served
	for _, err := range p.unknownSettings() {
		o.log.Warn("unknown setting", zap.Error(err))
	}
	s, err := p.openServices(ctx)
	if err != nil {
		return err
	}
	queue := s.queue(o.queueURL)
	look, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	switch _, err := queue.Attributes(look); {
	case errors.Is(err, fs.ErrNotExist):
		return usage("serve: there is no queue %s in the region %s, which is asked (AWS_REGION): %w", o.queueURL, s.region, brief(err))
	case err != nil: // it may come
		o.log.Warn("the queue can't be reached yet; /readyz says when it can", zap.Error(brief(err)))
	}
	fmt.Fprintf(p.stdout, "Penstock answers on %s\n", urlOf(o.listener))
	o.log.Info("serving", zap.String("url", urlOf(o.listener)), zap.String("queue", o.queueURL), zap.Int("endpoints", len(o.door.Endpoints)), zap.Bool("anybody", o.open))
	err = server.Run(ctx, p.hard, o.listener, p.serverConfig(s, o))
	o.log.Info("ended", zap.Error(err))
	return err
}

// serverConfig wires a server.
func (p *program) serverConfig(s services, o served) server.Config {
	q := s.queue(o.queueURL)
	c := server.Config{Door: o.door, Store: s.store, Queue: q, Locations: o.door.Locations, Log: o.log, OwnHost: o.open && !o.anonymous}
	c.Door.Log = o.log
	c.Door.Store = s.store
	c.Door.Intake = &intake.Intake{
		Store: s.store, Queue: q, Locations: o.door.Locations, Now: s.now,
		Group: func(r request.Request) string { return o.door.Locations.GroupOf(o.grouping, r) },
	}
	c.Door.Finder = &status.Finder{Store: s.store, Locations: o.door.Locations, Now: s.now, Queue: q}
	c.Door.Account = settings.Account(o.queueURL)
	if presign, ok := s.store.(native.Presigner); ok {
		c.Door.Presign = presign
	}
	c.Sweeper = &sweep.Sweeper{Store: s.store, Locations: o.door.Locations, Queue: q, Again: c.Door.Intake.Again, Now: s.now, Log: o.log}
	c.DeadLetters = func(ctx context.Context) (sweep.DeadLetterQueue, error) {
		url, err := o.deadLetters, error(nil)
		if url == "" && s.deadLetterURL != nil {
			url, err = s.deadLetterURL(ctx, o.queueURL)
		}
		if url == "" || err != nil {
			return nil, err
		}
		return s.queue(url), nil
	}
	return c
}
