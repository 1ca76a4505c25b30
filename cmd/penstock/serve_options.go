package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/penstock/penstock/cmd/internal/frontdoor"
	"github.com/penstock/penstock/cmd/internal/frontdoor/auth"
	"github.com/penstock/penstock/cmd/internal/frontdoor/sagemaker"
	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/queue/request"
)

// serveOptions reads the settings. All faults are reported at once.
func (p *program) serveOptions(ctx context.Context, cmd *cli.Command) (o served, err error) {
	var errs []error
	fault := func(err error) { errs = append(errs, err) }
	if cmd.NArg() > 0 {
		fault(fmt.Errorf("it takes no arguments, but %q is given; see penstock serve -h", cmd.Args().First()))
	}
	file, err := p.settingsFile()
	if err != nil {
		return o, faultyFile(err)
	}
	o.queueURL, o.deadLetters = cmd.String(settings.QueueURL), cmd.String(flagDead)
	if err := settings.CheckQueueURL(o.queueURL); err != nil {
		fault(err)
	}
	if o.deadLetters != "" && settings.CheckQueueURL(o.deadLetters) != nil {
		fault(fmt.Errorf("%s: %q is not the URL of a queue", flagDead, o.deadLetters))
	}
	if o.door.Locations, err = request.ParseLocations(cmd.String(settings.Input), cmd.String(settings.Output), cmd.String(settings.Failure), cmd.String(settings.State)); err != nil {
		fault(err)
	}
	if o.door.Endpoints, err = sagemaker.ParseEndpoints(cmd.String(flagEndpoints)); err != nil {
		fault(err)
	}
	if o.grouping, err = request.ParseGrouping(cmd.String(settings.GroupBy), o.queueURL); err != nil {
		fault(fmt.Errorf("%s: %w", settings.GroupBy, err))
	}
	size, err := humanize.ParseBytes(cmd.String(flagMaxBody))
	if o.door.MaxBody = int64(size); err != nil || o.door.MaxBody <= 0 || o.door.MaxBody > frontdoor.DefaultMaxBodies {
		fault(fmt.Errorf("%s: %q is no size between 1 and %s; write it as 6MiB", flagMaxBody, cmd.String(flagMaxBody), humanize.IBytes(frontdoor.DefaultMaxBodies)))
	}
	if o.door.MaxWait = cmd.Duration(flagMaxWait); o.door.MaxWait < time.Second {
		fault(fmt.Errorf("%s is %v; it must be at least 1s", flagMaxWait, o.door.MaxWait))
	}
	level, err := zapcore.ParseLevel(cmd.String(flagLogLevel))
	if err != nil {
		fault(fmt.Errorf("%s: %q is none of debug, info, warn, error", flagLogLevel, cmd.String(flagLogLevel)))
	}
	o.anonymous = cmd.Bool(flagAnonymous)
	o.log = newLog(p.stderr, level)
	files, gate, err := p.gate(cmd.String(flagTokens), cmd.String(flagKeys), o.log)
	o.open, o.door.Gate = gate.Open(), files.Gate
	if err != nil {
		fault(err) // and nobody knows whom it would admit
	} else if err := auth.CheckListen(cmd.String(flagListen), gate, o.anonymous); err != nil {
		fault(err)
	} else if o.listener, err = listen(ctx, cmd.String(flagListen)); err != nil {
		fault(err)
	}
	if len(errs) == 0 {
		return o, nil
	}
	if o.listener != nil {
		_ = o.listener.Close() // nothing was served on it
	}
	for _, err := range p.unknownSettings() { // one may be what is missing
		fault(err)
	}
	if file != nil {
		fault(fmt.Errorf("settings that are no flags and not in the environment are from %s", file.Path))
	}
	return o, &exit{exitUsage, fmt.Errorf("serve: %w", errors.Join(errs...))}
}

// gate reads who may call.
func (p *program) gate(tokenFile, keyFile string, log *zap.Logger) (*auth.Files, auth.Gate, error) {
	path := func(name string) string {
		if name == "" {
			return ""
		}
		return inDir(p.dir, name)
	}
	token, _ := p.env(varToken)
	f := &auth.Files{Tokens: path(tokenFile), Keys: path(keyFile), Token: token, TokenName: varToken, Log: log}
	g, err := f.Open()
	return f, g, err
}

// listen opens the address, or says who has it.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		_, port, _ := net.SplitHostPort(addr)
		n, _ := strconv.Atoi(port)
		return nil, fmt.Errorf("listen: %w: port %s is taken%s; stop that, or choose another by -listen", syscall.EADDRINUSE, port, holder(n))
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// urlOf is where a listener is reached from this machine.
func urlOf(l net.Listener) string {
	host, port, _ := net.SplitHostPort(l.Addr().String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// variable is the source of a flag that is mirrored by the environment and by
// the settings file.
func (p *program) variable(name string) cli.ValueSourceChain {
	return cli.NewValueSourceChain(&source{settings.Name(name), p.lookup})
}

// settingOr is setting with a default.
func (p *program) settingOr(name, value, usage string) cli.Flag {
	return &cli.StringFlag{Name: name, Value: value, Usage: usage, Sources: p.variable(name)}
}

// newLog writes JSON lines, as the worker does.
func newLog(w io.Writer, level zapcore.Level) *zap.Logger {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	c.EncodeDuration = zapcore.SecondsDurationEncoder
	c.TimeKey = "time"
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(c), zapcore.Lock(zapcore.AddSync(w)), level))
}
