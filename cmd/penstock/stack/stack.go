// Package stack runs a whole Penstock on one machine, as children of this
// process: S3 and SQS in bin/local, and beside them the very worker that is
// deployed, with its ordinary settings.
package stack

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/penstock/penstock/cmd/penstock/process"
)

// What every local stack has.
const (
	Bucket    = "penstock"
	Input     = "s3://" + Bucket + "/in/"
	Output    = "s3://" + Bucket + "/out/"
	Failure   = "s3://" + Bucket + "/failed/"
	queueName = "penstock"
	batchName = "penstock-batch"
	region    = "us-east-1"
)

// Config says what to run, and where. All fields are required but where a
// default is named.
type Config struct {
	Local  string // the program with S3 and SQS
	Worker string // the worker program
	Model  string // the worker's -model
	State  string // folder for what S3 and SQS keep; it is made when it is not there
	Logs   string // folder for the programs' logs; likewise

	S3Port  int // 0 takes any free port
	SQSPort int
	Workers int // default 1

	Environ []string   // what the programs inherit; see environment
	Hold    []*os.File // files that the programs hold open as long as they run: locks
	Mirror  io.Writer  // when set, the logs go there too; it must take concurrent writes
	// Say, when set, is told of what a person should know while the stack
	// runs: a worker that ended and is started again.
	Say func(line string)

	closeLimit time.Duration // a test's; see closeLimit
}

// Stack is a running one. Close it.
type Stack struct {
	S3, SQS  string // URLs
	QueueURL string
	BatchURL string // of the queue of batch jobs
	// Workers are the addresses of the workers' /readyz and /metrics, once they
	// were started.
	Workers []string

	accessKey, secretKey string // no secret: S3 listens on this machine's loopback address alone

	config Config
	local  *process.Child
	logs   []io.Closer
	// reserved are the workers' addresses.
	reserved []io.Closer
	stop     context.CancelFunc // ends the keepers
	running  context.Context    // done when the keepers are to end
	hard     context.Context    // done when the workers are to be killed
	kill     context.CancelFunc
	keepers  sync.WaitGroup
	mu       sync.Mutex
	errs     []error // how the keepers ended
}

// startLimit bounds how long S3 and SQS take to start. Half a second is usual.
const startLimit = 30 * time.Second

// Start starts S3 and SQS and returns when they can be used. Workers are
// started by StartWorkers.
func Start(ctx context.Context, c Config) (*Stack, error) {
	c.Workers = cmp.Or(c.Workers, 1)
	s := &Stack{config: c}
	s.running, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.hard, s.kill = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.startLocal(ctx); err != nil {
		return nil, errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// ready is what bin/local says on its standard output when it is.
type ready struct {
	S3     string            `json:"s3"`
	SQS    string            `json:"sqs"`
	Queues map[string]string `json:"queues"` // URLs by name

	AccessKey string `json:"accessKey"`
	SecretKey string `json:"secretKey"`
}

func (s *Stack) startLocal(ctx context.Context) error {
	state, err := filepath.Abs(s.config.State)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(state, 0o755); err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	log, err := s.OpenLog("local.log")
	if err != nil {
		return err
	}
	first := make(chan string, 1)
	s.local, err = process.Start(process.Program{
		Name: "local S3 and SQS", Path: s.config.Local,
		Args: []string{
			"-state", state, "-s3-addr", loopback(s.config.S3Port), "-sqs-addr", loopback(s.config.SQSPort),
			"-buckets", Bucket, "-queues", queueName + "," + batchName, "-region", region,
		},
		Env: s.environment(nil), Hold: s.config.Hold, Output: log, First: func(line string) { first <- line },
	})
	if err != nil {
		return err
	}
	select {
	case line := <-first:
		return s.announced(line)
	case <-s.local.Done():
		return s.died("local S3 and SQS", s.local.Ended(), "local.log")
	case <-time.After(startLimit):
		return fmt.Errorf("local S3 and SQS were not ready after %v; their log is %s", startLimit, s.LogPath("local.log"))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Stack) announced(line string) error {
	var r ready
	if err := json.Unmarshal([]byte(line), &r); err != nil || r.S3 == "" || r.SQS == "" || r.Queues[queueName] == "" || r.Queues[batchName] == "" {
		return fmt.Errorf("local S3 and SQS said %q, which is not where they are; are bin/local and bin/penstock of one build?", line)
	}
	s.S3, s.SQS, s.QueueURL, s.BatchURL = r.S3, r.SQS, r.Queues[queueName], r.Queues[batchName]
	s.accessKey, s.secretKey = r.AccessKey, r.SecretKey
	return nil
}

// Failed is closed when S3 and SQS have ended, which they do not by
// themselves while all is well. FailedHow says more.
func (s *Stack) Failed() <-chan struct{} { return s.local.Done() }

// FailedHow is how S3 and SQS ended.
func (s *Stack) FailedHow() error {
	return s.died("local S3 and SQS", s.local.Ended(), "local.log")
}

// closeLimit is how long S3 and SQS may take to end. After it they are killed,
// which loses nothing: what they acknowledged is on the disk.
const closeLimit = time.Second

// Close ends the workers, which finish first what they run, then S3 and SQS,
// and returns when all have ended. The workers are killed once hard is done,
// and that is an error. Close is called once.
func (s *Stack) Close(hard context.Context) error {
	s.stop()
	release := context.AfterFunc(hard, s.kill)
	s.keepers.Wait()
	release()
	s.kill()
	errs := s.errs
	if s.local != nil {
		limit, cancel := context.WithTimeout(hard, cmp.Or(s.config.closeLimit, closeLimit))
		defer cancel()
		_ = s.local.CloseInput(limit) // see closeLimit
	}
	for _, c := range slices.Concat(s.logs, s.reserved) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Kill is Close for a stack whose state is not needed any more: it waits for
// nothing.
func (s *Stack) Kill() {
	s.kill()
	hard, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Close(hard) // that all was killed is no news
}

// loopback is an address that only this machine reaches. Port 0 lets the
// system choose.
func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
