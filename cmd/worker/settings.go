//go:build cgo

package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"
	"go.uber.org/zap/zapcore"

	shared "github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/worker"
	"github.com/penstock/penstock/worker/model/source"
)

const description = `Every flag can be set by the environment variable named with it; the flag wins.
AWS's own variables mean what they mean everywhere: AWS_REGION, AWS_PROFILE,
AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_SQS, AWS_ENDPOINT_URL_S3 and the rest.

Exit codes: 0 after draining; 1 when a restart may help; 2 when the settings,
the queue or a model are wrong and a person must act.`

// settings are the worker's flags as they were given.
type settings struct {
	queueURL, deadLetterURL       string
	batchQueueURL                 string
	model, modelCache             string
	modelCacheSize                string
	modelCacheBytes               int64
	modelPoll                     time.Duration
	input, output, failure, state string
	maxBatchSize, runners         int
	intraOp, interOp              int
	batchTimeout                  time.Duration
	maxInFlight, maxAttempts      int
	memoryLimit, maxObjectSize    string
	visibilityTimeout, runTimeout time.Duration
	drainTimeout                  time.Duration
	successTopic, errorTopic      string
	includeResponseIn             string
	restAddr, addr, level         string
	logLevel                      zapcore.Level
}

func (s *settings) flags() []cli.Flag {
	text := func(name, value, usage string, to *string) cli.Flag {
		return &cli.StringFlag{Name: name, Value: value, Usage: usage, Destination: to, Sources: cli.EnvVars(shared.Name(name))}
	}
	number := func(name string, value int, usage string, to *int) cli.Flag {
		return &cli.IntFlag{Name: name, Value: value, Usage: usage, Destination: to, Sources: cli.EnvVars(shared.Name(name))}
	}
	duration := func(name string, value time.Duration, usage string, to *time.Duration) cli.Flag {
		return &cli.DurationFlag{Name: name, Value: value, Usage: usage, Destination: to, Sources: cli.EnvVars(shared.Name(name))}
	}
	maxInFlight := &cli.IntFlag{
		Name: "max-in-flight", Usage: "the most messages held at once; fewer than fill a batch starve the model, more hold what other workers could start",
		DefaultText: "8 batches, at least 64", Destination: &s.maxInFlight, Sources: cli.EnvVars(shared.Name("max-in-flight")),
	}
	return []cli.Flag{
		text(shared.QueueURL, "", "the SQS queue to receive from", &s.queueURL),
		text(shared.BatchQueueURL, "", "a second SQS queue, for batch jobs: they are received as far as there is room behind the requests, half of max-in-flight; what must be looked at goes to its redrive target, else where the requests' goes (default: none, and jobs come by queue-url)", &s.batchQueueURL),
		text("dead-letter-url", "", "the SQS queue for messages that a person must look at (default: the redrive target of the queue)", &s.deadLetterURL),
		text("model", "", "a SavedModel: a directory, s3://bucket/prefix/ or a .tar.gz; of version folders 1/ 2/ … below it the highest is served, with ?versions=latest:2 behind it the two highest, with ?versions=3,4 those, with ?versions=all each; name=URI, and several with commas, for many models", &s.model),
		text("model-cache", filepath.Join(os.TempDir(), "penstock-models"), "the directory that models from S3 and archives are kept in; on a disk that outlives the process it saves their download", &s.modelCache),
		text("model-cache-size", "10GiB", "how much model-cache may hold: before a download, what no process uses makes room, the longest unused first; what is in use stays, even if it is more", &s.modelCacheSize),
		duration("model-poll", 30*time.Second, "how often to look for new versions of the models; one is loaded beside the old one, so there must be memory for both for a moment, and one that can't be loaded is passed over; 0 never looks", &s.modelPoll),
		text(shared.Input, "", "the locations that may be read, s3://bucket[/prefix], with commas between them; a request for another is refused", &s.input),
		text(shared.Output, "", "where results are written, s3://bucket/prefix/", &s.output),
		text(shared.Failure, "", "where failure objects are written, s3://bucket/prefix/", &s.failure),
		text(shared.State, "", "where Penstock keeps its own small objects (default: s3://<output bucket>/.penstock/)", &s.state),
		number("max-batch-size", 32, "the most rows in one run of a model; larger raises throughput until the machine is busy, and latency always", &s.maxBatchSize),
		duration("batch-timeout", 0, "how long an idle model waits for a batch to fill; 0 does not wait: batches then form while the model is busy", &s.batchTimeout),
		number("runners", 1, "how many batches run at once; TensorFlow uses all cores within one", &s.runners),
		number("intra-op-threads", 0, "TensorFlow's threads for one operation, one pool for all models and runners; 0 is all cores; more than the CPU quota makes runs slower, fewer leave cores to decoding", &s.intraOp),
		number("inter-op-threads", 0, "how many operations of a run TensorFlow computes at once, one pool too; 0 is all cores; -1 is one after the other on the runner's own thread, which suits small models", &s.interOp),
		maxInFlight,
		text("memory-limit", "1GiB", "the bytes of inputs, tensors and results in memory at once, estimated; the model and TensorFlow's working memory come on top", &s.memoryLimit),
		text("max-object-size", "", "the largest input; a larger one gets a failure object (default: an eighth of memory-limit)", &s.maxObjectSize),
		duration("visibility-timeout", time.Minute, "the length of a lease: how long after a worker's death its messages come back; it is extended every third of it, so it need not cover the work", &s.visibilityTimeout),
		number("max-attempts", 3, "how often a request is run that fails for a reason that may pass", &s.maxAttempts),
		duration("run-timeout", 15*time.Minute, "the longest run of a model where the request sets none; a run that exceeds it ends the process, since TensorFlow can't be interrupted", &s.runTimeout),
		duration("drain-timeout", 25*time.Second, "how long, after SIGTERM, runs under way may take to end; what has not ended then is handed back", &s.drainTimeout),
		text("success-topic", "", "the ARN of an SNS topic that is told of every request that succeeded, as SageMaker tells of its own", &s.successTopic),
		text("error-topic", "", "the ARN of an SNS topic that is told of every request that failed", &s.errorTopic),
		text("include-response-in", "", "success, error or both with a comma: the messages that hold the result or failure object itself, up to 128,000 bytes", &s.includeResponseIn),
		text("rest-addr", "", "where TensorFlow Serving's REST API is answered, in the same batches as the queue, such as 127.0.0.1:8501; it asks nobody who they are (default: nowhere)", &s.restAddr),
		text("addr", "127.0.0.1:9090", "where /healthz, /readyz and /metrics are served; :9090 for all interfaces", &s.addr),
		text("log-level", "info", "debug, info, warn or error", &s.level),
	}
}

