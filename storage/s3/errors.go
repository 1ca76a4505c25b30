package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

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
	case kind == storage.ErrForbidden && (step == "head" || step == "get"):
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
	case "AccessDenied", "Forbidden", "AllAccessDisabled", "AccountProblem":
		return storage.ErrForbidden
	case "InvalidObjectState":
		return &storage.LockedError{Why: "it is archived", Remedy: "restore it (aws s3api restore-object), and send it again when that has ended"}
	case "KMS.DisabledException", "KMS.KMSInvalidStateException", "KMS.NotFoundException", "KMS.InvalidKeyUsageException":
		return &storage.LockedError{Why: "the KMS key that it is encrypted with is disabled, about to be deleted or gone (" + code(err) + ")", Remedy: "make the key usable again, or upload it anew under another"}
	case "InvalidRequest":
		if strings.Contains(err.Error(), "Server Side Encryption") {
			return &storage.LockedError{Why: "it is encrypted with a key of its uploader's own (SSE-C), which S3 does not keep", Remedy: "upload it without SSE-C, by SSE-KMS for example"}
		}
	case "KeyTooLongError", "MetadataTooLarge", "EntityTooLarge", "EntityTooSmall", "InvalidArgument",
		"InvalidBucketName", "InvalidURI",
		// Of servers on file systems, which can't have a key that is a folder of another:
		"ExistingObjectIsDirectory", "ObjectParentIsFile", "DirectoryObjectContainsData",
		"XMinioObjectExistsAsDirectory",
		// ... and not every name, such as one of more than 255 bytes between two slashes:
		"XMinioInvalidObjectName", "XMinioInvalidResourceName":
		return fs.ErrInvalid
	}
	switch status(err) {
	case http.StatusBadRequest, http.StatusInternalServerError:
		if noFileName(ref.Key) {
			return fs.ErrInvalid
		}
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

// noFileName says that a server on a file system may have no answer to a key
// but that it failed, however often it is asked: such keys are S3's alone.
func noFileName(key string) bool {
	for part := range strings.SplitSeq(key, "/") {
		if part == "." || part == ".." || strings.Contains(part, "\x00") {
			return true
		}
	}
	return false
}

// explain finds out why a HEAD was refused. Its reply has no body, so a bare
// 403 may mean a forbidden object as well as bad credentials, which are
// another matter, and a bare 400 anything; a GET of one byte says which.
func (s *Store) explain(ctx context.Context, ref storage.Ref, err error) error {
	if c := status(err); c != http.StatusForbidden && c != http.StatusBadRequest {
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
