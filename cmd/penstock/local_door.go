package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"go.uber.org/zap/zapcore"

	"github.com/penstock/penstock/cmd/internal/frontdoor"
	"github.com/penstock/penstock/cmd/internal/frontdoor/sagemaker"
	"github.com/penstock/penstock/cmd/penstock/server"
	"github.com/penstock/penstock/cmd/penstock/stack"
	"github.com/penstock/penstock/queue/request"
	models "github.com/penstock/penstock/worker/model/source"
)

// localDoor is the front door of local mode.
type localDoor struct {
	port      int // 0 takes any free one
	endpoints map[string]string
}

// localEndpoint is the name that is answered to whatever the model.
const localEndpoint = "penstock"

// localEndpoints are an endpoint for the worker's only model, and one for each
// model that has a name which SageMaker could have.
func localEndpoints(setting string) (map[string]string, error) {
	named, err := models.Parse(setting)
	if err != nil {
		return nil, usage("-%w", err)
	}
	endpoints := map[string]string{localEndpoint: ""}
	for _, m := range named {
		if sagemaker.ValidName(m.Name) && m.Name != localEndpoint {
			endpoints[m.Name] = m.Name
		}
	}
	return endpoints, nil
}

// modelsOf is what the worker's -model names: of one where it is, of several
// also how they are called.
func (p *program) modelsOf(setting string) []string {
	named, err := models.Parse(setting)
	if err != nil || len(named) < 2 {
		return []string{p.short(setting)}
	}
	var list []string
	width := 0
	for _, m := range named {
		width = max(width, len(m.Name))
	}
	for _, m := range named {
		list = append(list, fmt.Sprintf("%-*s  %s", width, m.Name, p.short(m.URI)))
	}
	return list
}

// doorLog is the name of the front door's log.
const doorLog = "serve.log"

// runningDoor is a front door that is served in this process.
type runningDoor struct {
	url  string
	stop context.CancelFunc
	done chan struct{} // closed when it has ended
	err  error         // how; read it when done is closed
}

// close ends it and waits for that.
func (d *runningDoor) close() error {
	d.stop()
	<-d.done
	return d.err
}

// openLocalDoor serves the front door of a stack until ctx is done or it is
// closed.
func (p *program) openLocalDoor(ctx context.Context, s *stack.Stack, services services, d localDoor) (*runningDoor, error) {
	locations, err := request.ParseLocations(stack.Input, stack.Output, stack.Failure, "")
	if err != nil {
		return nil, err
	}
	log, err := s.OpenLog(doorLog)
	if err != nil {
		return nil, err
	}
	address := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	l, err := listen(ctx, address(d.port))
	if errors.Is(err, syscall.EADDRINUSE) { // it was free when it was looked at
		l, err = listen(ctx, address(0))
	}
	if err != nil {
		return nil, err
	}
	config := p.serverConfig(services, served{
		door:     frontdoor.Config{Locations: locations, Endpoints: d.endpoints},
		queueURL: s.QueueURL, open: true, log: newLog(log, zapcore.InfoLevel),
	})
	ctx, stop := context.WithCancel(ctx)
	running := &runningDoor{url: urlOf(l), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(running.done)
		running.err = server.Run(ctx, p.hard, l, config)
	}()
	return running, nil
}