// config turns the settings into a worker's, without what has to be opened
// first. All faults are reported at once.
func (s *settings) config() (worker.Config, error) {
	var errs []error
	cfg := worker.Config{
		MaxBatchSize: s.maxBatchSize, Runners: s.runners, BatchTimeout: s.batchTimeout,
		MaxInFlight: s.maxInFlight, MaxAttempts: s.maxAttempts,
		VisibilityTimeout: s.visibilityTimeout, RunTimeout: s.runTimeout, DrainTimeout: s.drainTimeout,
	}
	if s.drainTimeout == 0 {
		cfg.DrainTimeout = time.Nanosecond // the zero value would be the default
	}
	var err error
	errs = append(errs, shared.CheckQueueURL(s.queueURL))
	if s.deadLetterURL != "" && shared.CheckQueueURL(s.deadLetterURL) != nil {
		errs = append(errs, fmt.Errorf("dead-letter-url: %q is not the URL of a queue; it looks like https://sqs.REGION.amazonaws.com/ACCOUNT/NAME", s.deadLetterURL))
	}
	if s.batchQueueURL != "" && shared.CheckQueueURL(s.batchQueueURL) != nil {
		errs = append(errs, fmt.Errorf("batch-queue-url: %q is not the URL of a queue; it looks like https://sqs.REGION.amazonaws.com/ACCOUNT/NAME", s.batchQueueURL))
	}
	if s.batchQueueURL != "" && s.batchQueueURL == s.queueURL {
		errs = append(errs, errors.New("batch-queue-url is queue-url; name another queue, or leave it out: jobs then come by queue-url"))
	}
	cfg.Locations, err = request.ParseLocations(s.input, s.output, s.failure, s.state)
	errs = append(errs, err)
	_, err = source.Parse(s.model)
	errs = append(errs, err)
	s.modelCacheBytes, err = size("model-cache-size", s.modelCacheSize)
	errs = append(errs, err)
	if s.modelPoll < 0 {
		errs = append(errs, fmt.Errorf("model-poll is %v; it must not be negative", s.modelPoll))
	}
	cfg.MemoryLimit, err = size("memory-limit", s.memoryLimit)
	errs = append(errs, err)
	if s.maxObjectSize != "" {
		cfg.MaxObjectSize, err = size("max-object-size", s.maxObjectSize)
		errs = append(errs, err)
	}
	cfg.Notify, err = s.notify()
	errs = append(errs, err)
	s.logLevel, err = zapcore.ParseLevel(s.level)
	if err != nil {
		errs = append(errs, fmt.Errorf("log-level: %q is none of debug, info, warn, error", s.level))
	}
	// Zero is the default to worker.Config; here it was meant.
	for _, f := range []struct {
		name string
		n    int
	}{{"max-batch-size", s.maxBatchSize}, {"runners", s.runners}, {"max-attempts", s.maxAttempts}} {
		if f.n == 0 {
			errs = append(errs, fmt.Errorf("%s is 0; it must be at least 1", f.name))
		}
	}
	if s.intraOp < 0 {
		errs = append(errs, fmt.Errorf("intra-op-threads is %d; it must not be negative", s.intraOp))
	}
	if s.interOp < -1 {
		errs = append(errs, fmt.Errorf("inter-op-threads is %d; it must be at least -1", s.interOp))
	}
	errs = append(errs, cfg.CheckBounds())
	return cfg, errors.Join(errs...)
}

