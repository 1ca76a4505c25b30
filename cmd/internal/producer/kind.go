package producer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// kind is what sort of event the function was invoked with.
type kind int

const (
	kindUploads  kind = iota // objects that appeared: S3's or EventBridge's event, as it is or by SNS
	kindMessages             // a batch from an SQS queue
	kindHTTP                 // of a function URL or an API Gateway
	kindSchedule             // the time for a sweep
	kindRequests             // in Penstock's own form
	kindInline               // a body, by hand
	kindList                 // of objects, by hand
	kindPrefix               // all objects below it
	kindManifest             // the objects that it lists
)

// probe holds the members that tell the kinds apart. Those of other services
// are looked at first: no two of them have the same.
type probe struct {
	Records        json.RawMessage `json:"Records"`        // S3, SNS, SQS
	RequestContext json.RawMessage `json:"requestContext"` // function URLs, API Gateway
	DetailType     string          `json:"detail-type"`    // EventBridge
	Event          json.RawMessage `json:"Event"`          // S3's test event
	Message        json.RawMessage `json:"Message"`        // SNS's own form

	Input      json.RawMessage `json:"input"`
	Requests   json.RawMessage `json:"requests"`
	Body       json.RawMessage `json:"body"`
	BodyBase64 json.RawMessage `json:"bodyBase64"`
	Inputs     json.RawMessage `json:"inputs"`
	Prefix     json.RawMessage `json:"prefix"`
	Manifest   json.RawMessage `json:"manifest"`
	Sweep      json.RawMessage `json:"sweep"`
}

// kindOf tells what sort of event it is. What is no JSON object is left to
// request.Decode, which knows what to say of it.
func kindOf(event []byte) (kind, error) {
	event = bytes.TrimSpace(event)
	if bytes.HasPrefix(event, []byte("[")) {
		return kindList, nil // bare, as a person types it
	}
	var p probe
	if json.Unmarshal(event, &p) != nil {
		return kindUploads, nil
	}
	switch {
	case p.RequestContext != nil:
		return kindHTTP, nil
	case p.Records != nil:
		if ofSQS(p.Records) {
			return kindMessages, nil
		}
		return kindUploads, nil
	case p.DetailType == "Scheduled Event":
		return kindSchedule, nil // of an EventBridge rule, and of EventBridge Scheduler
	case p.DetailType != "":
		return kindUploads, nil
	case p.Event != nil, p.Message != nil:
		return kindUploads, nil
	}
	return p.byHand(event)
}

// byHand tells the invocations by hand apart: each has one member of its own.
func (p probe) byHand(event []byte) (kind, error) {
	found, names := kindUploads, []string(nil)
	for _, m := range []struct {
		name  string
		value json.RawMessage
		kind  kind
	}{
		{"input", p.Input, kindRequests},
		{"requests", p.Requests, kindRequests},
		{"body", p.Body, kindInline},
		{"bodyBase64", p.BodyBase64, kindInline},
		{"inputs", p.Inputs, kindList},
		{"prefix", p.Prefix, kindPrefix},
		{"manifest", p.Manifest, kindManifest},
		{"sweep", p.Sweep, kindSchedule},
	} {
		if m.value != nil {
			found, names = m.kind, append(names, fmt.Sprintf("%q", m.name))
		}
	}
	if len(names) == 0 {
		return found, fmt.Errorf(`it is neither an event of S3, EventBridge, SNS, SQS, a schedule or HTTP, nor an invocation by hand with "input", "requests", "body", "bodyBase64", "inputs", "prefix", "manifest" or "sweep": it begins with %.60q`, event)
	}
	if len(names) > 1 && found != kindRequests { // request.Decode says it of its own
		return found, errors.New("it has " + strings.Join(names, " and ") + "; invoke the function with one of them at a time")
	}
	return found, nil
}

// ofSQS says whether records are messages of a queue. Lambda never mixes them
// with others.
func ofSQS(records json.RawMessage) bool {
	var list []struct {
		EventSource string `json:"eventSource"`
	}
	return json.Unmarshal(records, &list) == nil && len(list) > 0 && list[0].EventSource == "aws:sqs"
}
