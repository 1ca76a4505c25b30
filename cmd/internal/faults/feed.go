//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/penstock/penstock/queue"
	"github.com/penstock/penstock/queue/request"
)

// feeder sends requests for inputs, in waves.
type feeder struct {
	queue queue.Sender
	dice  *rand.Rand
	left  []*input
}

// wave sends the next n inputs.
func (f *feeder) wave(ctx context.Context, n int) error {
	n = min(n, len(f.left))
	inputs := f.left[:n]
	f.left = f.left[n:]
	messages, err := f.messages(inputs)
	if err != nil {
		return err
	}
	for _, in := range inputs {
		in.sent = time.Now()
	}
	return errors.Join(f.queue.Send(ctx, messages...)...)
}

// messages puts inputs into messages of every form: what S3 itself sends, one
// request, and several requests in one.
func (f *feeder) messages(inputs []*input) ([]queue.Outgoing, error) {
	var out []queue.Outgoing
	for len(inputs) > 0 {
		n := 1
		form := f.dice.IntN(10)
		if form == 0 {
			n = min(2+f.dice.IntN(4), len(inputs))
		}
		var body string
		var err error
		if form > 4 && inputs[0].request.Upload() {
			body, err = event(inputs[0])
		} else {
			var requests []request.Request
			for _, in := range inputs[:n] {
				requests = append(requests, in.request)
			}
			body, err = request.Encode(requests...)
		}
		if err != nil {
			return nil, err
		}
		inputs = inputs[n:]
		out = append(out, queue.Outgoing{Body: body})
	}
	return out, nil
}

// event is what S3 sends when an object was uploaded.
func event(in *input) (string, error) {
	type object = map[string]any
	body, err := json.Marshal(object{"Records": []object{{
		"eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1",
		"eventTime": time.Now().UTC().Format(time.RFC3339Nano), "eventName": "ObjectCreated:Put",
		"s3": object{
			"s3SchemaVersion": "1.0",
			"bucket":          object{"name": in.request.Input.Bucket},
			"object":          object{"key": url.QueryEscape(in.request.Input.Key), "size": len(in.body), "eTag": in.etag},
		},
	}}})
	return string(body), err
}
