//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/clients"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/sns"
	"github.com/penstock/penstock/queue/sqs"
	"github.com/penstock/penstock/storage/s3"
	"github.com/penstock/penstock/worker"
)

// connect opens the queue and the object store, and checks that the queue is
// as the worker needs it.
func connect(ctx context.Context, s *settings, cfg *worker.Config) error {
	c, err := clients.Open(ctx, clients.Options{MaxConnections: cfg.MaxInFlight, Logger: cfg.Log})
	if err != nil {
		return settingsError{err}
	}
	cfg.Store = s3.New(c.S3)
	cfg.Skew = c.Skew
	if cfg.Notify.Success != "" || cfg.Notify.Failure != "" {
		cfg.Notify.Topics, cfg.Notify.Region = sns.New(c.SNS), c.Region
	}
	q := sqs.New(c.SQS, s.queueURL)
	cfg.Queue, cfg.Requests = q, q

	deadLetters := s.deadLetterURL
	attributes, err := q.Attributes(ctx)
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return settingsError{fmt.Errorf("queue-url: there is no queue %s: %w", s.queueURL, err)}
	case err != nil:
		return fmt.Errorf("look at the queue %s: %w; check queue-url, AWS_REGION, the credentials and, where it is not AWS's own, AWS_ENDPOINT_URL_SQS", s.queueURL, err)
	}
	checkQueue(attributes, cfg, deadLetters != "")
	if deadLetters == "" && attributes.DeadLetterARN != "" {
		deadLetters, err = q.DeadLetterURL(ctx)
		if err != nil {
			return fmt.Errorf("look up the dead-letter queue %s: %w; set dead-letter-url", attributes.DeadLetterARN, err)
		}
	}
	if deadLetters != "" {
		if deadLetters == s.queueURL {
			return settingsError{errors.New("dead-letter-url is the queue itself; name another queue")}
		}
		cfg.DeadLetters = sqs.New(c.SQS, deadLetters)
	}
	return nil
}

// What the queue should be like. The queue's own redrive is the last net under
// the worker's limits: it must not bite before they do.
const (
	wantReceives  = 100
	wantRetention = 14 * 24 * time.Hour
	wantMessage   = 256 << 10
)

// checkQueue warns of what the worker can live with and an operator should
// know.
func checkQueue(a queue.Attributes, cfg *worker.Config, ownDeadLetters bool) {
	warn := func(what string, fields ...zap.Field) { cfg.Log.Warn("queue: "+what, fields...) }
	if a.DeadLetterARN == "" && !ownDeadLetters {
		warn("it has no dead-letter queue, so unreadable messages stay in it until their retention ends: set its RedrivePolicy, or -dead-letter-url")
	}
	if a.DeadLetterARN != "" && a.MaxReceiveCount < wantReceives {
		warn("its maxReceiveCount is low: receives also count for restarts and outages, so requests that are not to blame can be dead-lettered without a failure object",
			zap.Int("maxReceiveCount", a.MaxReceiveCount), zap.Int("recommended", wantReceives))
	}
	if a.RetentionPeriod > 0 && a.RetentionPeriod < wantRetention {
		warn("its retention is short: requests that wait longer vanish without a result",
			zap.Duration("retention", a.RetentionPeriod), zap.Duration("recommended", wantRetention))
	}
	if a.MaximumMessage > 0 && a.MaximumMessage < wantMessage {
		warn("its maximum message size is small: messages with many requests will be refused",
			zap.Int("bytes", a.MaximumMessage), zap.Int("recommended", 1<<20))
	}
}
