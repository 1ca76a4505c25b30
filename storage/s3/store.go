// Package s3 is Penstock's object store on Amazon S3, or on a server that
// speaks its protocol with conditional writes.
//
// # Permissions
//
// Reading needs s3:GetObject (s3:GetObjectVersion where versions are named),
// writing s3:PutObject (and s3:AbortMultipartUpload for uploads that are given
// up), deleting s3:DeleteObject, and listing s3:ListBucket.
// Reading needs s3:ListBucket too: without it S3 answers 403 instead of 404
// where no object is, and a missing object looks like a forbidden one.
//
// # Checksums
//
// The SDK sends a CRC-32 with every write and checks those of whole objects
// that it reads. For a server that can't bear them set the SDK's own variable
// AWS_REQUEST_CHECKSUM_CALCULATION=when_required.
//
// # Retries
//
// The SDK retries a write whose reply was lost. If the first attempt took
// effect, a conditional one then meets its own object, and ErrPrecondition is
// all that the caller hears: compare what is there before giving up.
//
// # Reading
//
// The SDK retries a call until the reply begins. An error amid a body is the
// reader's: get the rest with Offset, and IfMatch for the same object.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/penstock/penstock/storage"
)

// Store is S3 as one client sees it. Make one with New. All its methods may be
// called concurrently.
type Store struct {
	client *awss3.Client
}

var _ storage.Store = (*Store)(nil)

// New gives the store behind client. It makes no call.
func New(client *awss3.Client) *Store { return &Store{client: client} }

// Head implements storage.Reader.
func (s *Store) Head(ctx context.Context, ref storage.Ref) (storage.Info, error) {
	if err := check(ref); err != nil {
		return storage.Info{}, fmt.Errorf("head %s: %w", ref, err)
	}
	out, err := s.client.HeadObject(ctx, &awss3.HeadObjectInput{
		Bucket:    &ref.Bucket,
		Key:       &ref.Key,
		VersionId: optional(ref.Version),
	})
	if err != nil {
		return storage.Info{}, wrap("head", ref, s.explain(ctx, ref, err))
	}
	return storage.Info{
		Ref:             versioned(ref, out.VersionId),
		Size:            value(out.ContentLength),
		ETag:            unquote(out.ETag),
		ContentType:     value(out.ContentType),
		ContentEncoding: contentEncoding(out.ContentEncoding),
		Modified:        value(out.LastModified),
		Metadata:        unescape(out.Metadata),
	}, nil
}

// Get implements storage.Reader.
func (s *Store) Get(ctx context.Context, ref storage.Ref, opts storage.GetOptions) (*storage.Object, error) {
	if err := check(ref); err != nil {
		return nil, fmt.Errorf("get %s: %w", ref, err)
	}
	if opts.Offset < 0 || opts.Length < 0 {
		return nil, fmt.Errorf("get %s: %w: the range of %d bytes from %d has a negative number", ref, fs.ErrInvalid, opts.Length, opts.Offset)
	}
	object, err := s.get(ctx, ref, opts)
	if opts.Offset == 0 && opts.Length > 0 && code(err) == "InvalidRange" {
		// An empty object has no first byte that a range could begin with.
		length := opts.Length
		opts.Length = 0
		if object, err = s.get(ctx, ref, opts); err == nil {
			object.Body = limited{io.LimitReader(object.Body, length), object.Body}
		}
	}
	if err != nil {
		return nil, wrap("get", ref, err)
	}
	return object, nil
}

func (s *Store) get(ctx context.Context, ref storage.Ref, opts storage.GetOptions) (*storage.Object, error) {
	in := &awss3.GetObjectInput{
		Bucket:    &ref.Bucket,
		Key:       &ref.Key,
		VersionId: optional(ref.Version),
		IfMatch:   quote(opts.IfMatch),
		Range:     byteRange(opts),
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		return nil, err
	}
	size := value(out.ContentLength)
	if in.Range != nil {
		if size, err = wholeSize(out.ContentRange, opts.Offset); err != nil {
			return nil, errors.Join(err, out.Body.Close())
		}
	}
	return &storage.Object{Body: out.Body, Info: storage.Info{
		Ref:             versioned(ref, out.VersionId),
		Size:            size,
		ETag:            unquote(out.ETag),
		ContentType:     value(out.ContentType),
		ContentEncoding: contentEncoding(out.ContentEncoding),
		Modified:        value(out.LastModified),
		Metadata:        unescape(out.Metadata),
	}}, nil
}

// List implements storage.Reader. It reads pages of 1,000 as they are needed.
func (s *Store) List(ctx context.Context, prefix storage.Ref, startAfter string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		if err := prefix.Validate(); err != nil {
			yield(storage.Info{}, fmt.Errorf("list %s: %w: %w", prefix, fs.ErrInvalid, err))
			return
		}
		pages := awss3.NewListObjectsV2Paginator(s.client, &awss3.ListObjectsV2Input{
			Bucket:     &prefix.Bucket,
			Prefix:     optional(prefix.Key),
			StartAfter: optional(startAfter),
			// XML can't hold every character that a key can.
			EncodingType: types.EncodingTypeUrl,
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(storage.Info{}, wrap("list", prefix, err))
				return
			}
			for _, o := range page.Contents {
				info, err := listed(prefix.Bucket, o, page.EncodingType)
				if err != nil {
					yield(storage.Info{}, fmt.Errorf("list %s: %w", prefix, err))
					return
				}
				if !yield(info, nil) {
					return
				}
			}
		}
	}
}

