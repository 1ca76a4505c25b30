// Package gateway runs an S3 endpoint on a directory of this machine, for
// local mode and for tests: versitygw, embedded, with one root account.
// Signatures are verified, conditional writes and versioning work; lifecycle
// rules and notification configurations don't exist.
//
// Two limits come from versitygw: one gateway a process, and opening one
// changes the process's working directory to its data. Make other paths
// absolute first.
//
// # Events
//
// The document of every write is handed over before the write is answered, so
// an event is lost only when its receiver refuses it for seconds or the
// process dies in between; then the writer has no answer either. versitygw's
// own webhook is not used: it sends after the answer, and reads bucket and key
// from memory that the next request may have overwritten by then.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3api"
	"github.com/versity/versitygw/s3api/middlewares"
	"github.com/versity/versitygw/s3event"
	"go.uber.org/zap"
)

// healthPath is not signed; a bucket can't have its name.
const healthPath = "/healthz"

// startTimeout bounds the start. It takes milliseconds on a machine that is
// not overloaded.
const startTimeout = 20 * time.Second

// maxRequests bounds requests under way, and connections.
const maxRequests = 1024

// Config of a Gateway. Dir, AccessKey and SecretKey are required.
type Config struct {
	// Dir holds everything: data, older versions and, where the file system
	// has no extended attributes, metadata.
	Dir string
	// Addr is where it listens. Port 0 takes a free one. Default: 127.0.0.1:0.
	Addr string
	// AccessKey and SecretKey are the only account's.
	AccessKey, SecretKey string
	// Region is what requests must be signed for. Default: us-east-1.
	Region string
	// Buckets are created if they don't exist.
	Buckets []string
	// OnEvent gets the event document of every write and delete, in the form
	// that S3 sends to a queue. The write is answered when it returns, so it
	// must be quick. Calls are concurrent. An error is retried for some
	// seconds, then logged, and the write is answered all the same: the object
	// is there. Default: no events.
	OnEvent func(ctx context.Context, body []byte) error
	// Logger gets what went wrong with events. Default: nothing is logged.
	Logger *zap.Logger

	free      func(addr string) (string, error) // freeAddr, but in tests
	listening func()                            // called before the first connection is taken, in tests
}

// Gateway is a running endpoint.
type Gateway struct {
	url      string
	metadata string
	backend  *posix.Posix
	server   *s3api.S3ApiServer
	cancel   context.CancelFunc // ends OnEvent
	done     chan struct{}      // closed when the server has ended
	err      error              // why, once done
	log      *zap.Logger
}

// running holds the limit of one gateway a process.
var running atomic.Bool

// Open starts the endpoint and returns when it answers and the buckets exist.
// ctx bounds the start only. Close the result.
func Open(ctx context.Context, config Config) (*Gateway, error) {
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	if config.Region == "" {
		config.Region = "us-east-1"
	}
	if config.free == nil {
		config.free = freeAddr
	}
	for attempt := 1; ; attempt++ {
		g, err := open(ctx, config)
		if attempt == startAttempts || !errors.Is(err, syscall.EADDRINUSE) || !choosesPort(config.Addr) {
			return g, err
		}
	}
}

// open starts the endpoint once.
func open(ctx context.Context, config Config) (*Gateway, error) {
	if !running.CompareAndSwap(false, true) {
		return nil, errors.New("start S3: there is one already, and a process can have only one")
	}
	g, listening, err := newGateway(config)
	if err != nil {
		running.Store(false)
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, startTimeout)
	defer stop()
	if err := g.start(ctx, config, listening); err != nil {
		_ = g.Close() // err says why
		return nil, fmt.Errorf("start S3 on %s: %w", g.url, err)
	}
	return g, nil
}

// newGateway starts the server; listening is closed when it can be reached.
func newGateway(config Config) (_ *Gateway, listening chan struct{}, err error) {
	backend, metadata, err := openBackend(config.Dir)
	if err != nil {
		return nil, nil, err
	}
	addr, err := config.free(config.Addr)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &Gateway{url: "http://" + addr, metadata: metadata, backend: backend, cancel: cancel, done: make(chan struct{}), log: config.Logger}
	var sender s3event.S3EventSender // must stay a nil interface without OnEvent
	if config.OnEvent != nil {
		sender = &events{ctx: ctx, region: config.Region, heads: backend, onEvent: config.OnEvent, log: config.Logger}
	}
	listening = make(chan struct{})
	g.server, err = s3api.New(
		backend,
		middlewares.RootUserConfig{Access: config.AccessKey, Secret: config.SecretKey},
		config.Region,
		auth.NewIAMServiceSingle(auth.Account{Access: config.AccessKey, Secret: config.SecretKey, Role: auth.RoleAdmin}),
		nil, nil, sender, nil, // no audit logs, no metrics
		s3api.WithConcurrencyLimiter(maxRequests, maxRequests),
		s3api.WithMpMaxParts(10_000),
		s3api.WithQuiet(),
		s3api.WithHealth(healthPath),
		s3api.WithKeepAlive(),
		s3api.WithOnListen(func() {
			close(listening)
			if config.listening != nil {
				config.listening()
			}
		}),
	)
	if err != nil {
		cancel()
		return nil, nil, fmt.Errorf("make S3 server: %w", err)
	}
	go func() {
		defer close(g.done)
		g.err = g.server.ServeMultiPort([]string{addr})
	}()
	return g, listening, nil
}

