package main

import (
	"context"
	"time"

	"github.com/penstock/penstock/cmd/internal/clients"
	"github.com/penstock/penstock/cmd/penstock/doctor"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/sqs"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
)

// services are S3 and SQS.
type services struct {
	store storage.Store
	queue func(url string) messageQueue
	now   func() time.Time // by their clock, as soon as they have been called
	// deadLetterURL finds the URL of the queue's redrive target; it is empty
	// when there is none.
	deadLetterURL func(ctx context.Context, queueURL string) (string, error)

	buckets doctor.Buckets
	region  string
	skew    func() time.Duration
}

// messageQueue is all that a queue can do.
type messageQueue interface {
	queue.Receiver
	queue.Sender
	queue.Inspector
}

// openServices opens S3 and SQS by the AWS settings of this process's
// environment.
func openServices(ctx context.Context) (services, error) {
	c, err := clients.Open(ctx, clients.Options{Version: version()})
	if err != nil {
		return services{}, err
	}
	store := s3.New(c.S3)
	return services{
		store: store, buckets: store, region: c.Region, skew: c.Skew,
		queue: func(url string) messageQueue { return sqs.New(c.SQS, url) },
		now:   func() time.Time { return time.Now().Add(c.Skew()) },
		deadLetterURL: func(ctx context.Context, queueURL string) (string, error) {
			return sqs.New(c.SQS, queueURL).DeadLetterURL(ctx)
		},
	}, nil
}
