// Package clients opens the S3, SQS and SNS clients that the commands use, from the
// environment and the files that every AWS tool reads: AWS_REGION,
// AWS_PROFILE, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_SQS,
// AWS_ENDPOINT_URL_SNS, AWS_CA_BUNDLE, AWS_MAX_ATTEMPTS, AWS_RETRY_MODE and so on.
package clients

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	"go.uber.org/zap"
)

// Limits on the way to a server. How long a whole call may take is for its
// context to say.
const (
	dialTimeout = 5 * time.Second // and as much again for TLS

	// replyTimeout counts from the end of the request to the head of the
	// reply. It is longer than SQS's longest poll of 20 seconds. (The SDK's
	// WithReadTimeout will not do: its clock runs while a connection is idle
	// and while a request is being sent, so it cuts polls and slow uploads.)
	replyTimeout = 30 * time.Second
)

// Options tell what can't be found in the environment. The zero value is good.
type Options struct {
	Version        string      // of Penstock, for the user agent; default "dev"
	MaxConnections int         // kept open to each server; give at least the number of calls at a time. Default 256
	Logger         *zap.Logger // for the SDK's own warnings; default none
}

// Clients are ready for use, and so are their methods, by many goroutines.
// The clients retry a call that met a transient fault, up to three attempts
// unless the environment says otherwise.
type Clients struct {
	S3  *s3.Client
	SQS *sqs.Client
	SNS *sns.Client

	Region string
	clock  *clock
}

// Open reads the configuration and makes the clients. It calls no service
// and does not check that there are credentials: the first call does.
func Open(ctx context.Context, opts Options) (*Clients, error) {
	if opts.Version == "" {
		opts.Version = "dev"
	}
	if opts.MaxConnections == 0 {
		opts.MaxConnections = 256
	}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(transport(opts.MaxConnections)),
		config.WithLogger(logger(opts.Logger)),
		config.WithAPIOptions([]func(*middleware.Stack) error{
			awsmiddleware.AddUserAgentKeyValue("penstock", opts.Version),
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, errors.New("no AWS region is set: set AWS_REGION (for example AWS_REGION=eu-central-1), or a region for the profile in ~/.aws/config")
	}
	clock := new(clock)
	// Only now: while the configuration is loaded, the SDK must be able to put
	// the certificates of AWS_CA_BUNDLE into the transport.
	cfg.HTTPClient = observedClient{cfg.HTTPClient, clock}
	return &Clients{
		S3: s3.NewFromConfig(cfg, func(o *s3.Options) {
			// A server that is not AWS's seldom has a host name for each bucket.
			o.UsePathStyle = o.UsePathStyle || o.BaseEndpoint != nil
			// Objects written by others often have no checksum to check.
			o.DisableLogOutputChecksumValidationSkipped = true
		}),
		SQS:    sqs.NewFromConfig(cfg),
		SNS:    sns.NewFromConfig(cfg),
		Region: cfg.Region,
		clock:  clock,
	}, nil
}

// Skew is how far the servers' clock is ahead of the local one (negative:
// behind), good to about a second; one below two seconds counts as none. It is
// learned from replies, and 0 before the first. The time by the servers' clock is time.Now().Add(c.Skew()).
func (c *Clients) Skew() time.Duration { return c.clock.skew() }

// transport is of the SDK's own kind, because that is the only one that it can
// give the certificates of AWS_CA_BUNDLE.
func transport(maxConnections int) aws.HTTPClient {
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) {
			d.Timeout = dialTimeout
		}).
		WithTransportOptions(func(t *http.Transport) {
			t.TLSHandshakeTimeout = dialTimeout
			t.ResponseHeaderTimeout = replyTimeout
			t.MaxIdleConnsPerHost = maxConnections
			t.MaxIdleConns = 2 * maxConnections // S3 and SQS
		})
}

// logger passes the SDK's messages on to zap.
func logger(to *zap.Logger) logging.Logger {
	if to == nil {
		return logging.Nop{}
	}
	return logging.LoggerFunc(func(level logging.Classification, format string, v ...any) {
		text := fmt.Sprintf(format, v...)
		if level == logging.Warn {
			to.Warn("aws sdk", zap.String("message", text))
			return
		}
		to.Debug("aws sdk", zap.String("message", text))
	})
}
