package request_test

import (
	"fmt"

	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func ExampleDecode() {
	// What S3 puts into a queue after an upload: keys are form-encoded.
	requests, err := request.Decode(`{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put",
		"s3":{"bucket":{"name":"uploads"},"object":{"key":"in/my+cat.jpg","size":52340}}}]}`)
	fmt.Println(requests[0].Input, requests[0].Upload(), err)

	// What a person types.
	requests, err = request.Decode(`{"id": "order-7", "input": "s3://uploads/in/my cat.jpg", "ttlSeconds": 600}`)
	fmt.Println(requests[0].Input, requests[0].TTL, err)

	// Some of it can be read, and some can't.
	requests, err = request.Decode(`{"requests": [{"input": "s3://uploads/in/1.json"}, {"input": "in/2.json"}]}`)
	fmt.Println(len(requests), err)

	// Output:
	// s3://uploads/in/my cat.jpg true <nil>
	// s3://uploads/in/my cat.jpg 10m0s <nil>
	// 1 item 2 of 2: input: "in/2.json" is not an S3 URI: it must begin with s3://
}

func ExampleEncode() {
	body, err := request.Encode(
		request.Request{Input: storage.Ref{Bucket: "uploads", Key: "in/1.json"}},
		request.Request{ID: "order-7", Input: storage.Ref{Bucket: "uploads", Key: "in/2.json"}, Model: "digits"},
	)
	fmt.Println(body, err)
	// Output:
	// {"version":1,"requests":[{"input":"s3://uploads/in/1.json"},{"id":"order-7","input":"s3://uploads/in/2.json","model":"digits"}]} <nil>
}

func ExampleLocations_OutputOf() {
	locations, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	input := storage.Ref{Bucket: "uploads", Key: "in/2026/cat.jpg"}
	fmt.Println(locations.OutputOf(request.Request{Input: input}))
	fmt.Println(locations.OutputOf(request.Request{Input: input, ID: "order/7"}))
	fmt.Println(locations.OutputOf(request.Request{Input: input, ID: "order/7", OutputPath: "2026/cat.json"}))
	// Output:
	// s3://results/out/2026/cat.jpg.out
	// s3://results/out/requests/order%2F7.out
	// s3://results/out/requests/2026/cat.json
}

func ExampleLocations_FailureOf() {
	locations, err := request.ParseLocations("s3://uploads/in/", "s3://results/out/", "s3://results/failed/", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	input := storage.Ref{Bucket: "uploads", Key: "in/2026/cat.jpg"}
	fmt.Println(locations.FailureOf(request.Request{Input: input}))
	fmt.Println(locations.FailureOf(request.Request{Input: input, ID: "order/7"}))
	// Output:
	// s3://results/failed/2026/cat.jpg-error.out
	// s3://results/failed/requests/order%2F7-error.out
}
