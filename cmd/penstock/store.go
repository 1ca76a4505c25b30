package main

import (
	"context"
	"time"

	"github.com/penstock/penstock/cmd/internal/clients"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/sqs"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
)

// services are S3 and SQS.
type services struct {
	store storage.Store
	queue func(url string) producerQueue
	now   func() time.Time // by their clock, as soon as they have been called
}

// producerQueue is a queue as those see it who put requests into it.
type producerQueue interface {
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
	return services{
		store: s3.New(c.S3),
		queue: func(url string) producerQueue { return sqs.New(c.SQS, url) },
		now:   func() time.Time { return time.Now().Add(c.Skew()) },
	}, nil
}
