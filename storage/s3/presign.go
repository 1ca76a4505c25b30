package s3

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock/penstock/storage"
)

// PresignPut makes a URL that anybody can PUT the object to until it expires,
// with these credentials' permission and any content type.
func (s *Store) PresignPut(ctx context.Context, ref storage.Ref, expires time.Duration) (url string, err error) {
	if err := check(ref); err != nil {
		return "", fmt.Errorf("presign a PUT of %s: %w", ref, err)
	}
	out, err := s.presigner(expires).PresignPutObject(ctx, &awss3.PutObjectInput{Bucket: &ref.Bucket, Key: &ref.Key})
	if err != nil {
		return "", wrap("presign a PUT of", ref, err)
	}
	return out.URL, nil
}

// PresignGet makes a URL that anybody can GET the object from until it expires.
func (s *Store) PresignGet(ctx context.Context, ref storage.Ref, expires time.Duration) (url string, err error) {
	if err := check(ref); err != nil {
		return "", fmt.Errorf("presign a GET of %s: %w", ref, err)
	}
	out, err := s.presigner(expires).PresignGetObject(ctx, &awss3.GetObjectInput{Bucket: &ref.Bucket, Key: &ref.Key})
	if err != nil {
		return "", wrap("presign a GET of", ref, err)
	}
	return out.URL, nil
}

func (s *Store) presigner(expires time.Duration) *awss3.PresignClient {
	return awss3.NewPresignClient(s.client, awss3.WithPresignExpires(expires), awss3.WithPresignClientFromClientOptions(func(o *awss3.Options) {
		// Else the URL would hold the checksum of the body that is not known yet.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	}))
}
