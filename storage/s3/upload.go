package s3

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/penstock/penstock/storage"
)

// upload is a multipart upload.
type upload struct {
	store *Store
	ref   storage.Ref
	opts  storage.PutOptions
	id    string

	mu    sync.Mutex
	parts map[int]part
	done  bool // complete, as far as this side knows
}

// part is what Complete has to say of a part.
type part struct {
	types.CompletedPart
	size int64
}

var _ storage.Upload = (*upload)(nil)

// Upload implements storage.Writer.
func (s *Store) Upload(ctx context.Context, ref storage.Ref, opts storage.PutOptions) (storage.Upload, error) {
	if err := checkWrite(ref, opts); err != nil {
		return nil, fmt.Errorf("upload %s: %w", ref, err)
	}
	in := &awss3.CreateMultipartUploadInput{
		Bucket:          &ref.Bucket,
		Key:             &ref.Key,
		ContentType:     optional(opts.ContentType),
		ContentEncoding: optional(opts.ContentEncoding),
		Metadata:        escape(opts.Metadata),
	}
	if s.client.Options().RequestChecksumCalculation == aws.RequestChecksumCalculationWhenSupported {
		// Of the whole object, as Put's is, so that the SDK checks it at every
		// read: it does not know what to do with one of parts.
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc32, types.ChecksumTypeFullObject
	}
	out, err := s.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return nil, wrap("upload", ref, err)
	}
	return &upload{store: s, ref: ref, opts: opts, id: value(out.UploadId), parts: map[int]part{}}, nil
}

// PutPart implements storage.Upload.
func (u *upload) PutPart(ctx context.Context, number int, body []byte) error {
	step := fmt.Sprintf("put part %d of", number)
	if err := storage.ValidatePartNumber(number); err != nil {
		return fmt.Errorf("%s %s: %w", step, u.ref, err)
	}
	out, err := u.store.client.UploadPart(ctx, &awss3.UploadPartInput{
		Bucket:     &u.ref.Bucket,
		Key:        &u.ref.Key,
		UploadId:   &u.id,
		PartNumber: new(int32(number)),
		Body:       bytes.NewReader(body),
	})
	if err != nil {
		return wrap(step, u.ref, err)
	}
	u.keep(number, int64(len(body)), types.CompletedPart{ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32})
	return nil
}

// CopyPart implements storage.Upload. It needs s3:GetObject on the other
// object. The bytes stay in S3, unless it is a range of an object of no more
// than 5 MiB, which S3 refuses to copy, or the server can't copy into an upload:
// MinIO can't into one with checksums.
func (u *upload) CopyPart(ctx context.Context, number int, from storage.Info, offset, length int64) error {
	step := fmt.Sprintf("copy %s to part %d of", from.Ref, number)
	length, err := storage.PartRange(from, offset, length)
	if err = errors.Join(storage.ValidatePartNumber(number), check(from.Ref), err); err != nil {
		return fmt.Errorf("%s %s: %w", step, u.ref, err)
	}
	in := &awss3.UploadPartCopyInput{
		Bucket:            &u.ref.Bucket,
		Key:               &u.ref.Key,
		UploadId:          &u.id,
		PartNumber:        new(int32(number)),
		CopySource:        new(copySource(from.Ref)),
		CopySourceIfMatch: quote(from.ETag),
	}
	switch {
	case length == from.Size:
	case from.Size <= storage.MinPartBytes:
		return u.carryPart(ctx, number, from, offset, length)
	default:
		in.CopySourceRange = new(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	}
	out, err := u.store.client.UploadPartCopy(ctx, in)
	switch code(err) {
	case "InvalidArgument", "InvalidRequest", "NotImplemented": // the call is as S3 takes it: see above
		return u.carryPart(ctx, number, from, offset, length)
	}
	if err != nil {
		return wrap(step, u.ref, err)
	}
	copied := value(out.CopyPartResult)
	u.keep(number, length, types.CompletedPart{ETag: copied.ETag, ChecksumCRC32: copied.ChecksumCRC32})
	return nil
}

// carryPart copies by way of this process.
func (u *upload) carryPart(ctx context.Context, number int, from storage.Info, offset, length int64) error {
	object, err := u.store.Get(ctx, from.Ref, storage.GetOptions{IfMatch: from.ETag, Offset: offset, Length: length})
	if err != nil {
		return err
	}
	body := make([]byte, length)
	_, err = io.ReadFull(object.Body, body)
	if err := errors.Join(err, object.Body.Close()); err != nil {
		return fmt.Errorf("get %s: %w", from.Ref, err)
	}
	return u.PutPart(ctx, number, body)
}

// keep notes a part that S3 has.
func (u *upload) keep(number int, size int64, p types.CompletedPart) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p.PartNumber = new(int32(number))
	u.parts[number] = part{p, size}
}

// Complete implements storage.Upload.
func (u *upload) Complete(ctx context.Context) (storage.Info, error) {
	parts, size := u.list()
	if len(parts) == 0 {
		return storage.Info{}, fmt.Errorf("complete the upload of %s: %w: it has no parts", u.ref, fs.ErrInvalid)
	}
	in := &awss3.CompleteMultipartUploadInput{
		Bucket:          &u.ref.Bucket,
		Key:             &u.ref.Key,
		UploadId:        &u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		IfMatch:         quote(u.opts.IfMatch),
	}
	if u.opts.IfNoneMatch {
		in.IfNoneMatch = new("*")
	}
	out, err := u.store.client.CompleteMultipartUpload(ctx, in)
	if err != nil {
		return storage.Info{}, wrap("complete the upload of", u.ref, err)
	}
	u.mu.Lock()
	u.done = true
	u.mu.Unlock()
	return storage.Info{
		Ref:             versioned(u.ref, out.VersionId),
		Size:            size,
		ETag:            unquote(out.ETag),
		ContentType:     u.opts.ContentType,
		ContentEncoding: u.opts.ContentEncoding,
	}, nil
}

// list gives the parts in order, and their size in all.
func (u *upload) list() (parts []types.CompletedPart, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.parts {
		parts = append(parts, p.CompletedPart)
		size += p.size
	}
	slices.SortFunc(parts, func(a, b types.CompletedPart) int { return cmp.Compare(*a.PartNumber, *b.PartNumber) })
	return parts, size
}

// Abort implements storage.Upload.
func (u *upload) Abort(ctx context.Context) error {
	u.mu.Lock()
	done := u.done
	u.mu.Unlock()
	if done {
		return nil
	}
	_, err := u.store.client.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{
		Bucket:   &u.ref.Bucket,
		Key:      &u.ref.Key,
		UploadId: &u.id,
	})
	if err != nil && code(err) != "NoSuchUpload" {
		return wrap("abort the upload of", u.ref, err)
	}
	return nil
}

// copySource names an object in a header: URL-encoded, but for slashes.
func copySource(ref storage.Ref) string {
	source := strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(ref.Bucket + "/" + ref.Key))
	if ref.Version != "" {
		source += "?versionId=" + url.QueryEscape(ref.Version)
	}
	return source
}
