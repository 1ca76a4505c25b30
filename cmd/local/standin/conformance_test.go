package standin_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"testing"

	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/penstock/penstock/cmd/local/standin"
	"github.com/penstock/penstock/cmd/local/standin/broker"
	"github.com/penstock/penstock/queue/queuetest"
	"github.com/penstock/penstock/queue/sqs"
)

// pipes are connections in memory, so that their time is a bubble's: leases and
// delays of seconds end in no time, and however the machine stands still.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.closed); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// dial connects a client.
func (p pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.accept <- server:
		return client, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// inBubble gives a client of a stand-in of its own.
func inBubble(t *testing.T) *awssqs.Client {
	t.Helper()
	b, err := broker.New(broker.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: standin.New(b, standin.Config{})}
	go func() { _ = server.Serve(p) }() // until it is closed
	transport := &http.Transport{DialContext: p.dial}
	t.Cleanup(func() {
		b.EndPolls()
		_ = server.Close()
		transport.CloseIdleConnections()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return client("http://standin", func(o *awssqs.Options) { o.HTTPClient = &http.Client{Transport: transport} })
}

// openQueues gives two queues of a stand-in of their own.
func openQueues(t *testing.T, suffix string, attributes map[string]string) queuetest.Harness {
	t.Helper()
	c := inBubble(t)
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
	}, queuetest.Options{Bubble: true})
}

func TestFIFOConformance(t *testing.T) {
	t.Parallel()
	queuetest.RunFIFO(t, func(t *testing.T) queuetest.Harness {
		return openQueues(t, ".fifo", map[string]string{"FifoQueue": "true"})
	}, queuetest.Options{Bubble: true})
}
