package gateway_test

import (
	"fmt"
	"maps"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/penstock/penstock/cmd/local/gateway"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
	"github.com/penstock/penstock/storage/storagetest"
)

const (
	cleansPaths = "versitygw makes keys paths, and cleans them"
	keysAreDirs = "a key is a file, and what lies before its slash a directory"
)

// gaps are what versitygw on a file system can't do.
var gaps = map[string]string{
	"a key with two slashes":                           cleansPaths,
	"a key with a leading slash":                       cleansPaths,
	"a key with a leading ./":                          cleansPaths,
	"a key with a /../ within":                         cleansPaths,
	"a key with a leading ../":                         "versitygw refuses a path out of the bucket: 400",
	"a key with 1,024 bytes without a slash":           "a file's name has at most 255 bytes",
	"a key may be the folder of another":               keysAreDirs,
	"of a replacement and a deletion exactly one wins": "versitygw looks and deletes in two steps",
	"a reader never sees a part of a write":            "versitygw reads an object's attributes and its bytes in two steps: beside an overwrite they can be of two versions",
	"an upload takes ranges of other objects":          "versitygw keeps the checksum of the whole object for its range, so the result can't be read with checks",
}

// serve opens a gateway for a test, and a client of it whose requests go by
// way of transport.
func serve(t *testing.T, transport http.RoundTripper) *awss3.Client {
	t.Helper()
	g, err := gateway.Open(t.Context(), gateway.Config{Dir: t.TempDir(), AccessKey: "key", SecretKey: "secret-key"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return awss3.New(awss3.Options{
		BaseEndpoint:               new(g.URL()),
		Region:                     "us-east-1",
		UsePathStyle:               true,
		Credentials:                credentials.NewStaticCredentialsProvider("key", "secret-key", ""),
		HTTPClient:                 &http.Client{Transport: transport},
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	})
}

// direct keeps no connection, for Close waits for those made in reserve.
func direct() http.RoundTripper { return &http.Transport{DisableKeepAlives: true} }

// run runs the suite on a gateway of its own; prepare gets each bucket.
func run(t *testing.T, options storagetest.Options, prepare func(t *testing.T, client *awss3.Client, bucket string)) {
	t.Helper()
	client := serve(t, direct())
	var buckets atomic.Int64
	storagetest.Run(t, func(t *testing.T) (storage.Store, string) {
		bucket := fmt.Sprintf("bucket-%d", buckets.Add(1))
		if _, err := client.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket}); err != nil {
			t.Fatal(err)
		}
		prepare(t, client, bucket)
		return s3.New(client), bucket
	}, options)
}

func TestConformance(t *testing.T) {
	run(t, storagetest.Options{Gaps: gaps}, func(*testing.T, *awss3.Client, string) {})
}

func TestConformanceWithVersions(t *testing.T) {
	with := map[string]string{
		"a new object can be put where one was deleted": "versitygw takes a delete marker for an object: 412",
	}
	maps.Copy(with, gaps)
	run(t, storagetest.Options{Gaps: with, Versioned: true}, func(t *testing.T, client *awss3.Client, bucket string) {
		_, err := client.PutBucketVersioning(t.Context(), &awss3.PutBucketVersioningInput{
			Bucket:                  &bucket,
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
