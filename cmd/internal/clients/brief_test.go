package clients

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"testing"

	"github.com/aws/smithy-go"
)

func TestErrorsAreBriefAndStayWhatTheyAre(t *testing.T) {
	t.Parallel()
	api := &smithy.GenericAPIError{Code: "SignatureDoesNotMatch", Message: "Check your key."}
	answer := fmt.Errorf("put s3://b/k: %w", &smithy.OperationError{ServiceID: "S3", OperationName: "PutObject", Err: fmt.Errorf("https response error StatusCode: 403, RequestID: 1, HostID: 2, %w", api)})
	dial := fmt.Errorf("get x: %w", &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")})
	none := fmt.Errorf("put s3://b/k: %w", &smithy.OperationError{ServiceID: "S3", OperationName: "PutObject", Err: errors.New("get identity: get credentials: no EC2 IMDS role found")})
	missing := fmt.Errorf("put s3://b/k: %w: %w", fs.ErrNotExist, &smithy.OperationError{ServiceID: "S3", OperationName: "PutObject", Err: &smithy.GenericAPIError{Code: "NoSuchBucket"}})
	other := errors.New("as it is")
	for want, err := range map[string]error{
		"put s3://b/k: SignatureDoesNotMatch: Check your key.": answer,
		"dial tcp: connection refused":                         dial,
		"put s3://b/k: no credentials were found":              none,
		"put s3://b/k: NoSuchBucket":                           missing,
		"as it is":                                             other,
	} {
		if got := Brief(err); got.Error() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if !errors.Is(Brief(answer), api) || CredentialFault(Brief(answer)) != "SignatureDoesNotMatch" || CredentialFault(other) != "" {
		t.Error("it is not the same error any more")
	}
}
