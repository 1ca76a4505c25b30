package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// told is what OnEvent was told.
type told struct {
	mu      sync.Mutex
	t       *testing.T
	refuse  int // so many calls are refused first
	records []eventRecord
}

func (o *told) onEvent(_ context.Context, body []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuse > 0 {
		o.refuse--
		return errors.New("not now")
	}
	var d eventDocument
	if err := json.Unmarshal(body, &d); err != nil || len(d.Records) != 1 {
		o.t.Errorf("event %s: %v", body, err)
		return nil
	}
	o.records = append(o.records, d.Records...)
	return nil
}

// last is the latest event, for comparison: name, bucket, key, size.
func (o *told) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.records) == 0 {
		return ""
	}
	return line(o.records[len(o.records)-1])
}

func line(r eventRecord) string {
	s := fmt.Sprintf("%s %s %s", r.Name, r.S3.Bucket.Name, r.S3.Object.Key)
	if r.S3.Object.Size != nil {
		s += fmt.Sprintf(" %d", *r.S3.Object.Size)
	}
	return s
}

func TestEveryWriteIsToldBeforeItIsAnswered(t *testing.T) {
	o := &told{t: t, refuse: 2} // what is refused is offered again
	g, client := openGateway(t, Config{Buckets: []string{"bucket"}, OnEvent: o.onEvent})
	defer g.Close()
	for name, test := range map[string]struct {
		write func() error
		want  string
	}{
		"put": {func() error {
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: new("bucket"), Key: new("in put/é+%.json"), Body: strings.NewReader("12345")})
			return err
		}, "ObjectCreated:Put bucket in+put/%C3%A9%2B%25.json 5"},
		"chunked put with a checksum": {func() error {
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: new("bucket"), Key: new("k"), Body: strings.NewReader("123456"), ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme})
			return err
		}, "ObjectCreated:Put bucket k 6"},
		"empty put": {func() error {
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: new("bucket"), Key: new("empty")})
			return err
		}, "ObjectCreated:Put bucket empty 0"},
		"copy": {func() error {
			put(t, client, "source", "1234567")
			_, err := client.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: new("bucket"), Key: new("copy"), CopySource: new("bucket/source")})
			return err
		}, "ObjectCreated:Copy bucket copy 7"},
		"multipart upload": {func() error { return upload(t, client, "big", "12345678") }, "ObjectCreated:CompleteMultipartUpload bucket big 8"},
		"delete": {func() error {
			_, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: new("bucket"), Key: new("a b")})
			return err
		}, "ObjectRemoved:Delete bucket a+b"},
		"delete of many": {func() error {
			_, err := client.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: new("bucket"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: new("c")}}}})
			return err
		}, "ObjectRemoved:Delete bucket c"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.write(); err != nil {
				t.Fatal(err)
			}
			if got := o.last(); got != test.want {
				t.Errorf("told %q, want %q", got, test.want)
			}
		})
	}
}

func upload(t *testing.T, client *s3.Client, key, body string) error {
	t.Helper()
	begun, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: new("bucket"), Key: &key})
	if err != nil {
		return err
	}
	part, err := client.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: new("bucket"), Key: &key, UploadId: begun.UploadId, PartNumber: new(int32(1)), Body: strings.NewReader(body)})
	if err != nil {
		return err
	}
	_, err = client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: new("bucket"), Key: &key, UploadId: begun.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: new(int32(1)), ETag: part.ETag}}},
	})
	return err
}

func TestFormUploadIsTold(t *testing.T) {
	o := &told{t: t}
	g, client := openGateway(t, Config{Buckets: []string{"bucket"}, OnEvent: o.onEvent})
	defer g.Close()
	form, err := s3.NewPresignClient(client).PresignPostObject(t.Context(), &s3.PutObjectInput{Bucket: new("bucket"), Key: new("form upload/é.txt")})
	if err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for k, v := range form.Values {
		if err := w.WriteField(k, v); err != nil {
			t.Fatal(err)
		}
	}
	file, err := w.CreateFormFile("file", "x.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(file, "123")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(g.URL()+"/bucket", w.FormDataContentType(), &body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("answer is %s", resp.Status)
	}
	if got, want := o.last(), "ObjectCreated:Post bucket form+upload/%C3%A9.txt 3"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestEventsOfConcurrentWritesAreNotMixedUp(t *testing.T) {
	o := &told{t: t}
	g, client := openGateway(t, Config{Buckets: []string{"bucket"}, OnEvent: o.onEvent})
	defer g.Close()
	const n = 200
	var writers sync.WaitGroup
	work := make(chan int)
	for range 16 {
		writers.Go(func() {
			for i := range work {
				put(t, client, fmt.Sprintf("key-%d", i), "x")
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	writers.Wait()
	seen := make(map[string]int)
	sequencers := make(map[string]bool)
	for _, r := range o.records {
		seen[line(r)]++
		sequencers[r.S3.Object.Sequencer] = true
	}
	for i := range n {
		if want := fmt.Sprintf("ObjectCreated:Put bucket key-%d 1", i); seen[want] != 1 {
			t.Errorf("%q was told %d times", want, seen[want])
		}
	}
	if len(sequencers) != n {
		t.Errorf("%d sequencers for %d events", len(sequencers), n)
	}
}

func TestEventNamesTheVersion(t *testing.T) {
	o := &told{t: t}
	g, client := openGateway(t, Config{Buckets: []string{"bucket"}, OnEvent: o.onEvent})
	defer g.Close()
	_, err := client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket:                  new("bucket"),
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: new("bucket"), Key: new("k"), Body: strings.NewReader("x")})
	if err != nil {
		t.Fatal(err)
	}
	got := o.records[len(o.records)-1].S3.Object
	if got.VersionID == "" || got.VersionID != aws.ToString(out.VersionId) || got.ETag != strings.Trim(*out.ETag, `"`) {
		t.Errorf("event has version %q and ETag %q, want %q and %s without quotes", got.VersionID, got.ETag, aws.ToString(out.VersionId), *out.ETag)
	}
}