// start waits until the endpoint can be reached and makes the buckets.
func (g *Gateway) start(ctx context.Context, config Config, listening <-chan struct{}) error {
	select {
	case <-listening:
		return g.createBuckets(ctx, config)
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return fmt.Errorf("it is not listening: %w", context.Cause(ctx))
	}
}

// URL is the endpoint, for path-style addressing.
func (g *Gateway) URL() string { return g.url }

// Metadata says where object metadata is kept: "xattr" or "sidecar".
func (g *Gateway) Metadata() string { return g.metadata }

// Done is closed when the endpoint has ended, by Close or by a fault.
func (g *Gateway) Done() <-chan struct{} { return g.done }

// Close finishes the requests under way, with their events, and ends. It
// waits up to 10 seconds for clients that keep a connection open without ever
// having used it.
func (g *Gateway) Close() error {
	var failed error
	select {
	case <-g.done:
		failed = g.err // it ended by itself
	default:
	}
	g.shutDown()
	g.cancel()
	g.backend.Shutdown()
	running.Store(false)
	return failed
}

// shutDown ends the server. One that listens and has not begun to serve takes
// no notice of being shut down, and so is told until it has ended.
func (g *Gateway) shutDown() {
	for {
		if err := g.server.ShutDown(); err != nil {
			g.log.Warn("S3 connections were still open at shutdown", zap.Error(err))
		}
		select {
		case <-g.done:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// openBackend makes the directories and chooses how metadata is kept.
func openBackend(dir string) (*posix.Posix, string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, "", fmt.Errorf("find data directory: %w", err)
	}
	data, versions, sidecar := filepath.Join(dir, "data"), filepath.Join(dir, "versions"), filepath.Join(dir, "metadata")
	for _, d := range []string{data, versions} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, "", fmt.Errorf("make data directory: %w", err)
		}
	}
	options := posix.PosixOpts{
		NewDirPerm:          0o755,
		Concurrency:         256,
		CopyObjectThreshold: 5 << 30, // zero would refuse every copy
		VersioningDir:       versions,
		ValidateBucketNames: true,
	}
	var store meta.MetadataStorer = meta.XattrMeta{}
	name := "xattr"
	// What was begun with side-car files goes on with them, wherever it was
	// copied to since.
	if _, err := os.Stat(sidecar); err == nil || !keepsAttributes(data) {
		if err := os.MkdirAll(sidecar, 0o755); err != nil {
			return nil, "", fmt.Errorf("make metadata directory: %w", err)
		}
		name, options.SideCarDir = "sidecar", sidecar
		if store, err = meta.NewSideCar(sidecar); err != nil {
			return nil, "", fmt.Errorf("open metadata directory: %w", err)
		}
	}
	backend, err := posix.New(data, store, options)
	if err != nil {
		return nil, "", fmt.Errorf("open %s: %w", data, err)
	}
	return backend, name, nil
}

// keepsAttributes tries whether files in dir can have extended attributes:
// tmpfs and some network file systems say so only when one is set.
func keepsAttributes(dir string) bool {
	f, err := os.CreateTemp(dir, ".attributes-*")
	if err != nil {
		return false
	}
	defer os.Remove(f.Name())
	defer f.Close()
	x := meta.XattrMeta{}
	if x.StoreAttribute(f, "", "", "penstock-probe", []byte("1")) != nil {
		return false
	}
	v, err := x.RetrieveAttribute(f, "", "", "penstock-probe")
	return err == nil && string(v) == "1"
}

// startAttempts is how many free ports are tried: the gateway can't be given a
// listener, so another process may take the one that was found before the
// gateway does.
const startAttempts = 10

// choosesPort says whether the port is free to choose.
func choosesPort(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	return addr == "" || err == nil && port == "0"
}

// freeAddr turns port 0 into a free port.
func freeAddr(addr string) (string, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listen for S3: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
