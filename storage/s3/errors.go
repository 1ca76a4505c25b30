package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/penstock/penstock/storage"
)

// wrap puts an error of the SDK into the words of the contract.
func wrap(step string, ref storage.Ref, err error) error {
	switch kind := classify(ref, err); {
	case kind == nil:
		return fmt.Errorf("%s %s: %w", step, ref, err)
	case errors.Is(kind, storage.ErrForbidden) && (step == "head" || step == "get"):
		return fmt.Errorf("%s %s: %w (S3 says so of a missing object too, unless s3:ListBucket is allowed): %w", step, ref, kind, err)
	default:
		return fmt.Errorf("%s %s: %w: %w", step, ref, kind, err)
	}
}

// classify gives the contract's error for one of the SDK's, or nil for a
// transient fault.
func classify(ref storage.Ref, err error) error {
	switch code(err) {
	case "NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NoSuchUpload", "NotFound":
		return fs.ErrNotExist
	case "PreconditionFailed", "NotModified", "InvalidRange":
		return storage.ErrPrecondition
	case "ConditionalRequestConflict", "OperationAborted",
		"InvalidPart": // S3 does not have the part that it said it has
		return storage.ErrConflict
	case "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId",
		"SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired":
		return nil // the credentials or the clock are at fault, not the request
	case "AccessDenied", "Forbidden", "AllAccessDisabled", "AccountProblem", "InvalidObjectState":
		return storage.ErrForbidden // InvalidObjectState: archived, to be restored first
	case "KeyTooLongError", "MetadataTooLarge", "EntityTooLarge", "EntityTooSmall", "InvalidArgument",
		"InvalidBucketName", "InvalidURI",
		// Of servers on file systems, which can't have a key that is a folder of another:
		"ExistingObjectIsDirectory", "ObjectParentIsFile":
		return fs.ErrInvalid
	}
	switch status(err) {
	case http.StatusNotFound:
		return fs.ErrNotExist
	case http.StatusMethodNotAllowed:
		if ref.Version != "" { // the version is a delete marker
			return fs.ErrNotExist
		}
	case http.StatusForbidden:
		return storage.ErrForbidden
	case http.StatusPreconditionFailed, http.StatusNotModified, http.StatusRequestedRangeNotSatisfiable:
		return storage.ErrPrecondition
	}
	return nil
}

// explain finds out why a HEAD was refused. Its reply has no body, so a bare
// 403 may mean a forbidden object as well as bad credentials, which are
// another matter; a GET of one byte says which.
func (s *Store) explain(ctx context.Context, ref storage.Ref, err error) error {
	if status(err) != http.StatusForbidden {
		return err
	}
	out, why := s.client.GetObject(ctx, &awss3.GetObjectInput{
		Bucket:    &ref.Bucket,
		Key:       &ref.Key,
		VersionId: optional(ref.Version),
		Range:     new("bytes=0-0"),
	})
	switch {
	case code(why) == "InvalidRange": // an empty object, and readable
		return fmt.Errorf("a HEAD was refused (%v), but a GET was not; try again", err)
	case why != nil:
		return why
	}
	return errors.Join(fmt.Errorf("a HEAD was refused (%v), but a GET was not; try again", err), out.Body.Close())
}

// code is the error code of S3's reply, or empty.
func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// status is the HTTP status of S3's reply, or 0.
func status(err error) int {
	if reply, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		return reply.HTTPStatusCode()
	}
	return 0
}