// Put implements storage.Writer.
func (s *Store) Put(ctx context.Context, ref storage.Ref, body []byte, opts storage.PutOptions) (storage.Info, error) {
	if err := checkWrite(ref, opts); err != nil {
		return storage.Info{}, fmt.Errorf("put %s: %w", ref, err)
	}
	in := &awss3.PutObjectInput{
		Bucket:          &ref.Bucket,
		Key:             &ref.Key,
		Body:            bytes.NewReader(body), // can be rewound for a retry
		ContentType:     optional(opts.ContentType),
		ContentEncoding: optional(opts.ContentEncoding),
		Metadata:        escape(opts.Metadata),
		IfMatch:         quote(opts.IfMatch),
	}
	if opts.IfNoneMatch {
		in.IfNoneMatch = new("*")
	}
	out, err := s.client.PutObject(ctx, in)
	if err != nil {
		return storage.Info{}, wrap("put", ref, err)
	}
	return storage.Info{
		Ref:             versioned(ref, out.VersionId),
		Size:            int64(len(body)),
		ETag:            unquote(out.ETag),
		ContentType:     opts.ContentType,
		ContentEncoding: opts.ContentEncoding,
	}, nil
}

// Delete implements storage.Writer. In a bucket that keeps versions it leaves
// a delete marker, unless ref names a version: that is removed for good.
func (s *Store) Delete(ctx context.Context, ref storage.Ref, opts storage.DeleteOptions) error {
	if err := check(ref); err != nil {
		return fmt.Errorf("delete %s: %w", ref, err)
	}
	_, err := s.client.DeleteObject(ctx, &awss3.DeleteObjectInput{
		Bucket:    &ref.Bucket,
		Key:       &ref.Key,
		VersionId: optional(ref.Version),
		IfMatch:   quote(opts.IfMatch),
	})
	if opts.IfMatch == "" && (code(err) == "NoSuchKey" || code(err) == "NoSuchVersion") {
		return nil // S3 itself says nothing of a missing object; some servers do
	}
	if opts.IfMatch != "" && status(err) == http.StatusNotImplemented {
		return fmt.Errorf("delete %s on a condition: %w: %w", ref, errors.ErrUnsupported, err)
	}
	if err != nil {
		return wrap("delete", ref, err)
	}
	return nil
}

func check(ref storage.Ref) error {
	if err := ref.Validate(); err != nil {
		return fmt.Errorf("%w: %w", fs.ErrInvalid, err)
	}
	if ref.Key == "" {
		return fmt.Errorf("%w: the key is empty", fs.ErrInvalid)
	}
	return nil
}

func checkWrite(ref storage.Ref, opts storage.PutOptions) error {
	if err := check(ref); err != nil {
		return err
	}
	if ref.Version != "" {
		return fmt.Errorf("%w: a version can't be written to", fs.ErrInvalid)
	}
	return opts.Validate()
}

// listed turns an entry of a list into ours.
func listed(bucket string, o types.Object, encoding types.EncodingType) (storage.Info, error) {
	key := value(o.Key)
	if encoding == types.EncodingTypeUrl {
		var err error
		if key, err = url.QueryUnescape(key); err != nil {
			return storage.Info{}, fmt.Errorf("the key %q in the reply: %w", value(o.Key), err)
		}
	}
	return storage.Info{
		Ref:      storage.Ref{Bucket: bucket, Key: key},
		Size:     value(o.Size),
		ETag:     unquote(o.ETag),
		Modified: value(o.LastModified),
	}, nil
}

// byteRange is the Range header for opts, or nil for the whole object.
func byteRange(opts storage.GetOptions) *string {
	if opts.Offset == 0 && opts.Length == 0 {
		return nil
	}
	r := "bytes=" + strconv.FormatInt(opts.Offset, 10) + "-"
	if opts.Length > 0 {
		r += strconv.FormatInt(opts.Offset+opts.Length-1, 10)
	}
	return &r
}

// wholeSize reads the object's size from a Content-Range ("bytes 5-9/100"),
// and makes sure that the part is the one that was asked for.
func wholeSize(contentRange *string, offset int64) (int64, error) {
	part, total, _ := strings.Cut(value(contentRange), "/")
	size, err := strconv.ParseInt(total, 10, 64)
	if err != nil || !strings.HasPrefix(part, fmt.Sprintf("bytes %d-", offset)) {
		return 0, fmt.Errorf("the server did not give the range asked for: its Content-Range is %q", value(contentRange))
	}
	return size, nil
}

// limited is a part of a body, which closes the whole.
type limited struct {
	io.Reader
	io.Closer
}