// notify is whom to tell of the ends of requests, without what publishes.
func (s *settings) notify() (worker.Notify, error) {
	n := worker.Notify{Success: s.successTopic, Failure: s.errorTopic}
	var errs []error
	for flag, topic := range map[string]string{"success-topic": n.Success, "error-topic": n.Failure} {
		if topic != "" && !(strings.HasPrefix(topic, "arn:") && strings.Count(topic, ":") == 5) {
			errs = append(errs, fmt.Errorf("%s: %q is not the ARN of a topic; it looks like arn:aws:sns:REGION:ACCOUNT:NAME", flag, topic))
		}
	}
	for which := range strings.SplitSeq(s.includeResponseIn, ",") {
		switch strings.TrimSpace(which) {
		case "":
		case "success":
			n.SuccessBody = true
		case "error":
			n.FailureBody = true
		default:
			errs = append(errs, fmt.Errorf("include-response-in: %q is neither success nor error", which))
		}
	}
	if n.SuccessBody && n.Success == "" || n.FailureBody && n.Failure == "" {
		errs = append(errs, errors.New("include-response-in names messages of a topic that is not set: set success-topic or error-topic"))
	}
	return n, errors.Join(errs...)
}

// size reads a number of bytes such as 64MiB.
func size(name, s string) (int64, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil || n == 0 || n > math.MaxInt64/8 {
		return 0, fmt.Errorf("%s: %q is no number of bytes; write it as 512MiB or 2GiB", name, s)
	}
	return int64(n), nil
}
