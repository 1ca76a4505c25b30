//go:build unix

package main

import (
	"testing"

	"github.com/penstock/penstock/storage"
)

func TestOnlyUploadsBelowAnInputLocationReachTheProducer(t *testing.T) {
	t.Parallel()
	inputs := []storage.Ref{{Bucket: "bucket", Key: "in/"}}
	event := func(key string) []byte {
		return []byte(`{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put",
			"s3":{"bucket":{"name":"bucket"},"object":{"key":"` + key + `","size":1,"eTag":"x"}}}]}`)
	}
	for key, want := range map[string]bool{"in/a+b%2B.png": true, "out/a.png.out": false, ".penstock/x": false, "index": false} {
		if got := watched(event(key), inputs); got != want {
			t.Errorf("watched(%s) = %v, want %v", key, got, want)
		}
	}
	if !watched([]byte("no event"), inputs) {
		t.Error("an event that can't be read is kept from the producer, which would say so")
	}
}
