//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/penstock/penstock/cmd/internal/faults/stage"
)

// service is S3 or SQS, as seen from the workers.
type service int

const (
	s3Service service = iota
	sqsService
)

func (s service) String() string { return [...]string{"S3", "SQS"}[s] }

func (s *slot) link(to service) *link {
	if to == s3Service {
		return s.s3
	}
	return s.sqs
}

// once is the undo of a fault that is over as it happens.
func once(context.Context) (int, error) { return 1, nil }

// nothing is the act of a step whose faults are among the inputs it sends.
func nothing(times int) act {
	return func(context.Context, *field) (func(context.Context) (int, error), error) {
		return func(context.Context) (int, error) { return times, nil }, nil
	}
}

// kill ends a worker, or asks it to end.
func kill(worker int, sig syscall.Signal) act {
	return func(ctx context.Context, f *field) (func(context.Context) (int, error), error) {
		s := f.fleet.slots[worker]
		held, err := s.strike(ctx, sig)
		f.say("%s held %d messages", s.name, held)
		return once, err
	}
}

// freeze stops a worker, which then does not know how long it has slept.
func freeze(worker int) act {
	return func(ctx context.Context, f *field) (func(context.Context) (int, error), error) {
		s := f.fleet.slots[worker]
		held, err := s.strike(ctx, syscall.SIGSTOP)
		if err != nil {
			return nil, err
		}
		f.say("%s held %d messages", s.name, held)
		return func(context.Context) (int, error) {
			s.wake()
			return 1, nil
		}, nil
	}
}

// gone makes a service refuse all connections of some workers.
func gone(to service, workers []int) act {
	return func(_ context.Context, f *field) (func(context.Context) (int, error), error) {
		for _, n := range workers {
			f.fleet.slots[n].link(to).down()
		}
		return func(context.Context) (int, error) {
			for _, n := range workers {
				if err := f.fleet.slots[n].link(to).up(); err != nil {
					return 1, err
				}
			}
			return 1, nil
		}, nil
	}
}

// spoilt puts a toxic on the links of some workers to a service.
func spoilt(to service, workers []int, t toxic) act {
	return func(_ context.Context, f *field) (func(context.Context) (int, error), error) {
		var cures []func() error
		for _, n := range workers {
			cure, err := f.fleet.slots[n].link(to).spoil(t)
			if err != nil {
				return nil, err
			}
			cures = append(cures, cure)
		}
		return func(context.Context) (int, error) {
			for _, cure := range cures {
				if err := cure(); err != nil {
					return 1, err
				}
			}
			return 1, nil
		}, nil
	}
}

// silent makes a service swallow all and answer nothing.
func silent(to service, workers []int) act {
	return spoilt(to, workers, toxic{kind: "timeout", streams: []string{"upstream", "downstream"}, attributes: `{"timeout":0}`, share: 1})
}

// late delays every reply of a service.
func late(to service, workers []int, milliseconds, jitter int) act {
	return spoilt(to, workers, toxic{
		kind: "latency", streams: []string{"downstream"}, share: 1,
		attributes: fmt.Sprintf(`{"latency":%d,"jitter":%d}`, milliseconds, jitter),
	})
}

// reset resets a share of the connections to a service, as their first reply
// begins.
func reset(to service, workers []int, share float64) act {
	return spoilt(to, workers, toxic{kind: "reset_peer", streams: []string{"downstream"}, attributes: `{"timeout":20}`, share: share})
}

// spoiltCalls has a share of the calls to a service go wrong.
func spoiltCalls(to service, match func(*http.Request) bool, share float64, e stage.Effect) act {
	return func(_ context.Context, f *field) (func(context.Context) (int, error), error) {
		at := f.s3Stage
		if to == sqsService {
			at = f.sqsStage
		}
		lift := at.Lay(stage.Rule{Match: match, Share: share, Effect: e})
		return func(context.Context) (int, error) { return lift(), nil }, nil
	}
}

// queueFaults has the queue itself go wrong.
func queueFaults(list ...queueFault) act {
	return func(ctx context.Context, f *field) (func(context.Context) (int, error), error) {
		return f.servers.inject(ctx, f.bucket, slices.Clone(list))
	}
}

// Calls, to be struck.

// action matches calls of SQS: "DeleteMessage" is DeleteMessageBatch too.
func action(name string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		_, called, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		return strings.HasPrefix(called, name)
	}
}

// method matches calls of S3 by their verb; a GET is of an object, not a list.
func method(name string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method == name && !lists(r.URL)
	}
}

// writes matches calls of S3 that write an object or a part of one, and those
// that make an object of the parts.
func writes(r *http.Request) bool { return r.Method == http.MethodPut || completes(r) }

// completes says whether the call makes an object of its parts.
func completes(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

func lists(u *url.URL) bool { return u.Query().Has("list-type") }
