// Package gateway runs an S3 endpoint on a directory of this machine, for
// local mode and for tests: versitygw, embedded, with one root account.
// Signatures are verified, conditional writes and versioning work; lifecycle
// rules and notification configurations don't exist.
//
// Two limits come from versitygw: one gateway a process, and opening one
// changes the process's working directory to its data. Make other paths
// absolute first.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"go.uber.org/zap"
)

// healthPath is not signed; a bucket can't have its name.
const healthPath = "/healthz"

// startTimeout bounds the wait for the endpoint's first answer. It takes
// milliseconds on a machine that is not overloaded.
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
	// OnEvent gets the S3 event document of every write and delete, as
	// versitygw made it: its event names begin with "s3:", ETags keep their
	// quotes, keys are not URL-encoded. Calls are concurrent. An error is
	// retried a few times, then logged. Delivery is best effort: what was
	// written when the process died may never be told, so whoever depends on
	// events reconciles at start. Default: no events.
	OnEvent func(ctx context.Context, body []byte) error
	// Logger gets what went wrong with events. Default: nothing is logged.
	Logger *zap.Logger
}

// Gateway is a running endpoint.
type Gateway struct {
	url      string
	metadata string
	events   *events // nil without OnEvent
	cancel   context.CancelFunc
	done     chan struct{} // closed when the gateway has ended
	err      error         // why, once done
}

// Open starts the endpoint and returns when it answers and the buckets exist.
// ctx bounds the start only. Close the result.
func Open(ctx context.Context, config Config) (*Gateway, error) {
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	if config.Region == "" {
		config.Region = "us-east-1"
	}
	backend, metadata, err := openBackend(config.Dir)
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr(config.Addr)
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.Background())
	g := &Gateway{url: "http://" + addr, metadata: metadata, cancel: cancel, done: make(chan struct{})}
	var webhook string
	if config.OnEvent != nil {
		if g.events, err = listenEvents(config.OnEvent, config.Logger); err != nil {
			cancel()
			return nil, err
		}
		webhook = g.events.url
	}
	go func() {
		defer close(g.done)
		g.err = embedgw.RunVersityGW(run, backend, &embedgw.Config{
			RootUserAccess:    config.AccessKey,
			RootUserSecret:    config.SecretKey,
			Region:            config.Region,
			Ports:             []string{addr},
			MaxConnections:    maxRequests,
			MaxRequests:       maxRequests,
			MultipartMaxParts: 10_000,
			KeepAlive:         true,
			Quiet:             true,
			HealthPath:        healthPath,
			EventWebhookURL:   webhook,
		})
	}()
	ctx, stop := context.WithTimeout(ctx, startTimeout)
	defer stop()
	if err := g.start(ctx, config); err != nil {
		return nil, errors.Join(fmt.Errorf("start S3 on %s: %w", addr, err), g.Close())
	}
	return g, nil
}

// URL is the endpoint, for path-style addressing.
func (g *Gateway) URL() string { return g.url }

// Metadata says where object metadata is kept: "xattr" or "sidecar".
func (g *Gateway) Metadata() string { return g.metadata }

// Done is closed when the endpoint has ended, by Close or by a fault.
func (g *Gateway) Done() <-chan struct{} { return g.done }

// Close ends the endpoint: requests under way are finished, then the events
// that have arrived are delivered.
func (g *Gateway) Close() error {
	g.cancel()
	<-g.done
	if g.events != nil {
		g.events.close()
	}
	return g.err
}

// start waits until the endpoint answers and makes the buckets.
func (g *Gateway) start(ctx context.Context, config Config) error {
	for {
		err := answers(ctx, g.url+healthPath)
		if err == nil {
			break
		}
		timer := time.NewTimer(5 * time.Millisecond)
		select {
		case <-timer.C:
		case <-g.done:
			return fmt.Errorf("the gateway ended: %w", g.err)
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		}
	}
	return g.createBuckets(ctx, config)
}

func answers(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
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

// freeAddr turns port 0 into a free port. The gateway can't be given a
// listener, so another process could take the port in between; it then fails
// to start and says so.
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
