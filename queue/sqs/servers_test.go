//go:build servers

package sqs_test

import (
	"fmt"
	"maps"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/penstock/penstock/queue/queuetest"
	"github.com/penstock/penstock/queue/sqs"
)

// These tests run the suites on SQS servers that others wrote. `make
// test-servers` starts them and says where they are.

func TestOnElasticMQ(t *testing.T) {
	on(t, "PENSTOCK_TEST_ELASTICMQ", map[string]string{
		"deleting twice is no error":                    "ElasticMQ knows the receipt of a deleted message no more, and says so",
		"the lease of a message that timed out is lost": "ElasticMQ extends it again, as long as nobody else received it",
		"the attributes tell the queue's limits":        "ElasticMQ has no MessageRetentionPeriod and no MaximumMessageSize",
	}, nil)
}

func TestOnMinistack(t *testing.T) {
	on(t, "PENSTOCK_TEST_MINISTACK", map[string]string{
		"deleting twice is no error":                    "ministack knows the receipt of a deleted message no more, and says so",
		"the lease of a message that timed out is lost": "ministack extends it again, as long as nobody else received it",
	}, nil)
}

// on runs both suites on the server whose URL is in that variable.
func on(t *testing.T, variable string, gaps, fifoGaps map[string]string) {
	url := os.Getenv(variable)
	if url == "" {
		t.Fatalf("%s does not say where the server is: make test-servers starts it", variable)
	}
	client := awssqs.New(awssqs.Options{
		Region:       "us-east-1",
		BaseEndpoint: &url,
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
	t.Run("standard", func(t *testing.T) {
		queuetest.Run(t, func(t *testing.T) queuetest.Harness {
			return create(t, client, "", map[string]string{})
		}, queuetest.Options{Gaps: gaps})
	})
	t.Run("FIFO", func(t *testing.T) {
		queuetest.RunFIFO(t, func(t *testing.T) queuetest.Harness {
			return create(t, client, ".fifo", map[string]string{"FifoQueue": "true"})
		}, queuetest.Options{Gaps: fifoGaps})
	})
}

var created atomic.Int64

// create makes a queue and its dead-letter queue.
func create(t *testing.T, client *awssqs.Client, suffix string, attributes map[string]string) queuetest.Harness {
	t.Helper()
	name := fmt.Sprintf("t%d-%d", time.Now().UnixNano(), created.Add(1))
	open := func(name string, more map[string]string) *sqs.Queue {
		all := maps.Clone(attributes)
		maps.Copy(all, more)
		out, err := client.CreateQueue(t.Context(), &awssqs.CreateQueueInput{QueueName: new(name + suffix), Attributes: all})
		if err != nil {
			t.Fatal(err)
		}
		return sqs.New(client, *out.QueueUrl)
	}
	dead := open(name+"-dead", nil)
	a, err := dead.Attributes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	live := open(name, map[string]string{
		"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%s,"maxReceiveCount":%d}`, strconv.Quote(a.ARN), queuetest.MaxReceiveCount),
	})
	return queuetest.Harness{Queue: live, DeadLetter: dead}
}
