package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// createBuckets makes the buckets that don't exist.
func (g *Gateway) createBuckets(ctx context.Context, config Config) error {
	client := s3.New(s3.Options{
		BaseEndpoint: new(g.url),
		UsePathStyle: true,
		Region:       config.Region,
		Credentials:  credentials.NewStaticCredentialsProvider(config.AccessKey, config.SecretKey, ""),
	})
	for _, bucket := range config.Buckets {
		_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket})
		if _, owned := errors.AsType[*types.BucketAlreadyOwnedByYou](err); err != nil && !owned {
			return fmt.Errorf("create bucket %q: %w", bucket, err)
		}
	}
	return nil
}
