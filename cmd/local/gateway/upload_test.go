package gateway_test

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"sync/atomic"
	"testing"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
)

// losesReply loses the first reply to a CompleteMultipartUpload.
type losesReply struct {
	http.RoundTripper
	lost atomic.Bool
}

func (l *losesReply) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil && r.Method == http.MethodPost && r.URL.Query().Get("uploadId") != "" && l.lost.CompareAndSwap(false, true) {
		return nil, errors.Join(io.ErrUnexpectedEOF, resp.Body.Close())
	}
	return resp, err
}

// begin starts an upload of one part in a bucket of its own.
func begin(t *testing.T, client *awss3.Client, ref storage.Ref, opts storage.PutOptions) storage.Upload {
	t.Helper()
	if _, err := client.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &ref.Bucket}); err != nil {
		t.Fatal(err)
	}
	u, err := s3.New(client).Upload(t.Context(), ref, opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.PutPart(t.Context(), 1, []byte("part")); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestLostReplyOfACompletionLeavesTheObject(t *testing.T) {
	transport := &losesReply{RoundTripper: direct()}
	client := serve(t, transport)
	ref := storage.Ref{Bucket: "bucket", Key: "dir/key"}
	u := begin(t, client, ref, storage.PutOptions{IfNoneMatch: true})
	_, err := u.Complete(t.Context())
	if err != nil && !errors.Is(err, storage.ErrPrecondition) && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("complete gave %v, want none, or that the object is there, or that the upload is gone", err)
	}
	if !transport.lost.Load() {
		t.Error("no reply was lost")
	}
	if info, err := s3.New(client).Head(t.Context(), ref); err != nil || info.Size != 4 {
		t.Errorf("head gave %+v and %v, want the object", info, err)
	}
	if err := u.Abort(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAbortFreesTheParts(t *testing.T) {
	client := serve(t, direct())
	u := begin(t, client, storage.Ref{Bucket: "bucket", Key: "dir/key"}, storage.PutOptions{})
	uploads := func() int {
		out, err := client.ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: new("bucket")})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Uploads)
	}
	if n := uploads(); n != 1 {
		t.Errorf("%d uploads are under way, want 1", n)
	}
	if err := u.Abort(t.Context()); err != nil {
		t.Error(err)
	}
	if n := uploads(); n != 0 {
		t.Errorf("%d uploads are left, want none", n)
	}
}
