//go:build servers

package s3_test

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
	"github.com/penstock/penstock/storage/storagetest"
)

// These tests run the suite on an S3 server that others wrote. `make
// test-servers` starts it and says where it is. The embedded gateway of
// cmd/local has a test of its own.

func TestOnMinistack(t *testing.T) {
	const anySize = "ministack takes parts of any size"
	url := os.Getenv("PENSTOCK_TEST_MINISTACK")
	if url == "" {
		t.Fatal("PENSTOCK_TEST_MINISTACK does not say where the server is: make test-servers starts it")
	}
	client := awss3.New(awss3.Options{
		Region:                     "us-east-1",
		BaseEndpoint:               &url,
		UsePathStyle:               true,
		Credentials:                credentials.NewStaticCredentialsProvider("test", "test", ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	})
	t.Run("plain", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) (storage.Store, string) {
			return s3.New(client), bucket(t, client)
		}, storagetest.Options{Gaps: map[string]string{
			"an upload of impossible parts is refused": anySize,
		}})
	})
	t.Run("versioned", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) (storage.Store, string) {
			name := bucket(t, client)
			_, err := client.PutBucketVersioning(t.Context(), &awss3.PutBucketVersioningInput{
				Bucket:                  &name,
				VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
			})
			if err != nil {
				t.Fatal(err)
			}
			return s3.New(client), name
		}, storagetest.Options{Versioned: true, Gaps: map[string]string{
			"an upload of impossible parts is refused": anySize,
			"an upload takes ranges of other objects":  "ministack gives the whole object where a range of a version is asked for",
		}})
	})
}

var buckets atomic.Int64

func bucket(t *testing.T, client *awss3.Client) string {
	t.Helper()
	name := fmt.Sprintf("t%d-%d", time.Now().UnixNano(), buckets.Add(1))
	if _, err := client.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	return name
}
