//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/penstock/penstock/cmd/internal/faults/stage"
	"github.com/penstock/penstock/queue/sqs"
	"github.com/penstock/penstock/storage/s3"
)

// servers are S3 and SQS, as bin/local serves them. The rig itself talks to
// them directly; the workers' calls pass a stage, and Toxiproxy.
type servers struct {
	child *child
	line  readyLine
	store *s3.Store
	sqs   *awssqs.Client

	injecting sync.Mutex // held over calls about the queues' faults
}

// readyLine is what bin/local prints when it answers.
type readyLine struct {
	S3        string            `json:"s3"`
	SQS       string            `json:"sqs"`
	Queues    map[string]string `json:"queues"`
	Region    string            `json:"region"`
	AccessKey string            `json:"accessKey"`
	SecretKey string            `json:"secretKey"`
}

// startServers starts them with a bucket and a queue of each name.
func startServers(ctx context.Context, start *spawner, binaries, dir string, names []string) (*servers, error) {
	log, err := os.Create(filepath.Join(dir, "local.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	all := strings.Join(names, ",")
	c, err := start.run(program{
		path: filepath.Join(binaries, "local"),
		args: []string{
			"-state", filepath.Join(dir, "local"), "-s3-addr", "127.0.0.1:0", "-sqs-addr", "127.0.0.1:0",
			"-buckets", all, "-queues", all, "-faults",
		},
		env: os.Environ(), stdout: in, stderr: log,
	})
	in.Close()
	if err != nil {
		return nil, err
	}
	s := &servers{child: c}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		<-c.over
		return nil, fmt.Errorf("S3 and SQS did not start (%v): see %s", c.state, log.Name())
	}
	if err := json.Unmarshal(line, &s.line); err != nil {
		return nil, fmt.Errorf("bin/local said %q: %w", line, err)
	}
	creds := credentials.NewStaticCredentialsProvider(s.line.AccessKey, s.line.SecretKey, "")
	s.store = s3.New(awss3.New(awss3.Options{BaseEndpoint: &s.line.S3, UsePathStyle: true, Region: s.line.Region, Credentials: creds}))
	s.sqs = awssqs.New(awssqs.Options{BaseEndpoint: &s.line.SQS, Region: s.line.Region, Credentials: creds})
	return s, nil
}

func (s *servers) close() error { return s.child.terminate() }

// stageBefore opens a stage before the server at address, "http://host:port".
func stageBefore(address string, dice uint64, observe func(*http.Request, int)) (*stage.Stage, error) {
	target, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return stage.New(target, dice, observe)
}

func (s *servers) queue(name string) *sqs.Queue { return sqs.New(s.sqs, s.line.Queues[name]) }

func (s *servers) deadLetters(name string) *sqs.Queue { return s.queue(name + "-dead-letter") }

// Kinds of faults that only the queue itself can make; see
// cmd/local/standin/faults.go.
type queueFault struct {
	Action string `json:"action"`
	Queue  string `json:"queue"`
	Kind   string `json:"kind"`
	After  int    `json:"after,omitempty"`
	Count  int    `json:"count"`
}

// inject gives one queue faults. clear forgets what of them has not struck,
// and says how often they have.
func (s *servers) inject(ctx context.Context, queue string, list []queueFault) (clear func(context.Context) (int, error), err error) {
	struck := 0
	for i := range list {
		list[i].Queue = queue
		struck += list[i].Count
	}
	s.injecting.Lock()
	defer s.injecting.Unlock()
	if err := s.control(ctx, http.MethodPost, list, nil); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (int, error) {
		s.injecting.Lock()
		defer s.injecting.Unlock()
		var left []queueFault
		if err := s.control(ctx, http.MethodGet, nil, &left); err != nil {
			return 0, err
		}
		// All faults can only be forgotten together: those of other
		// steps are put back.
		others := slices.DeleteFunc(left, func(f queueFault) bool {
			mine := f.Queue == queue && slices.ContainsFunc(list, func(o queueFault) bool { return o.Action == f.Action })
			if mine {
				struck -= f.Count
			}
			return mine
		})
		return struck, errors.Join(s.control(ctx, http.MethodDelete, nil, nil), s.control(ctx, http.MethodPost, others, nil))
	}, nil
}

func (s *servers) control(ctx context.Context, method string, send, receive any) error {
	body, err := json.Marshal(send)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, s.line.SQS+"/_penstock/faults", bytes.NewReader(body))
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("control the queue's faults: %w", err)
	}
	defer reply.Body.Close()
	said, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", reply.Status, said)
	}
	if err == nil && receive != nil {
		err = json.Unmarshal(said, receive)
	}
	if err != nil {
		return fmt.Errorf("control the queue's faults: %w", err)
	}
	return nil
}
