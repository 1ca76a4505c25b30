// Command producer is the Lambda function between people and the queue: it
// takes events of uploads, batches of messages, HTTP requests and invocations
// by hand, and enqueues a request for each input. It is pure Go and never links
// TensorFlow.
//
// What it takes, its settings and the rights that it needs are in
// docs/producer.md. A failed event is an error, so that Lambda tries it again
// and then sends it to the function's failure destination: configure one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/penstock/penstock/cmd/internal/clients"
	"github.com/penstock/penstock/cmd/internal/intake"
	"github.com/penstock/penstock/cmd/internal/producer"
	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/cmd/internal/sweep"
	"github.com/penstock/penstock/queue/sqs"
	"github.com/penstock/penstock/storage/s3"
)

func main() {
	os.Exit(run(context.Background(), os.LookupEnv, os.Environ(), os.Stderr, func(handler any) { lambda.Start(handler) }))
}

// run prepares the handler and gives it to start, which does not return while
// Lambda keeps the function. env finds what environ lists. What run does before
// is done once for many events, in the time that Lambda gives a function to
// start; it calls no service.
func run(ctx context.Context, env settings.Lookup, environ []string, stderr io.Writer, start func(handler any)) int {
	log := newLog(stderr)
	for _, err := range settings.Unknown(environ) {
		log.Warn("unknown setting", zap.Error(err))
	}
	h, err := newHandler(ctx, env, log)
	if err != nil {
		log.Error("producer can't start", zap.Error(err))
		return 1
	}
	start(h.Handle)
	return 0
}

// newHandler wires the producer. All faults of the settings are reported at
// once.
func newHandler(ctx context.Context, env settings.Lookup, log *zap.Logger) (*producer.Handler, error) {
	s, err := readSettings(env)
	if err != nil {
		return nil, fmt.Errorf("read the settings PENSTOCK_*: %w", err)
	}
	c, err := clients.Open(ctx, clients.Options{Logger: log})
	if err != nil {
		return nil, err
	}
	store, queue := s3.New(c.S3), sqs.New(c.SQS, s.QueueURL)
	now := func() time.Time { return time.Now().Add(c.Skew()) }
	in := &intake.Intake{Store: store, Queue: queue, Locations: s.Locations, Now: now, Group: s.Group}
	return &producer.Handler{
		Locations: s.Locations, Queue: queue, QueueURL: s.QueueURL, Group: s.Group, Filter: s.filter,
		Store: store, Intake: in, Door: newDoor(s, store, queue, in, now, log),
		Sweep:      sweeping(s, c, &sweep.Sweeper{Store: store, Locations: s.Locations, Queue: queue, Again: in.Again, Now: now, Log: log}),
		Invocation: invocation, Log: log,
	}, nil
}

// invocation is the id of the invocation: the same when Lambda tries again.
func invocation(ctx context.Context) string {
	c, ok := lambdacontext.FromContext(ctx)
	if !ok {
		return ""
	}
	return c.AwsRequestID
}

// sweeping finds the dead-letter queue when it is needed first, and sweeps.
func sweeping(s options, c *clients.Clients, sweeper *sweep.Sweeper) func(context.Context) (any, error) {
	return func(ctx context.Context) (any, error) {
		var unknown error // requests expire all the same
		if sweeper.DeadLetters == nil {
			url := s.deadLetterURL
			if url == "" {
				var err error
				if url, err = sqs.New(c.SQS, s.QueueURL).DeadLetterURL(ctx); err != nil {
					unknown = fmt.Errorf("find the dead-letter queue, which PENSTOCK_DEAD_LETTER_URL may name: %w", err)
				}
			}
			if url != "" {
				sweeper.DeadLetters = sqs.New(c.SQS, url)
			}
		}
		counts, err := sweeper.Run(ctx)
		return counts, errors.Join(unknown, err)
	}
}

// newLog writes one JSON object a line, which CloudWatch Logs can search by
// member.
func newLog(w io.Writer) *zap.Logger {
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(encoding), zapcore.Lock(zapcore.AddSync(w)), zapcore.InfoLevel))
}
