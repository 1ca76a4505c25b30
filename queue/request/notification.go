package request

import (
	"encoding/base64"
	"encoding/json"
	"time"
)

// Notification says that a request has ended, in the words of SageMaker's
// asynchronous inference, so that what listens to a SageMaker endpoint's
// topics understands it.
//
// Source: the SageMaker developer guide, "Check prediction results", and
// published messages of 2022 to 2025.
type Notification struct {
	InferenceID string
	Input       string // the input object's URI
	Endpoint    string // that was called, else the model that was asked for
	Accept      string
	ContentType string // of the input, as the request says it
	Region      string
	Received    time.Time // when the request was accepted
	Ended       time.Time

	Output            string // the result's URI; empty when the request failed
	OutputContentType string
	Failure           string // the failure object's URI; empty when it succeeded
	FailureReason     string
	// Body is the terminal object's, or nil when it is not to be in the
	// message.
	Body []byte
}

// MaxNotifiedBody is the largest terminal object that is put into a
// notification, in bytes: SageMaker's limit.
const MaxNotifiedBody = 128_000

type notificationWire struct {
	Region     string         `json:"awsRegion,omitempty"`
	EventTime  string         `json:"eventTime"`
	Received   string         `json:"receivedTime,omitempty"`
	Status     string         `json:"invocationStatus"`
	Reason     string         `json:"failureReason,omitempty"`
	Request    requestParams  `json:"requestParameters"`
	Response   *responseParam `json:"responseParameters,omitempty"`
	Failure    string         `json:"failureLocation,omitempty"` // not SageMaker's
	Body       *responseBody  `json:"responseBody,omitempty"`
	ID         string         `json:"inferenceId"`
	Version    string         `json:"eventVersion"`
	EventFrom  string         `json:"eventSource"`
	EventNamed string         `json:"eventName"`
}

type requestParams struct {
	Accept      string `json:"accept,omitempty"`
	ContentType string `json:"contentType,omitempty"`
	Endpoint    string `json:"endpointName,omitempty"`
	Input       string `json:"inputLocation"`
}

type responseParam struct {
	ContentType string `json:"contentType"`
	Output      string `json:"outputLocation"`
}

type responseBody struct {
	Content  string `json:"content"`
	Message  string `json:"message"`
	Encoding string `json:"encoding"`
}

// JSON writes the notification as a message of a topic.
func (n Notification) JSON() string {
	w := notificationWire{
		Region: n.Region, EventTime: stamp(n.Ended), Received: stamp(n.Received), Status: "Completed",
		Request: requestParams{Accept: n.Accept, ContentType: n.ContentType, Endpoint: n.Endpoint, Input: n.Input},
		ID:      n.InferenceID, Version: "1.0", EventFrom: "aws:sagemaker", EventNamed: "InferenceResult",
	}
	if n.Failure != "" {
		w.Status, w.Reason, w.Failure = "Failed", n.FailureReason, n.Failure
	} else {
		w.Response = &responseParam{ContentType: n.OutputContentType, Output: n.Output}
	}
	if n.Body != nil {
		w.Body = &responseBody{
			Content: base64.StdEncoding.EncodeToString(n.Body), Encoding: "BASE64",
			Message: "the whole object; it is also where the message says",
		}
	}
	b, err := json.Marshal(w)
	if err != nil {
		return "{}" // strings can always be written
	}
	return string(b)
}

// stamp writes a time as SageMaker does, in milliseconds of UTC.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
