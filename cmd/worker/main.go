//go:build cgo

// Command worker is the long-lived consumer: it loads TensorFlow models once,
// receives requests from an SQS queue and writes their results to S3.
//
// `worker -h` lists its settings. It ends on SIGTERM or SIGINT after draining;
// a second signal ends it at once.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/urfave/cli/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	shared "github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/worker"
	"github.com/penstock/penstock/worker/model/catalog"
	"github.com/penstock/penstock/worker/model/tf"
)

// Exit codes.
const (
	exitOK       = 0
	exitFailed   = 1 // something that a restart may cure: the supervisor should start it again
	exitSettings = 2 // the settings, the queue or the model are wrong: a person must act
)

func main() {
	_ = tf.Quiet() // a noisy log is no reason to end
	os.Exit(dispatch(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// dispatch runs what the first argument asks for, the worker if it is a flag.
func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	verbs := map[string]func(context.Context, []string, io.Writer, io.Writer) int{inspectVerb: inspect, tryVerb: trial}
	if len(args) > 0 && verbs[args[0]] != nil {
		return verbs[args[0]](ctx, args[1:], stdout, stderr)
	}
	return run(ctx, args, stdout, stderr)
}

// run is the whole program but for the process.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// After the first signal the default is back: the second one kills.
	defer context.AfterFunc(ctx, stop)()

	code := exitOK
	understood := false // the settings, as far as each is a value of its kind
	var s settings
	cmd := &cli.Command{
		Name:            "worker",
		Usage:           "run TensorFlow models on the S3 objects that an SQS queue names",
		UsageText:       "worker -queue-url URL -model URI -input s3://BUCKET/in/ -output s3://BUCKET/out/ -failure s3://BUCKET/failed/",
		Description:     description,
		Flags:           s.flags(),
		HideHelpCommand: true,
		Writer:          stdout, ErrWriter: stderr,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // run's own business
		OnUsageError:   func(_ context.Context, _ *cli.Command, err error, _ bool) error { return settingsError{err} },
		Action: func(ctx context.Context, cmd *cli.Command) error {
			understood = true
			if cmd.Args().Present() {
				return settingsError{fmt.Errorf("unexpected argument %q: every setting is a flag", cmd.Args().First())}
			}
			return serve(ctx, &s, stderr)
		},
	}
	err := cmd.Run(ctx, append([]string{"worker"}, args...))
	if ctx.Err() != nil && !errors.Is(err, worker.ErrModelHung) {
		return exitOK // what did not come up was told to go
	}
	if err != nil {
		code = exitFailed
		if _, ok := errors.AsType[settingsError](err); ok || !understood {
			code = exitSettings
		}
		fmt.Fprintf(stderr, "worker: %v\n", err)
	}
	return code
}

// settingsError is an error that a restart does not cure.
type settingsError struct{ error }

func (e settingsError) Unwrap() error { return e.error }

// serve opens everything, works until ctx is done, and closes it again.
func serve(ctx context.Context, s *settings, stderr io.Writer) error {
	cfg, err := s.config()
	unknown := shared.Unknown(os.Environ())
	if err != nil {
		return settingsError{errors.Join(append([]error{err}, unknown...)...)} // one may be what is missing
	}
	log := newLog(s.logLevel, stderr)
	defer func() { _ = log.Sync() }() // stderr can't always be synced
	for _, err := range unknown {
		log.Warn("unknown setting", zap.Error(err))
	}
	cfg.Log = log
	cfg.Name = name()

	health := newHealth(s.addr)
	if err := health.listen(ctx); err != nil {
		return settingsError{err}
	}
	defer health.close()
	cfg.Metrics = health.registry

	if err := connect(ctx, s, &cfg); err != nil {
		return err
	}
	models, err := openModels(ctx, s, cfg)
	if err != nil {
		return err
	}
	cfg.Models = models

	w, err := worker.New(cfg)
	if err != nil {
		return settingsError{errors.Join(err, models.Close())}
	}
	queries := newQueries(s.restAddr, w, models)
	if err := queries.listen(ctx); err != nil {
		return settingsError{errors.Join(err, models.Close())}
	}
	defer queries.close()
	health.serve(w.Ready)
	log.Info("working", zap.String("queue", s.queueURL), zap.String("addr", health.addr()), zap.String("rest", queries.addr()))
	err = work(ctx, w, models, log)
	log.Info("ended", zap.Error(err))
	return err
}

// name is what this worker is called: by its machine, or container, for people,
// and by chance, so that no two are the same.
func name() string {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	return host + "-" + rand.Text()[:8]
}

// work runs the worker, and the catalog of its models beside it.
func work(ctx context.Context, w *worker.Worker, models *catalog.Catalog, log *zap.Logger) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var reloading sync.WaitGroup
	reloading.Go(func() { models.Run(ctx) })
	err := w.Run(ctx)
	stop()
	reloading.Wait()
	if err != nil {
		return err // a run is still in a model: they are left to the end of the process
	}
	if err := models.Close(); err != nil {
		log.Warn("close the models", zap.Error(err)) // the process ends
	}
	return nil
}

// newLog writes JSON lines to stderr.
func newLog(level zapcore.Level, stderr io.Writer) *zap.Logger {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	c.EncodeDuration = zapcore.SecondsDurationEncoder
	c.TimeKey = "time"
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(c), zapcore.Lock(zapcore.AddSync(stderr)), level))
}
