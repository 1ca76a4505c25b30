//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock/penstock/cmd/local/gateway"
	"github.com/penstock/penstock/cmd/local/standin"
	"github.com/penstock/penstock/cmd/local/standin/broker"
	"github.com/penstock/penstock/cmd/local/standin/journal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// drainTimeout bounds the end of calls under way. Long polls end at once.
const drainTimeout = 10 * time.Second

// readyLine is what the parent process reads.
type readyLine struct {
	S3        string            `json:"s3"`     // endpoint, path-style
	SQS       string            `json:"sqs"`    // endpoint
	Queues    map[string]string `json:"queues"` // name → URL, dead-letter queues too
	Buckets   []string          `json:"buckets"`
	Region    string            `json:"region"`
	AccessKey string            `json:"accessKey"`
	SecretKey string            `json:"secretKey"`
	State     string            `json:"state"`    // absolute path
	Metadata  string            `json:"metadata"` // how S3 metadata is kept: xattr or sidecar
	PID       int               `json:"pid"`
}

// run is the whole program. stdin may be nil; when it is not, its end ends
// the program.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s, err := parseSettings(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "local:", err)
		return 2
	}
	log := newLogger(stderr, s.verbose)
	err = serve(ctx, s, stdin, stdout, log)
	if err == nil {
		return 0
	}
	log.Error("local services ended", zap.Error(err))
	if _, ok := errors.AsType[settingsError](err); ok {
		return 2
	}
	return 1
}

// settingsError is an error that a restart does not cure.
type settingsError struct{ error }

func (e settingsError) Unwrap() error { return e.error }

func newLogger(w io.Writer, verbose bool) *zap.Logger {
	level := zapcore.InfoLevel
	if verbose {
		level = zapcore.DebugLevel
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(encoding), zapcore.Lock(zapcore.AddSync(w)), level))
}

// serve starts the queues, then S3, whose events may send to them, and ends
// them in the other order.
func serve(ctx context.Context, s settings, stdin io.Reader, stdout io.Writer, log *zap.Logger) (err error) {
	// Opening the gateway changes the working directory.
	if s.state, err = filepath.Abs(s.state); err != nil {
		return fmt.Errorf("find state directory: %w", err)
	}
	q, err := startQueues(s, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.close()) }()
	onEvent, err := newProducer(s, os.LookupEnv, q.url(), q.first(s), log)
	if err != nil {
		return settingsError{err}
	}
	g, err := gateway.Open(ctx, gateway.Config{
		Dir:       filepath.Join(s.state, "s3"),
		Addr:      s.s3Addr,
		AccessKey: s.accessKey,
		SecretKey: s.secretKey,
		Region:    s.region,
		Buckets:   s.buckets,
		OnEvent:   onEvent,
		Logger:    log,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	line := readyLine{
		S3: g.URL(), SQS: q.url(), Queues: q.urls, Buckets: s.buckets,
		Region: s.region, AccessKey: s.accessKey, SecretKey: s.secretKey,
		State: s.state, Metadata: g.Metadata(), PID: os.Getpid(),
	}
	if err := json.NewEncoder(stdout).Encode(line); err != nil {
		return fmt.Errorf("tell the parent that it is ready: %w", err)
	}
	select {
	case <-ctx.Done():
		log.Info("stopping", zap.Error(context.Cause(ctx)))
	case <-ended(stdin):
		log.Info("stopping: the parent closed standard input")
	case <-g.Done():
		return errors.New("the S3 endpoint ended by itself")
	case err := <-q.failed:
		return fmt.Errorf("serve SQS: %w", err)
	}
	return nil
}

// ended is closed at the end of r, never for nil. Its goroutine can't be
// waited for: a read of standard input can't be called off.
func ended(r io.Reader) <-chan struct{} {
	if r == nil {
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, r) // an error is an end as well
	}()
	return done
}

// queues is the SQS endpoint.
type queues struct {
	broker   *broker.Broker
	file     *journal.File // also the lock of the state folder
	server   *http.Server
	listener net.Listener
	urls     map[string]string
	failed   chan error // the server's end
}

func startQueues(s settings, log *zap.Logger) (*queues, error) {
	dir := filepath.Join(s.state, "sqs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	file, err := journal.Open(filepath.Join(dir, "queues.db"))
	if errors.Is(err, journal.ErrLocked) {
		return nil, fmt.Errorf("%s is in use%s: stop that process, or give this one another -state folder: %w", s.state, owner(s.state), err)
	}
	if err != nil {
		return nil, err
	}
	b, err := newBroker(s, file)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", s.sqsAddr)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for SQS: %w", err), b.Close(), file.Close())
	}
	q := &queues{broker: b, file: file, listener: l, urls: make(map[string]string), failed: make(chan error, 1)}
	if err := errors.Join(claim(s.state), q.create(s)); err != nil {
		return nil, errors.Join(err, l.Close(), b.Close(), file.Close())
	}
	q.server = &http.Server{
		Handler:           standin.New(b, standin.Config{Logger: log, Control: s.faults}),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          zap.NewStdLog(log),
	}
	go func() { q.failed <- q.server.Serve(l) }()
	return q, nil
}

// first is the URL of the first queue that was asked for: the producer's.
func (q *queues) first(s settings) string {
	if len(s.queues) == 0 {
		return ""
	}
	return q.urls[s.queues[0]]
}

// newBroker opens what the file holds, or an empty broker beside it.
func newBroker(s settings, file *journal.File) (*broker.Broker, error) {
	config := broker.Config{Region: s.region}
	if s.memory {
		return broker.New(config, nil) // the file is just the folder's lock then
	}
	return broker.New(config, file)
}

func (q *queues) url() string { return "http://" + q.listener.Addr().String() }

// close ends long polls, finishes other calls and closes the journal.
func (q *queues) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	q.broker.EndPolls()
	err := q.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("drain SQS: %w", err), q.server.Close())
	}
	return errors.Join(err, q.broker.Close(), q.file.Close())
}

// Settings of queues made at start: what the worker wants to find.
const (
	visibilitySeconds = "30"
	retentionSeconds  = "1209600" // 14 days
	maxMessageBytes   = "1048576"
	maxReceives       = "100"
)

// create makes the queues that don't exist, each with its dead-letter queue.
// What exists keeps its attributes.
func (q *queues) create(s settings) error {
	for _, name := range s.queues {
		dead := deadLetterName(name)
		policy, err := json.Marshal(map[string]string{"deadLetterTargetArn": q.broker.ARN(dead), "maxReceiveCount": maxReceives})
		if err != nil {
			return fmt.Errorf("queue %s: %w", name, err)
		}
		if err := errors.Join(q.createOne(dead, ""), q.createOne(name, string(policy))); err != nil {
			return fmt.Errorf("create queue %q: %w", name, err)
		}
	}
	return nil
}

func (q *queues) createOne(name, redrive string) error {
	q.urls[name] = q.url() + "/" + q.broker.Account() + "/" + name
	if q.broker.Exists(name) == nil {
		return nil
	}
	attributes := map[string]string{
		"VisibilityTimeout":      visibilitySeconds,
		"MessageRetentionPeriod": retentionSeconds,
		"MaximumMessageSize":     maxMessageBytes,
	}
	if redrive != "" {
		attributes["RedrivePolicy"] = redrive
	}
	if isFIFO(name) {
		attributes["FifoQueue"] = "true"
	}
	return q.broker.CreateQueue(name, attributes, nil)
}
