package s3_test

import (
	"errors"
	"io/fs"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
)

func TestPresignedURLsBindTheObjectAndNothingThatTheirUserMustKnow(t *testing.T) {
	t.Parallel()
	client := awss3.NewFromConfig(aws.Config{
		Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("AKID", "secret", ""),
	}, func(o *awss3.Options) { o.BaseEndpoint, o.UsePathStyle = new("http://s3.test"), true })
	store := s3.New(client)
	ref := storage.Ref{Bucket: "bucket", Key: ".penstock/uploads/a b"}
	for verb, presign := range map[string]func() (string, error){
		"PUT": func() (string, error) { return store.PresignPut(t.Context(), ref, time.Hour) },
		"GET": func() (string, error) { return store.PresignGet(t.Context(), ref, time.Hour) },
	} {
		got, err := presign()
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(got)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if u.Host != "s3.test" || u.Path != "/bucket/.penstock/uploads/a b" || q.Get("X-Amz-Expires") != "3600" || q.Get("X-Amz-Signature") == "" {
			t.Errorf("%s: the URL is %s", verb, got)
		}
		// A checksum would be that of a body which is not known yet, and a header
		// one that its user would have to send.
		if q.Get("X-Amz-SignedHeaders") != "host" || strings.Contains(strings.ToLower(u.RawQuery), "checksum") {
			t.Errorf("%s: the URL asks for more than the object: %s", verb, got)
		}
	}
	for _, presign := range []func() (string, error){
		func() (string, error) { return store.PresignPut(t.Context(), storage.Ref{Bucket: "bucket"}, time.Hour) },
		func() (string, error) { return store.PresignGet(t.Context(), storage.Ref{Bucket: "x"}, time.Hour) },
	} {
		if got, err := presign(); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("a ref that names no object: %q, error %v", got, err)
		}
	}
}
