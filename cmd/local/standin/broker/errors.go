package broker

import "fmt"

// Code is the name of an SQS error, as its JSON protocol spells the shape.
type Code string

// The errors that a Broker answers with. The last three are not shapes of the
// SQS model but common errors of the protocol.
const (
	BatchEntryIdsNotDistinct     Code = "BatchEntryIdsNotDistinct"
	BatchRequestTooLong          Code = "BatchRequestTooLong"
	EmptyBatchRequest            Code = "EmptyBatchRequest"
	InvalidAddress               Code = "InvalidAddress"
	InvalidAttributeName         Code = "InvalidAttributeName"
	InvalidAttributeValue        Code = "InvalidAttributeValue"
	InvalidBatchEntryID          Code = "InvalidBatchEntryId"
	InvalidMessageContents       Code = "InvalidMessageContents"
	MessageNotInflight           Code = "MessageNotInflight"
	OverLimit                    Code = "OverLimit"
	PurgeQueueInProgress         Code = "PurgeQueueInProgress"
	QueueDoesNotExist            Code = "QueueDoesNotExist"
	QueueNameExists              Code = "QueueNameExists"
	ReceiptHandleIsInvalid       Code = "ReceiptHandleIsInvalid"
	RequestThrottled             Code = "RequestThrottled"
	ResourceNotFound             Code = "ResourceNotFoundException"
	TooManyEntriesInBatchRequest Code = "TooManyEntriesInBatchRequest"
	UnsupportedOperation         Code = "UnsupportedOperation"

	InvalidParameterValue Code = "InvalidParameterValue"
	MissingParameter      Code = "MissingParameter"
	InternalError         Code = "InternalError"
)

// Error is an answer of SQS that refuses a call or one entry of a batch.
type Error struct {
	Code    Code
	Message string // for a person, in SQS's words where they are known
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Errorf makes an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// invalidValue is SQS's usual phrase for a parameter out of its range.
func invalidValue(value any, parameter, reason string) *Error {
	return Errorf(InvalidParameterValue, "Value %v for parameter %s is invalid. Reason: %s", value, parameter, reason)
}
