//go:build unix

package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/producer"
	shared "github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/queue/sqs"
	"github.com/penstock/penstock/storage"
)

// newProducer gives what happens with every S3 event: the Lambda producer's
// own handler, in this process, sending to queueURL. Without PENSTOCK_INPUT in
// the environment there is nothing to watch, and events are only logged.
func newProducer(s settings, lookup shared.Lookup, endpoint, queueURL string, log *zap.Logger) (func(context.Context, []byte) error, error) {
	value := func(flag string) string {
		v, _ := lookup(shared.Name(flag))
		return v
	}
	if value(shared.Input) == "" || queueURL == "" {
		return func(_ context.Context, body []byte) error {
			log.Debug("S3 event", zap.ByteString("event", body))
			return nil
		}, nil
	}
	locations, err := request.ParseLocations(value(shared.Input), value(shared.Output), value(shared.Failure), value(shared.State))
	if err != nil {
		return nil, fmt.Errorf("the producer's locations: %w", err)
	}
	grouping, err := request.ParseGrouping(value(shared.GroupBy), queueURL)
	if err != nil {
		return nil, fmt.Errorf("the producer's %s: %w", shared.GroupBy, err)
	}
	client := awssqs.New(awssqs.Options{
		BaseEndpoint: aws.String(endpoint), Region: s.region,
		Credentials: credentials.NewStaticCredentialsProvider(s.accessKey, s.secretKey, ""),
	})
	h := producer.Handler{
		Locations: locations, Queue: sqs.New(client, queueURL), QueueURL: queueURL, Log: log.Named("producer"),
		Group: func(r request.Request) string { return locations.GroupOf(grouping, r) },
	}
	return func(ctx context.Context, body []byte) error {
		if !watched(body, locations.Inputs) {
			return nil
		}
		_, err := h.Handle(ctx, body)
		return err
	}, nil
}

// watched says whether the event tells of an object that a notification on
// the input locations would have been sent for. S3 filters by prefix; the
// embedded one sends an event for every write, results too.
func watched(event []byte, inputs []storage.Ref) bool {
	requests, err := request.Decode(string(event))
	return err != nil || slices.ContainsFunc(requests, func(r request.Request) bool {
		return slices.ContainsFunc(inputs, func(in storage.Ref) bool { return in.Contains(r.Input) })
	})
}
