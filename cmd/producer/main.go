// Command producer is the Lambda function between S3 and the queue: for each
// object that an event tells of it enqueues a request. It is pure Go and never
// links TensorFlow.
//
// It takes S3 event notifications and EventBridge's "Object Created", each as
// it is or through SNS, and direct invocations with a request. Its settings
// are PENSTOCK_QUEUE_URL, PENSTOCK_INPUT, PENSTOCK_OUTPUT, PENSTOCK_FAILURE
// and PENSTOCK_STATE, as the worker's. A failed event is an error, so that
// Lambda tries it again and then sends it to the function's failure
// destination: configure one.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/penstock/penstock/cmd/internal/clients"
	"github.com/penstock/penstock/cmd/internal/producer"
	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/queue/sqs"
)

func main() {
	os.Exit(run(context.Background(), os.LookupEnv, os.Stderr, func(handler any) { lambda.Start(handler) }))
}

// run prepares the handler and gives it to start, which does not return while
// Lambda keeps the function. What run does before is done once for many
// events, in the time that Lambda gives a function to start.
func run(ctx context.Context, env settings.Lookup, stderr io.Writer, start func(handler any)) int {
	log := newLog(stderr)
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
	installation, err := settings.Read(env)
	if err != nil {
		return nil, fmt.Errorf("read the settings PENSTOCK_*: %w", err)
	}
	c, err := clients.Open(ctx, clients.Options{Logger: log})
	if err != nil {
		return nil, err
	}
	return &producer.Handler{
		Locations: installation.Locations,
		Queue:     sqs.New(c.SQS, installation.QueueURL),
		Log:       log,
	}, nil
}

// newLog writes one JSON object a line, which CloudWatch Logs can search by
// member.
func newLog(w io.Writer) *zap.Logger {
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(encoding), zapcore.Lock(zapcore.AddSync(w)), zapcore.InfoLevel))
}
