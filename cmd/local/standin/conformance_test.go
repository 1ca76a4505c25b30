package standin_test

import (
	"fmt"
	"maps"
	"strconv"
	"testing"

	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/penstock/penstock/cmd/local/standin"
	"github.com/penstock/penstock/queue/queuetest"
	"github.com/penstock/penstock/queue/sqs"
)

// openQueues gives two queues of a stand-in of their own.
func openQueues(t *testing.T, suffix string, attributes map[string]string) queuetest.Harness {
	t.Helper()
	url, _ := serve(t, standin.Config{})
	c := client(url)
	create := func(name string, more map[string]string) *sqs.Queue {
		all := maps.Clone(attributes)
		maps.Copy(all, more)
		out, err := c.CreateQueue(t.Context(), &awssqs.CreateQueueInput{QueueName: new(name + suffix), Attributes: all})
		if err != nil {
			t.Fatal(err)
		}
		return sqs.New(c, *out.QueueUrl)
	}
	dead := create("dead", nil)
	a, err := dead.Attributes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	live := create("live", map[string]string{
		"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%s,"maxReceiveCount":%d}`, strconv.Quote(a.ARN), queuetest.MaxReceiveCount),
	})
	return queuetest.Harness{Queue: live, DeadLetter: dead}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, func(t *testing.T) queuetest.Harness {
		return openQueues(t, "", map[string]string{})
	}, queuetest.Options{})
}

func TestFIFOConformance(t *testing.T) {
	t.Parallel()
	queuetest.RunFIFO(t, func(t *testing.T) queuetest.Harness {
		return openQueues(t, ".fifo", map[string]string{"FifoQueue": "true"})
	}, queuetest.Options{})
}
