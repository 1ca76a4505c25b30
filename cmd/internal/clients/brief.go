package clients

import (
	"errors"
	"io/fs"
	"net"
	"strings"

	"github.com/aws/smithy-go"
)

// Brief gives an error of the SDK as a person needs it: of a connection that
// could not be made the address and why, of an answer its code and message. The
// SDK's own accounts are several lines long, with ids that serve AWS's support
// alone. Other errors stay as they are.
func Brief(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		return e
	}
	if NoCredentials(err) {
		before, _, _ := strings.Cut(err.Error(), "operation error ")
		return &briefError{before + "no credentials were found", err}
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return err
	}
	before, _, found := strings.Cut(err.Error(), "operation error ")
	if !found {
		return err
	}
	// What the contract calls a thing that is not there, S3 says better.
	text := strings.TrimSuffix(before, fs.ErrNotExist.Error()+": ") + api.ErrorCode()
	if message := strings.TrimSpace(api.ErrorMessage()); message != "" {
		text += ": " + message
	}
	return &briefError{text, err}
}

type briefError struct {
	text string
	err  error
}

func (e *briefError) Error() string { return e.text }
func (e *briefError) Unwrap() error { return e.err }

// NoCredentials says that a call was not even made, for there are no
// credentials, or there is no way to them.
func NoCredentials(err error) bool {
	return strings.Contains(err.Error(), "get credentials") // the SDK has no error of a type for it
}

// wrongCredentials are codes by which AWS says that it does not know who calls.
var wrongCredentials = []string{
	"SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure",
	"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired",
}

// CredentialFault is the code by which AWS says that the credentials are wrong
// or have expired, or empty. It says so of every call then.
func CredentialFault(err error) string {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return ""
	}
	for _, code := range wrongCredentials {
		if api.ErrorCode() == code {
			return code
		}
	}
	return ""
}
