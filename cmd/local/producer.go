//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

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
	client := awssqs.New(awssqs.Options{
		BaseEndpoint: aws.String(endpoint), Region: s.region,
		Credentials: credentials.NewStaticCredentialsProvider(s.accessKey, s.secretKey, ""),
	})
	h := producer.Handler{Locations: locations, Queue: sqs.New(client, queueURL), Log: log.Named("producer")}
	return func(ctx context.Context, body []byte) error {
		event, err := asS3(body, locations.Inputs)
		if err != nil || event == nil {
			return err
		}
		_, err = h.Handle(ctx, event)
		return err
	}, nil
}

// asS3 turns versitygw's event document into what S3 itself would send: the
// key form-encoded, the event's name without "s3:", and only records of the
// folders that a notification is configured for. It gives nil when none is.
func asS3(body []byte, watched []storage.Ref) (json.RawMessage, error) {
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, fmt.Errorf("read versitygw's event: %w", err)
	}
	records, _ := doc["Records"].([]any)
	var kept []any
	for _, r := range records {
		record, _ := r.(map[string]any)
		entity, _ := record["s3"].(map[string]any)
		bucket, _ := entity["bucket"].(map[string]any)
		object, _ := entity["object"].(map[string]any)
		key, ok := object["key"].(string)
		if !ok {
			return nil, errors.New("versitygw's event names no object")
		}
		name, _ := bucket["name"].(string)
		ref := storage.Ref{Bucket: name, Key: key}
		if !slices.ContainsFunc(watched, func(in storage.Ref) bool { return in.Contains(ref) }) {
			continue
		}
		event, _ := record["eventName"].(string)
		record["eventName"] = strings.TrimPrefix(event, "s3:")
		object["key"] = strings.ReplaceAll(url.QueryEscape(key), "%2F", "/")
		kept = append(kept, record)
	}
	if len(kept) == 0 {
		return nil, nil
	}
	return json.Marshal(map[string]any{"Records": kept})
}
