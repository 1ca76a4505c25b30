//go:build cgo

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"github.com/penstock/penstock/cmd/internal/clients"
	shared "github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/sns"
	"github.com/penstock/penstock/queue/sqs"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
	"github.com/penstock/penstock/worker"
)

// connect opens the queues and the object store, and checks that the queues are
// as the worker needs them.
func connect(ctx context.Context, s *settings, cfg *worker.Config) error {
	c, err := clients.Open(ctx, clients.Options{MaxConnections: cfg.MaxInFlight + cfg.MaxInFlight/2, Logger: cfg.Log})
	if err != nil {
		return settingsError{err}
	}
	cfg.Store = s3.New(c.S3)
	checkStore(ctx, cfg.Store, cfg.Locations.State, cfg.Log)
	cfg.Skew = c.Skew
	if cfg.Notify.Success != "" || cfg.Notify.Failure != "" {
		cfg.Notify.Topics, cfg.Notify.Region = sns.New(c.SNS), c.Region
	}
	q, deadLetters, err := openQueue(ctx, c, "queue-url", s.queueURL, s.deadLetterURL, cfg.Log)
	if err != nil {
		return err
	}
	cfg.Queue, cfg.Requests, cfg.DeadLetters = q, q, deadLetters
	if s.batchQueueURL == "" {
		return nil
	}
	q, jobsLetters, err := openQueue(ctx, c, shared.BatchQueueURL, s.batchQueueURL, "", cfg.Log)
	if err != nil {
		return err
	}
	if jobsLetters == nil {
		jobsLetters = deadLetters
	}
	cfg.BatchQueue, cfg.BatchRequests, cfg.BatchDeadLetters = q, q, jobsLetters
	return nil
}

// openQueue opens the queue that a flag names, and its dead-letter queue: the
// one that is given, else its redrive target, else none.
func openQueue(ctx context.Context, c *clients.Clients, flag, url, deadLetters string, log *zap.Logger) (*sqs.Queue, queue.Sender, error) {
	q := sqs.New(c.SQS, url)
	attributes, err := q.Attributes(ctx)
	switch {
	case errors.Is(err, context.Canceled):
		return nil, nil, err
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, settingsError{fmt.Errorf("%s: there is no queue %s in the region %s, which is asked (AWS_REGION): %w", flag, url, c.Region, err)}
	case err != nil:
		return nil, nil, fmt.Errorf("look at the queue %s: %w; check %s, AWS_REGION, the credentials and, where it is not AWS's own, AWS_ENDPOINT_URL_SQS", url, err, flag)
	}
	checkQueue(attributes, flag, log, deadLetters != "")
	if deadLetters == "" && attributes.DeadLetterARN != "" {
		deadLetters, err = q.DeadLetterURL(ctx)
		if err != nil {
			or := ", or set dead-letter-url"
			if flag == shared.BatchQueueURL {
				or = "" // which is that of requests
			}
			return nil, nil, fmt.Errorf("look up the dead-letter queue %s: %w; allow sqs:GetQueueUrl on it%s", attributes.DeadLetterARN, err, or)
		}
	}
	switch deadLetters {
	case "":
		return q, nil, nil
	case url:
		return nil, nil, settingsError{errors.New("dead-letter-url is the queue itself; name another queue")}
	}
	letters := sqs.New(c.SQS, deadLetters)
	// Any other error may be that the worker's role allows to send to it alone.
	if _, err := letters.Attributes(ctx); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, settingsError{fmt.Errorf("dead-letter-url: there is no queue %s: %w", deadLetters, err)}
	}
	return q, letters, nil
}

// checkStore warns of a store that passes over the conditions of writes, by a
// write that none refuses unless it heeds them: where it is refused nothing is
// left behind. What else can be wrong with a store penstock doctor looks for, and
// an outage is the first request's.
func checkStore(ctx context.Context, store storage.Writer, state storage.Ref, log *zap.Logger) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ref := storage.Ref{Bucket: state.Bucket, Key: state.Key + "conditions/" + rand.Text()}
	const nobodys = "0123456789abcdef0123456789abcdef"
	if _, err := store.Put(ctx, ref, nil, storage.PutOptions{IfMatch: nobodys}); err != nil {
		return
	}
	log.Error("the object store ignores conditions: it took a write with If-Match over an object that is not there. Two workers can write two results for one request: use S3 itself, or a server that honours If-Match and If-None-Match")
	if err := store.Delete(ctx, ref, storage.DeleteOptions{}); err != nil {
		log.Warn("remove what that has left", zap.Stringer("object", ref), zap.Error(err))
	}
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
func checkQueue(a queue.Attributes, flag string, log *zap.Logger, ownDeadLetters bool) {
	log = log.With(zap.String("setting", flag))
	warn := func(what string, fields ...zap.Field) { log.Warn("queue: "+what, fields...) }
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
	want := wantMessage
	if flag == shared.BatchQueueURL {
		want = queue.MaxMessageBytes // packs are as large as a queue takes
	}
	if a.MaximumMessage > 0 && a.MaximumMessage < want {
		warn("its maximum message size is small: messages with many requests will be refused",
			zap.Int("bytes", a.MaximumMessage), zap.Int("recommended", queue.MaxMessageBytes))
	}
}
