package sqs

import (
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
)

// WholeReplies is an option for SQS clients of the SDK, after which no reply is
// lost to the client itself. New gives it to its client; clients that receive
// by themselves want it too.
//
// The SDK closes a request's body when the head of the reply is there, while
// net/http may still be asking the body for more than its length. Its body then
// answers a Read as it should, but a WriteTo with an io.EOF that net/http takes
// for a failed request: it closes the connection, and with it what has not been
// read of the reply. Servers that are near answer fast enough for that: one in
// a hundred replies of more than 4 KB was lost, and with one of ReceiveMessage
// its messages until their visibility ended. Seen with smithy-go 1.28.8 and
// 1.28.9 and Go 1.26. S3 is not hurt: it answers requests that have a body
// with little, and those with long answers have none.
func WholeReplies(o *awssqs.Options) {
	if _, done := o.HTTPClient.(readBodies); !done {
		o.HTTPClient = readBodies{o.HTTPClient}
	}
}

// readBodies sends requests whose bodies can only be read.
type readBodies struct{ aws.HTTPClient }

// Do implements aws.HTTPClient.
func (c readBodies) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return c.HTTPClient.Do(r)
}
