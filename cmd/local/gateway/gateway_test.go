package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// There is one gateway a process, so no test here is parallel.

func openGateway(t *testing.T, config Config) (*Gateway, *s3.Client) {
	t.Helper()
	if config.Dir == "" {
		config.Dir = t.TempDir()
	}
	config.AccessKey, config.SecretKey = "key", "secret-key"
	g, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return g, s3.New(s3.Options{
		BaseEndpoint: new(g.URL()),
		Region:       "us-east-1",
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider("key", "secret-key", ""),
		Retryer:      aws.NopRetryer{},
		// Close waits for connections that were made in reserve.
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
}

func put(t *testing.T, client *s3.Client, key, body string) {
	t.Helper()
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: new("bucket"), Key: &key, Body: strings.NewReader(body)}); err != nil {
		t.Fatal(err)
	}
}

func TestOpenAgainKeepsBucketsObjectsAndVersions(t *testing.T) {
	dir := t.TempDir()
	g, client := openGateway(t, Config{Dir: dir, Buckets: []string{"bucket"}})
	_, err := client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket:                  new("bucket"),
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, client, "a/b", "1")
	put(t, client, "a/b", "2")
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	g, client = openGateway(t, Config{Dir: dir, Buckets: []string{"bucket", "second"}})
	defer g.Close()
	out, err := client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: new("bucket")})
	if err != nil || len(out.Versions) != 2 {
		t.Errorf("versions are %v (%v), want 2", out, err)
	}
}

// A program can be told to end while it starts.
func TestAStartThatIsCalledOffEnds(t *testing.T) {
	for n := range 10 { // how far the start comes by then is the scheduler's
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*100*time.Microsecond)
		ended := make(chan error, 1)
		go func() {
			g, err := Open(ctx, Config{Dir: t.TempDir(), AccessKey: "key", SecretKey: "secret-key", Buckets: []string{"bucket"}})
			if err == nil {
				err = g.Close()
			}
			ended <- err
		}()
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Fatal("it goes on for ever")
		}
		cancel()
	}
	g, client := openGateway(t, Config{Buckets: []string{"bucket"}})
	defer g.Close()
	put(t, client, "k", "after those")
}

func TestConditionalWriteHasOneWinner(t *testing.T) {
	g, client := openGateway(t, Config{Buckets: []string{"bucket"}})
	defer g.Close()
	var won atomic.Int32
	var race sync.WaitGroup
	for i := range 8 {
		race.Go(func() {
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: new("bucket"), Key: new("k"), Body: strings.NewReader(fmt.Sprint(i)), IfNoneMatch: new("*")})
			e, refused := errors.AsType[smithy.APIError](err)
			switch {
			case err == nil:
				won.Add(1)
			case !refused || e.ErrorCode() != "PreconditionFailed" && e.ErrorCode() != "ConditionalRequestConflict":
				t.Errorf("put: %v", err)
			}
		})
	}
	race.Wait()
	if won.Load() != 1 {
		t.Errorf("%d writers won, want 1", won.Load())
	}
}

func TestWrongSecretIsRefused(t *testing.T) {
	g, _ := openGateway(t, Config{Buckets: []string{"bucket"}})
	defer g.Close()
	other := s3.New(s3.Options{
		BaseEndpoint: new(g.URL()), Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("key", "wrong", ""),
	})
	if _, err := other.ListBuckets(t.Context(), &s3.ListBucketsInput{}); err == nil {
		t.Error("a request signed with another secret was served")
	}
}

func TestSidecarMetadataGoesOnOnceBegun(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "metadata"), 0o755); err != nil {
		t.Fatal(err)
	}
	g, client := openGateway(t, Config{Dir: dir, Buckets: []string{"bucket"}})
	defer g.Close()
	if g.Metadata() != "sidecar" {
		t.Errorf("metadata is kept as %s, want sidecar", g.Metadata())
	}
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: new("bucket"), Key: new("k"), Body: strings.NewReader("x"), ContentType: new("text/x-test"), Metadata: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: new("bucket"), Key: new("k")})
	if err != nil || *out.ContentType != "text/x-test" || out.Metadata["a"] != "b" {
		t.Errorf("head: %v, %v", out, err)
	}
}

func TestKeepsAttributesIsFalseWhereNoFileCanBeMade(t *testing.T) {
	if keepsAttributes(filepath.Join(t.TempDir(), "none")) {
		t.Error("a folder that is not there keeps attributes")
	}
}

func TestOpenReportsWhatIsTakenAndABadBucket(t *testing.T) {
	g, _ := openGateway(t, Config{})
	_, err := Open(t.Context(), Config{Dir: t.TempDir(), AccessKey: "key", SecretKey: "secret-key"})
	if err == nil || !strings.Contains(err.Error(), "only one") {
		t.Errorf("error is %v, want one that says one gateway a process", err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Open(t.Context(), Config{Dir: t.TempDir(), Addr: l.Addr().String(), AccessKey: "key", SecretKey: "secret-key"})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("error is %v, want one about the address", err)
	}
	_, err = Open(t.Context(), Config{Dir: t.TempDir(), AccessKey: "key", SecretKey: "secret-key", Buckets: []string{"x"}})
	if err == nil || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("error is %v, want one that names the bucket", err)
	}
}

func TestAFreePortThatAnotherTakesFirstIsNoFault(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := 0
	g, _ := openGateway(t, Config{free: func(addr string) (string, error) {
		if asked++; asked == 1 {
			return l.Addr().String(), nil // it was free a moment ago
		}
		return freeAddr(addr)
	}})
	defer g.Close()
	if asked != 2 {
		t.Errorf("%d ports were tried, want 2", asked)
	}
}

// The server listens before it serves, and one that is shut down in between
// would serve for ever.
func TestAGatewayThatHasJustBegunToListenCanBeClosed(t *testing.T) {
	g, _ := openGateway(t, Config{listening: func() { time.Sleep(100 * time.Millisecond) }})
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

func TestHealthIsNotSigned(t *testing.T) {
	g, _ := openGateway(t, Config{})
	defer g.Close()
	resp, err := http.Get(g.URL() + healthPath)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("it answers %s", resp.Status)
	}
}
