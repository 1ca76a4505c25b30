package standin

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/penstock/penstock/cmd/local/standin/broker"
)

// queryPrefix begins the codes that some errors had in SQS's older Query
// protocol. SDKs show those to programs written against it.
const queryPrefix = "AWS.SimpleQueueService."

// queryCodes holds the older codes that are not the shape's own name.
var queryCodes = map[broker.Code]string{
	broker.BatchEntryIdsNotDistinct:     queryPrefix + "BatchEntryIdsNotDistinct",
	broker.BatchRequestTooLong:          queryPrefix + "BatchRequestTooLong",
	broker.EmptyBatchRequest:            queryPrefix + "EmptyBatchRequest",
	broker.InvalidBatchEntryID:          queryPrefix + "InvalidBatchEntryId",
	broker.MessageNotInflight:           queryPrefix + "MessageNotInflight",
	broker.PurgeQueueInProgress:         queryPrefix + "PurgeQueueInProgress",
	broker.QueueDoesNotExist:            queryPrefix + "NonExistentQueue",
	broker.QueueNameExists:              "QueueAlreadyExists",
	broker.TooManyEntriesInBatchRequest: queryPrefix + "TooManyEntriesInBatchRequest",
	broker.UnsupportedOperation:         queryPrefix + "UnsupportedOperation",
}

// Errors of the protocol itself, which are not in SQS's model.
const (
	serializationException broker.Code = "SerializationException"
	unknownOperation       broker.Code = "UnknownOperationException"
	serviceUnavailable     broker.Code = "ServiceUnavailable"
)

// queryCode is what an error is called in x-amzn-query-error and in the
// entries of a batch.
func queryCode(c broker.Code) string {
	if q, ok := queryCodes[c]; ok {
		return q
	}
	return string(c)
}

// shape is what an error is called in __type.
func shape(c broker.Code) string {
	switch c {
	case broker.InvalidParameterValue, broker.MissingParameter:
		return "com.amazon.coral.service#" + string(c) + "Exception"
	case broker.InternalError, serializationException, unknownOperation, serviceUnavailable:
		return "com.amazon.coral.service#" + string(c)
	}
	return "com.amazonaws.sqs#" + string(c)
}

// asError finds SQS's name for an error; one without a name is internal.
func asError(err error) *broker.Error {
	if e, ok := errors.AsType[*broker.Error](err); ok {
		return e
	}
	if errors.Is(err, broker.ErrClosed) {
		return broker.Errorf(serviceUnavailable, "the stand-in is shutting down")
	}
	return broker.Errorf(broker.InternalError, "%v", err)
}

func status(c broker.Code) int {
	switch c {
	case broker.InternalError:
		return http.StatusInternalServerError
	case serviceUnavailable:
		return http.StatusServiceUnavailable
	case unknownOperation:
		return http.StatusNotFound
	}
	return http.StatusBadRequest
}

// writeError answers with an error as SQS's JSON protocol does. A code of 0
// takes the error's usual status.
func writeError(w http.ResponseWriter, err *broker.Error, code int) {
	if code == 0 {
		code = status(err.Code)
	}
	fault := "Sender"
	if code >= 500 {
		fault = "Receiver"
	}
	w.Header().Set("x-amzn-query-error", queryCode(err.Code)+";"+fault)
	body, _ := json.Marshal(map[string]string{"__type": shape(err.Code), "message": err.Message}) // strings always marshal
	write(w, code, body)
}

func write(w http.ResponseWriter, code int, body []byte) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(code)
	_, _ = w.Write(body) // the client is gone; nobody is left to tell
}
